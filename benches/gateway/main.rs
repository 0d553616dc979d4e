//! What the gateway costs: accepted jobs a second, CPU of each, latency and memory, beside a
//! bare axum handler under the same load. `scripts/bench` runs it.
//!
//! This program is three processes: the one that measures starts itself again as the bare
//! handler and as the load.
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
#[path = "../../tests/harness/mod.rs"]
mod harness;
#[path = "../../tests/harness/postgres.rs"]
mod postgres;

mod bare;
mod load;
mod measure;
mod overload;
mod payload;

fn main() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some(bare::COMMAND) => bare::serve(),
        Some(load::COMMAND) => load::run(&load::Plan::of_arguments(arguments)),
        _ => common::within_limit(measure::all(common::Scale::of_arguments())),
    }
}
