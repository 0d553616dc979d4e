//! The tasks of a group: each runs one attempt, or puts one record away, and reports.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Runnable;
use super::attempt;
use super::terms::Terms;
use crate::domain::clock::SharedClock;
use crate::domain::counters::TypeCounters;
use crate::domain::dispatch::{PartitionId, Start, Ticket};
use crate::domain::handler::{Failure, Outcome};
use crate::domain::record::Record;
use crate::kafka::{Commit, KafkaFault};
use crate::operations::Undertaker;

/// What a task reports. There are never more than jobs running and letters being written,
/// so the channel needs no bound of its own.
pub(super) enum Report {
    Ended { ticket: Ticket, record: Arc<Record>, outcome: Outcome },
    Buried { ticket: Ticket, record: Arc<Record>, is_buried: bool },
    Committed { commits: Vec<(PartitionId, Commit)>, result: Result<(), KafkaFault> },
}

/// What tasks need; cheap to clone.
#[derive(Clone)]
pub(super) struct Runner {
    /// Where effects are claimed.
    pub(super) scope: Arc<str>,
    pub(super) by_topic: Arc<HashMap<Arc<str>, Runnable>>,
    pub(super) terms: Arc<dyn Terms>,
    pub(super) undertaker: Undertaker,
    pub(super) reports: mpsc::UnboundedSender<Report>,
    pub(super) tracker: TaskTracker,
    pub(super) clock: SharedClock,
    /// Ends what still runs when the drain's time is over.
    pub(super) abandon: CancellationToken,
    pub(super) attempt_timeout: Duration,
}

impl Runner {
    pub(super) fn start(&self, start: Start<Record>) {
        let runner = self.clone();
        let Start { ticket, attempt, item: record } = start;
        self.tracker.spawn(async move {
            let Some(runnable) = runner.by_topic.get(record.place.topic.as_str()) else { return };
            let running = runnable.counters.begin();
            let begun = Instant::now();
            let run = attempt::run(
                runnable,
                Arc::clone(&record),
                &runner.scope,
                attempt,
                runner.attempt_timeout,
            );
            let outcome = tokio::select! {
                outcome = run => outcome,
                // Nobody waits for it any more; the record runs again elsewhere.
                () = runner.abandon.cancelled() => return,
            };
            runnable.counters.attempt_time.observe(begun.elapsed());
            drop(running);
            if matches!(outcome, Outcome::Done | Outcome::AlreadyDone) {
                runner.undertaker.resolve(&record, &runner.abandon).await;
            }
            let _ = runner.reports.send(Report::Ended { ticket, record, outcome });
        });
    }

    pub(super) fn bury(
        &self,
        ticket: Ticket,
        record: Arc<Record>,
        failure: Failure,
        attempts: u32,
    ) {
        let runner = self.clone();
        self.tracker.spawn(async move {
            let is_buried = runner.terms.bury(&record, &failure, attempts, &runner.abandon).await;
            if is_buried && let Some(runnable) = runner.by_topic.get(record.place.topic.as_str()) {
                TypeCounters::count(&runnable.counters.dead_lettered);
            }
            let _ = runner.reports.send(Report::Buried { ticket, record, is_buried });
        });
    }
}
