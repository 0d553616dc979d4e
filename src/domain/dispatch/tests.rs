use super::super::handler::Failure;
use super::super::retry::{Order, RetryPolicy};
use super::*;

pub(super) const NOW: i64 = 1_000_000;

pub(super) fn kind(name: &str) -> Kind {
    Kind {
        name: name.into(),
        topic: format!("topic.{name}").into(),
        retry: RetryPolicy::DEFAULT,
        is_critical: false,
        running_max: None,
        running_per_prefix_max: None,
        merged_max: 1,
    }
}

fn machine(limits: Limits) -> Dispatcher<i64> {
    Dispatcher::new(limits, [kind("a"), kind("b")])
}

pub(super) fn failure(message: &str) -> Failure {
    Failure::new("test", message)
}

pub(super) fn partition(topic: &str, partition: i32) -> PartitionId {
    PartitionId { topic: topic.into(), partition }
}

/// Gives partitions of which nothing is done.
pub(super) fn assign(
    machine: &mut Dispatcher<i64>,
    partitions: impl IntoIterator<Item = PartitionId>,
) {
    machine.assigned(partitions.into_iter().map(|id| (id, DoneRanges::default())));
}

pub(super) fn arrive(machine: &mut Dispatcher<i64>, id: &PartitionId, offset: i64, key: &str) {
    arrive_with(machine, id, offset, key, Past::default());
}

pub(super) fn arrive_with(
    machine: &mut Dispatcher<i64>,
    id: &PartitionId,
    offset: i64,
    key: &str,
    past: Past,
) {
    let key = (!key.is_empty()).then_some(key.as_bytes());
    let prefix = key.and_then(|key| key.split(|byte| *byte == b'_').next());
    let item = Arc::new(offset);
    machine.arrived(id, Arrival { offset, key, prefix, size_bytes: 10, past, item }, NOW);
}

/// Everything that starts now, as offsets.
pub(super) fn start_all(machine: &mut Dispatcher<i64>, now_ms: i64) -> Vec<Start<i64>> {
    std::iter::from_fn(|| machine.next(now_ms, Leave::ALL)).collect()
}

pub(super) fn offsets(starts: &[Start<i64>]) -> Vec<i64> {
    starts.iter().map(|start| *start.item).collect()
}

fn committable(machine: &Dispatcher<i64>, id: &PartitionId) -> Option<i64> {
    machine.progress().find(|(other, _)| *other == id).map(|(_, progress)| progress.offset)
}

pub(super) fn done(machine: &mut Dispatcher<i64>, start: &Start<i64>, now_ms: i64) -> Verdict {
    machine.ended(&start.ticket, End::Done, now_ms, 0.0)
}

#[test]
fn one_key_runs_in_order_one_at_a_time_and_other_keys_overlap() {
    let mut machine = machine(Limits::DEFAULT);
    let id = partition("topic.a", 0);
    assign(&mut machine, [id.clone()]);
    for (offset, key) in [(0, "x"), (1, "x"), (2, "y"), (3, ""), (4, "")] {
        arrive(&mut machine, &id, offset, key);
    }
    let first = start_all(&mut machine, NOW);
    assert_eq!(offsets(&first), [0, 2, 3, 4], "keys overlap, keyless records too; x waits");
    for start in &first[1..] {
        done(&mut machine, start, NOW);
    }
    assert_eq!(committable(&machine, &id), Some(0), "offset 0 still runs");
    done(&mut machine, &first[0], NOW);
    assert_eq!(committable(&machine, &id), Some(1));
    assert_eq!(offsets(&start_all(&mut machine, NOW)), [1]);
}

