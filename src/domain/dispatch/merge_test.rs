use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::super::handler::Failure;
use super::super::retry::RetryPolicy;
use super::tests::{NOW, arrive, arrive_with, assign, failure, kind, partition, start_all};
use super::*;

/// A machine whose type runs up to so many jobs of a key at once.
fn merging(most: usize) -> (Dispatcher<i64>, PartitionId) {
    merging_within(Limits::DEFAULT, most)
}

fn merging_within(limits: Limits, most: usize) -> (Dispatcher<i64>, PartitionId) {
    let mut machine = Dispatcher::new(limits, [Kind { merged_max: most, ..kind("a") }]);
    let id = partition("topic.a", 0);
    assign(&mut machine, [id.clone()]);
    (machine, id)
}

/// The offsets of all that runs in an attempt.
fn members(start: &Start<i64>) -> Vec<i64> {
    std::iter::once(*start.item).chain(start.also.iter().map(|joined| *joined.item)).collect()
}

fn committable(machine: &Dispatcher<i64>) -> i64 {
    machine.progress().next().unwrap().1.offset
}

/// Ends each of an attempt's jobs, in the order that is asked for.
fn end_all<'a>(
    machine: &mut Dispatcher<i64>,
    start: &Start<i64>,
    end: impl Fn(i64) -> End<'a>,
    now_ms: i64,
) -> BTreeMap<i64, Verdict> {
    let mut verdicts = BTreeMap::new();
    for joined in &start.also {
        let verdict = machine.ended(&joined.ticket, end(*joined.item), now_ms, 0.0);
        verdicts.insert(*joined.item, verdict);
    }
    let verdict = machine.ended(&start.ticket, end(*start.item), now_ms, 0.0);
    verdicts.insert(*start.item, verdict);
    verdicts
}

fn ticket_of(start: &Start<i64>, offset: i64) -> Ticket {
    let joined = start.also.iter().find(|joined| *joined.item == offset);
    joined.map_or(start.ticket, |joined| joined.ticket)
}

#[test]
fn those_that_wait_join_the_next_one_and_take_no_place() {
    let (mut machine, id) = merging_within(Limits { running: 2, ..Limits::DEFAULT }, 4);
    arrive(&mut machine, &id, 0, "x");
    let first = start_all(&mut machine, NOW);
    assert_eq!(members(&first[0]), [0], "nobody waited");
    for offset in 1..=6 {
        arrive(&mut machine, &id, offset, "x");
    }
    arrive(&mut machine, &id, 7, "y");
    let other = start_all(&mut machine, NOW);
    assert_eq!((other.len(), members(&other[0])), (1, vec![7]), "the key runs one at a time");
    assert!(machine.is_full());
    end_all(&mut machine, &first[0], |_| End::Done, NOW);
    let merged = start_all(&mut machine, NOW);
    assert_eq!((merged.len(), members(&merged[0])), (1, vec![1, 2, 3, 4]), "no more than four");
    assert_eq!(machine.view().running.len(), 5, "each is seen to run");
    let verdicts = end_all(&mut machine, &merged[0], |_| End::Done, NOW);
    assert!(verdicts.values().all(|it| *it == Verdict::Finished { outage_over: None }));
    assert_eq!(committable(&machine), 5);
    let rest = start_all(&mut machine, NOW);
    assert_eq!((rest.len(), members(&rest[0])), (1, vec![5, 6]));
    end_all(&mut machine, &rest[0], |_| End::Passed, NOW);
    end_all(&mut machine, &other[0], |_| End::Done, NOW);
    assert!(machine.is_idle() && start_all(&mut machine, NOW).is_empty());
    assert_eq!(committable(&machine), 8);
}

#[test]
fn no_type_merges_that_does_not_ask_for_it() {
    let (mut machine, id) = merging(1);
    for offset in 0..3 {
        arrive(&mut machine, &id, offset, "x");
    }
    assert_eq!(members(&start_all(&mut machine, NOW)[0]), [0]);
}

