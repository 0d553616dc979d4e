use super::*;

const NOW: i64 = 1_000_000;

fn machine(limits: Limits) -> Dispatcher<i64> {
    let retry = RetryPolicy::DEFAULT;
    Dispatcher::new(
        limits,
        [("a".into(), "topic.a".into(), retry), ("b".into(), "topic.b".into(), retry)],
    )
}

fn partition(topic: &str, partition: i32) -> PartitionId {
    PartitionId { topic: topic.into(), partition }
}

/// Gives partitions of which nothing is done.
fn assign(machine: &mut Dispatcher<i64>, partitions: impl IntoIterator<Item = PartitionId>) {
    machine.assigned(partitions.into_iter().map(|id| (id, DoneRanges::default())));
}

fn arrive(machine: &mut Dispatcher<i64>, id: &PartitionId, offset: i64, key: &str) {
    let key = (!key.is_empty()).then(|| key.as_bytes().to_vec());
    machine.arrived(id, Arrival { offset, key, size_bytes: 10, item: Arc::new(offset) });
}

/// Everything that starts now, as offsets.
fn start_all(machine: &mut Dispatcher<i64>, now_ms: i64) -> Vec<Start<i64>> {
    std::iter::from_fn(|| machine.next(now_ms)).collect()
}

fn offsets(starts: &[Start<i64>]) -> Vec<i64> {
    starts.iter().map(|start| *start.item).collect()
}

fn committable(machine: &Dispatcher<i64>, id: &PartitionId) -> Option<i64> {
    machine.progress().find(|(other, _)| *other == id).map(|(_, progress)| progress.offset)
}

fn done(machine: &mut Dispatcher<i64>, start: &Start<i64>, now_ms: i64) -> Verdict {
    machine.ended(&start.ticket, &End::Done, now_ms, 0.0)
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
    let verdict = machine.ended(&first[0].ticket, &End::Retry("450"), NOW, 0.0);
    assert_eq!(verdict, Verdict::RetryAt { at_ms: NOW + 1_000 });
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
    let start = machine.next(NOW).unwrap();
    let verdict = machine.ended(&start.ticket, &End::Fail, NOW, 0.0);
    assert_eq!(verdict, Verdict::DeadLetter { attempts: 1 });
    assert_eq!(committable(&machine, &id), Some(7));
    assert!(machine.next(NOW).is_none(), "the key waits for the acknowledgement");
    assert!(!machine.is_quiet(std::slice::from_ref(&id)), "a rebalance waits for it too");
    machine.buried(&start.ticket);
    assert_eq!(committable(&machine, &id), Some(8));
    assert!(machine.is_quiet(std::slice::from_ref(&id)));
    assert_eq!(machine.outages().count(), 0, "poison is no sign of an outage");
}

/// Fails the job until its attempts are used up; answers the last verdict.
fn exhaust(machine: &mut Dispatcher<i64>, now_ms: &mut i64) -> (Ticket, Verdict) {
    loop {
        let start = machine.next(*now_ms).unwrap();
        match machine.ended(&start.ticket, &End::Retry("no"), *now_ms, 0.0) {
            Verdict::RetryAt { at_ms } => *now_ms = at_ms,
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
        let bad = machine.next(*now_ms).unwrap();
        assert_eq!(*bad.item, 0);
        if let Some(offset) = good.next() {
            arrive(machine, id, offset, &format!("good {offset}"));
            let start = machine.next(*now_ms).unwrap();
            assert_eq!(*start.item, offset);
            done(machine, &start, *now_ms);
        }
        match machine.ended(&bad.ticket, &End::Retry("no"), *now_ms, 0.0) {
            Verdict::RetryAt { at_ms } => *now_ms = at_ms,
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
    assert!(machine.next(now_ms).is_none());
    // Another job comes; the job in doubt probes first, then the other one has its turn.
    arrive(&mut machine, &id, 1, "good");
    now_ms = machine.next_wakeup_ms().unwrap();
    let probe = machine.next(now_ms).unwrap();
    assert_eq!(*probe.item, 0);
    assert!(machine.next(now_ms).is_none(), "one probe at a time");
    machine.ended(&probe.ticket, &End::Retry("no"), now_ms, 0.0);
    now_ms = machine.next_wakeup_ms().unwrap();
    let probe = machine.next(now_ms).unwrap();
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
        .map(|start| machine.ended(&start.ticket, &End::Unavailable("refused"), NOW, 0.0))
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
        let probe = machine.next(now_ms).unwrap();
        assert_eq!(probe.attempt, 1, "no attempt is spent");
        machine.ended(&probe.ticket, &End::Unavailable("refused"), now_ms, 0.0);
    }
    now_ms = machine.next_wakeup_ms().unwrap();
    let probe = machine.next(now_ms).unwrap();
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
        machine.ended(&start.ticket, &End::Unavailable("refused"), NOW, 0.0);
    }
    let probe = machine.next(NOW + 1_000).unwrap();
    machine.ended(&probe.ticket, &End::Fail, NOW + 1_000, 0.0);
    assert!(machine.next(NOW + 1_000).is_some(), "the next probe goes at once");
}

#[test]
fn what_a_revoked_generation_completes_has_no_effect() {
    let mut machine = machine(Limits::DEFAULT);
    let id = partition("topic.a", 0);
    assign(&mut machine, [id.clone()]);
    arrive(&mut machine, &id, 0, "x");
    let old = machine.next(NOW).unwrap();
    machine.closing(std::slice::from_ref(&id));
    arrive(&mut machine, &id, 1, "y");
    assert!(machine.next(NOW).is_none(), "a closing partition takes nothing in");
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
    arrive(&mut machine, &p1, 0, "y");
    for start in start_all(&mut machine, NOW) {
        machine.ended(&start.ticket, &End::Unavailable("refused"), NOW, 0.0);
    }
    let probe = machine.next(NOW + 1_000).unwrap();
    machine.revoked(&[probe.ticket.partition().clone()]);
    machine.ended(&probe.ticket, &End::Unavailable("refused"), NOW + 1_500, 0.0);
    assert!(machine.next(NOW + 1_500).is_some());
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
    while is_ended.iter().any(|ended| !ended) {
        if next < keys.len() && random(3) > 0 {
            arrive(&mut machine, &id, i64::try_from(next).unwrap(), &keys[next]);
            next += 1;
        }
        while let Some(start) = machine.next(now_ms) {
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
            1 | 2 => End::Retry("no"),
            3 => End::Unavailable("away"),
            _ => End::Done,
        };
        let verdict = machine.ended(&start.ticket, &end, now_ms, 0.5);
        if matches!(verdict, Verdict::DeadLetter { .. }) {
            machine.buried(&start.ticket);
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
