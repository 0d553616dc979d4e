//! Keys that are quarantined: the rows of the database, what a worker knows of them, and what they
//! are held against. What is decided is `jobgate::domain::quarantine`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jobgate::domain::quarantine::{self, Numbered, Parking, Passage, Quarantine, Release};
use uuid::Uuid;

use super::bugs::Bug;
use super::checks::{Ending, Invariant};
use super::plan::{Job, Nature, Part};
use super::shell::Worker;
use super::tasks::{Outcome, Stage, Task};
use super::world::World;

/// A key in its partition.
pub(crate) type Lane = (Part, &'static str);

/// How long a job waits that could not be parked.
const PARK_AGAIN_MS: i64 = 1_000;

/// A job that is parked.
struct Row {
    lane: Lane,
    numbered: Numbered,
    /// None: nobody sends it.
    due_ms: Option<i64>,
    job: Arc<Job>,
}

/// What the database holds.
#[derive(Default)]
pub(crate) struct Ward {
    pub(crate) held: BTreeMap<Lane, Quarantine>,
    rows: BTreeMap<(Uuid, Part, i64), Row>,
    made: u128,
    /// Jobs whose letter was replayed since it was written.
    replayed: BTreeSet<u32>,
    /// Jobs that were mended in a replay.
    pub(crate) mended: BTreeSet<u32>,
    /// Written, and nobody has decided about it.
    undecided: BTreeMap<Lane, u32>,
    lettered: BTreeSet<u32>,
    /// Rows that were sent.
    gone: BTreeSet<(Uuid, Part, i64)>,
    /// Their numbers, and the offsets of their records; the partition is that of their key.
    sent: Vec<(Numbered, i64)>,
}

impl Ward {
    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.rows.is_empty()
    }

    /// When the first parked job is due.
    pub(crate) fn next_due_ms(&self) -> Option<i64> {
        self.rows.values().filter_map(|row| row.due_ms).min()
    }

    fn due(&mut self, id: Uuid, base_ms: i64) {
        let rows = self.rows.values_mut().filter(|row| row.numbered.quarantine == id);
        for row in rows.filter(|row| row.due_ms.is_none()) {
            row.due_ms = Some(base_ms + row.numbered.number);
        }
    }
}

fn machine_job(job: &Job) -> quarantine::Job {
    quarantine::Job {
        message_id: message_id(job.id),
        numbered: job.numbered,
        partition: i32::try_from(job.part).expect("few"),
        offset: job.offset,
    }
}

fn message_id(id: u32) -> Uuid {
    Uuid::from_u128(u128::from(id))
}

impl World {
    /// The lane of a job whose type asks for quarantines.
    pub(crate) fn lane_of(&self, job: &Job) -> Option<Lane> {
        let asks = self.plan.kind(job.part).retry.quarantine;
        job.key.filter(|_| asks).map(|key| (job.part, key))
    }

    /// The letter of this job is written.
    pub(crate) fn lettered(&mut self, job: &Job, is_owner: bool) {
        let Some(lane) = self.lane_of(job) else { return };
        let claims = &self.database.claims;
        let ward = &mut self.database.ward;
        ward.lettered.insert(job.id);
        let is_open = ward.undecided.get(&lane).is_some_and(|before| !claims.contains(before));
        if is_owner && !is_open {
            ward.undecided.insert(lane, job.id);
        }
    }

    fn hold(&mut self, lane: Lane, job: &Job) -> Quarantine {
        let ward = &mut self.database.ward;
        ward.replayed.remove(&job.id);
        ward.made += 1;
        let made = Uuid::from_u128(ward.made << 64);
        let dead = machine_job(job);
        let quarantine = ward.held.entry(lane).or_insert_with(|| Quarantine::new(made, dead));
        if quarantine.buried(dead) {
            let Quarantine { id, ended, .. } = *quarantine;
            for row in ward.rows.values_mut() {
                if row.numbered.quarantine == id && row.numbered.number > ended {
                    row.due_ms = None;
                }
            }
        }
        *quarantine
    }