#[test]
fn a_retry_holds_its_key_and_nothing_else() {
    let mut machine = machine(Limits::DEFAULT);
    let id = partition("topic.a", 0);
    assign(&mut machine, [id.clone()]);
    arrive(&mut machine, &id, 0, "x");
    arrive(&mut machine, &id, 1, "x");
    let first = start_all(&mut machine, NOW);
    let verdict = machine.ended(&first[0].ticket, End::Retry(&failure("450")), NOW, 0.0);
    assert_eq!(verdict, Verdict::RetryAt { at_ms: NOW + 1_000, attempts: 1, is_long: false });
    assert_eq!(machine.next_wakeup_ms(), Some(NOW + 1_000));
    arrive(&mut machine, &id, 2, "y");
    assert_eq!(offsets(&start_all(&mut machine, NOW + 999)), [2]);
    let again = start_all(&mut machine, NOW + 1_000);
    assert_eq!((offsets(&again), again[0].attempt), (vec![0], 2), "0 again, and 1 behind it");
}

#[test]
fn poison_is_a_dead_letter_at_once_and_finished_when_that_is_acknowledged() {
    let mut machine = machine(Limits::DEFAULT);
    let id = partition("topic.a", 0);
    assign(&mut machine, [id.clone()]);
    arrive(&mut machine, &id, 7, "x");
    arrive(&mut machine, &id, 8, "x");
    let start = machine.next(NOW, Leave::ALL).unwrap();
    let verdict = machine.ended(&start.ticket, End::Fail, NOW, 0.0);
    assert_eq!(verdict, Verdict::DeadLetter { attempts: 1 });
    assert_eq!(committable(&machine, &id), Some(7));
    assert!(machine.next(NOW, Leave::ALL).is_none(), "the key waits for the acknowledgement");
    assert!(!machine.is_quiet(std::slice::from_ref(&id)), "a rebalance waits for it too");
    machine.settled(&start.ticket);
    assert_eq!(committable(&machine, &id), Some(8));
    assert!(machine.is_quiet(std::slice::from_ref(&id)));
    assert_eq!(machine.outages().count(), 0, "poison is no sign of an outage");
}

/// Fails the job until its attempts are used up; answers the last verdict.
fn exhaust(machine: &mut Dispatcher<i64>, now_ms: &mut i64) -> (Ticket, Verdict) {
    loop {
        let start = machine.next(*now_ms, Leave::ALL).unwrap();
        match machine.ended(&start.ticket, End::Retry(&failure("no")), *now_ms, 0.0) {
            Verdict::RetryAt { at_ms, .. } => *now_ms = at_ms,
            verdict => return (start.ticket, verdict),
        }
    }
}

#[test]
fn used_up_attempts_are_a_dead_letter_while_the_type_succeeds_for_others() {
    let mut machine = machine(Limits::DEFAULT);
    let id = partition("topic.a", 0);
    assign(&mut machine, [id.clone()]);
    arrive(&mut machine, &id, 0, "bad");
    let mut now_ms = NOW;
    let verdict = fail_among_successes(&mut machine, &id, &mut now_ms, 1..=9);
    assert_eq!(verdict, Verdict::DeadLetter { attempts: 5 });
}

/// Fails the first job until its attempts are used up, while those at these offsets succeed, one
/// before each of its attempts.
fn fail_among_successes(
    machine: &mut Dispatcher<i64>,
    id: &PartitionId,
    now_ms: &mut i64,
    good: std::ops::RangeInclusive<i64>,
) -> Verdict {
    let mut good = good;
    loop {
        let bad = machine.next(*now_ms, Leave::ALL).unwrap();
        assert_eq!(*bad.item, 0);
        if let Some(offset) = good.next() {
            arrive(machine, id, offset, &format!("good {offset}"));
            let start = machine.next(*now_ms, Leave::ALL).unwrap();
            assert_eq!(*start.item, offset);
            done(machine, &start, *now_ms);
        }
        match machine.ended(&bad.ticket, End::Retry(&failure("no")), *now_ms, 0.0) {
            Verdict::RetryAt { at_ms, .. } => *now_ms = at_ms,
            verdict => return verdict,
        }
    }
}

