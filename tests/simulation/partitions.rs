//! Partitions of a worker: how they come and go, and what is known of the records in them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jobgate::domain::commit_note::CommitNote;
use jobgate::domain::dispatch::{Arrival, Past, Suspicion};
use jobgate::domain::offset_map::DoneRanges;
use jobgate::domain::offsets::Progress;

use super::bugs::Bug;
use super::checks::Invariant;
use super::plan::{Job, Part, prefix_of};
use super::shell::Worker;
use super::world::{Commit, Row, World};

/// What the consumer's thread says.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// With the number of the assignment, the last commit, and the end of the log.
    Assigned(Part, u64, Option<Commit>, i64),
    Revoking(Vec<Part>),
    Lost(Vec<Part>),
}

/// A partition that this worker has.
#[derive(Default)]
pub(crate) struct Owned {
    pub(crate) epoch: u64,
    /// What is fetched next.
    pub(crate) position: i64,
    pub(crate) is_paused: bool,
    remembered: BTreeMap<i64, Row>,
    /// Jobs that may have ended a process, for all that was noted.
    pub(crate) accused: BTreeSet<i64>,
    watched_below: i64,
    watched_left: usize,
    pub(crate) noted_below: i64,
    /// What the commit says that was there at first.
    pub(crate) found: Found,
    /// The commit of one of which nothing has come, where the worker before let it go in good
    /// order or had nothing left to do.
    word: Option<Commit>,
    pub(crate) committed: Option<Commit>,
}

/// An offset and what is done above it, before anything has arrived.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) offset: i64,
    done_above: DoneRanges,
}

impl Worker {
    /// Lets partitions go once their jobs have ended, or their time is over.
    pub(crate) fn answer_revocation(&mut self, world: &mut World) {
        let Some(parts) = self.revocation.take() else { return };
        let ids: Vec<_> = parts.iter().map(|part| world.plan.parts[*part].clone()).collect();
        let is_quiet = self.is_leaving || self.dispatcher.is_quiet(&ids);
        // Sometimes its time is over before that.
        let is_over = world.plan.faults.rebalances && world.chance(0.05);
        if !is_quiet && !is_over {
            self.revocation = Some(parts);
            return;
        }
        let commits: Vec<(Part, Progress)> = self
            .dispatcher
            .progress()
            .filter(|(id, _)| ids.contains(id))
            .map(|(id, progress)| (world.plan.part_of(id), progress))
            .collect();
        for (part, progress) in commits {
            let epoch = self.owned.get(&part).map_or(0, |owned| owned.epoch);
            let commit = (progress.offset, CommitNote::encode(&progress, is_quiet));
            if world.commit(self.number, epoch, part, &commit) && is_quiet {
                world.truth.clean_ends[part] += 1;
            }
        }
        for part in &parts {
            let Some(owned) = self.owned.get_mut(part) else { continue };
            let epoch = owned.epoch;
            // Nobody has said it yet where the worker before was killed.
            if let Some(word) = owned.word.take().filter(|_| is_quiet)
                && world.commit(self.number, epoch, *part, &said_again(&word, true))
            {
                world.truth.clean_ends[*part] += 1;
            }
            if world.owns(self.number, epoch, *part) {
                world.parts[*part].owner = None;
            }
        }
        self.forget(&parts, world);
    }

    /// Partitions are gone.
    pub(crate) fn forget(&mut self, parts: &[Part], world: &mut World) {
        let ids: Vec<_> = parts.iter().map(|part| world.plan.parts[*part].clone()).collect();
        if world.has(Bug::CommitOfRevoked) {
            // What it knew is committed after all, later.
            let late = self.dispatcher.progress().filter(|(id, _)| ids.contains(id));
            let late = late.map(|(id, progress)| {
                let text = CommitNote::encode(&progress, false);
                (world.plan.part_of(id), 0, (progress.offset, text))
            });
            self.is_committing = Some(late.collect());
        }
        if !world.has(Bug::RevokedUntold) {
            self.dispatcher.revoked(&ids);
        }
        for task in self.tasks.iter().filter(|task| parts.contains(&task.job.part)) {
            world.truth.cut(task);
        }
        for part in parts {
            self.owned.remove(part);
        }
    }

    /// Takes what the consumer's thread has said. Returns false if it said nothing.
    pub(crate) fn take_event(&mut self, world: &mut World) -> bool {
        // The thread waits for the answer.
        if self.revocation.is_some() && !matches!(self.events.front(), Some(Event::Lost(_))) {
            return false;
        }
        let Some(event) = self.events.pop_front() else { return false };
        world.tell(|| format!("worker {}: {event:?}", self.number));
        if let Some(parts) = self.revocation.take() {
            self.forget(&parts, world);
        }
        match event {
            Event::Assigned(part, epoch, commit, end) => {
                self.assigned(part, epoch, commit, end, world);
            }
            Event::Revoking(parts) => {
                let ids: Vec<_> = parts.iter().map(|p| world.plan.parts[*p].clone()).collect();
                self.dispatcher.closing(&ids);
                self.revocation = Some(parts);
            }
            Event::Lost(parts) => self.forget(&parts, world),
        }
        self.pump(world, false);
        true
    }

