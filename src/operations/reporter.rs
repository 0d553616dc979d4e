//! A worker writes down what it does now, once a second where that has changed. What cannot be
//! written is written a second later; no job waits for it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::workers::written;
use crate::domain::snapshot::{GroupSnapshot, WorkerSnapshot};
use crate::store::{SnapshotRow, Store};

/// How often it is looked whether something has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A worker of which nothing has changed says so after this long: twice within the time after
/// which it would count as gone.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// Writes down what this worker does.
pub struct Reporter {
    source: Box<dyn Fn() -> WorkerSnapshot + Send + Sync>,
    store: Store,
    written: Option<(Instant, BTreeMap<String, GroupSnapshot>)>,
}

impl Reporter {
    /// Writes what the source says.
    pub fn new(store: Store, source: impl Fn() -> WorkerSnapshot + Send + Sync + 'static) -> Self {
        Self { source: Box::new(source), store, written: None }
    }

    /// Writes until stopped; then this worker is listed no longer.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let reported = async {
                ticks.tick().await;
                self.report().await;
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = reported => {}
            }
        }
        if let Err(error) = self.store.remove_snapshot(&(self.source)().instance).await {
            tracing::debug!(%error, "this worker is listed until it counts as gone");
        }
    }

    async fn report(&mut self) {
        let snapshot = (self.source)();
        let is_due = self
            .written
            .as_ref()
            .is_none_or(|(at, groups)| at.elapsed() >= SIGN_OF_LIFE || *groups != snapshot.groups);
        if !is_due {
            return;
        }
        let row = SnapshotRow {
            instance: snapshot.instance.clone(),
            started_at_ms: snapshot.started_at_ms,
            seen_at_ms: snapshot.seen_at_ms,
            snapshot: written(&snapshot),
        };
        match self.store.put_snapshot(&row).await {
            Ok(()) => self.written = Some((Instant::now(), snapshot.groups)),
            Err(error) => {
                self.written = None;
                tracing::debug!(%error, "what this worker does was not written down");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::clock::{Clock as _, ManualClock};
    use crate::domain::snapshot::{About, Board, JobCounts};
    use crate::store::Database;

    /// A worker whose board and clock are the test's.
    struct Worker {
        board: Board,
        clock: Arc<ManualClock>,
        store: Store,
        reporter: Reporter,
        _dir: tempfile::TempDir,
    }

    impl Worker {
        async fn start() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let store = Database::Sqlite(dir.path().join("t.db")).open().await.unwrap();
            let (board, clock) = (Board::default(), Arc::new(ManualClock::at_ms(1_000)));
            let (of, time) = (board.clone(), Arc::clone(&clock));
            let reporter = Reporter::new(store.clone(), move || WorkerSnapshot {
                instance: "1-a".to_owned(),
                started_at_ms: 500,
                seen_at_ms: time.now_ms(),
                about: About::default(),
                groups: of.groups(),
            });
            Self { board, clock, store, reporter, _dir: dir }
        }

        fn runs(&self, running: u64) {
            let counts = JobCounts { running, ..JobCounts::default() };
            self.board.publish("g", GroupSnapshot { counts, ..GroupSnapshot::default() });
        }

        /// A look, a second later. Returns when the worker was last seen.
        async fn look(&mut self) -> i64 {
            self.clock.advance_ms(1_000);
            tokio::time::pause();
            tokio::time::advance(LOOK_EVERY).await;
            tokio::time::resume();
            self.reporter.report().await;
            self.store.snapshots(0, None, 9).await.unwrap().items[0].seen_at_ms
        }
    }

    #[tokio::test]
    async fn it_is_written_once_a_second_where_it_changed_and_else_as_a_sign_of_life() {
        let mut worker = Worker::start().await;
        worker.runs(1);
        assert_eq!(worker.look().await, 2_000);
        assert_eq!(worker.look().await, 2_000, "nothing has changed");
        worker.runs(2);
        assert_eq!(worker.look().await, 4_000);
        for _ in 0..4 {
            assert_eq!(worker.look().await, 4_000);
        }
        assert_eq!(worker.look().await, 9_000, "a sign of life");
    }

    #[tokio::test]
    async fn what_could_not_be_written_is_tried_again_at_the_next_look() {
        let mut worker = Worker::start().await;
        worker.runs(1);
        worker.look().await;
        worker.store.close().await;
        worker.runs(2);
        worker.reporter.report().await;
        assert!(worker.reporter.written.is_none(), "whatever comes next is due");
    }

    #[tokio::test]
    async fn a_worker_that_stops_is_listed_no_longer() {
        let worker = Worker::start().await;
        let (stop, store) = (CancellationToken::new(), worker.store);
        let tasks = tokio_util::task::TaskTracker::new();
        tasks.spawn(worker.reporter.run(stop.clone()));
        while store.snapshots(0, None, 9).await.unwrap().items.is_empty() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        tasks.close();
        tasks.wait().await;
        assert_eq!(store.snapshots(0, None, 9).await.unwrap().items, []);
    }
}
