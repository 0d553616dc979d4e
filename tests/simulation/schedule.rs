//! What happens when: a seed's course, first with faults and then without, until everything has
//! come to its end.

use rand::RngExt as _;

use super::bugs::Bug;
use super::checks::{Invariant, Violation};
use super::partitions::Event;
use super::plan::Part;
use super::shell::Worker;
use super::tasks::Step;
use super::world::World;

/// Steps without faults by which everything has ended: ten times what the longest course takes of
/// those that the test runs.
const QUIET_STEPS_MAX: u64 = 40_000;

/// Records that are written in the end so that each type succeeds.
const GOOD_MORE_MAX: u32 = 200;

/// Sleeps without faults until jobs that fail every time are mended.
const SLEEPS_UNMENDED: u32 = 300;

/// What came about.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) steps: u64,
    pub(crate) kills: u64,
    pub(crate) killed_by_jobs: u64,
    pub(crate) stops: u64,
    pub(crate) losses: u64,
    pub(crate) rebalances: u64,
    pub(crate) letters: u64,
    pub(crate) quiet_steps_max: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.kills += other.kills;
        self.killed_by_jobs += other.killed_by_jobs;
        self.stops += other.stops;
        self.losses += other.losses;
        self.rebalances += other.rebalances;
        self.letters += other.letters;
        self.quiet_steps_max = self.quiet_steps_max.max(other.quiet_steps_max);
    }
}

/// A seed's course.
pub(crate) struct Simulation {
    pub(crate) world: World,
    workers: Vec<Option<Worker>>,
    tally: Tally,
    sleeps: u32,
}

impl Simulation {
    pub(crate) fn new(seed: u64, bug: Option<Bug>, is_traced: bool) -> Self {
        let world = World::new(seed, bug, is_traced);
        let workers = (0..world.plan.workers).map(|number| Some(Worker::new(number, &world)));
        Self { workers: workers.collect(), world, tally: Tally::default(), sleeps: 0 }
    }

    /// Runs it to its end.
    pub(crate) fn run(&mut self) -> Result<Tally, Violation> {
        let steps = self.world.plan.steps;
        for _ in 0..steps {
            self.step();
            self.tally.steps += 1;
            self.verdict()?;
        }
        self.faults_end();
        let mut quiet_steps = 0;
        loop {
            let done = self.quiet_round();
            quiet_steps += done.max(1);
            self.verdict()?;
            if quiet_steps > QUIET_STEPS_MAX {
                let open = self.open();
                self.world.truth.violate(Invariant::Progress, || format!("never ends: {open}"));
            } else if done == 0 && !self.sleep() {
                if self.is_at_rest() {
                    break;
                }
                let open = self.open();
                self.world
                    .truth
                    .violate(Invariant::Progress, || format!("at a standstill: {open}"));
            }
            self.verdict()?;
        }
        let World { truth, database, .. } = &mut self.world;
        truth.at_rest(&database.claims, &database.ward.mended);
        truth.hold(Invariant::NothingLost, database.ward.is_empty(), || "parked jobs".to_owned());
        self.verdict()?;
        self.tally.steps += quiet_steps;
        self.tally.quiet_steps_max = quiet_steps;
        self.tally.letters = self.world.truth.letters;
        Ok(self.tally)
    }

    fn verdict(&self) -> Result<(), Violation> {
        self.world.truth.violation.clone().map_or(Ok(()), Err)
    }

    /// Something happens.
    fn step(&mut self) {
        let at = self.world.below(self.workers.len());
        match self.world.below(1_000) {
            0..380 => self.advance(at),
            380..560 => {
                let part = self.world.below(self.world.parts.len());
                self.with(at, |worker, world| {
                    if !worker.dispatcher.is_full() || world.chance(0.3) {
                        worker.take_records(part, world);
                    }
                });
            }
            560..650 => self.with(at, |worker, world| {
                worker.commit(true, world);
            }),
            650..720 => self.with(at, |worker, world| {
                worker.take_event(world);
            }),
            720..800 => {
                self.world.now_ms += self.world.random.random_range(0..700);
                self.with(at, |worker, world| worker.pump(world, true));
            }
            800..840 => self.hand_out(),
            840..910 => {
                if self.world.produced < self.world.plan.jobs {
                    self.world.produce();
                }
            }
            910..930 => {
                self.world.bring_back(true);
                self.world.send_parked(true);
                if self.world.chance(0.3) {
                    self.world.decide(false);
                }
                if self.world.chance(0.1) {
                    self.with(at, Worker::look);
                }
            }
            930..945 => {
                if self.workers[at].is_none() {
                    self.workers[at] = Some(Worker::new(at, &self.world));
                }
            }
            945..955 => {
                self.leave(at);
            }
            _ => self.fault(at),
        }
    }

