//! What follows from the end of an attempt, and commits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jobgate::domain::commit_note::CommitNote;
use jobgate::domain::dispatch::{End, Verdict};
use jobgate::domain::handler::{Failure, Later};
use jobgate::domain::offsets::Progress;
use rand::RngExt as _;

use super::bugs::Bug;
use super::checks::Invariant;
use super::plan::Part;
use super::shell::Worker;
use super::tasks::{Outcome, Stage, Task};
use super::world::{Commit, World};

impl Worker {
    /// What follows from the end of an attempt.
    pub(crate) fn ended(&mut self, task: &Task, outcome: Outcome, world: &mut World) {
        let failure = Failure::new("simulated", "as the seed has it");
        let after = Duration::from_secs(world.random.random_range(0..90));
        let later = Later { failure: failure.clone(), after, spends_attempt: false };
        let end = match outcome {
            Outcome::Done => End::Done,
            Outcome::AlreadyDone | Outcome::Parked => End::Passed,
            Outcome::Fail => End::Fail,
            Outcome::Retry => End::Retry(&failure),
            Outcome::Unavailable => End::Unavailable(&failure),
            Outcome::Later => End::Later(&later),
            Outcome::NotParked => End::NotBegun(&failure, Self::park_again_ms(world)),
        };
        let is_sidelined = world.has(Bug::LaneGoesOn) && outcome == Outcome::Retry;
        let end = if is_sidelined { End::Passed } else { end };
        let jitter = world.random.random_range(0.0..=1.0);
        let verdict = self.dispatcher.ended(&task.ticket, end, world.now_ms, jitter);
        let type_index = task.ticket.type_index();
        let (job, now_ms) = (Arc::clone(&task.job), world.now_ms);
        world.tell(|| format!("worker {}: {job:?} ends as {outcome:?}: {verdict:?}", self.number));
        let is_gone = self.owned.get(&job.part).is_none_or(|owned| owned.epoch != task.epoch);
        world.truth.hold(Invariant::Stale, !is_gone || verdict == Verdict::Stale, || {
            format!("{task:?} has ended as {verdict:?} after its partition was gone")
        });
        if is_sidelined {
            self.tasks.push(Task { stage: Stage::Again, ..task.clone() });
            return;
        }
        if let Some(owned) = self.owned.get_mut(&job.part).filter(|o| o.epoch == task.epoch) {
            owned.accused.remove(&job.offset);
        }
        match verdict {
            Verdict::Finished { .. } => {
                if outcome == Outcome::Done {
                    self.succeeded_ms[type_index] = now_ms;
                }
            }
            Verdict::DeadLetter { attempts } => {
                if outcome == Outcome::Retry {
                    self.check_letter(task, attempts, world);
                }
                self.bury(task, world);
            }
            Verdict::Paused { .. } => {
                world.truth.place(&job).was_paused = true;
                if world.has(Bug::OutageBuries) && outcome == Outcome::Retry {
                    self.check_letter(task, task.attempt, world);
                    self.bury(task, world);
                }
            }
            Verdict::RetryAt { at_ms, attempts, is_long } => {
                if is_long {
                    if let Some(owned) = self.owned.get_mut(&job.part) {
                        owned.noted_below = owned.noted_below.max(job.offset + 1);
                    }
                    task.note_wait(attempts, at_ms, world);
                }
            }
            Verdict::Postpone { at_ms, attempts } => {
                if world.has(Bug::RowNotAwaited) {
                    self.dispatcher.settled(&task.ticket);
                }
                self.tasks.push(Task { stage: Stage::Postpone(attempts, at_ms), ..task.clone() });
            }
            Verdict::NotBegun => {}
            Verdict::Stale => {
                if world.has(Bug::StaleAccepted) {
                    self.dispatcher.passed(&world.plan.parts[job.part], job.offset);
                }
            }
        }
    }

    fn bury(&mut self, task: &Task, world: &World) {
        if world.has(Bug::LetterNotAwaited) {
            self.dispatcher.settled(&task.ticket);
        }
        self.tasks.push(Task { stage: Stage::Write, ..task.clone() });
    }

    /// A tick: commits what has been finished, or hears what became of the last commit. Returns
    /// false if there is nothing to do.
    pub(crate) fn commit(&mut self, may_fail: bool, world: &mut World) -> bool {
        if let Some(commits) = self.is_committing.take() {
            let is_refused = may_fail && world.chance(0.1);
            for (part, epoch, commit) in commits {
                if !is_refused && world.commit(self.number, epoch, part, &commit) {
                    self.committed(part, epoch, commit, world);
                }
            }
            return true;
        }
        let mut commits: Vec<(Part, u64, Commit)> = Vec::new();
        let mut progress: BTreeMap<Part, Progress> = self
            .dispatcher
            .progress()
            .map(|(id, progress)| (world.plan.part_of(id), progress))
            .collect();
        for (part, owned) in &self.owned {
            let Some(progress) = progress.remove(part) else { continue };
            let offset = if world.has(Bug::EarlyCommit) { owned.position } else { progress.offset };
            let progress = Progress { offset, ..progress };
            let commit = (offset, CommitNote::encode(&progress, world.has(Bug::CleanOnKill)));
            if owned.committed.as_ref() != Some(&commit) {
                commits.push((*part, owned.epoch, commit));
            }
        }
        let is_any = !commits.is_empty();
        self.is_committing = is_any.then_some(commits);
        is_any
    }

    fn committed(&mut self, part: Part, epoch: u64, commit: Commit, world: &mut World) {
        let Some(owned) = self.owned.get_mut(&part).filter(|owned| owned.epoch == epoch) else {
            return;
        };
        let offset = commit.0;
        owned.committed = Some(commit);
        if owned.noted_below > 0 {
            if offset >= owned.noted_below {
                owned.noted_below = 0;
            }
            if !world.database.is_away {
                let rows = &mut world.database.attempts;
                rows.retain(|(other, at), _| *other != part || *at >= offset);
            }
        }
    }
}
