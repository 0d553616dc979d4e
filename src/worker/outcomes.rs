//! What comes from the tasks: attempts that have ended, records that were put away, commits.

use std::sync::Arc;

use super::group::Group;
use super::runner::{Ended, Ending, Report, park_again_ms};
use crate::domain::commit_note::CommitNote;
use crate::domain::counters::TypeCounters;
use crate::domain::dispatch::{End, PartitionId, Ticket, Verdict};
use crate::domain::handler::{Failure, Later, Outcome};
use crate::domain::offsets::Progress;
use crate::domain::record::Record;
use crate::domain::replay::Fate;
use crate::kafka::Commit;

impl Group {
    pub(super) fn reported(&mut self, report: Report) {
        match report {
            Report::Ended(all) => {
                let now_ms = self.runner.clock.now_ms();
                let mut jitter = rand::random();
                for ended in all {
                    self.ended(&ended, now_ms, jitter);
                    // Those of one attempt wait alike, so that they stay together.
                    if !ended.ticket.is_joined() {
                        jitter = rand::random();
                    }
                }
            }
            Report::Settled { ticket, record, is_settled, is_buried } => {
                // Not settled: the stop came first. The offset stays open and the record
                // runs again elsewhere.
                if is_settled && self.dispatcher.settled(&ticket) && is_buried {
                    self.runner.terms.settled(&record, Fate::Failed);
                }
            }
            Report::Committed { commits, result } => {
                self.is_committing = false;
                match result {
                    Ok(()) => {
                        self.forget_notes(&commits);
                        self.committed.extend(commits);
                        // Else a job that has ended would still be said to run, and then to wait.
                        self.publish();
                    }
                    // A rebalance, or Kafka is away: the next tick tries again.
                    Err(error) => tracing::debug!(group = self.name, %error, "commit"),
                }
            }
        }
    }