#[test]
fn a_success_of_long_ago_does_not_make_an_outage_poison() {
    let mut machine = machine(Limits::DEFAULT);
    let id = partition("topic.a", 0);
    assign(&mut machine, [id.clone()]);
    arrive(&mut machine, &id, 0, "tried as the server went away");
    let mut now_ms = NOW;
    // The type succeeds beside the first three attempts, and never again.
    let verdict = fail_among_successes(&mut machine, &id, &mut now_ms, 1..=3);
    assert_eq!(verdict, Verdict::Paused { is_news: true });
}

#[test]
fn a_record_that_is_passed_over_is_finished_and_holds_nothing() {
    let mut machine = machine(Limits::DEFAULT);
    let id = partition("topic.a", 0);
    assign(&mut machine, [id.clone()]);
    machine.passed(&id, 0);
    assert_eq!(committable(&machine, &id), Some(1));
    arrive(&mut machine, &id, 1, "x");
    machine.passed(&id, 2);
    assert_eq!(committable(&machine, &id), Some(1), "what runs before it holds the commit");
    machine.passed(&id, 1);
    let starts = start_all(&mut machine, NOW);
    done(&mut machine, &starts[0], NOW);
    assert_eq!(committable(&machine, &id), Some(3));
}

#[test]
fn used_up_attempts_without_any_success_are_an_outage_judged_by_the_next_success() {
    let mut machine = machine(Limits::DEFAULT);
    let id = partition("topic.a", 0);
    assign(&mut machine, [id.clone()]);
    arrive(&mut machine, &id, 0, "bad");
    let mut now_ms = NOW;
    let (_, verdict) = exhaust(&mut machine, &mut now_ms);
    assert_eq!(verdict, Verdict::Paused { is_news: true });
    assert_eq!(machine.outages().next().map(|(name, _)| name), Some("a"));
    assert!(machine.next(now_ms, Leave::ALL).is_none());
    // Another job comes; the job in doubt probes first, then the other one has its turn.
    arrive(&mut machine, &id, 1, "good");
    now_ms = machine.next_wakeup_ms().unwrap();
    let probe = machine.next(now_ms, Leave::ALL).unwrap();
    assert_eq!(*probe.item, 0);
    assert!(machine.next(now_ms, Leave::ALL).is_none(), "one probe at a time");
    machine.ended(&probe.ticket, End::Retry(&failure("no")), now_ms, 0.0);
    now_ms = machine.next_wakeup_ms().unwrap();
    let probe = machine.next(now_ms, Leave::ALL).unwrap();
    assert_eq!(*probe.item, 1, "the probes go round");
    let verdict = done(&mut machine, &probe, now_ms);
    assert!(matches!(verdict, Verdict::Finished { outage_over: Some(_) }));
    let (_, verdict) = exhaust(&mut machine, &mut now_ms);
    assert_eq!(verdict, Verdict::DeadLetter { attempts: 5 }, "now it is the job's own fault");
}

#[test]
fn an_outage_spends_no_attempt_and_pauses_only_its_type() {
    let mut machine = machine(Limits::DEFAULT);
    let (a, b) = (partition("topic.a", 0), partition("topic.b", 0));
    assign(&mut machine, [a.clone(), b.clone()]);
    for offset in 0..3 {
        arrive(&mut machine, &a, offset, &format!("k{offset}"));
    }
    let starts = start_all(&mut machine, NOW);
    let verdicts: Vec<_> = starts
        .iter()
        .map(|start| machine.ended(&start.ticket, End::Unavailable(&failure("refused")), NOW, 0.0))
        .collect();
    assert_eq!(
        verdicts,
        [true, false, false].map(|is_news| Verdict::Paused { is_news }),
        "one outage, however many jobs saw it"
    );
    arrive(&mut machine, &b, 0, "k");
    assert_eq!(start_all(&mut machine, NOW).len(), 1, "type b goes on");
    let mut now_ms;
    for _ in 0..50 {
        now_ms = machine.next_wakeup_ms().unwrap();
        let probe = machine.next(now_ms, Leave::ALL).unwrap();
        assert_eq!(probe.attempt, 1, "no attempt is spent");
        machine.ended(&probe.ticket, End::Unavailable(&failure("refused")), now_ms, 0.0);
    }
    now_ms = machine.next_wakeup_ms().unwrap();
    let probe = machine.next(now_ms, Leave::ALL).unwrap();
    done(&mut machine, &probe, now_ms);
    assert_eq!(start_all(&mut machine, now_ms).len(), 2, "the first success resumes all");
}

