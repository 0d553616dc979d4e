//! Outages and jobs that have run alone: whose turn it is, and when to wake.

use super::tests::{
    NOW, arrive, arrive_with, assign, done, failure, kind, offsets, partition, start_all,
};
use super::*;

/// One that the outage of its type lets wait, and that may have ended a process.
fn accused(attempts: u32) -> Past {
    Past { attempts, suspicion: Suspicion::Alone, ..Past::default() }
}

fn retry(machine: &mut Dispatcher<i64>, start: &Start<i64>, now_ms: i64) -> Verdict {
    machine.ended(&start.ticket, End::Retry(&failure("refused")), now_ms, 0.0)
}

#[test]
fn who_may_not_start_for_want_of_a_place_is_not_woken_by_the_time() {
    let limited = Kind { running_max: Some(1), ..kind("a") };
    let mut machine = Dispatcher::new(Limits::DEFAULT, [limited]);
    let id = partition("topic.a", 0);
    assign(&mut machine, [id.clone()]);
    arrive(&mut machine, &id, 0, "x");
    let first = start_all(&mut machine, NOW);
    machine.ended(&first[0].ticket, End::Unavailable(&failure("refused")), NOW, 0.0);
    arrive(&mut machine, &id, 1, "y");
    let none = Leave { critical: false, other: false, alone: true };
    assert!(machine.next(NOW, none).is_none());
    assert_eq!(machine.next_wakeup_ms(), Some(NOW + 1_000), "the probe");
    assert!(machine.next(NOW + 1_000, none).is_none(), "it is due, and has no place");
    assert_eq!(machine.next_wakeup_ms(), None, "only a place can help");
    assert!(machine.next(NOW + 1_001, Leave::ALL).is_some());
}

#[test]
fn a_job_that_came_through_an_attempt_alone_is_neither_given_up_nor_the_only_probe() {
    let mut machine = Dispatcher::new(Limits::DEFAULT, [kind("a")]);
    let id = partition("topic.a", 0);
    assign(&mut machine, [id.clone()]);
    arrive_with(&mut machine, &id, 0, "x", accused(4));
    arrive(&mut machine, &id, 1, "y");
    let first = start_all(&mut machine, NOW);
    assert_eq!((offsets(&first), first[0].suspicion), (vec![0], Suspicion::Alone));
    let verdict = retry(&mut machine, &first[0], NOW);
    assert_eq!(verdict, Verdict::Paused { is_news: true }, "nobody has succeeded");
    let probe = start_all(&mut machine, NOW + 1_000);
    assert_eq!(offsets(&probe), [1], "another one is the next probe");
    done(&mut machine, &probe[0], NOW + 1_000);
    let again = start_all(&mut machine, NOW + 1_000);
    assert_eq!((offsets(&again), again[0].is_given_up), (vec![0], false));
    assert_eq!(again[0].suspicion, Suspicion::Watched);
    let verdict = retry(&mut machine, &again[0], NOW + 1_000);
    assert_eq!(verdict, Verdict::DeadLetter { attempts: 5 });
}

#[test]
fn the_probe_of_an_outage_that_is_over_says_nothing_of_the_next_one() {
    let mut machine = Dispatcher::new(Limits::DEFAULT, [kind("a")]);
    let id = partition("topic.a", 0);
    assign(&mut machine, [id.clone()]);
    for offset in 0..3 {
        arrive(&mut machine, &id, offset, "");
    }
    let unavailable = failure("refused");
    let first = start_all(&mut machine, NOW);
    let away = End::Unavailable(&unavailable);
    machine.ended(&first[0].ticket, away, NOW, 0.0);
    let old_probe = start_all(&mut machine, NOW + 1_000);
    assert_eq!(offsets(&old_probe), [0]);
    done(&mut machine, &first[1], NOW + 1_000);
    machine.ended(&first[2].ticket, away, NOW + 1_000, 0.0);
    arrive(&mut machine, &id, 3, "");
    let new_probe = start_all(&mut machine, NOW + 2_000);
    assert_eq!(new_probe.len(), 1);
    machine.ended(&old_probe[0].ticket, away, NOW + 2_000, 0.0);
    assert!(start_all(&mut machine, NOW + 60_000).is_empty(), "one probe is out");
    done(&mut machine, &new_probe[0], NOW + 60_000);
    assert_eq!(start_all(&mut machine, NOW + 60_000).len(), 2, "all that there is");
}

#[test]
fn the_probe_of_an_outage_that_is_over_fails_as_any_job_does() {
    let mut machine = Dispatcher::new(Limits::DEFAULT, [kind("a")]);
    let id = partition("topic.a", 0);
    assign(&mut machine, [id.clone()]);
    arrive(&mut machine, &id, 0, "");
    arrive(&mut machine, &id, 1, "");
    let first = start_all(&mut machine, NOW);
    machine.ended(&first[0].ticket, End::Unavailable(&failure("refused")), NOW, 0.0);
    let probe = start_all(&mut machine, NOW + 1_000);
    done(&mut machine, &first[1], NOW + 1_000);
    retry(&mut machine, &probe[0], NOW + 1_000);
    assert_eq!(machine.outages().count(), 0, "one that fails among successes is no outage");
}