#[test]
fn each_has_its_own_end_and_the_key_waits_for_the_first() {
    let (mut machine, id) = merging(10);
    for offset in 0..4 {
        arrive(&mut machine, &id, offset, "x");
    }
    let start = machine.next(NOW, Leave::ALL).unwrap();
    let later = failure("later");
    let end = |offset| match offset {
        0 => End::Retry(&later),
        1 => End::Fail,
        _ => End::Done,
    };
    let verdicts = end_all(&mut machine, &start, end, NOW);
    let retry = Verdict::RetryAt { at_ms: NOW + 1_000, attempts: 1, is_long: false };
    assert_eq!((&verdicts[&0], &verdicts[&1]), (&retry, &Verdict::DeadLetter { attempts: 1 }));
    assert_eq!(committable(&machine), 0);
    assert!(!machine.is_quiet(std::slice::from_ref(&id)), "a dead letter is being written");
    arrive(&mut machine, &id, 4, "x");
    assert!(machine.next(NOW, Leave::ALL).is_none(), "its key waits");
    let again = machine.next(NOW + 1_000, Leave::ALL).unwrap();
    assert_eq!((members(&again), again.attempt), (vec![0], 2), "what leaves is in the way");
    machine.settled(&ticket_of(&start, 1));
    end_all(&mut machine, &again, |_| End::Done, NOW + 1_000);
    assert_eq!(committable(&machine), 4);
    assert_eq!(members(&machine.next(NOW + 1_000, Leave::ALL).unwrap()), [4]);
}

#[test]
fn a_failure_counts_for_each_and_each_is_buried_by_itself() {
    let (mut machine, id) = merging(10);
    let past = Past { attempts: 1, ..Past::default() };
    arrive_with(&mut machine, &id, 0, "x", past);
    arrive(&mut machine, &id, 1, "x");
    arrive(&mut machine, &id, 2, "y");
    let (mut now_ms, no) = (NOW, failure("no"));
    let mut letters: Vec<(i64, u32)> = Vec::new();
    for _ in 0..200 {
        let Some(start) = machine.next(now_ms, Leave::ALL) else {
            now_ms = machine.next_wakeup_ms().unwrap_or(now_ms + 1);
            continue;
        };
        // The type succeeds for others.
        if *start.item == 2 || *start.item > 9 {
            end_all(&mut machine, &start, |_| End::Done, now_ms);
            continue;
        }
        arrive(&mut machine, &id, 10 + now_ms, "y");
        let verdicts = end_all(&mut machine, &start, |_| End::Retry(&no), now_ms);
        for (offset, verdict) in verdicts {
            if let Verdict::DeadLetter { attempts } = verdict {
                letters.push((offset, attempts));
                machine.settled(&ticket_of(&start, offset));
            }
        }
        if letters.len() == 2 {
            break;
        }
    }
    let most = RetryPolicy::DEFAULT.attempts;
    assert_eq!(letters, [(0, most), (1, most)], "the one that came with an attempt died first");
}

#[test]
fn the_lane_goes_on_when_all_that_leave_are_gone_in_whatever_order() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
        let (mut machine, id) = merging(3);
        for offset in 0..4 {
            arrive(&mut machine, &id, offset, "x");
        }
        let start = machine.next(NOW, Leave::ALL).unwrap();
        end_all(&mut machine, &start, |_| End::Fail, NOW);
        for offset in order {
            assert!(machine.next(NOW, Leave::ALL).is_none(), "{order:?}");
            assert!(machine.settled(&ticket_of(&start, offset)));
        }
        assert_eq!(committable(&machine), 3, "{order:?}");
        let last = machine.next(NOW, Leave::ALL).unwrap();
        assert_eq!(members(&last), [3], "{order:?}");
        assert!(machine.next(NOW, Leave::ALL).is_none(), "once, {order:?}");
    }
}