#[test]
fn a_poisonous_probe_makes_way_for_the_next_one() {
    let mut machine = machine(Limits::DEFAULT);
    let id = partition("topic.a", 0);
    assign(&mut machine, [id.clone()]);
    arrive(&mut machine, &id, 0, "x");
    arrive(&mut machine, &id, 1, "y");
    let first = start_all(&mut machine, NOW);
    for start in &first {
        machine.ended(&start.ticket, End::Unavailable(&failure("refused")), NOW, 0.0);
    }
    let probe = machine.next(NOW + 1_000, Leave::ALL).unwrap();
    machine.ended(&probe.ticket, End::Fail, NOW + 1_000, 0.0);
    assert!(machine.next(NOW + 1_000, Leave::ALL).is_some(), "the next probe goes at once");
}

#[test]
fn what_a_revoked_generation_completes_has_no_effect() {
    let mut machine = machine(Limits::DEFAULT);
    let id = partition("topic.a", 0);
    assign(&mut machine, [id.clone()]);
    arrive(&mut machine, &id, 0, "x");
    let old = machine.next(NOW, Leave::ALL).unwrap();
    machine.closing(std::slice::from_ref(&id));
    arrive(&mut machine, &id, 1, "y");
    assert!(machine.next(NOW, Leave::ALL).is_none(), "a closing partition takes nothing in");
    machine.revoked(std::slice::from_ref(&id));
    assign(&mut machine, [id.clone()]);
    arrive(&mut machine, &id, 0, "x");
    assert_eq!(done(&mut machine, &old, NOW), Verdict::Stale);
    assert_eq!(committable(&machine, &id), Some(0), "the new generation has not run it yet");
    assert_eq!(offsets(&start_all(&mut machine, NOW)), [0]);
}

#[test]
fn a_probe_lost_to_a_rebalance_does_not_block_the_type() {
    let mut machine = machine(Limits::DEFAULT);
    let (p0, p1) = (partition("topic.a", 0), partition("topic.a", 1));
    assign(&mut machine, [p0.clone(), p1.clone()]);
    arrive(&mut machine, &p0, 0, "x");
    arrive(&mut machine, &p1, 1, "y");
    for start in start_all(&mut machine, NOW) {
        machine.ended(&start.ticket, End::Unavailable(&failure("refused")), NOW, 0.0);
    }
    let probe = machine.next(NOW + 1_000, Leave::ALL).unwrap();
    let probed = if *probe.item == 0 { &p0 } else { &p1 };
    machine.revoked(std::slice::from_ref(probed));
    machine.ended(&probe.ticket, End::Unavailable(&failure("refused")), NOW + 1_500, 0.0);
    assert!(machine.next(NOW + 1_500, Leave::ALL).is_some());
}

#[test]
fn intake_stops_at_its_bounds_and_resumes_at_half() {
    let limits = Limits { waiting_per_partition: 4, running: 2, ..Limits::DEFAULT };
    let mut machine = machine(limits);
    let id = partition("topic.a", 0);
    assign(&mut machine, [id.clone()]);
    for offset in 0..4 {
        arrive(&mut machine, &id, offset, "");
    }
    assert_eq!(machine.intake_changes(), (vec![id.clone()], vec![]));
    assert_eq!(machine.intake_changes(), (vec![], vec![]), "said once");
    let starts = start_all(&mut machine, NOW);
    assert_eq!(starts.len(), 2, "no more than may run at once");
    done(&mut machine, &starts[0], NOW);
    assert_eq!(machine.intake_changes(), (vec![], vec![]));
    done(&mut machine, &starts[1], NOW);
    assert_eq!(machine.intake_changes(), (vec![], vec![id]));
}

