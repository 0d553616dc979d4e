//! jobgate's own pool at work on the jobs of a type, and what it takes until so many have ended.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use jobgate::domain::counters::Counters;
use jobgate::domain::handler::{Handler, Job, Outcome};
use jobgate::domain::snapshot::Board;
use jobgate::operations::{AttemptLog, PauseWatch, Quarantines, Schedule, Undertaker};
use jobgate::store::Store;
use jobgate::worker::{Handlers, Pool, PoolSettings, Slots, WorkerParts};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::figures::Sample;
use super::jobs::Jobs;
use super::process::cpu_time;

/// How long so many jobs may take.
const CALLS_DEADLINE: Duration = Duration::from_secs(300);
/// The places of a process, as they are unless set.
pub(crate) const PLACES: usize = 128;

/// What a pool is started with.
pub(crate) struct Setup<'a> {
    pub(crate) group: &'a str,
    pub(crate) handler: Arc<dyn Handler>,
    /// Of the pool itself; a handler may write to another one.
    pub(crate) store: Store,
    pub(crate) settings: PoolSettings,
    pub(crate) places: usize,
}

/// A pool at work.
pub(crate) struct Running {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Running {
    /// Starts it on the jobs of this type.
    pub(crate) async fn start(jobs: &Jobs, setup: Setup<'_>) -> Self {
        let Setup { group, handler, store, settings, places } = setup;
        let pauses = PauseWatch::open(store.clone()).await.expect("the pauses of types");
        let catalog = Arc::new((jobs.job_type.catalog)(group));
        let dlq_topic = catalog.dead_letters().name.clone();
        let counters = Arc::new(Counters::new(catalog.iter().map(|t| t.name.as_str())));
        let quarantines = Quarantines::open(
            store.clone(),
            Arc::clone(&catalog),
            HashSet::new(),
            Arc::default(),
            Arc::clone(&jobs.clock),
        );
        let parts = WorkerParts {
            kafka: jobs.kafka.clone(),
            handlers: Arc::new(Handlers::from([(jobs.job_type.name.to_owned(), handler)])),
            undertaker: Undertaker::new(
                jobs.producer.clone(),
                store.clone(),
                Arc::clone(&jobs.clock),
                &dlq_topic,
            ),
            schedule: Schedule::new(
                Arc::clone(&catalog),
                store.clone(),
                Arc::default(),
                Arc::clone(&jobs.clock),
                "bench",
            ),
            quarantines: quarantines.await.expect("the quarantines of keys"),
            attempts: AttemptLog::new(store, Arc::clone(&jobs.clock)),
            slots: Slots::new(places),
            board: Board::default(),
            paused: pauses.paused(),
            limits: Arc::default(),
            clock: Arc::clone(&jobs.clock),
            settings,
            catalog,
        };
        let pool = Pool { parts, counters, groups: Vec::new(), instance: None };
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        pool.start(&tracker, &stop).expect("the pool starts");
        Self { tracker, stop }
    }

    /// Stops it and waits until it has committed and left its group.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Runs a pool until as many jobs have ended as are expected, and stops it.
pub(crate) async fn measure(jobs: &Jobs, setup: Setup<'_>, calls: &Calls) -> Sample {
    let cpu_before = cpu_time(std::process::id());
    let pool = Running::start(jobs, setup).await;
    let sample = calls.reached(cpu_before).await;
    pool.stop().await;
    sample
}

/// The calls of a handler, from the first one to the end of as many as are expected.
pub(crate) struct Calls {
    expected: usize,
    begun: AtomicUsize,
    ended: AtomicUsize,
    first: OnceLock<Instant>,
    last: OnceLock<Instant>,
    is_reached: CancellationToken,
}

impl Calls {
    pub(crate) fn expecting(expected: usize) -> Arc<Self> {
        Arc::new(Self {
            expected,
            begun: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            first: OnceLock::new(),
            last: OnceLock::new(),
            is_reached: CancellationToken::new(),
        })
    }

    /// The first line of a handler.
    pub(crate) fn begin(&self) {
        self.first.get_or_init(Instant::now);
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// Its last one.
    pub(crate) fn end(&self) {
        if self.ended.fetch_add(1, Ordering::Relaxed) + 1 == self.expected {
            self.last.get_or_init(Instant::now);
            self.is_reached.cancel();
        }
    }

    /// How many jobs were begun so far.
    pub(crate) fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// Waits until as many have ended as are expected. The CPU time is what this process has
    /// taken since it had taken this much.
    pub(crate) async fn reached(&self, cpu_before: Duration) -> Sample {
        let reached = tokio::time::timeout(CALLS_DEADLINE, self.is_reached.cancelled()).await;
        let cpu = cpu_time(std::process::id()).saturating_sub(cpu_before);
        reached.expect("the jobs end in time");
        let took = *self.last.get().expect("an end") - *self.first.get().expect("a beginning");
        Sample { count: self.expected, took, cpu }
    }
}

/// A handler that does nothing but count.
pub(crate) struct Noop(pub(crate) Arc<Calls>);

impl Handler for Noop {
    fn run<'a>(&'a self, _: &'a Job) -> BoxFuture<'a, Outcome> {
        self.0.begin();
        self.0.end();
        Box::pin(std::future::ready(Outcome::Done))
    }
}