    fn park(&mut self, lane: Lane, job: &Arc<Job>) -> Parking {
        let ward = &mut self.database.ward;
        let Some(quarantine) = ward.held.get_mut(&lane) else { return Parking::Runs };
        let before = *quarantine;
        let number = job.numbered.map_or(0, |numbered| numbered.number);
        let is_between = |other: &Numbered| {
            other.quarantine == before.id && (before.ended + 1..number).contains(&other.number)
        };
        let may_one_before_come = ward.rows.values().any(|row| is_between(&row.numbered))
            || ward.sent.iter().any(|(other, at)| is_between(other) && *at > job.offset);
        let parking = quarantine.park(machine_job(job), may_one_before_come);
        let (number, due_ms) = match parking {
            Parking::Kept(number) => (number, None),
            Parking::Due(number, due_ms) => (number, Some(due_ms)),
            _ => return parking,
        };
        let name = (before.id, job.part, job.offset);
        if ward.rows.contains_key(&name) || ward.gone.contains(&name) {
            *quarantine = before;
            return Parking::Ended;
        }
        let numbered = Numbered { quarantine: before.id, number };
        ward.rows.insert(name, Row { lane, numbered, due_ms, job: Arc::clone(job) });
        parking
    }

    /// Somebody has decided.
    fn release(&mut self, lane: Lane) {
        let now_ms = self.now_ms;
        let ward = &mut self.database.ward;
        let Some(quarantine) = ward.held.get_mut(&lane) else { return };
        let id = quarantine.id;
        match quarantine.release(now_ms) {
            Release::Already => return,
            Release::Lifted => {
                ward.held.remove(&lane);
            }
            Release::Due(base_ms) => ward.due(id, base_ms),
        }
        ward.undecided.remove(&lane);
        self.tell(|| format!("{lane:?} is released"));
    }

    fn released_ended(&mut self, lane: Lane, numbered: Numbered) {
        let is_early = self.has(Bug::LiftedEarly);
        let ward = &mut self.database.ward;
        let Some(quarantine) = ward.held.get_mut(&lane) else { return };
        if quarantine.id == numbered.quarantine && (quarantine.ended(numbered.number) || is_early) {
            ward.held.remove(&lane);
            self.tell(|| format!("{lane:?} is free"));
        }
    }

    /// An operator decides about a letter: mends it, or puts it aside.
    pub(crate) fn decide(&mut self, is_for_good: bool) -> bool {
        if self.database.is_away {
            return false;
        }
        let ward = &self.database.ward;
        let open = ward.held.iter().filter_map(|(lane, quarantine)| {
            let is_held = quarantine.state == quarantine::QuarantineState::Held;
            let id = u32::try_from(quarantine.message_id.as_u128()).expect("small");
            (is_held && !ward.replayed.contains(&id)).then_some((*lane, id))
        });
        let open: Vec<(Lane, u32)> = open.collect();
        if open.is_empty() {
            return false;
        }
        let (lane, id) = open[self.below(open.len())];
        if self.chance(0.4) {
            self.release(lane);
            return true;
        }
        let is_mended = is_for_good || self.chance(0.7);
        let nature = if is_mended { Nature::Good } else { Nature::Poison };
        let ward = &mut self.database.ward;
        ward.replayed.insert(id);
        ward.mended.insert(id);
        let (part, key) = (lane.0, Some(lane.1));
        self.append(Job { nature, key, is_replay: true, ..Job::good(id, part) });
        true
    }

    /// One parked job whose time has come goes back to its topic, the first of its key.
    pub(crate) fn send_parked(&mut self, may_repeat: bool) -> bool {
        if self.database.is_away {
            return false;
        }
        let (now_ms, ward) = (self.now_ms, &self.database.ward);
        let mut first: BTreeMap<Lane, (i64, (Uuid, Part, i64))> = BTreeMap::new();
        for (name, row) in &ward.rows {
            let Some(due_ms) = row.due_ms else { continue };
            let at = first.entry(row.lane).or_insert((due_ms, *name));
            *at = (*at).min((due_ms, *name));
        }
        let due = first.into_values().filter(|(due_ms, _)| *due_ms <= now_ms);
        let due: Vec<_> = due.map(|(_, name)| name).collect();
        if due.is_empty() {
            return false;
        }
        let name = due[self.below(due.len())];
        let Row { numbered, job, .. } = &self.database.ward.rows[&name];
        let job = Job { numbered: Some(*numbered), attempts_before: 0, ..Job::clone(job) };
        self.append(job);
        // A crash between the two sends it once more, with what follows.
        if !(may_repeat && self.chance(0.1)) {
            let at = self.parts[name.1].end - 1;
            self.database.ward.was_sent(name, at);
        }
        true
    }