#[test]
fn the_bytes_of_waiting_records_are_bounded_over_all_partitions() {
    let mut machine = machine(Limits { waiting_bytes: 30, ..Limits::DEFAULT });
    let (p0, p1) = (partition("topic.a", 0), partition("topic.b", 0));
    assign(&mut machine, [p0.clone(), p1.clone()]);
    for offset in 0..3 {
        arrive(&mut machine, &p0, offset, "");
    }
    assert_eq!(machine.intake_changes().0, [p0.clone(), p1]);
    machine.revoked(std::slice::from_ref(&p0));
    assert_eq!(machine.intake_changes().1.len(), 1, "what is taken away frees its room");
}

#[test]
fn a_limit_of_a_type_or_of_a_prefix_holds_nobody_else() {
    let bounded = Kind { running_max: Some(3), running_per_prefix_max: Some(2), ..kind("a") };
    let mut machine: Dispatcher<i64> = Dispatcher::new(Limits::DEFAULT, [bounded, kind("b")]);
    let (a, b) = (partition("topic.a", 0), partition("topic.b", 0));
    assign(&mut machine, [a.clone(), b.clone()]);
    for (offset, key) in ["red_1", "red_2", "red_3", "blue_1", "blue_2"].iter().enumerate() {
        arrive(&mut machine, &a, i64::try_from(offset).unwrap(), key);
    }
    arrive(&mut machine, &b, 9, "red_1");
    let starts = start_all(&mut machine, NOW);
    assert_eq!(offsets(&starts), [0, 9, 1, 3], "two of red, three in all, and the other type");
    done(&mut machine, &starts[2], NOW);
    let next = start_all(&mut machine, NOW);
    assert_eq!(next.len(), 1, "the type has one place again");
    for start in starts.iter().take(2).chain(starts.iter().skip(3)).chain(&next) {
        done(&mut machine, start, NOW);
    }
    let last = start_all(&mut machine, NOW);
    assert_eq!(last.len(), 1, "and whoever had none before");
    done(&mut machine, &last[0], NOW);
    assert!(machine.is_idle() && start_all(&mut machine, NOW).is_empty());
    assert_eq!(committable(&machine, &a), Some(5));
}

#[test]
fn a_prefix_whose_jobs_went_with_a_partition_is_not_held_for_ever() {
    let bounded = Kind { running_per_prefix_max: Some(1), ..kind("a") };
    let mut machine: Dispatcher<i64> = Dispatcher::new(Limits::DEFAULT, [bounded]);
    let (p0, p1) = (partition("topic.a", 0), partition("topic.a", 1));
    assign(&mut machine, [p0.clone(), p1.clone()]);
    arrive(&mut machine, &p0, 0, "red_1");
    let running = machine.next(NOW, Leave::ALL).unwrap();
    arrive(&mut machine, &p0, 1, "red_2");
    arrive(&mut machine, &p1, 2, "red_3");
    assert!(machine.next(NOW, Leave::ALL).is_none());
    machine.revoked(&[p0]);
    assert_eq!(done(&mut machine, &running, NOW), Verdict::Stale);
    assert_eq!(offsets(&start_all(&mut machine, NOW)), [2]);
}

#[test]
fn critical_types_start_where_others_may_not() {
    let critical = Kind { is_critical: true, ..kind("b") };
    let mut machine: Dispatcher<i64> = Dispatcher::new(Limits::DEFAULT, [kind("a"), critical]);
    let (a, b) = (partition("topic.a", 0), partition("topic.b", 0));
    assign(&mut machine, [a.clone(), b.clone()]);
    arrive(&mut machine, &a, 0, "x");
    arrive(&mut machine, &b, 1, "x");
    let leave = Leave { other: false, ..Leave::ALL };
    let start = machine.next(NOW, leave).unwrap();
    assert!(*start.item == 1 && start.ticket.is_critical());
    assert!(machine.next(NOW, leave).is_none());
    assert_eq!(offsets(&start_all(&mut machine, NOW)), [0]);
}

