//! A pool in a process of its own: what it has in memory is its own, and it can be killed.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jobgate::domain::handler::{Handler, Job, Outcome};
use jobgate::worker::PoolSettings;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::common::jobs::Jobs;
use crate::common::pool::{Calls, PLACES, Running, Setup};
use crate::common::process::{cpu_time, peak_mb, resident_mb};
use crate::common::sqlite;
use crate::types::{STUCK, key_of};

/// The argument that makes this program the pool.
pub(crate) const COMMAND: &str = "pool-alone";
/// The key whose job may be stuck.
pub(crate) const STUCK_KEY: &str = "stuck";
/// Longer than any run: a job that is stuck is not ended by its time limit.
const ATTEMPT_TIMEOUT: Duration = Duration::from_hours(24);

/// What to run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) brokers: String,
    pub(crate) folder: PathBuf,
    pub(crate) group: String,
    /// Jobs that end before it says what it saw.
    pub(crate) expected: usize,
    /// Whether the job of the [`STUCK_KEY`] never ends.
    pub(crate) is_stuck: bool,
}

/// What it saw when so many jobs had ended.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// From the first job to the end of the last one.
    pub(crate) took: Duration,
    pub(crate) cpu: Duration,
    /// Resident memory before the pool was started, then when the jobs had ended, and the most
    /// there ever was.
    pub(crate) before_mb: f64,
    pub(crate) end_mb: f64,
    pub(crate) peak_mb: f64,
}

/// The pool, seen from the process that measures.
pub(crate) struct Alone {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Plan {
    /// What [`Alone::start`] passes on.
    pub(crate) fn of_arguments(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut next = || arguments.next().expect("BROKERS FOLDER GROUP EXPECTED IS_STUCK");
        Self {
            brokers: next(),
            folder: next().into(),
            group: next(),
            expected: next().parse().expect("a number of jobs"),
            is_stuck: next().parse().expect("true or false"),
        }
    }
}

impl Alone {
    /// Starts the process, which starts the pool.
    pub(crate) fn start(plan: &Plan) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .arg(COMMAND)
            .arg(&plan.brokers)
            .arg(&plan.folder)
            .arg(&plan.group)
            .arg(plan.expected.to_string())
            .arg(plan.is_stuck.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the pool's process starts");
        let stdin = child.stdin.take().expect("its input");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self { child, stdin, lines }
    }

    /// Waits until so many jobs have ended.
    pub(crate) async fn seen(&mut self) -> Seen {
        serde_json::from_str(&self.line().await).expect("what it saw")
    }

    /// Ends the pool in good order. Returns how many jobs it has begun.
    pub(crate) async fn stop(self) -> usize {
        let Self { mut child, stdin, mut lines } = self;
        drop(stdin);
        let line = lines.next_line().await.expect("its output");
        assert!(child.wait().await.expect("it ends").success(), "the pool ends in good order");
        line.expect("a last line").parse().expect("a number of jobs")
    }

    /// Ends it as a crash does.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("it runs");
    }

    async fn line(&mut self) -> String {
        self.lines.next_line().await.expect("its output").expect("the pool's process goes on")
    }
}

/// Is the pool, until its input ends.
pub(crate) async fn run(plan: Plan) {
    let jobs = Jobs::open(&plan.brokers, STUCK).await;
    let calls = Calls::expecting(plan.expected);
    let setup = Setup {
        group: &plan.group,
        handler: Arc::new(MaybeStuck { calls: Arc::clone(&calls), is_stuck: plan.is_stuck }),
        store: sqlite(Path::new(&plan.folder), &plan.group).await,
        settings: PoolSettings::DEFAULT,
        places: PLACES,
    };
    let process = std::process::id();
    let before_mb = resident_mb(process);
    let cpu_before = cpu_time(process);
    let pool = Running::start(&jobs, setup).await;
    let sample = calls.reached(cpu_before).await;
    let seen = Seen {
        took: sample.took,
        cpu: sample.cpu,
        before_mb,
        end_mb: resident_mb(process),
        peak_mb: peak_mb(process),
    };
    println!("{}", serde_json::to_string(&seen).expect("JSON"));
    let told = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    told.await.expect("it is read").expect("its input");
    pool.stop().await;
    println!("{}", calls.begun());
}

/// A handler that does nothing, and with one key perhaps never ends.
struct MaybeStuck {
    calls: Arc<Calls>,
    is_stuck: bool,
}

impl Handler for MaybeStuck {
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Outcome> {
        self.calls.begin();
        if self.is_stuck && key_of(&job.payload) == STUCK_KEY {
            return Box::pin(std::future::pending());
        }
        self.calls.end();
        Box::pin(std::future::ready(Outcome::Done))
    }

    fn timeout(&self) -> Option<Duration> {
        Some(ATTEMPT_TIMEOUT)
    }
}