    fn fault(&mut self, at: usize) {
        let faults = self.world.plan.faults;
        let kind = self.world.below(self.world.plan.kinds.len());
        match self.world.below(100) {
            0..8 if faults.kills => {
                self.tally.kills += 1;
                self.kill(at);
            }
            8..16 if faults.stops => self.with(at, |worker, _| {
                worker.is_stopping = true;
                worker.dispatcher.stop();
            }),
            16..28 if faults.rebalances => self.rebalance(),
            28..34 if faults.losses => self.lose(at),
            34..40 if faults.outages => self.world.is_out[kind] = true,
            40..50 => self.world.is_out[kind] = false,
            50..54 if faults.database => self.world.database.is_away = true,
            54..64 => self.world.database.is_away = false,
            64..70 if faults.jumps => {
                self.world.now_ms += self.world.random.random_range(0..200_000);
                self.each(|worker, world| worker.pump(world, true));
            }
            70..74 if faults.pauses => {
                self.world.is_paused[kind] = true;
                self.each(Worker::heed_pauses);
            }
            74..84 => {
                self.world.is_paused[kind] = false;
                self.each(Worker::heed_pauses);
            }
            _ => {}
        }
    }

    fn with(&mut self, at: usize, act: impl FnOnce(&mut Worker, &mut World)) {
        if let Some(worker) = &mut self.workers[at] {
            act(worker, &mut self.world);
        }
    }

    fn each(&mut self, act: impl Fn(&mut Worker, &mut World)) {
        for worker in self.workers.iter_mut().flatten() {
            act(worker, &mut self.world);
        }
    }

    fn advance(&mut self, at: usize) {
        let Some(worker) = &mut self.workers[at] else { return };
        if worker.tasks.is_empty() {
            return;
        }
        let task = self.world.below(worker.tasks.len());
        if worker.advance(task, &mut self.world) == Step::Died {
            self.tally.killed_by_jobs += 1;
            self.kill(at);
        }
    }

    /// Everything in its memory is gone.
    fn kill(&mut self, at: usize) {
        let Some(worker) = self.workers[at].take() else { return };
        self.world.tell(|| format!("worker {at} is killed"));
        for task in &worker.tasks {
            self.world.truth.cut(task);
        }
        for log in &mut self.world.parts {
            log.owner = log.owner.filter(|(owner, _)| *owner != at);
        }
    }

    /// Those that may be given partitions.
    fn members(&self) -> Vec<usize> {
        let members = self.workers.iter().flatten();
        members.filter(|worker| !worker.is_leaving).map(|worker| worker.number).collect()
    }

    /// A partition without a worker gets one.
    fn hand_out(&mut self) {
        for part in 0..self.world.parts.len() {
            if self.world.parts[part].owner.is_none() {
                self.give(part);
            }
        }
    }

    fn give(&mut self, part: Part) -> bool {
        let members = self.members();
        if members.is_empty() {
            return false;
        }
        let wanted = self.world.parts[part].wanted;
        let wanted = if members.contains(&wanted) {
            wanted
        } else {
            members[self.world.below(members.len())]
        };
        self.world.epoch += 1;
        let epoch = self.world.epoch;
        let log = &mut self.world.parts[part];
        log.owner = Some((wanted, epoch));
        let event = Event::Assigned(part, epoch, log.commit.clone(), log.end);
        self.with(wanted, |worker, _| worker.events.push_back(event));
        true
    }

    /// Some partitions move, one worker after the other lets go of its own.
    fn rebalance(&mut self) {
        let members = self.members();
        if members.is_empty() {
            return;
        }
        self.tally.rebalances += 1;
        for part in 0..self.world.parts.len() {
            self.world.parts[part].wanted = members[self.world.below(members.len())];
        }
        for at in members {
            let moves: Vec<Part> = self.owned_by(at, |log_wanted| log_wanted != at);
            self.revoke(at, moves);
        }
    }

    fn owned_by(&self, at: usize, is_meant: impl Fn(usize) -> bool) -> Vec<Part> {
        let parts = self.world.parts.iter().enumerate();
        let owned = parts.filter(|(_, log)| log.owner.is_some_and(|(owner, _)| owner == at));
        owned.filter(|(_, log)| is_meant(log.wanted)).map(|(part, _)| part).collect()
    }

    fn revoke(&mut self, at: usize, parts: Vec<Part>) {
        self.with(at, |worker, _| {
            let is_revoking = worker.events.iter().any(|e| matches!(e, Event::Revoking(_)));
            if !parts.is_empty() && worker.revocation.is_none() && !is_revoking {
                worker.events.push_back(Event::Revoking(parts));
            }
        });
    }

    /// A member is taken for dead, or has kept the group waiting for too long. It hears of it
    /// later.
    fn lose(&mut self, at: usize) {
        let parts = self.owned_by(at, |_| true);
        if self.workers[at].is_none() || parts.is_empty() {
            return;
        }
        self.tally.losses += 1;
        self.world.tell(|| format!("worker {at} has lost its membership"));
        for part in &parts {
            self.world.parts[*part].owner = None;
        }
        self.with(at, |worker, world| {
            for task in worker.tasks.iter().filter(|task| parts.contains(&task.job.part)) {
                world.truth.cut(task);
            }
            worker.events.push_back(Event::Lost(parts));
        });
    }