#[test]
fn a_paused_type_waits_and_the_others_go_on() {
    let mut machine = machine(Limits::DEFAULT);
    let (a, b) = (partition("topic.a", 0), partition("topic.b", 0));
    assign(&mut machine, [a.clone(), b.clone()]);
    arrive(&mut machine, &a, 0, "x");
    arrive(&mut machine, &b, 1, "x");
    machine.set_paused(|name| name == "a");
    assert_eq!(offsets(&start_all(&mut machine, NOW)), [1]);
    assert_eq!(machine.next_wakeup_ms(), None);
    machine.set_paused(|_| false);
    assert_eq!(offsets(&start_all(&mut machine, NOW)), [0]);
}

fn patient(order: Order) -> Dispatcher<i64> {
    let retry = RetryPolicy {
        first: std::time::Duration::from_mins(10),
        longest: std::time::Duration::from_hours(1),
        order,
        ..RetryPolicy::DEFAULT
    };
    Dispatcher::new(Limits::DEFAULT, [Kind { retry, ..kind("a") }])
}

#[test]
fn a_long_wait_holds_the_key_of_a_strict_type_and_is_to_be_written_down() {
    let mut machine = patient(Order::Strict);
    let id = partition("topic.a", 0);
    assign(&mut machine, [id.clone()]);
    arrive(&mut machine, &id, 0, "x");
    arrive(&mut machine, &id, 1, "x");
    let start = machine.next(NOW, Leave::ALL).unwrap();
    let verdict = machine.ended(&start.ticket, End::Retry(&failure("no")), NOW, 0.0);
    assert_eq!(verdict, Verdict::RetryAt { at_ms: NOW + 600_000, attempts: 1, is_long: true });
    assert!(machine.next(NOW + 599_999, Leave::ALL).is_none());
    let view = machine.view();
    assert_eq!((view.retrying.len(), view.waiting), (1, 1));
    assert_eq!(view.retrying[0].last_error.map(|error| error.message.as_str()), Some("no"));
    assert_eq!(offsets(&start_all(&mut machine, NOW + 600_000)), [0]);
}

#[test]
fn a_long_wait_of_a_relaxed_type_makes_way_once_the_row_is_there() {
    let mut machine = patient(Order::Relaxed);
    let id = partition("topic.a", 0);
    assign(&mut machine, [id.clone()]);
    arrive(&mut machine, &id, 0, "x");
    arrive(&mut machine, &id, 1, "x");
    let start = machine.next(NOW, Leave::ALL).unwrap();
    let verdict = machine.ended(&start.ticket, End::Retry(&failure("no")), NOW, 0.0);
    assert_eq!(verdict, Verdict::Postpone { at_ms: NOW + 600_000, attempts: 1 });
    assert!(machine.next(NOW, Leave::ALL).is_none(), "the key waits for the row");
    assert_eq!(committable(&machine, &id), Some(0));
    assert!(!machine.is_quiet(std::slice::from_ref(&id)), "a rebalance waits for it too");
    assert!(machine.settled(&start.ticket));
    assert_eq!(committable(&machine, &id), Some(1));
    assert_eq!(offsets(&start_all(&mut machine, NOW)), [1]);
}

#[test]
fn what_is_known_from_before_a_restart_counts() {
    let mut machine = machine(Limits::DEFAULT);
    let id = partition("topic.a", 0);
    assign(&mut machine, [id.clone()]);
    let past = Past { attempts: 3, not_before_ms: Some(NOW + 500), ..Past::default() };
    arrive_with(&mut machine, &id, 0, "x", past);
    assert!(machine.next(NOW, Leave::ALL).is_none());
    assert_eq!(machine.next_wakeup_ms(), Some(NOW + 500));
    assert_eq!(machine.next(NOW + 500, Leave::ALL).unwrap().attempt, 4);
}

fn accused(attempts: u32) -> Past {
    Past { attempts, suspicion: Suspicion::Alone, ..Past::default() }
}

