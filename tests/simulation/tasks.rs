//! What a worker has under way: attempts, dead letters and rows that are being written. Each
//! moves a stage at a time, and a process may end between any two.

use std::fmt;
use std::sync::Arc;

use jobgate::domain::dispatch::{Suspicion, Ticket};

use super::bugs::Bug;
use super::checks::{Ending, Noted};
use super::plan::{Job, Nature};
use super::shell::Worker;
use super::world::{Row, World};

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    AlreadyDone,
    Fail,
    Retry,
    Unavailable,
    /// Not now, for reasons of the job alone; the attempt does not count.
    Later,
    /// Its key is quarantined, and it is put aside; or cannot be yet.
    Parked,
    NotParked,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It is put aside in place of being run.
    Park,
    /// It is noted that the attempt starts.
    Note,
    Run,
    /// Only of a mistaken worker: the claim that belonged into the effect's transaction.
    Claim,
    /// It is noted how the attempt ended.
    Clear(Outcome),
    Report(Outcome),
    /// The dead letter is written.
    Write,
    /// The letter comes to hold its key.
    Hold,
    /// The row is written that brings the record back: after so many attempts, at this time.
    Postpone(u32, i64),
    /// The machine is told that the record was put away: whether as a dead letter.
    Settle(bool),
    /// Only of a mistaken worker: an attempt outside of the machine.
    Again,
}

/// An attempt, and what follows from it.
#[derive(Clone)]
pub(crate) struct Task {
    pub(crate) is_given_up: bool,
    /// When it was started.
    pub(crate) begun_ms: i64,
    pub(crate) ticket: Ticket,
    pub(crate) job: Arc<Job>,
    /// The assignment.
    pub(crate) epoch: u64,
    pub(crate) attempt: u32,
    pub(crate) suspicion: Suspicion,
    /// What was noted says that it has ended a process.
    pub(crate) is_accused: bool,
    pub(crate) is_noted: bool,
    /// The outage that it is a probe of.
    pub(crate) probe_since_ms: Option<i64>,
    pub(crate) stage: Stage,
}

impl fmt::Debug for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { job, epoch, attempt, suspicion, stage, .. } = self;
        write!(formatter, "{job:?}, attempt {attempt}, {suspicion:?}, {stage:?}, epoch {epoch}")?;
        let probe = self.probe_since_ms;
        probe.map_or(Ok(()), |since_ms| write!(formatter, ", probe of {since_ms}"))
    }
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// There was nothing to do, or it cannot be done now.
    None,
    Done,
    /// The process has ended.
    Died,
}

impl Task {
    /// Whether it is an attempt that runs.
    pub(crate) fn runs(&self) -> bool {
        use Stage::{Again, Hold, Park, Postpone, Settle, Write};
        !matches!(self.stage, Park | Write | Hold | Postpone(..) | Settle(_) | Again)
    }

    fn note(
        &self,
        attempts: u32,
        is_open: bool,
        not_before_ms: Option<i64>,
        world: &mut World,
    ) -> bool {
        let is_away = world.database.is_away;
        let place = world.truth.place(&self.job);
        place.is_note_lost = is_away;
        place.forgiven += u32::from(is_away);
        if !is_away {
            let row = Row { id: self.job.id, attempts, is_open, not_before_ms };
            world.database.attempts.insert((self.job.part, self.job.offset), row);
        }
        !is_away
    }

    /// It waits long for its next attempt.
    pub(crate) fn note_wait(&self, attempts: u32, at_ms: i64, world: &mut World) {
        self.note(attempts, false, Some(at_ms), world);
    }

    /// The stop has ended it.
    pub(crate) fn note_abandoned(&self, world: &mut World) {
        if self.suspicion != Suspicion::None {
            self.note(self.attempt - 1, false, None, world);
        }
    }

