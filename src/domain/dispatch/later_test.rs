//! Waits that a handler has chosen.

use std::time::Duration;

use super::super::handler::Later;
use super::super::retry::{Order, RetryPolicy};
use super::tests::{NOW, arrive, assign, failure, kind, offsets, partition, start_all};
use super::*;

fn later(after: Duration, spends_attempt: bool) -> Later {
    Later { failure: failure("its endpoint is away"), after, spends_attempt }
}

fn machine(order: Order, offsets: i64) -> (Dispatcher<i64>, PartitionId) {
    let retry = RetryPolicy { order, ..RetryPolicy::DEFAULT };
    let mut machine = Dispatcher::new(Limits::DEFAULT, [Kind { retry, ..kind("a") }]);
    let id = partition("topic.a", 0);
    assign(&mut machine, [id.clone()]);
    for offset in 0..offsets {
        arrive(&mut machine, &id, offset, "x");
    }
    (machine, id)
}

#[test]
fn a_job_waits_as_long_as_its_handler_says_and_the_type_goes_on() {
    let (mut machine, id) = machine(Order::Strict, 2);
    let mut now_ms = NOW;
    // More often than the policy allows: that is the handler's matter.
    for attempt in 1..10 {
        let first = start_all(&mut machine, now_ms);
        assert_eq!((offsets(&first), first[0].attempt), (vec![0], attempt));
        let wait = later(Duration::from_secs(7), true);
        let verdict = machine.ended(&first[0].ticket, End::Later(&wait), now_ms, 0.0);
        let at_ms = now_ms + 7_000;
        assert_eq!(verdict, Verdict::RetryAt { at_ms, attempts: attempt, is_long: false });
        assert_eq!(machine.outages().count(), 0);
        assert!(start_all(&mut machine, at_ms - 1).is_empty(), "its key waits");
        now_ms = at_ms;
    }
    arrive(&mut machine, &id, 2, "y");
    assert_eq!(offsets(&start_all(&mut machine, now_ms - 1)), [2], "other keys go on");
}

#[test]
fn a_wait_may_cost_no_attempt() {
    let (mut machine, _) = machine(Order::Strict, 1);
    let first = start_all(&mut machine, NOW);
    let wait = later(Duration::from_secs(90), false);
    let verdict = machine.ended(&first[0].ticket, End::Later(&wait), NOW, 0.0);
    assert_eq!(verdict, Verdict::RetryAt { at_ms: NOW + 90_000, attempts: 0, is_long: true });
    assert_eq!(start_all(&mut machine, NOW + 90_000)[0].attempt, 1);
}

#[test]
fn where_the_order_is_relaxed_the_key_goes_on_during_a_long_wait() {
    let (mut machine, _) = machine(Order::Relaxed, 2);
    let first = start_all(&mut machine, NOW);
    let wait = later(Duration::from_mins(5), true);
    let verdict = machine.ended(&first[0].ticket, End::Later(&wait), NOW, 0.0);
    assert_eq!(verdict, Verdict::Postpone { at_ms: NOW + 300_000, attempts: 1 });
    assert!(start_all(&mut machine, NOW).is_empty(), "its row is not written yet");
    machine.settled(&first[0].ticket);
    assert_eq!(offsets(&start_all(&mut machine, NOW)), [1]);
}

#[test]
fn a_job_that_has_reached_the_dependency_ends_its_outage() {
    let (mut machine, id) = machine(Order::Strict, 1);
    arrive(&mut machine, &id, 1, "y");
    let both = start_all(&mut machine, NOW);
    let away = failure("no database");
    for start in &both {
        machine.ended(&start.ticket, End::Unavailable(&away), NOW, 0.0);
    }
    let probe = start_all(&mut machine, NOW + 1_000);
    assert_eq!(probe.len(), 1);
    let wait = later(Duration::from_secs(7), true);
    machine.ended(&probe[0].ticket, End::Later(&wait), NOW + 1_000, 0.0);
    assert_eq!(machine.outages().count(), 0);
    assert_eq!(start_all(&mut machine, NOW + 1_000).len(), 1, "the other one");
}

#[test]
fn a_dependency_that_asks_to_be_left_alone_is_not_probed_before() {
    let (mut machine, _) = machine(Order::Strict, 1);
    let first = start_all(&mut machine, NOW);
    let busy = failure("busy").retry_after(Some(Duration::from_secs(30)));
    machine.ended(&first[0].ticket, End::Unavailable(&busy), NOW, 0.0);
    assert!(start_all(&mut machine, NOW + 29_999).is_empty());
    let probe = start_all(&mut machine, NOW + 30_000);
    assert_eq!(probe[0].attempt, 1, "no attempt was spent");
}