#[test]
fn a_job_that_may_have_ended_the_process_runs_with_no_other_beside_it() {
    let mut machine = machine(Limits::DEFAULT);
    let (a, b) = (partition("topic.a", 0), partition("topic.b", 0));
    assign(&mut machine, [a.clone(), b.clone()]);
    arrive(&mut machine, &b, 9, "x");
    let other = machine.next(NOW, Leave::ALL).unwrap();
    arrive_with(&mut machine, &a, 0, "x", accused(1));
    arrive_with(&mut machine, &a, 1, "y", accused(1));
    arrive(&mut machine, &a, 2, "z");
    assert!(machine.next(NOW, Leave::ALL).is_none(), "what runs is waited for");
    done(&mut machine, &other, NOW);
    let denied = Leave { alone: false, ..Leave::ALL };
    assert!(machine.next(NOW, denied).is_none(), "another group has one that runs alone");
    let start = machine.next(NOW, Leave::ALL).unwrap();
    assert!(*start.item == 0 && start.ticket.is_alone() && start.attempt == 2);
    assert!(machine.next(NOW, Leave::ALL).is_none());
    let retry = machine.ended(&start.ticket, End::Retry(&failure("no")), NOW, 0.0);
    assert!(matches!(retry, Verdict::RetryAt { .. }));
    let start = machine.next(NOW, Leave::ALL).unwrap();
    assert_eq!(*start.item, 1, "while one waits, the other has its turn");
    done(&mut machine, &start, NOW);
    assert_eq!(offsets(&start_all(&mut machine, NOW)), [2], "then all the others");
}

#[test]
fn a_job_that_has_ended_the_process_as_often_as_it_may_is_given_up_unrun() {
    let mut machine = machine(Limits::DEFAULT);
    let id = partition("topic.a", 0);
    assign(&mut machine, [id.clone()]);
    arrive_with(&mut machine, &id, 0, "x", accused(5));
    arrive(&mut machine, &id, 1, "x");
    let start = machine.next(NOW, Leave::ALL).unwrap();
    assert!(start.is_given_up);
    let verdict = machine.ended(&start.ticket, End::Fail, NOW, 0.0);
    assert_eq!(verdict, Verdict::DeadLetter { attempts: 5 });
    machine.settled(&start.ticket);
    assert_eq!(offsets(&start_all(&mut machine, NOW)), [1]);
}

#[test]
fn an_accused_job_whose_last_attempt_fails_while_none_succeeds_waits_as_any_other() {
    let mut machine = machine(Limits::DEFAULT);
    let id = partition("topic.a", 0);
    assign(&mut machine, [id.clone()]);
    arrive_with(&mut machine, &id, 0, "x", accused(4));
    let start = machine.next(NOW, Leave::ALL).unwrap();
    assert!(start.attempt == 5 && !start.is_given_up);
    let verdict = machine.ended(&start.ticket, End::Retry(&failure("no")), NOW, 0.0);
    assert_eq!(verdict, Verdict::Paused { is_news: true });
    let probe = machine.next(machine.next_wakeup_ms().unwrap(), Leave::ALL).unwrap();
    assert!(!probe.is_given_up, "it has not ended the process");
}

#[test]
fn an_outage_of_an_accused_jobs_type_does_not_hold_the_others() {
    let mut machine = machine(Limits::DEFAULT);
    let (a, b) = (partition("topic.a", 0), partition("topic.b", 0));
    assign(&mut machine, [a.clone(), b.clone()]);
    arrive(&mut machine, &a, 0, "x");
    let start = machine.next(NOW, Leave::ALL).unwrap();
    machine.ended(&start.ticket, End::Unavailable(&failure("away")), NOW, 0.0);
    arrive_with(&mut machine, &a, 1, "y", accused(1));
    arrive(&mut machine, &b, 9, "x");
    assert_eq!(offsets(&start_all(&mut machine, NOW)), [9]);
    let probe_ms = machine.next_wakeup_ms().unwrap();
    assert!(machine.next(probe_ms, Leave::ALL).is_none(), "it probes alone");
}

/// A long random life: order per key, one at a time per key, no record lost, none committed
/// before its end.
#[test]
fn random_lives_keep_the_promises() {
    for seed in 1..=200_u64 {
        live(seed);
    }
}