    fn clear(&self, outcome: Outcome, world: &mut World) {
        match outcome {
            Outcome::Retry | Outcome::Fail => {
                self.note(self.attempt, false, None, world);
            }
            Outcome::Unavailable | Outcome::Later => {
                self.note(self.attempt - 1, false, None, world);
            }
            Outcome::Done | Outcome::AlreadyDone => {
                let is_away = world.database.is_away;
                world.truth.place(&self.job).is_note_lost = is_away;
                if !is_away {
                    world.database.attempts.remove(&(self.job.part, self.job.offset));
                }
            }
            Outcome::Parked | Outcome::NotParked => {}
        }
    }

    fn begin(&mut self, world: &mut World) {
        let attempts_max = world.plan.attempts_max(self.job.part);
        // One that runs beside others may not be to blame: this attempt does not count, and it has
        // at least one alone before it is given up, also where an outage has let it spend all.
        let attempts = match self.suspicion {
            Suspicion::Alone => self.attempt,
            _ if world.has(Bug::WatchedConvicts) => self.attempt,
            _ if world.has(Bug::OutageConvicts) => self.attempt - 1,
            _ => (self.attempt - 1).min(attempts_max - 1),
        };
        self.is_noted = self.note(attempts, true, None, world);
        self.stage = Stage::Run;
    }

    fn run(&self, world: &mut World) -> Outcome {
        let job = &*self.job;
        if job.nature == Nature::Poison {
            return Outcome::Fail;
        }
        if world.database.is_away {
            return Outcome::Unavailable;
        }
        if world.database.claims.contains(&job.id) && !world.has(Bug::NoClaim) {
            return Outcome::AlreadyDone;
        }
        if world.is_out[world.plan.kind_of[job.part]] {
            return if world.chance(0.5) { Outcome::Retry } else { Outcome::Unavailable };
        }
        if !world.succeeds(job, self.attempt) {
            return if world.chance(0.2) { Outcome::Later } else { Outcome::Retry };
        }
        if world.has(Bug::ClaimApart) {
            world.truth.effect(job);
        } else if world.has(Bug::NoClaim) {
            world.database.claims.insert(job.id);
            world.truth.effect(job);
        } else {
            world.claim_with_effect(job);
        }
        world.truth.ended(job, self.epoch, Ending::Effect);
        Outcome::Done
    }

    fn after(&self, outcome: Outcome, world: &World) -> Stage {
        if world.has(Bug::ClaimApart) && outcome == Outcome::Done && self.stage == Stage::Run {
            Stage::Claim
        } else if self.suspicion != Suspicion::None {
            Stage::Clear(outcome)
        } else {
            Stage::Report(outcome)
        }
    }
}