#[test]
fn neither_a_wait_of_its_own_nor_an_accusation_is_passed_over() {
    let (mut machine, id) = merging(10);
    let waits = Past { not_before_ms: Some(NOW + 500), ..Past::default() };
    arrive(&mut machine, &id, 0, "x");
    arrive_with(&mut machine, &id, 1, "x", waits);
    arrive(&mut machine, &id, 2, "x");
    let start = machine.next(NOW, Leave::ALL).unwrap();
    assert_eq!(members(&start), [0], "2 does not overtake 1");
    end_all(&mut machine, &start, |_| End::Done, NOW);
    assert!(machine.next(NOW, Leave::ALL).is_none());
    let accused = Past { suspicion: Suspicion::Alone, attempts: 1, ..Past::default() };
    let watched = Past { suspicion: Suspicion::Watched, ..Past::default() };
    arrive_with(&mut machine, &id, 3, "x", watched);
    arrive_with(&mut machine, &id, 4, "x", accused);
    arrive(&mut machine, &id, 5, "x");
    let start = machine.next(NOW + 500, Leave::ALL).unwrap();
    assert_eq!(members(&start), [1, 2, 3]);
    assert_eq!(start.also[1].suspicion, Suspicion::Watched, "it is written down before");
    end_all(&mut machine, &start, |_| End::Done, NOW + 500);
    let alone = machine.next(NOW + 500, Leave::ALL).unwrap();
    assert_eq!((members(&alone), alone.ticket.is_alone()), (vec![4], true), "by itself");
    end_all(&mut machine, &alone, |_| End::Done, NOW + 500);
    assert_eq!(members(&machine.next(NOW + 500, Leave::ALL).unwrap()), [5]);
}

#[test]
fn an_outage_takes_no_attempt_and_the_probe_is_one_for_all() {
    let (mut machine, id) = merging(10);
    for offset in 0..3 {
        arrive(&mut machine, &id, offset, "x");
    }
    let away = failure("away");
    let start = machine.next(NOW, Leave::ALL).unwrap();
    let verdicts = end_all(&mut machine, &start, |_| End::Unavailable(&away), NOW);
    assert!(verdicts.values().all(|it| matches!(it, Verdict::Paused { .. })), "{verdicts:?}");
    assert!(machine.next(NOW, Leave::ALL).is_none());
    let probe_ms = machine.next_wakeup_ms().unwrap();
    let probe = machine.next(probe_ms, Leave::ALL).unwrap();
    assert_eq!((members(&probe), probe.attempt), (vec![0, 1, 2], 1));
    assert!(probe.also.iter().all(|joined| joined.attempt == 1));
    end_all(&mut machine, &probe, |_| End::Done, probe_ms);
    assert_eq!((machine.outages().count(), committable(&machine)), (0, 3));
}

#[test]
fn a_partition_that_goes_takes_all_of_an_attempt_with_it() {
    let (mut machine, id) = merging(10);
    for offset in 0..3 {
        arrive(&mut machine, &id, offset, "x");
    }
    let start = machine.next(NOW, Leave::ALL).unwrap();
    machine.closing(std::slice::from_ref(&id));
    assert!(!machine.is_quiet(std::slice::from_ref(&id)));
    machine.revoked(std::slice::from_ref(&id));
    assign(&mut machine, [id.clone()]);
    arrive(&mut machine, &id, 0, "x");
    let verdicts = end_all(&mut machine, &start, |_| End::Done, NOW);
    assert!(verdicts.values().all(|it| *it == Verdict::Stale));
    assert!(machine.is_idle());
    assert_eq!(members(&machine.next(NOW, Leave::ALL).unwrap()), [0], "it runs here again");
}

#[test]
fn more_bytes_than_are_read_at_once_are_more_runs() {
    let (mut machine, id) = merging(10);
    for offset in 0..3 {
        let arrival = Arrival {
            offset,
            key: Some(b"x".as_slice()),
            prefix: None,
            size_bytes: 2 << 20,
            past: Past::default(),
            item: Arc::new(offset),
        };
        machine.arrived(&id, arrival, NOW);
    }
    assert_eq!(members(&machine.next(NOW, Leave::ALL).unwrap()), [0, 1]);
}

/// What is to become of jobs at random: every one ends once, in the order of its key.
#[test]
fn nothing_is_lost_and_the_order_holds_whatever_happens() {
    let merged: usize = (0..300).map(|seed| Course::new(seed).run()).sum();
    assert!(merged > 1_000, "{merged}");
}