    pub(super) fn ended(&mut self, ended: &Ended, now_ms: i64, jitter: f64) {
        let Ended { ticket, record, ending } = ended;
        let outcome = match ending {
            Ending::Ran(outcome) => outcome,
            Ending::Parked => return self.parked(ticket, record, now_ms),
            Ending::NotParked(failure) => {
                let end = End::NotBegun(failure, park_again_ms(now_ms));
                self.dispatcher.ended(ticket, end, now_ms, 0.0);
                return;
            }
        };
        let (end, failure) = match outcome {
            Outcome::Done => (End::Done, None),
            Outcome::AlreadyDone => (End::Passed, None),
            Outcome::Fail(failure) => (End::Fail, Some(failure)),
            Outcome::Retry(failure) => (End::Retry(failure), Some(failure)),
            Outcome::Unavailable(failure) => (End::Unavailable(failure), Some(failure)),
            Outcome::Later(later) => (End::Later(later), Some(&later.failure)),
        };
        let verdict = self.dispatcher.ended(ticket, end, now_ms, jitter);
        let Some(runnable) = self.runner.types.get(ticket.type_index()) else { return };
        let type_name = &*runnable.name;
        count(&runnable.counters, outcome, &verdict);
        match verdict {
            Verdict::Finished { outage_over } => {
                let is_new = matches!(outcome, Outcome::Done);
                let fate = if is_new { Fate::Done } else { Fate::AlreadyDone };
                self.runner.terms.settled(record, fate);
                if let Some(outage) = outage_over {
                    let away_ms = now_ms - outage.since_ms;
                    tracing::info!(job.r#type = type_name, away_ms, "the outage is over");
                }
                tracing::debug!(job.id = %record.message_id(), job.r#type = type_name, "done");
            }
            Verdict::DeadLetter { attempts } => {
                if let Some(failure) = failure {
                    self.runner.bury(*ticket, Arc::clone(record), failure.clone(), attempts);
                }
            }
            Verdict::Paused { is_news: true } => {
                let error = failure.map_or("", |failure| &failure.message);
                tracing::warn!(job.r#type = type_name, error, "paused by an outage; probing");
            }
            Verdict::Paused { is_news: false } | Verdict::NotBegun => {}
            Verdict::RetryAt { at_ms, attempts, is_long } => {
                log_retry(ended, type_name, failure, at_ms - now_ms);
                if is_long {
                    self.runner.note_wait(Arc::clone(record), attempts, at_ms);
                    self.noted(record);
                }
            }
            Verdict::Postpone { at_ms, attempts } => {
                self.runner.postpone(*ticket, Arc::clone(record), attempts, at_ms);
                log_retry(ended, type_name, failure, at_ms - now_ms);
            }
            Verdict::Stale => tracing::info!(
                job.id = %record.message_id(),
                job.r#type = type_name,
                "ended after its partition was taken away; it may run again elsewhere"
            ),
        }
    }

    /// Neither a success nor a failure: it says nothing of a dependency.
    fn parked(&mut self, ticket: &Ticket, record: &Record, now_ms: i64) {
        self.dispatcher.ended(ticket, End::Passed, now_ms, 0.0);
        let Some(runnable) = self.runner.types.get(ticket.type_index()) else { return };
        TypeCounters::count(&runnable.counters.parked);
        let (job_id, job_type) = (record.message_id(), &*runnable.name);
        tracing::debug!(job.id = %job_id, job.r#type = job_type, "parked: its key is quarantined");
    }

    /// There are rows to throw away once the offset has passed them.
    fn noted(&mut self, record: &Record) {
        let topic = Arc::clone(&record.place.topic);
        let id = PartitionId { topic, partition: record.place.partition };
        let inheritance = self.inherited.entry(id).or_default();
        inheritance.noted_below = inheritance.noted_below.max(record.place.offset + 1);
    }

    fn forget_notes(&mut self, commits: &[(PartitionId, Commit)]) {
        for (id, commit) in commits {
            let Some(inheritance) = self.inherited.get_mut(id) else { continue };
            if inheritance.noted_below == 0 {
                if inheritance.is_spent() {
                    self.inherited.remove(id);
                }
                continue;
            }
            if commit.offset >= inheritance.noted_below {
                inheritance.noted_below = 0;
            }
            if inheritance.is_spent() {
                self.inherited.remove(id);
            }
            let (runner, id, offset) = (Arc::clone(&self.runner), id.clone(), commit.offset);
            self.runner.tracker.spawn(async move {
                runner.attempts.forget_below(&runner.group, &id, offset).await;
            });
        }
    }

    /// Tells the terms how far the group is.
    pub(super) fn tell(&self) {
        for (id, progress) in self.dispatcher.progress() {
            self.runner.terms.reached(id.partition, progress.offset);
        }
        let outage = self.dispatcher.outages().next().map(|(_, outage)| outage.reason.clone());
        let names = self.runner.types.iter().map(|runnable| &*runnable.name);
        let pause = names.filter_map(|name| self.paused.of(name)).map(|pause| pause.shown()).next();
        self.runner.terms.waits_for(outage.or(pause.map(|pause| pause.reason)).as_deref());
    }

    pub(super) fn commit(&mut self) {
        self.tell();
        if self.is_committing {
            return;
        }
        let commits: Vec<(PartitionId, Commit)> = self
            .dispatcher
            .progress()
            .map(|(id, progress)| (id.clone(), commit_of(&progress, false)))
            .filter(|(id, commit)| self.committed.get(id) != Some(commit))
            .collect();
        if commits.is_empty() {
            return;
        }
        self.is_committing = true;
        let commit = self.consumer.commit(commits.clone());
        let reports = self.runner.reports.clone();
        self.runner.tracker.spawn(async move {
            let result = commit.await;
            let _ = reports.send(Report::Committed { commits, result });
        });
    }
}

/// A commit that says also what is done above its offset, and whether it is the last one of a
/// worker that leaves in good order.
pub(super) fn commit_of(progress: &Progress, is_clean: bool) -> Commit {
    Commit { offset: progress.offset, note: CommitNote::encode(progress, is_clean) }
}

/// The class alone: the message may quote the payload.
fn log_retry(ended: &Ended, type_name: &str, failure: Option<&Failure>, wait_ms: i64) {
    tracing::info!(
        job.id = %ended.record.message_id(),
        job.r#type = type_name,
        wait_ms,
        error = failure.map_or("", |failure| &failure.class),
        "retry"
    );
}

fn count(counters: &TypeCounters, outcome: &Outcome, verdict: &Verdict) {
    let counter = match outcome {
        Outcome::Done => &counters.succeeded,
        Outcome::AlreadyDone => &counters.already_done,
        Outcome::Unavailable(_) | Outcome::Later(Later { spends_attempt: false, .. }) => {
            &counters.unavailable
        }
        Outcome::Fail(_) | Outcome::Retry(_) | Outcome::Later(_) => &counters.failed,
    };
    TypeCounters::count(counter);
    if matches!(verdict, Verdict::RetryAt { .. } | Verdict::Postpone { .. }) {
        TypeCounters::count(&counters.retried);
    }
}
