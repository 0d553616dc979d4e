//! Jobs that must run alone, over all the groups of a process.

use std::collections::VecDeque;

use super::tests::{NOW, arrive, arrive_with, failure, kind, partition};
use super::*;

const GROUPS: usize = 3;
const JOBS_PER_GROUP: i64 = 40;

/// A group, and what of it runs.
struct Member {
    number: GroupNumber,
    machine: Dispatcher<i64>,
    running: Vec<Start<i64>>,
    left: VecDeque<i64>,
    ended: usize,
}

/// A process, whose shell asks as that of a worker does.
struct Process {
    shares: Shares,
    members: Vec<Member>,
}

impl Process {
    fn new(places: usize) -> Self {
        let mut shares = Shares::new(places);
        let members = (0..GROUPS).map(|at| {
            let is_critical = at == 0;
            let mut machine = Dispatcher::new(Limits::DEFAULT, [Kind { is_critical, ..kind("a") }]);
            machine.assigned([(partition("topic.a", 0), DoneRanges::default())]);
            let left = (0..JOBS_PER_GROUP).collect();
            Member { number: shares.add_group(), machine, running: Vec::new(), left, ended: 0 }
        });
        let members = members.collect();
        Self { shares, members }
    }

    fn arrives(&mut self, at: usize, suspicion: Suspicion) {
        let member = &mut self.members[at];
        let Some(offset) = member.left.pop_front() else { return };
        let past = Past { suspicion, ..Past::default() };
        let (id, key) = (partition("topic.a", 0), format!("k{offset}"));
        arrive_with(&mut member.machine, &id, offset, &key, past);
    }

    /// Starts what may start. Returns how much that was.
    fn pump(&mut self, at: usize, now_ms: i64) -> usize {
        let Self { shares, members } = self;
        let member = &mut members[at];
        let mut count = 0;
        loop {
            let leave = shares.leave(member.number);
            let Some(start) = member.machine.next(now_ms, leave) else {
                if shares.wish(member.number, member.machine.wants_alone()) {
                    continue;
                }
                break;
            };
            shares.take(member.number, start.ticket.is_critical(), start.ticket.is_alone());
            member.running.push(start);
            count += 1;
        }
        count
    }

    fn ends(&mut self, at: usize, end: End<'_>, now_ms: i64) {
        let member = &mut self.members[at];
        let Some(start) = member.running.pop() else { return };
        self.shares.free(start.ticket.is_critical(), start.ticket.is_alone());
        let verdict = member.machine.ended(&start.ticket, end, now_ms, 0.5);
        let is_buried = matches!(verdict, Verdict::DeadLetter { .. });
        if is_buried {
            member.machine.settled(&start.ticket);
        }
        member.ended += usize::from(is_buried || matches!(verdict, Verdict::Finished { .. }));
    }

    fn check(&self, seed: u64) {
        let running = || self.members.iter().flat_map(|member| &member.running);
        let is_one_alone = running().any(|start| start.ticket.is_alone());
        assert!(!is_one_alone || running().count() == 1, "seed {seed}: it runs alone");
    }
}

#[test]
fn one_that_must_run_alone_waits_for_all_groups_and_all_groups_wait_for_it() {
    let mut process = Process::new(4);
    process.arrives(1, Suspicion::None);
    assert_eq!(process.pump(1, NOW), 1);
    process.arrives(0, Suspicion::Alone);
    assert_eq!(process.pump(0, NOW), 0);
    process.arrives(1, Suspicion::None);
    process.arrives(2, Suspicion::None);
    assert_eq!((process.pump(1, NOW), process.pump(2, NOW)), (0, 0), "nothing starts any more");
    process.ends(1, End::Done, NOW);
    assert_eq!((process.pump(1, NOW), process.pump(2, NOW)), (0, 0));
    assert_eq!(process.pump(0, NOW), 1);
    assert_eq!((process.pump(1, NOW), process.pump(2, NOW)), (0, 0));
    process.ends(0, End::Done, NOW);
    process.pump(0, NOW);
    assert_eq!((process.pump(1, NOW), process.pump(2, NOW)), (1, 1));
}

type Change<'a> = &'a dyn Fn(&mut Dispatcher<i64>);

#[test]
fn one_that_waits_to_be_alone_keeps_nobody_waiting_once_it_may_not_run() {
    let wishes = || {
        let mut process = Process::new(4);
        process.arrives(1, Suspicion::None);
        process.pump(1, NOW);
        process.arrives(0, Suspicion::Alone);
        process.arrives(2, Suspicion::None);
        assert_eq!((process.pump(0, NOW), process.pump(2, NOW)), (0, 0));
        process
    };
    let ids = [partition("topic.a", 0)];
    let changes: [Change<'_>; 4] = [
        &|machine| machine.closing(&ids),
        &|machine| machine.revoked(&ids),
        &|machine| machine.stop(),
        &|machine| machine.set_paused(|_| true),
    ];
    for change in changes {
        let mut process = wishes();
        change(&mut process.members[0].machine);
        assert_eq!((process.pump(0, NOW), process.pump(2, NOW)), (0, 1));
    }
}

#[test]
fn one_that_is_given_up_waits_for_nobody() {
    let mut process = Process::new(4);
    process.arrives(0, Suspicion::None);
    process.pump(0, NOW);
    let machine = &mut process.members[0].machine;
    let past = Past { attempts: 5, suspicion: Suspicion::Alone, ..Past::default() };
    arrive_with(machine, &partition("topic.a", 0), 50, "x", past);
    arrive(machine, &partition("topic.a", 0), 51, "y");
    let start = machine.next(NOW, Leave::NONE).unwrap();
    assert!(start.is_given_up && !start.ticket.is_alone() && !machine.wants_alone());
    machine.ended(&start.ticket, End::Fail, NOW, 0.0);
    assert_eq!(process.pump(0, NOW), 1, "and nobody for it");
}

/// Whatever comes when, nothing runs beside one that must run alone, and everything ends.
#[test]
fn random_lives_of_several_groups_come_to_their_end() {
    for seed in 1..=300_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let mut process = Process::new(1 + usize::try_from(random(8)).unwrap());
        let (no, away) = (failure("no"), failure("away"));
        let mut now_ms = NOW;
        let jobs = usize::try_from(JOBS_PER_GROUP).unwrap();
        let mut steps = 0;
        while process.members.iter().any(|member| member.ended < jobs) {
            steps += 1;
            assert!(steps < 20_000, "seed {seed}: it never ends");
            let at = usize::try_from(random(GROUPS as u64)).unwrap();
            match random(6) {
                0 | 1 => {
                    let is_accused = random(5) == 0;
                    let suspicion = if is_accused { Suspicion::Alone } else { Suspicion::None };
                    process.arrives(at, suspicion);
                }
                2 => {
                    let end = match random(20) {
                        0 => End::Retry(&no),
                        1 => End::Unavailable(&away),
                        _ => End::Done,
                    };
                    process.ends(at, end, now_ms);
                }
                3 => now_ms += i64::try_from(random(3_000)).unwrap(),
                _ => {
                    process.pump(at, now_ms);
                }
            }
            process.check(seed);
        }
        for at in 0..GROUPS {
            process.pump(at, now_ms);
            assert!(!process.members[at].machine.wants_alone());
        }
        let number = process.members[0].number;
        assert_eq!(process.shares.leave(number), Leave::ALL, "seed {seed}: no wish is left over");
    }
}
