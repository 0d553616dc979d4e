//! A worker without Kafka, database or threads: the machines of `jobgate::domain`, and around
//! them what `src/worker` does, a step at a time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jobgate::domain::dispatch::{Dispatcher, GroupNumber, Leave, Shares, Start, Suspicion};
use jobgate::domain::offset_map::DoneRanges;
use jobgate::domain::quarantine::Quarantine;
use rand::RngExt as _;

use super::bugs::Bug;
use super::checks::{Invariant, Noted};
use super::partitions::{Event, Owned};
use super::plan::{Job, Nature, Part};
use super::quarantines::Lane;
use super::tasks::{Outcome, Stage, Task};
use super::world::{Commit, World};

/// A process.
pub(crate) struct Worker {
    pub(crate) number: usize,
    pub(crate) dispatcher: Dispatcher<Job>,
    pub(crate) shares: Shares,
    pub(crate) group: GroupNumber,
    pub(crate) owned: BTreeMap<Part, Owned>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) revocation: Option<Vec<Part>>,
    pub(crate) is_committing: Option<Vec<(Part, u64, Commit)>>,
    pub(crate) is_stopping: bool,
    pub(crate) is_leaving: bool,
    /// By type: when an attempt was last reported to have succeeded.
    pub(crate) succeeded_ms: Vec<i64>,
    /// What it knows of the quarantines.
    pub(crate) known: BTreeMap<Lane, Quarantine>,
    /// It could not read them since partitions came.
    pub(crate) is_unread: bool,
    /// When it wants to be woken.
    wake_ms: Option<i64>,
}

impl Worker {
    pub(crate) fn new(number: usize, world: &World) -> Self {
        let plan = &world.plan;
        let mut dispatcher = Dispatcher::new(plan.limits, plan.kinds.iter().cloned());
        let is_unread = world.database.is_away;
        heed_pauses(&mut dispatcher, is_unread, world);
        let known = if is_unread { BTreeMap::new() } else { world.database.ward.held.clone() };
        let mut shares = Shares::new(plan.places);
        let group = shares.add_group();
        Self {
            known,
            is_unread,
            number,
            dispatcher,
            shares,
            group,
            owned: BTreeMap::new(),
            events: VecDeque::new(),
            tasks: Vec::new(),
            revocation: None,
            is_committing: None,
            is_stopping: false,
            is_leaving: false,
            succeeded_ms: vec![i64::MIN; plan.kinds.len()],
            wake_ms: None,
        }
    }

    pub(crate) fn heed_pauses(&mut self, world: &mut World) {
        heed_pauses(&mut self.dispatcher, self.is_unread, world);
        self.pump(world, false);
    }

    /// What the loop does after everything that happens.
    pub(crate) fn pump(&mut self, world: &mut World, is_by_time: bool) {
        let was_due = self.wake_ms.is_some_and(|at_ms| at_ms <= world.now_ms);
        let mut count = 0;
        loop {
            let leave = self.shares.leave(self.group);
            let leave = if world.has(Bug::SharesIgnored) { Leave::ALL } else { leave };
            let Some(start) = self.dispatcher.next(world.now_ms, leave) else {
                if self.shares.wish(self.group, self.dispatcher.wants_alone()) {
                    continue;
                }
                break;
            };
            count += 1;
            if start.is_given_up && !self.parks(&start.item, world) {
                self.give_up(start, world);
            } else {
                self.start(start, world);
            }
        }
        let slept_over = is_by_time && count > 0 && !was_due;
        world.truth.hold(Invariant::Wakeup, !slept_over, || {
            "a job started that nobody would have been woken for".to_owned()
        });
        self.change_intake(world);
        self.answer_revocation(world);
        self.wake_ms = self.dispatcher.next_wakeup_ms();
        if world.has(Bug::NoWakeup) {
            self.wake_ms = None;
        }
        let (wake_ms, now_ms) = (self.wake_ms, world.now_ms);
        world.truth.hold(Invariant::Wakeup, wake_ms.is_none_or(|at_ms| at_ms > now_ms), || {
            format!("woken at {wake_ms:?}, at once and for nothing")
        });
    }

    /// When it wants to be woken.
    pub(crate) fn wake_ms(&self) -> Option<i64> {
        self.wake_ms
    }