fn index_of(start: &Start<i64>) -> usize {
    usize::try_from(*start.item).unwrap()
}

fn live(seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let limits = Limits { running: 4, ..Limits::DEFAULT };
    let mut machine = machine(limits);
    let id = partition("topic.a", 0);
    assign(&mut machine, [id.clone()]);
    let keys: Vec<String> = (0..100).map(|_| format!("k{}", random(5))).collect();
    let mut ended_by_key: HashMap<&str, Vec<i64>> = HashMap::new();
    let mut is_ended = vec![false; keys.len()];
    let mut running: Vec<Start<i64>> = Vec::new();
    let (mut now_ms, mut next) = (NOW, 0_usize);
    let (no, away) = (failure("no"), failure("away"));
    while is_ended.iter().any(|ended| !ended) {
        if next < keys.len() && random(3) > 0 {
            arrive(&mut machine, &id, i64::try_from(next).unwrap(), &keys[next]);
            next += 1;
        }
        while let Some(start) = machine.next(now_ms, Leave::ALL) {
            let key = &keys[index_of(&start)];
            assert!(
                running.iter().all(|other| &keys[index_of(other)] != key),
                "seed {seed}: one at a time per key"
            );
            running.push(start);
        }
        assert!(running.len() <= limits.running);
        now_ms += i64::try_from(random(2_000)).unwrap();
        if running.is_empty() {
            continue;
        }
        let index = usize::try_from(random(running.len() as u64)).unwrap();
        let start = running.swap_remove(index);
        let end = match random(10) {
            0 => End::Fail,
            1 | 2 => End::Retry(&no),
            3 => End::Unavailable(&away),
            _ => End::Done,
        };
        let verdict = machine.ended(&start.ticket, end, now_ms, 0.5);
        if matches!(verdict, Verdict::DeadLetter { .. }) {
            machine.settled(&start.ticket);
        }
        if matches!(verdict, Verdict::DeadLetter { .. } | Verdict::Finished { .. }) {
            is_ended[index_of(&start)] = true;
            ended_by_key.entry(&keys[index_of(&start)]).or_default().push(*start.item);
        }
        let first_open = is_ended.iter().position(|ended| !ended).unwrap_or(keys.len());
        if let Some(offset) = committable(&machine, &id) {
            assert!(
                offset <= i64::try_from(first_open).unwrap(),
                "seed {seed}: nothing is committed before its end"
            );
        }
    }
    assert!(ended_by_key.values().all(|offsets| offsets.is_sorted()), "seed {seed}: in order");
    assert_eq!(committable(&machine, &id), Some(100), "seed {seed}: everything is committed");
}

#[test]
fn a_job_that_could_not_begin_keeps_its_key_waiting_and_spends_nothing() {
    let mut machine = machine(Limits::DEFAULT);
    let id = partition("topic.a", 0);
    assign(&mut machine, [id.clone()]);
    for offset in 0..2 {
        arrive(&mut machine, &id, offset, "x");
    }
    let started = start_all(&mut machine, NOW);
    assert_eq!(offsets(&started), [0]);
    let failure = Failure::new("later", "not now");
    let end = End::NotBegun(&failure, NOW + 1_000);
    assert_eq!(machine.ended(&started[0].ticket, end, NOW, 0.0), Verdict::NotBegun);
    assert!(machine.is_quiet(std::slice::from_ref(&id)));
    assert_eq!(offsets(&start_all(&mut machine, NOW + 999)), [0; 0]);
    assert_eq!(machine.next_wakeup_ms(), Some(NOW + 1_000));
    let started = start_all(&mut machine, NOW + 1_000);
    assert_eq!((offsets(&started), started[0].attempt), (vec![0], 1), "no attempt is spent");
    machine.ended(&started[0].ticket, End::Passed, NOW + 1_000, 0.0);
    assert_eq!(offsets(&start_all(&mut machine, NOW + 1_000)), [1]);
    assert!(machine.outages().next().is_none(), "it says nothing of a dependency");
}
