//! The tasks of a group: they run attempts, put records away, and report.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Runnable;
use super::attempt::{self, Terms as AttemptTerms};
use super::slots::Place;
use super::terms::Terms;
use crate::domain::clock::{SharedClock, millis};
use crate::domain::counters::TypeCounters;
use crate::domain::dispatch::{PartitionId, Start, Suspicion, Ticket};
use crate::domain::handler::{Failure, Later, Outcome};
use crate::domain::quarantine::{PARKED_MAX, Passage};
use crate::domain::record::Record;
use crate::kafka::{Commit, KafkaFault};
use crate::operations::{AttemptLog, Noted, Undertaker};
use crate::store::ParkEnd;

/// Attempts that one task begins, one after the other. Most of what a task costs is waking the
/// thread that runs it; more than so many would make the last wait for what the first does
/// before it waits for something itself.
const BEGUN_AT_ONCE: usize = 16;

/// How long a job waits that could not be parked, until it is tried again.
const PARK_AGAIN: Duration = Duration::from_secs(1);

/// What a place was taken for has ended.
pub(super) struct Ended {
    pub(super) ticket: Ticket,
    pub(super) record: Arc<Record>,
    pub(super) ending: Ending,
}

/// How it ended.
pub(super) enum Ending {
    /// An attempt was made.
    Ran(Outcome),
    /// Its key is quarantined, and the job was put aside.
    Parked,
    /// So it is, and the job could not be put aside yet.
    NotParked(Failure),
}

/// What a task reports. There are never more than jobs running and records being put away, so
/// the channel needs no bound of its own.
pub(super) enum Report {
    Ended(Vec<Ended>),
    /// The record was put away, or the stop came first.
    Settled {
        ticket: Ticket,
        record: Arc<Record>,
        is_settled: bool,
        is_buried: bool,
    },
    Committed {
        commits: Vec<(PartitionId, Commit)>,
        result: Result<(), KafkaFault>,
    },
}

/// What tasks need.
pub(super) struct Runner {
    pub(super) group: String,
    /// Where effects are claimed.
    pub(super) scope: Arc<str>,
    /// In the order of the dispatcher's types.
    pub(super) types: Vec<Runnable>,
    pub(super) terms: Arc<dyn Terms>,
    pub(super) undertaker: Undertaker,
    pub(super) attempts: AttemptLog,
    pub(super) reports: mpsc::UnboundedSender<Report>,
    pub(super) tracker: TaskTracker,
    pub(super) clock: SharedClock,
    /// Ends what still runs when the drain's time is over.
    pub(super) abandon: CancellationToken,
    pub(super) attempt_timeout: Duration,
}

/// An attempt with its place in the process.
pub(super) type Placed = (Start<Record>, Place);

impl Runner {
    /// Runs attempts, each to its end.
    pub(super) fn start(self: &Arc<Self>, starts: Vec<Placed>) {
        let mut starts = starts.into_iter().peekable();
        while starts.peek().is_some() {
            let some: Vec<Placed> = starts.by_ref().take(BEGUN_AT_ONCE).collect();
            let runner = Arc::clone(self);
            self.tracker.spawn(async move { runner.begin(some).await });
        }
    }