    fn assigned(
        &mut self,
        part: Part,
        epoch: u64,
        commit: Option<Commit>,
        end: i64,
        world: &mut World,
    ) {
        let note = commit.as_ref().map(|(offset, text)| CommitNote::decode(*offset, text));
        let note = note.unwrap_or_default();
        let offset = commit.as_ref().map_or(0, |(offset, _)| *offset);
        let mut remembered = BTreeMap::new();
        if world.database.is_away {
            let attempts_max = world.plan.attempts_max(part);
            world.truth.forgets(part, attempts_max);
        } else if !world.has(Bug::AttemptsForgotten) {
            let rows = world.database.attempts.range((part, i64::MIN)..=(part, i64::MAX));
            remembered = rows.map(|((_, offset), row)| (*offset, *row)).collect();
        }
        let done = match &commit {
            Some((offset, text)) if world.has(Bug::NoteAtAnotherBase) => {
                CommitNote::decode(offset + 1, text).done_above
            }
            Some(_) if world.has(Bug::MapOffByOne) => shifted(&note.done_above, offset, end),
            Some(_) if world.has(Bug::NoteIgnored) => DoneRanges::default(),
            _ => note.done_above.clone(),
        };
        let owned = Owned {
            epoch,
            position: offset,
            noted_below: remembered.keys().max().map_or(0, |offset| offset + 1),
            remembered,
            watched_below: if note.is_clean { 0 } else { end },
            watched_left: world.plan.watched(world.has(Bug::WatchCountsDone)),
            found: Found { offset, done_above: note.done_above },
            word: commit.filter(|(offset, _)| note.is_clean || *offset >= end),
            ..Owned::default()
        };
        self.owned.insert(part, owned);
        self.read_quarantines(part, world);
        self.dispatcher.assigned([(world.plan.parts[part].clone(), done)]);
    }

    /// Takes in what there is of one partition. Returns false if there is nothing.
    pub(crate) fn take_records(&mut self, part: Part, world: &mut World) -> bool {
        let Some(owned) = self.owned.get_mut(&part) else { return false };
        if owned.is_paused || self.revocation.is_some() || self.is_stopping {
            return false;
        }
        let jobs = world.fetch(part, owned.position);
        let Some(last) = jobs.last() else { return false };
        owned.position = last.offset + 1;
        self.take_back_word(part, world);
        for job in jobs {
            self.arrived(&job, world);
        }
        let per_part = world.plan.limits.waiting_per_partition + world.plan.batch;
        let view = self.dispatcher.view();
        let held =
            view.running.len() + view.retrying.len() + view.leaving + view.parked + view.waiting;
        let most = per_part * self.owned.len();
        world.truth.hold(Invariant::Memory, held <= most, || format!("{held} are held of {most}"));
        self.pump(world, false);
        true
    }

    /// Before its first job starts it is no longer said that the partition was left in good order.
    fn take_back_word(&mut self, part: Part, world: &mut World) {
        let Some(owned) = self.owned.get_mut(&part) else { return };
        let Some(left) = owned.word.take() else { return };
        let is_clean = CommitNote::decode(left.0, &left.1).is_clean;
        if !is_clean || world.has(Bug::CleanMarkKept) {
            return;
        }
        // Sometimes Kafka does not take it, or not in time.
        let is_refused = world.chance(0.1);
        if is_refused || !world.commit(self.number, owned.epoch, part, &said_again(&left, false)) {
            owned.watched_below = i64::MAX;
            owned.watched_left = world.plan.watched(false);
        }
    }

    fn arrived(&mut self, job: &Arc<Job>, world: &mut World) {
        let Some(owned) = self.owned.get_mut(&job.part) else { return };
        let id = &world.plan.parts[job.part];
        if !job.is_ours {
            self.dispatcher.passed(id, job.offset);
            return;
        }
        let attempts_max = world.plan.attempts_max(job.part);
        let mut past = owned.past_of(job, attempts_max, world.bug);
        if world.has(Bug::AccusedSideBySide) && past.suspicion == Suspicion::Alone {
            past.suspicion = Suspicion::Watched;
        }
        let key = if world.has(Bug::KeyIgnored) { None } else { job.key };
        let prefix = if world.has(Bug::PrefixLeaks) && job.offset % 3 == 0 {
            None
        } else {
            prefix_of(job.key)
        };
        let arrival = Arrival {
            offset: job.offset,
            key: key.map(str::as_bytes),
            prefix: prefix.map(str::as_bytes),
            size_bytes: 10,
            past,
            item: Arc::clone(job),
        };
        self.dispatcher.arrived(id, arrival, world.now_ms);
    }
}

impl Owned {
    fn past_of(&mut self, job: &Job, attempts_max: u32, bug: Option<Bug>) -> Past {
        let attempts = job.attempts_before.min(attempts_max - 1);
        let mut past = Past { attempts, ..Past::default() };
        if let Some(row) = self.remembered.remove(&job.offset).filter(|row| row.id == job.id) {
            past = Past { not_before_ms: row.not_before_ms, attempts: row.attempts, ..past };
            if row.is_open {
                self.accused.insert(job.offset);
                return Past { suspicion: Suspicion::Alone, ..past };
            }
        }
        let watched = Past { suspicion: Suspicion::Watched, ..past };
        // What is done does not run, so it is none of those that may have been running.
        let counts =
            !self.found.done_above.contains(job.offset) || bug == Some(Bug::WatchCountsDone);
        if job.offset >= self.watched_below || self.watched_left == 0 || !counts {
            return past;
        }
        self.watched_left -= 1;
        self.noted_below = self.noted_below.max(job.offset + 1);
        watched
    }
}

/// The same commit, with or without the word that all is in good order.
fn said_again((offset, text): &Commit, is_clean: bool) -> Commit {
    let done_above = CommitNote::decode(*offset, text).done_above;
    (*offset, CommitNote::encode(&Progress { offset: *offset, done_above }, is_clean))
}

/// The same pattern, one offset further.
fn shifted(done: &DoneRanges, base: i64, end: i64) -> DoneRanges {
    let open = (base..=end).filter(|offset| !done.contains(offset - 1));
    DoneRanges::between(base, end + 1, open)
}
