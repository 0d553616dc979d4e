//! What the engine that runs the jobs does with them: many keys in one partition, handlers that
//! write their claim, and a key that is stuck. All of it through the real pool on a real Kafka.
//! `scripts/bench` runs it.
//!
//! Where memory is measured, this program starts itself again: what it did before would be
//! in the figures.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark fails by panicking, and prints figures of a few digits"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../../tests/harness/postgres.rs"]
mod postgres;

mod alone;
mod claims;
mod keys;
mod stuck;
mod types;

use common::{Scale, kafka, machine};

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(alone::COMMAND) {
        common::within_limit(alone::run(alone::Plan::of_arguments(arguments)));
    } else {
        common::within_limit(all(Scale::of_arguments()));
    }
}

async fn all(scale: Scale) {
    println!("## Engine\n\n{}", machine::describe());
    let folder = tempfile::tempdir().expect("a directory");
    let kafka = kafka(folder.path()).await;
    let brokers = kafka.bootstrap_servers();
    keys::measure(scale, brokers, folder.path()).await;
    claims::measure(scale, brokers, folder.path()).await;
    stuck::measure(scale, brokers, folder.path()).await;
    kafka.stop().await.expect("Kafka stops");
}
