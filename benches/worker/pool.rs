//! The worker's side: jobgate's own pool on the built-in catalog, with a handler that does
//! nothing.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use jobgate::domain::counters::Counters;
use jobgate::domain::handler::{Handler, Job, Outcome};
use jobgate::domain::snapshot::Board;
use jobgate::operations::{AttemptLog, PauseWatch, Schedule, Undertaker};
use jobgate::store::Database;
use jobgate::worker::{Handlers, Pool, PoolSettings, Slots, WorkerParts};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backlog::{Backlog, TYPE, catalog_with_group};

/// How long a job that is alone may take to start.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// The places of a process, as they are unless set.
const SLOTS: usize = 128;

/// A pool at work.
pub(crate) struct Running {
    tracker: TaskTracker,
    stop: CancellationToken,
    first: Arc<OnceLock<Instant>>,
    starts: mpsc::UnboundedReceiver<Instant>,
}

/// Says when jobs start.
struct Noop {
    first: Arc<OnceLock<Instant>>,
    starts: mpsc::UnboundedSender<Instant>,
}

impl Handler for Noop {
    fn run<'a>(&'a self, _: &'a Job) -> BoxFuture<'a, Outcome> {
        let now = Instant::now();
        self.first.get_or_init(|| now);
        let _ = self.starts.send(now);
        Box::pin(std::future::ready(Outcome::Done))
    }
}

impl Running {
    /// Starts a pool with a database in this folder.
    pub(crate) async fn start(backlog: &Backlog, group: &str, folder: &Path) -> Self {
        let database = Database::Sqlite(folder.join(format!("{group}.sqlite")));
        let store = database.open().await.expect("a database");
        let pauses = PauseWatch::open(store.clone()).await.expect("the pauses of types");
        let catalog = Arc::new(catalog_with_group(group));
        let first = Arc::new(OnceLock::new());
        let (sender, starts) = mpsc::unbounded_channel();
        let handler: Arc<dyn Handler> =
            Arc::new(Noop { first: Arc::clone(&first), starts: sender });
        let dlq_topic = catalog.dead_letters().name.clone();
        let counters = Arc::new(Counters::new(catalog.iter().map(|t| t.name.as_str())));
        let parts = WorkerParts {
            kafka: backlog.kafka.clone(),
            handlers: Arc::new(Handlers::from([(TYPE.to_owned(), handler)])),
            undertaker: Undertaker::new(
                backlog.producer.clone(),
                store.clone(),
                Arc::clone(&backlog.clock),
                &dlq_topic,
            ),
            schedule: Schedule::new(
                Arc::clone(&catalog),
                store.clone(),
                Arc::default(),
                Arc::clone(&backlog.clock),
                "bench",
            ),
            attempts: AttemptLog::new(store, Arc::clone(&backlog.clock)),
            slots: Slots::new(SLOTS),
            board: Board::default(),
            paused: pauses.paused(),
            limits: Arc::default(),
            clock: Arc::clone(&backlog.clock),
            settings: PoolSettings::DEFAULT,
            catalog,
        };
        let pool = Pool { parts, counters, groups: Vec::new(), instance: None };
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        pool.start(&tracker, &stop).expect("the pool starts");
        Self { tracker, stop, first, starts }
    }

    /// When the first job started.
    pub(crate) fn first(&self) -> Instant {
        *self.first.get().expect("a job has run")
    }

    /// How long a job takes to start when no other one is there: from before it is enqueued.
    /// The backlog must be done.
    pub(crate) async fn start_of_one(&mut self, backlog: &Backlog) -> Duration {
        while self.starts.try_recv().is_ok() {}
        let begun = Instant::now();
        let (started, ()) = tokio::join!(
            tokio::time::timeout(START_DEADLINE, self.starts.recv()),
            backlog.enqueue_one()
        );
        started.expect("it starts").expect("the pool runs") - begun
    }

    /// Stops it and waits until it has left its group.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
