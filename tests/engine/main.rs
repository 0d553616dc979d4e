//! The engine, with real processes on a real Kafka: workers are aborted, killed, frozen and
//! stopped, and what their jobs did is read from the database that they wrote it to. Needs
//! Java 17, Maven the first time, and PostgreSQL.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/postgres.rs"]
mod postgres;
mod rig;

mod backlog;
mod crashes;
mod frozen;
mod limits;
mod merging;
mod order;
mod quarantine;
mod slow;
mod waits;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Two turns: a machine of two cores bears two tests that mostly wait.
static TURNS: Semaphore = Semaphore::const_new(2);

async fn turn() -> SemaphorePermit<'static> {
    TURNS.acquire().await.expect("the turns are never closed")
}
