//! What the benchmarks share: how large a run is, the machine, what a process takes of it,
//! jobs and a pool that runs them, and how figures are shown.
#![allow(dead_code, reason = "each benchmark uses its own part")]
#![allow(clippy::allow_attributes, reason = "an expectation of dead code fails where all is used")]

pub(crate) mod figures;
pub(crate) mod jobs;
pub(crate) mod machine;
pub(crate) mod pool;
pub(crate) mod process;

use std::path::Path;
use std::time::Duration;

use jobgate::broker::{BrokerSettings, Compiler, LocalKafka};
use jobgate::store::{Database, Store};

/// How long a whole benchmark may take before it is given up.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// How large a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Figures to go by.
    Full,
    /// Shows that the benchmark runs, and nothing else.
    Short,
}

impl Scale {
    /// By the command line: `cargo bench` adds `--bench`, and whatever else starts a
    /// benchmark wants no long run.
    pub(crate) fn of_arguments() -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let has = |name: &str| arguments.iter().any(|argument| argument == name);
        if has("--bench") && !has("--short") { Self::Full } else { Self::Short }
    }

    /// The one or the other.
    pub(crate) fn pick<T>(self, full: T, short: T) -> T {
        match self {
            Self::Full => full,
            Self::Short => short,
        }
    }
}

/// Runs a benchmark within its limit. Whatever it has started ends with it.
pub(crate) fn within_limit(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime as jobgate's own");
    runtime
        .block_on(async { tokio::time::timeout(LIMIT, work).await })
        .expect("the benchmark ends within its limit");
}

/// One node of Kafka, with jobgate's own settings, whose JVM compiles as one in production does.
pub(crate) async fn kafka(folder: &Path) -> LocalKafka {
    let settings = BrokerSettings { compiler: Compiler::Optimizing, ..BrokerSettings::new(folder) };
    LocalKafka::start(settings, |_| {}).await.expect("Kafka starts")
}

/// A database of its own in this folder.
pub(crate) async fn sqlite(folder: &Path, name: &str) -> Store {
    let database = Database::Sqlite(folder.join(format!("{name}.sqlite")));
    database.open().await.expect("a database")
}