    fn start(&mut self, start: Start<Job>, world: &mut World) {
        let Start { ticket, attempt, suspicion, item: job, is_given_up, .. } = start;
        self.shares.take(self.group, ticket.is_critical(), ticket.is_alone());
        let owned = self.owned.get(&job.part);
        let epoch = owned.map_or(0, |owned| owned.epoch);
        let is_accused = owned.is_some_and(|owned| owned.accused.contains(&job.offset));
        let type_index = ticket.type_index();
        let name = &*world.plan.kinds[type_index].name;
        let outage = self.dispatcher.outages().find(|(other, _)| *other == name);
        let parks = self.parks(&job, world);
        let task = Task {
            is_given_up,
            begun_ms: world.now_ms,
            ticket,
            job,
            epoch,
            attempt,
            suspicion,
            is_accused,
            is_noted: false,
            probe_since_ms: outage.map(|(_, outage)| outage.since_ms),
            stage: match suspicion {
                _ if parks => Stage::Park,
                Suspicion::None => Stage::Run,
                _ => Stage::Note,
            },
        };
        world.tell(|| format!("worker {} starts {task:?}", self.number));
        if parks {
            world.truth.starts(&task.job, task.epoch, &world.database.claims);
        } else {
            self.check_start(&task, world);
            self.check_quarantine(&task, world);
        }
        self.tasks.push(task.clone());
        if world.has(Bug::ProbeEndsEarly) && task.probe_since_ms.is_some() {
            self.ended(&task, Outcome::Unavailable, world);
        }
    }

    fn give_up(&mut self, start: Start<Job>, world: &mut World) {
        let job = start.item;
        let epoch = self.owned.get(&job.part).map_or(0, |owned| owned.epoch);
        let task = Task {
            is_given_up: true,
            begun_ms: world.now_ms,
            ticket: start.ticket,
            job,
            epoch,
            attempt: start.attempt,
            suspicion: start.suspicion,
            is_accused: true,
            is_noted: false,
            probe_since_ms: None,
            stage: Stage::Write,
        };
        self.given_up(task, world);
    }

    /// It has ended the process as often as it may.
    pub(crate) fn given_up(&mut self, task: Task, world: &mut World) {
        let job = Arc::clone(&task.job);
        let faults = world.plan.faults;
        let place = world.truth.place(&job);
        let is_guilty = place.last_noted == Noted::Broken || place.is_note_lost;
        let only_jobs_kill = !(faults.kills
            || faults.stops
            || faults.losses
            || faults.rebalances
            || faults.database);
        let is_allowed = is_guilty && (job.nature == Nature::Killer || !only_jobs_kill);
        world.truth.hold(Invariant::Innocent, is_allowed, || format!("{job:?} is given up"));
        world.tell(|| format!("{job:?} is given up"));
        self.ended(&Task { stage: Stage::Write, ..task }, Outcome::Fail, world);
    }

    fn change_intake(&mut self, world: &mut World) {
        let (pause, resume) = self.dispatcher.intake_changes();
        for id in &pause {
            if let Some(owned) = self.owned.get_mut(&world.plan.part_of(id)) {
                owned.is_paused = !world.has(Bug::NeverPaused);
            }
        }
        for id in &resume {
            let part = world.plan.part_of(id);
            if world.has(Bug::NeverResumed) {
                continue;
            }
            if let Some(owned) = self.owned.get_mut(&part) {
                owned.is_paused = false;
                // What was fetched ahead is fetched again, and maybe more.
                let again = world.random.random_range(0..4);
                owned.position = (owned.position - again).max(owned.found.offset);
                if world.has(Bug::ResumedAsNew) {
                    owned.position = owned.committed.as_ref().map_or(owned.found.offset, |c| c.0);
                    self.dispatcher.assigned([(id.clone(), DoneRanges::default())]);
                }
            }
        }
    }
}

fn heed_pauses(dispatcher: &mut Dispatcher<Job>, is_unread: bool, world: &World) {
    let kinds = &world.plan.kinds;
    dispatcher.set_paused(|name| {
        kinds.iter().zip(&world.is_paused).any(|(kind, is_paused)| {
            (*is_paused || is_unread && kind.retry.quarantine) && &*kind.name == name
        })
    });
}