    /// A worker that stops goes on leaving.
    fn leave(&mut self, at: usize) -> bool {
        let Some(worker) = &mut self.workers[at] else { return false };
        if !worker.is_stopping {
            return false;
        }
        if !worker.is_leaving {
            let is_over = self.world.plan.faults.stops && self.world.chance(0.2);
            if !worker.dispatcher.is_idle() && !is_over {
                return false;
            }
            worker.abandon(&mut self.world);
            let parts = self.owned_by(at, |_| true);
            self.revoke(at, parts);
            return true;
        }
        worker.pump(&mut self.world, false);
        let is_gone = worker.events.is_empty() && worker.revocation.is_none();
        let parts = self.owned_by(at, |_| true);
        if is_gone && parts.is_empty() {
            self.tally.stops += 1;
            self.world.tell(|| format!("worker {at} has stopped"));
            self.workers[at] = None;
            return true;
        }
        if is_gone {
            self.revoke(at, parts);
        }
        is_gone
    }

    fn faults_end(&mut self) {
        self.world.tell(|| "the faults end".to_owned());
        self.world.is_out.fill(false);
        self.world.is_paused.fill(false);
        self.world.database.is_away = false;
        self.each(Worker::heed_pauses);
        while self.world.produced < self.world.plan.jobs {
            self.world.produce();
        }
    }

    /// Everybody does what there is to do. Returns how much that was.
    fn quiet_round(&mut self) -> u64 {
        let mut done = 0;
        for at in 0..self.workers.len() {
            if self.workers[at].is_none() {
                self.workers[at] = Some(Worker::new(at, &self.world));
                done += 1;
            }
            done += u64::from(self.leave(at));
            done += self.quiet_worker(at);
        }
        for part in 0..self.world.parts.len() {
            if self.world.parts[part].owner.is_none() {
                done += u64::from(self.give(part));
            }
        }
        for at in 0..self.workers.len() {
            self.with(at, |worker, world| {
                done += u64::from(worker.is_unread);
                worker.look(world);
            });
        }
        done += u64::from(self.world.send_parked(false));
        done += u64::from(self.world.decide(true));
        done + u64::from(self.world.bring_back(false))
    }

    fn quiet_worker(&mut self, at: usize) -> u64 {
        let mut done = 0;
        for part in 0..self.world.parts.len() {
            self.with(at, |worker, world| {
                // As the loop does: while as much runs as may, it takes in now and then.
                if !worker.dispatcher.is_full() || worker.tasks.is_empty() || world.chance(0.3) {
                    done += u64::from(worker.take_records(part, world));
                }
            });
        }
        self.with(at, |worker, world| {
            done += u64::from(worker.take_event(world));
            done += u64::from(worker.commit(false, world));
        });
        for _ in 0..4 {
            let Some(worker) = &mut self.workers[at] else { break };
            if worker.tasks.is_empty() {
                break;
            }
            done += 1;
            self.advance(at);
        }
        done
    }

    /// Nobody has anything to do: the time moves to when somebody wants to be woken. Returns
    /// false if nobody does.
    fn sleep(&mut self) -> bool {
        let is_more = self.succeed_somewhere();
        self.sleeps += 1;
        // Where all that a partition may hold waits behind such jobs, nothing can tell this from
        // an outage, until one of them succeeds.
        self.world.is_mended = self.sleeps > SLEEPS_UNMENDED;
        let wakes = self.workers.iter().flatten().filter_map(Worker::wake_ms);
        let due = self.world.database.schedule.values().map(|(at_ms, ..)| *at_ms);
        let parked = self.world.database.ward.next_due_ms();
        let Some(at_ms) = wakes.chain(due).chain(parked).min() else { return is_more };
        self.world.now_ms = self.world.now_ms.max(at_ms);
        self.each(|worker, world| worker.pump(world, true));
        true
    }

    /// A job out of attempts is given up only while its type succeeds for others: so it must.
    fn succeed_somewhere(&mut self) -> bool {
        let mut is_more = false;
        let world = &mut self.world;
        for kind in 0..world.plan.kinds.len() {
            let name = &*world.plan.kinds[kind].name;
            let mut workers = self.workers.iter().flatten();
            let is_out = workers.any(|w| w.dispatcher.outages().any(|(other, _)| other == name));
            if is_out && world.produced < world.plan.jobs + GOOD_MORE_MAX {
                world.produce_good(kind);
                is_more = true;
            }
        }
        is_more
    }

    /// Whether everything is committed.
    fn is_at_rest(&self) -> bool {
        self.world.truth.all().all(super::checks::Place::is_committed)
    }

    fn open(&self) -> String {
        let claims = &self.world.database.claims;
        let open = self.world.truth.all().filter(|place| !place.has_ended(claims));
        let jobs: Vec<_> = open.take(3).map(|place| format!("{:?}", place.job)).collect();
        format!("open are {}", jobs.join(", "))
    }
}
