//! A worker process: this very test program, started again, with jobgate's own pool in it.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jobgate::domain::clock::{SharedClock, SystemClock};
use jobgate::domain::counters::Counters;
use jobgate::domain::handler::Handler;
use jobgate::domain::id::IdSource;
use jobgate::domain::snapshot::Board;
use jobgate::kafka::{KafkaSettings, Producer};
use jobgate::operations::{AttemptLog, PauseWatch, Quarantines, Schedule, Sender, Undertaker};
use jobgate::store::Database;
use jobgate::worker::{Pool, PoolSettings, Slots, WorkerParts};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdin, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::handler::Obedient;
use super::plan::{Plan, catalog};
use super::stage::open_pool;

/// Set in a worker process: its plan.
const PLAN: &str = "JOBGATE_TEST_ENGINE_PLAN";
/// How long an end in good order may take: the drain, and leaving the group.
const END_DEADLINE: Duration = Duration::from_secs(40);
/// Lines of its log that a failed test shows.
const LOG_SHOWN_LINES: usize = 25;

/// A worker, ended with the test.
pub(crate) struct Worker {
    child: Child,
    /// Its end is the end of the worker, however this process ends. Held apart from the child,
    /// whose waiting would close it.
    _stdin: ChildStdin,
    log: PathBuf,
}

impl Worker {
    /// Starts one, with its log in this file.
    pub(crate) fn start(plan: &Plan, log: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        let file = File::options().create(true).append(true).open(log).expect("a log file");
        let mut child = command
            .args(["--exact", "rig::worker::the_worker", "--nocapture"])
            .env(PLAN, serde_json::to_string(plan).expect("JSON"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .expect("it runs");
        let stdin = child.stdin.take().expect("a pipe");
        Self { child, _stdin: stdin, log: log.to_owned() }
    }

    fn pid(&self) -> Pid {
        let id = self.child.id().expect("it was not waited for");
        Pid::from_raw(i32::try_from(id).expect("a process id")).expect("not zero")
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it is there");
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        self.child.wait().await.expect("it is our child")
    }

    /// SIGKILL.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("it could be killed");
    }

    /// SIGTERM. It must end in good order.
    pub(crate) async fn terminate(mut self) {
        self.signal(Signal::TERM);
        let status = tokio::time::timeout(END_DEADLINE, self.ended()).await.expect("it ends");
        assert!(status.success(), "{status}");
    }

    /// SIGSTOP.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// What it and those before it on the same file have logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// A test that fails shows what the worker said last.
impl Drop for Worker {
    #[expect(clippy::print_stderr, reason = "the last word of a failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LOG_SHOWN_LINES)..];
            eprintln!("the end of {}:\n{}", self.log.display(), shown.join("\n"));
        }
    }
}

/// Not a test of its own: the process that [`Worker::start`] starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worker() {
    let Ok(plan) = std::env::var(PLAN) else { return };
    let plan: Plan = serde_json::from_str(&plan).expect("a plan");
    jobgate::telemetry::start().expect("logs");
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let running = pool(&plan, &tracker, &stop).await.start(&tracker, &stop).expect("it starts");
    let mut asked = signal(SignalKind::terminate()).expect("signals");
    // Its end means that nobody is left who waits for this process.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(1);
    });
    tokio::select! {
        _ = asked.recv() => {}
        () = running.lost() => {}
    }
    stop.cancel();
    tracker.close();
    tracker.wait().await;
    // Past the thread, which waits for ever.
    std::process::exit(0);
}

async fn pool(plan: &Plan, tracker: &TaskTracker, stop: &CancellationToken) -> Pool {
    let clock: SharedClock = Arc::new(SystemClock);
    let kafka =
        KafkaSettings { brokers: plan.brokers.clone(), properties: plan.properties.clone() };
    // It may be a time at which the database is away.
    let database: Database = plan.database.parse().expect("a database");
    let store = loop {
        match database.open().await {
            Ok(store) => break store,
            Err(error) => tracing::warn!(%error, "waits for the database"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let watch = PauseWatch::open(store.clone()).await.expect("the pauses of types");
    let paused = watch.paused();
    tracker.spawn(watch.run(stop.clone()));
    let producer = Producer::new(kafka.clone(), Arc::clone(&clock)).expect("a producer");
    tracker.spawn(producer.clone().watch(stop.clone()));
    let catalog = catalog(&plan.kinds);
    let effects = open_pool(&plan.database);
    let handlers = plan.kinds.iter().map(|kind| {
        let handler: Arc<dyn Handler> = Arc::new(Obedient {
            pool: effects.clone(),
            instance: std::process::id().to_string(),
            timeout: kind.timeout_ms.map(Duration::from_millis),
            tracker: tracker.clone(),
            merged_max: kind.merged,
        });
        (kind.name.clone(), handler)
    });
    let limits: HashMap<_, _> =
        plan.kinds.iter().map(|kind| (kind.name.clone(), kind.limit())).collect();
    let letters = &catalog.dead_letters().name;
    let ids = Arc::new(IdSource::new());
    let quarantines = Quarantines::open(
        store.clone(),
        Arc::clone(&catalog),
        HashSet::new(),
        Arc::clone(&ids),
        Arc::clone(&clock),
    );
    let quarantines = quarantines.await.expect("the quarantines of keys");
    tracker.spawn(quarantines.clone().run(stop.clone()));
    let counters = Arc::new(Counters::new(catalog.iter().map(|t| t.name.as_str())));
    if plan.kinds.iter().any(|kind| kind.quarantine) {
        let (store, producer) = (store.clone(), producer.clone());
        let (clock, counters) = (Arc::clone(&clock), Arc::clone(&counters));
        let name = std::process::id().to_string();
        let sender = Sender::new(store, producer, clock, counters, &name);
        tracker.spawn(sender.run(stop.clone()));
    }
    let later = Arc::clone(&clock);
    let schedule = Schedule::new(Arc::clone(&catalog), store.clone(), ids, later, "tests");
    let parts = WorkerParts {
        kafka,
        handlers: Arc::new(handlers.collect()),
        undertaker: Undertaker::new(producer, store.clone(), Arc::clone(&clock), letters),
        schedule,
        quarantines,
        attempts: AttemptLog::new(store, Arc::clone(&clock)),
        slots: Slots::new(plan.slots),
        board: Board::default(),
        paused,
        limits: Arc::new(limits),
        clock,
        settings: PoolSettings::DEFAULT,
        catalog: Arc::clone(&catalog),
    };
    Pool { parts, counters, groups: plan.groups.clone(), instance: plan.instance.clone() }
}