    /// A job of a quarantining type is about to run for the first time.
    fn check_run(&mut self, lane: Lane, job: &Job) {
        let (claims, ward) = (&self.database.claims, &self.database.ward);
        let has_ended = |id: &u32| claims.contains(id) || ward.lettered.contains(id);
        if has_ended(&job.id) {
            return;
        }
        let undecided = ward.undecided.get(&lane).copied().filter(|id| !claims.contains(id));
        let earlier = self.truth.earlier_of_key(job).into_iter().find(|id| !has_ended(id));
        self.truth.hold(Invariant::Quarantine, undecided.is_none(), || {
            format!("{job:?} runs, and nobody has decided about the letter of {undecided:?}")
        });
        self.truth.hold(Invariant::QuarantineOrder, earlier.is_none(), || {
            format!("{job:?} runs before {earlier:?}")
        });
    }
}

impl Ward {
    /// The row has been sent: it stays, without what was to be sent.
    fn was_sent(&mut self, name: (Uuid, Part, i64), offset: i64) {
        if let Some(row) = self.rows.remove(&name) {
            self.sent.push((row.numbered, offset));
        }
        self.gone.insert(name);
    }
}

impl Worker {
    /// Reads the quarantines, where the database is there.
    pub(crate) fn look(&mut self, world: &mut World) {
        if world.database.is_away {
            return;
        }
        self.known.clone_from(&world.database.ward.held);
        if std::mem::take(&mut self.is_unread) {
            self.heed_pauses(world);
        }
    }

    /// Partitions have come.
    pub(crate) fn read_quarantines(&mut self, part: Part, world: &mut World) {
        if !world.plan.kind(part).retry.quarantine || world.has(Bug::QuarantinesUnread) {
            return;
        }
        if world.database.is_away {
            self.is_unread = true;
            self.heed_pauses(world);
        } else {
            self.look(world);
        }
    }

    pub(crate) fn parks(&self, job: &Job, world: &World) -> bool {
        let quarantine = world.lane_of(job).and_then(|lane| self.known.get(&lane));
        quarantine.is_some_and(|quarantine| {
            let is_held = quarantine.state == quarantine::QuarantineState::Held;
            let runs = quarantine.passage(machine_job(job)) == Passage::Runs
                || world.has(Bug::NewcomersRun) && !is_held;
            !runs
        })
    }

    /// What a run of this job is held against.
    pub(crate) fn check_quarantine(&self, task: &Task, world: &mut World) {
        let is_owner = world.owns(self.number, task.epoch, task.job.part);
        if let Some(lane) = world.lane_of(&task.job).filter(|_| is_owner) {
            world.check_run(lane, &task.job);
        }
    }

    /// The stage after the parking of a job; none while it cannot be parked.
    pub(crate) fn park(&mut self, task: &Task, world: &mut World) -> Option<Stage> {
        let lane = world.lane_of(&task.job)?;
        if world.database.is_away {
            return Some(Stage::Report(Outcome::NotParked));
        }
        match world.park(lane, &task.job) {
            Parking::Runs => {
                self.look(world);
                None
            }
            Parking::Full => Some(Stage::Report(Outcome::NotParked)),
            parking => {
                world.tell(|| format!("{:?} is parked: {parking:?}", task.job));
                world.truth.ended(&task.job, task.epoch, Ending::Row);
                Some(Stage::Report(Outcome::Parked))
            }
        }
    }

    /// The letter of a job holds its key. Returns false while the database is away.
    pub(crate) fn hold(&mut self, job: &Job, world: &mut World) -> bool {
        let Some(lane) = world.lane_of(job) else { return true };
        if world.database.is_away {
            return false;
        }
        let quarantine = world.hold(lane, job);
        self.known.insert(lane, quarantine);
        true
    }

    /// A job has succeeded. Returns false while the database is away that should know.
    pub(crate) fn pay(&mut self, job: &Job, world: &mut World) -> bool {
        let Some(lane) = world.lane_of(job) else { return true };
        let known = self.known.get(&lane);
        let is_owed = known.is_some_and(|known| {
            known.message_id == message_id(job.id)
                || job.numbered.is_some_and(|it| it.quarantine == known.id)
                || job.is_replay
        });
        if !is_owed {
            return true;
        }
        if world.database.is_away {
            return false;
        }
        if let Some(numbered) = job.numbered {
            world.released_ended(lane, numbered);
        }
        let held = world.database.ward.held.get(&lane);
        if held.is_some_and(|held| held.message_id == message_id(job.id)) {
            world.release(lane);
        }
        self.look(world);
        true
    }

    /// When a job is tried again that could not be parked.
    pub(crate) fn park_again_ms(world: &World) -> i64 {
        world.now_ms + PARK_AGAIN_MS
    }
}