/// Jobs of a few keys in two partitions, and all that can happen to them.
struct Course {
    random: StdRng,
    machine: Dispatcher<i64>,
    ids: [PartitionId; 2],
    now_ms: i64,
    running: Vec<Start<i64>>,
    leaving: Vec<(PartitionId, i64, Ticket)>,
    /// By partition and key: offsets that have arrived and not ended, in their order.
    open: BTreeMap<(usize, usize), Vec<i64>>,
    attempts: BTreeMap<(usize, i64), u32>,
    next_offset: [i64; 2],
    /// The end of what has come since the partition did.
    seen_to: [i64; 2],
    merged: usize,
}

const KEYS: [&str; 3] = ["x", "y", "z"];

impl Course {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let limits = Limits { running: random.random_range(1..4), ..Limits::DEFAULT };
        let merged_max = random.random_range(1..6);
        let kind = Kind { merged_max, ..kind("a") };
        let ids = [partition("topic.a", 0), partition("topic.a", 1)];
        let mut machine = Dispatcher::new(limits, [kind]);
        assign(&mut machine, ids.clone());
        Self {
            random,
            machine,
            ids,
            now_ms: NOW,
            running: Vec::new(),
            leaving: Vec::new(),
            open: BTreeMap::new(),
            attempts: BTreeMap::new(),
            next_offset: [0, 0],
            seen_to: [0, 0],
            merged: 0,
        }
    }

    /// Returns how many jobs have joined another one.
    fn run(mut self) -> usize {
        for _ in 0..400 {
            self.step(self.next_offset.iter().sum::<i64>() < 120);
        }
        let mut idle = 0;
        while self.open.values().any(|open| !open.is_empty()) {
            self.step(false);
            idle += 1;
            assert!(idle < 20_000, "it does not come to its end: {:?}", self.open);
        }
        // What is left was taken away while it ran.
        while !self.running.is_empty() {
            self.end();
        }
        assert!(self.machine.is_idle());
        for (id, progress) in self.machine.progress() {
            let place = self.ids.iter().position(|other| other == id).unwrap();
            assert_eq!(progress.offset, self.seen_to[place], "everything may be committed");
        }
        self.merged
    }

    fn step(&mut self, may_arrive: bool) {
        match self.random.random_range(0..40) {
            0 => self.rebalance(),
            1..16 if may_arrive => self.arrive(),
            16..24 => self.start(),
            24..32 => self.end(),
            32..36 => self.settle(),
            _ => self.now_ms += self.random.random_range(0..1_500),
        }
    }

    fn arrive(&mut self) {
        let (place, key) = (self.random.random_range(0..2), self.random.random_range(0..3));
        let offset = self.next_offset[place];
        self.next_offset[place] += 1;
        self.seen_to[place] = offset + 1;
        arrive(&mut self.machine, &self.ids[place].clone(), offset, KEYS[key]);
        self.open.entry((place, key)).or_default().push(offset);
    }

    /// A partition goes and comes back: what is open comes again, and what runs has no effect.
    fn rebalance(&mut self) {
        let place = self.random.random_range(0..2);
        let id = self.ids[place].clone();
        if self.random.random_bool(0.5) {
            self.machine.closing(std::slice::from_ref(&id));
            self.start();
        }
        self.machine.revoked(std::slice::from_ref(&id));
        assign(&mut self.machine, [id.clone()]);
        self.attempts.retain(|(of, _), _| *of != place);
        let mut open: Vec<(i64, usize)> = Vec::new();
        for ((of, key), offsets) in &self.open {
            let of_key = offsets.iter().filter(|_| *of == place).map(|offset| (*offset, *key));
            open.extend(of_key);
        }
        open.sort_unstable();
        self.seen_to[place] = open.last().map_or(0, |(offset, _)| offset + 1);
        for (offset, key) in open {
            arrive(&mut self.machine, &id, offset, KEYS[key]);
        }
    }

    fn is_current(&self, ticket: &Ticket) -> bool {
        self.machine.is_current(ticket.lane)
    }

    /// The lane of an attempt: the one whose first open job is its first. A key that runs twice
    /// at once, or out of order, has none.
    fn start(&mut self) {
        let Some(start) = self.machine.next(self.now_ms, Leave::ALL) else { return };
        let offsets = members(&start);
        self.merged += offsets.len() - 1;
        let is_running = |place: usize, offset: i64| {
            self.running.iter().any(|other| {
                self.is_current(&other.ticket)
                    && self.place_of(&other.ticket) == place
                    && members(other).contains(&offset)
            })
        };
        let place = self.place_of(&start.ticket);
        let lane =
            self.open.iter().find(|((of, _), open)| *of == place && open.contains(&offsets[0]));
        let (_, open) = lane.expect("it is open");
        let waiting: Vec<i64> = open.iter().copied().take(offsets.len()).collect();
        assert_eq!(waiting, offsets, "in order, without a gap");
        assert!(open.iter().all(|offset| !is_running(place, *offset)), "one at a time");
        let attempts = std::iter::once(start.attempt).chain(start.also.iter().map(|it| it.attempt));
        for (offset, attempt) in offsets.iter().zip(attempts) {
            let before = self.attempts.get(&(place, *offset)).copied().unwrap_or(0);
            assert_eq!(attempt, before + 1, "each has its own attempts");
        }
        self.running.push(start);
    }

    fn place_of(&self, ticket: &Ticket) -> usize {
        let slot = ticket.lane.slot;
        self.ids.iter().position(|id| self.machine.slots[id] == slot).unwrap()
    }

    fn end(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let at = self.random.random_range(0..self.running.len());
        let start = self.running.swap_remove(at);
        let place = self.place_of(&start.ticket);
        let no: Failure = failure("no");
        let tickets: Vec<(i64, Ticket)> = start
            .also
            .iter()
            .map(|joined| (*joined.item, joined.ticket))
            .chain([(*start.item, start.ticket)])
            .collect();
        // All the same, as a rule; each its own now and then.
        let for_all = self.random.random_range(0..10);
        for (offset, ticket) in tickets {
            let own = self.random.random_range(0..10);
            let dice = if self.random.random_bool(0.3) { own } else { for_all };
            let end = match dice {
                0 => End::Fail,
                1 | 2 => End::Retry(&no),
                3 => End::Unavailable(&no),
                4 => End::Passed,
                5 => End::NotBegun(&no, self.now_ms + 300),
                _ => End::Done,
            };
            match self.machine.ended(&ticket, end, self.now_ms, 0.5) {
                Verdict::Finished { .. } => self.finished(place, offset),
                Verdict::DeadLetter { .. } => {
                    self.leaving.push((self.ids[place].clone(), offset, ticket));
                }
                Verdict::NotBegun => {}
                Verdict::Stale => assert!(!self.is_current(&ticket)),
                Verdict::RetryAt { attempts, .. } => {
                    self.attempts.insert((place, offset), attempts);
                }
                Verdict::Paused { .. } => {
                    let spent = matches!(end, End::Retry(_));
                    let most = RetryPolicy::DEFAULT.attempts;
                    if spent {
                        self.attempts.insert((place, offset), most);
                    }
                }
                verdict @ Verdict::Postpone { .. } => panic!("{verdict:?}"),
            }
        }
    }

    fn settle(&mut self) {
        if self.leaving.is_empty() {
            return;
        }
        let at = self.random.random_range(0..self.leaving.len());
        let (id, offset, ticket) = self.leaving.swap_remove(at);
        if !self.machine.settled(&ticket) {
            return;
        }
        let place = self.ids.iter().position(|other| *other == id).unwrap();
        self.finished(place, offset);
    }

    fn finished(&mut self, place: usize, offset: i64) {
        let lanes = self.open.iter_mut().filter(|((of, _), _)| *of == place);
        let mut found = 0;
        for (_, open) in lanes {
            let before = open.len();
            open.retain(|other| *other != offset);
            found += before - open.len();
        }
        assert_eq!(found, 1, "each ends once");
    }
}