    /// Begins them one by one. One that has ended at once needs no task of its own, and most do
    /// not end at once.
    async fn begin(self: Arc<Self>, starts: Vec<Placed>) {
        let parks: Vec<bool> = starts.iter().map(|(start, _)| self.parks_any(start)).collect();
        let runs = starts.iter().zip(&parks).filter(|(_, parks)| !**parks);
        self.note_starts(runs.map(|((start, _), _)| start)).await;
        let mut ended = Vec::with_capacity(starts.len());
        for ((start, place), parks) in starts.into_iter().zip(parks) {
            let runner = Arc::clone(&self);
            let mut attempt: BoxFuture<'static, Vec<Ended>> = match (start.also.is_empty(), parks) {
                (true, true) => Box::pin(runner.park(start, place).map(Vec::from_iter)),
                (true, false) => Box::pin(runner.attempt(start, place).map(Vec::from_iter)),
                (false, true) => Box::pin(runner.park_apart(start, place)),
                (false, false) => Box::pin(runner.merged(start, place)),
            };
            if let Some(end) = (&mut attempt).now_or_never() {
                ended.extend(end);
                continue;
            }
            let reports = self.reports.clone();
            self.tracker.spawn(async move {
                let ended = attempt.await;
                if !ended.is_empty() {
                    let _ = reports.send(Report::Ended(ended));
                }
            });
        }
        if !ended.is_empty() {
            let _ = self.reports.send(Report::Ended(ended));
        }
    }

    /// Writes down those that may end the process, all at once, before the first one starts.
    async fn note_starts(&self, starts: impl Iterator<Item = &Start<Record>>) {
        let starting = starts.flat_map(|start| {
            let joined = start.also.iter().map(|it| (&it.item, it.suspicion, it.attempt));
            let first = (&start.item, start.suspicion, start.attempt);
            let type_index = start.ticket.type_index();
            iter::once(first).chain(joined).map(move |start| (type_index, start))
        });
        let suspects = starting.filter(|(_, (_, suspicion, _))| *suspicion != Suspicion::None);
        let notes: Vec<(&Record, Noted)> = suspects
            .map(|(type_index, (record, suspicion, attempt))| {
                (&**record, Noted::Starts(self.counted(type_index, suspicion, attempt)))
            })
            .collect();
        if !notes.is_empty() {
            self.attempts.note(&self.group, &notes).await;
        }
    }

    /// Attempts that count, should this one end the process. Of many that run at that moment one
    /// is to blame: an end counts once that has been found out, and nobody is given up before.
    fn counted(&self, type_index: usize, suspicion: Suspicion, attempt: u32) -> u32 {
        if suspicion == Suspicion::Alone {
            return attempt;
        }
        let runnable = self.types.get(type_index);
        let most = runnable.map_or(0, |runnable| runnable.record_type.retry.attempts);
        attempt.min(most).saturating_sub(1)
    }

    /// Whether a dead letter of this type quarantines its key.
    pub(super) fn asks_for_quarantine(&self, runnable: &Runnable) -> bool {
        let quarantines = self.terms.quarantines();
        quarantines.is_some_and(|all| all.is_asked_for(&runnable.record_type.topic.name))
    }

    /// Whether a job is put aside in place of being run.
    pub(super) fn parks(&self, record: &Record) -> bool {
        let quarantines = self.terms.quarantines();
        quarantines.is_some_and(|known| known.passage(&self.group, record) == Passage::Parks)
    }

    fn parks_any(&self, start: &Start<Record>) -> bool {
        self.parks(&start.item) || start.also.iter().any(|joined| self.parks(&joined.item))
    }

    /// Puts a job aside, or runs it if its key is free by now.
    async fn park(self: Arc<Self>, start: Start<Record>, place: Place) -> Option<Ended> {
        let quarantines = self.terms.quarantines()?;
        let parked = tokio::select! {
            biased;
            parked = quarantines.park(&self.group, &start.item) => parked,
            () = self.abandon.cancelled() => return None,
        };
        let ending = match parked {
            Ok(ParkEnd::Parked) => {
                if start.suspicion == Suspicion::Alone {
                    self.attempts.forget(&self.group, &start.item).await;
                }
                Ending::Parked
            }
            Ok(ParkEnd::Runs) if start.is_given_up => Ending::Ran(given_up(&start)),
            Ok(ParkEnd::Runs) => {
                self.note_starts(std::iter::once(&start)).await;
                return self.attempt(start, place).await;
            }
            Ok(ParkEnd::Full) => {
                let message = format!("its key is quarantined, and {PARKED_MAX} jobs are parked");
                Ending::NotParked(Failure::new("quarantined", message))
            }
            Err(error) => {
                let message = "its key is quarantined, and the database that keeps it is away";
                tracing::warn!(job.id = %start.item.message_id(), %error, message);
                Ending::NotParked(Failure::new("quarantined", message))
            }
        };
        Some(Ended { ticket: start.ticket, record: start.item, ending })
    }

    /// None where nobody waits for the end any more; the record runs again elsewhere.
    async fn attempt(self: Arc<Self>, start: Start<Record>, _place: Place) -> Option<Ended> {
        let Start { ticket, attempt, suspicion, item: record, .. } = start;
        let runnable = self.types.get(ticket.type_index())?;
        let running = runnable.counters.begin();
        let begun = Instant::now();
        let terms = AttemptTerms {
            scope: &self.scope,
            attempt,
            timeout: runnable.timeout.unwrap_or(self.attempt_timeout),
        };
        let outcome = {
            let run = std::pin::pin!(attempt::run(runnable, Arc::clone(&record), terms));
            tokio::select! {
                biased;
                outcome = run => Some(outcome),
                () = self.abandon.cancelled() => None,
            }
        };
        runnable.counters.attempt_time.observe(begun.elapsed());
        drop(running);
        // It is cleared before its place is free: whoever runs alone after it may end the process.
        if suspicion != Suspicion::None {
            self.clear(&record, attempt, outcome.as_ref()).await;
        }
        let outcome = outcome?;
        if !self.is_settled(&record, &outcome).await {
            return None;
        }
        Some(Ended { ticket, record, ending: Ending::Ran(outcome) })
    }

    /// What else a success settles. False if the stop came first: then it has to come again.
    pub(super) async fn is_settled(&self, record: &Record, outcome: &Outcome) -> bool {
        if !matches!(outcome, Outcome::Done | Outcome::AlreadyDone) || !self.terms.resolves() {
            return true;
        }
        self.undertaker.resolve(record, &self.abandon).await;
        match self.terms.quarantines() {
            Some(quarantines) if quarantines.is_owed(&self.group, record) => {
                // Apart, since it makes every attempt larger.
                Box::pin(quarantines.succeeded(&self.group, record, &self.abandon)).await
            }
            _ => true,
        }
    }

    /// An attempt that was written down is over, and the process is still there.
    pub(super) async fn clear(&self, record: &Record, attempt: u32, outcome: Option<&Outcome>) {
        let attempts = match outcome {
            Some(Outcome::Done | Outcome::AlreadyDone) => {
                return self.attempts.forget(&self.group, record).await;
            }
            Some(Outcome::Later(Later { spends_attempt: false, .. }) | Outcome::Unavailable(_))
            | None => attempt.saturating_sub(1),
            Some(Outcome::Retry(_) | Outcome::Fail(_) | Outcome::Later(_)) => attempt,
        };
        self.attempts.note(&self.group, &[(record, Noted::Rests(attempts))]).await;
    }

    /// Puts a record away for good.
    pub(super) fn bury(
        self: &Arc<Self>,
        ticket: Ticket,
        record: Arc<Record>,
        failure: Failure,
        attempts: u32,
    ) {
        let runner = Arc::clone(self);
        self.tracker.spawn(async move {
            let is_settled = runner.terms.bury(&record, &failure, attempts, &runner.abandon).await;
            if is_settled && let Some(runnable) = runner.types.get(ticket.type_index()) {
                TypeCounters::count(&runnable.counters.dead_lettered);
            }
            let report = Report::Settled { ticket, record, is_settled, is_buried: true };
            let _ = runner.reports.send(report);
        });
    }

    /// Writes the row that brings a record back when it is due.
    pub(super) fn postpone(
        self: &Arc<Self>,
        ticket: Ticket,
        record: Arc<Record>,
        attempts: u32,
        at_ms: i64,
    ) {
        let runner = Arc::clone(self);
        self.tracker.spawn(async move {
            let is_settled = runner.terms.postpone(&record, attempts, at_ms, &runner.abandon).await;
            let report = Report::Settled { ticket, record, is_settled, is_buried: false };
            let _ = runner.reports.send(report);
        });
    }

    /// Notes how often a job was tried, since it waits long for its next attempt.
    pub(super) fn note_wait(self: &Arc<Self>, record: Arc<Record>, attempts: u32, at_ms: i64) {
        let runner = Arc::clone(self);
        self.tracker.spawn(async move {
            let noted = [(&*record, Noted::Waits(attempts, at_ms))];
            runner.attempts.note(&runner.group, &noted).await;
        });
    }
}

/// A job has ended the process as often as it may.
pub(super) fn given_up(start: &Start<Record>) -> Outcome {
    let count = start.attempt.saturating_sub(1);
    let message = format!(
        "the process ended while this job ran with no other beside it, and none of its {count} \
         attempts is left"
    );
    Outcome::Fail(Failure::new("crashed", message))
}

/// How long from now a job that could not be parked is tried again.
pub(super) fn park_again_ms(now_ms: i64) -> i64 {
    now_ms.saturating_add(millis(PARK_AGAIN))
}
