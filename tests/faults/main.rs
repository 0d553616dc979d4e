//! What breaks, and what a user may still rely on: processes are killed, stopped and frozen
//! under load, and every accepted job is accounted for. Real parts only. Needs Java 17, Maven
//! the first time, and python3-venv for the mail server. `--nocapture` shows the ledgers.
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

mod client_gone;
mod cluster;
mod done_above;
mod idempotency;
mod kafka_away;
mod kills;
mod ledger;
mod load;
mod mail_server;
mod mail_server_away;
mod membership;
mod order;
mod processes;
mod split;
mod stop;
mod stranded;

use std::path::Path;

use jobgate::broker::{BrokerSettings, LocalKafka, NodeCount};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Two turns: a machine of two cores bears one heavy test, or two that mostly wait.
static TURNS: Semaphore = Semaphore::const_new(2);

/// For a test that needs the machine for itself.
async fn alone() -> SemaphorePermit<'static> {
    TURNS.acquire_many(2).await.expect("the turns are never closed")
}

/// For a test that mostly waits.
async fn beside_another() -> SemaphorePermit<'static> {
    TURNS.acquire().await.expect("the turns are never closed")
}

/// A Kafka outside of jobgate, which a test may kill and freeze.
async fn outside_kafka(folder: &Path, nodes: NodeCount) -> LocalKafka {
    let settings = BrokerSettings { nodes, heap_mib: 256, ..BrokerSettings::new(folder) };
    LocalKafka::start(settings, |_| {}).await.expect("Kafka starts")
}