impl Worker {
    /// One thing of what is under way goes on.
    pub(crate) fn advance(&mut self, at: usize, world: &mut World) -> Step {
        let Some(task) = self.tasks.get_mut(at) else { return Step::None };
        match task.stage {
            Stage::Park => self.advance_parking(at, world),
            Stage::Note => {
                task.begin(world);
                let is_ours = world.owns(self.number, task.epoch, task.job.part);
                world.truth.place(&task.job).last_noted = match task.suspicion {
                    Suspicion::Alone if is_ours => Noted::Alone,
                    Suspicion::Alone => Noted::Broken,
                    _ => Noted::Beside,
                };
            }
            Stage::Run if task.job.nature == Nature::Killer => {
                let attempts_max = world.plan.attempts_max(task.job.part);
                world.tell(|| format!("{task:?} ends its process"));
                // Beside a worker that has it already it may die once more.
                let is_taken_away = !world.owns(self.number, task.epoch, task.job.part);
                world.truth.place(&task.job).forgiven += u32::from(is_taken_away);
                world.truth.killed(&task.job, task.is_noted, attempts_max);
                return Step::Died;
            }
            Stage::Run => {
                let outcome = task.run(world);
                task.stage = task.after(outcome, world);
            }
            Stage::Claim => {
                world.database.claims.insert(task.job.id);
                task.stage = task.after(Outcome::Done, world);
            }
            Stage::Clear(outcome) => {
                task.clear(outcome, world);
                task.stage = Stage::Report(outcome);
            }
            Stage::Report(outcome) => {
                let job = Arc::clone(&task.job);
                let is_success = matches!(outcome, Outcome::Done | Outcome::AlreadyDone);
                if is_success && !self.pay(&job, world) {
                    return Step::None;
                }
                let task = self.tasks.swap_remove(at);
                if !(world.has(Bug::ProbeNeverReleased)
                    && task.probe_since_ms.is_some()
                    && matches!(outcome, Outcome::Fail | Outcome::AlreadyDone))
                {
                    self.shares.free(task.ticket.is_critical(), task.ticket.is_alone());
                    self.ended(&task, outcome, world);
                }
                self.pump(world, false);
            }
            Stage::Write => self.write_letter(at, world),
            Stage::Hold => {
                let job = Arc::clone(&task.job);
                if !self.hold(&job, world) {
                    return Step::None;
                }
                if world.has(Bug::HoldNotAwaited) {
                    self.tasks.swap_remove(at);
                } else {
                    self.tasks[at].stage = Stage::Settle(true);
                }
            }
            Stage::Postpone(attempts, at_ms) => {
                if world.database.is_away {
                    return Step::None;
                }
                let (place, job) = ((task.job.part, task.job.offset), Arc::clone(&task.job));
                world.database.schedule.insert(place, (at_ms, attempts, job));
                world.truth.ended(&task.job, task.epoch, Ending::Row);
                task.stage = Stage::Settle(false);
            }
            Stage::Settle(is_letter) => {
                let task = self.tasks.swap_remove(at);
                let mistake = if is_letter { Bug::LetterNotAwaited } else { Bug::RowNotAwaited };
                if !world.has(mistake) {
                    self.dispatcher.settled(&task.ticket);
                }
                self.pump(world, false);
            }
            Stage::Again => {
                task.attempt += 1;
                let outcome = task.run(world);
                if matches!(outcome, Outcome::Done | Outcome::AlreadyDone) {
                    self.tasks.swap_remove(at);
                }
            }
        }
        Step::Done
    }

    /// A job is put aside, or runs after all.
    fn advance_parking(&mut self, at: usize, world: &mut World) {
        let mut task = self.tasks.swap_remove(at);
        if let Some(stage) = self.park(&task, world) {
            task.stage = stage;
        } else if task.is_given_up {
            self.shares.free(task.ticket.is_critical(), task.ticket.is_alone());
            self.given_up(task, world);
            self.pump(world, false);
            return;
        } else {
            let is_noted = task.suspicion != Suspicion::None;
            task.stage = if is_noted { Stage::Note } else { Stage::Run };
            self.check_start(&task, world);
            self.check_quarantine(&task, world);
        }
        self.tasks.push(task);
    }

    fn write_letter(&mut self, at: usize, world: &mut World) {
        let task = &mut self.tasks[at];
        world.truth.ended(&task.job, task.epoch, Ending::Letter);
        world.tell(|| format!("dead letter of {:?}", task.job));
        let is_owner = world.owns(self.number, task.epoch, task.job.part);
        world.lettered(&task.job, is_owner);
        // Its acknowledgement was lost, and nobody looks whether it is there.
        let is_again = world.has(Bug::LetterTwice) && world.chance(0.1);
        task.stage = if is_again { Stage::Write } else { Stage::Hold };
        if world.has(Bug::HoldNotAwaited) {
            let ticket = task.ticket;
            self.dispatcher.settled(&ticket);
            self.pump(world, false);
        }
    }

    /// The stop's time is over.
    pub(crate) fn abandon(&mut self, world: &mut World) {
        self.is_leaving = true;
        let (kept, ended): (Vec<Task>, Vec<Task>) = self.tasks.drain(..).partition(|task| {
            matches!(
                task.stage,
                Stage::Clear(_) | Stage::Report(_) | Stage::Settle(_) | Stage::Claim
            )
        });
        self.tasks = kept;
        for task in ended {
            world.truth.cut(&task);
            if task.runs() {
                task.note_abandoned(world);
            }
        }
    }
}
