//! Jobs for later, on real parts: what a caller sees of them, what becomes of them while the
//! database or Kafka is away, and that none is lost, sent early or sent after it was cancelled
//! when those who send them are killed. `--nocapture` shows the ledger.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and its ledger is for a person to read"
)]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/postgres.rs"]
mod postgres;

mod calls;
mod kills;
mod outages;
mod retries;
mod tail;

use std::time::Duration;

use harness::{Jobgate, Options};
use jobgate::broker::{BrokerSettings, LocalKafka};
use jobgate::domain::clock::{Clock as _, SystemClock};
use postgres::Postgres;

/// How long anything may take that comes about by itself, on a busy machine.
const SOON: Duration = Duration::from_mins(1);
/// Where the jobs of these tests go.
const TOPIC: &str = "waitlist.email.verification";

/// A Kafka and a PostgreSQL for several processes, each to be killed.
struct Cluster {
    kafka: LocalKafka,
    database: Postgres,
    url: String,
    _folder: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = BrokerSettings { heap_mib: 256, ..BrokerSettings::new(folder.path()) };
        let kafka = LocalKafka::start(settings, |_| {}).await.expect("Kafka starts");
        let database = tokio::task::spawn_blocking(Postgres::start).await.expect("it started");
        let url = database.fresh_database();
        Self { kafka, database, url, _folder: folder }
    }

    fn brokers(&self) -> &str {
        self.kafka.bootstrap_servers()
    }

    /// A gateway with a worker.
    async fn member(&self) -> Jobgate {
        Jobgate::start(Options {
            brokers: Some(self.brokers().to_owned()),
            env: vec![("DATABASE_URL".to_owned(), self.url.clone())],
            ..Options::default()
        })
        .await
    }
}

fn now_ms() -> i64 {
    SystemClock.now_ms()
}

fn text(value: &serde_json::Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}
