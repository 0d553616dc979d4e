//! What the gateway costs: accepted jobs a second, CPU of each, latency and memory, beside a
//! bare axum handler under the same load. `scripts/bench` runs it.
//!
//! This program is several processes: the one that measures starts itself again as the bare
//! handler, as the load, as a producer that has no HTTP before it, and as one that inserts rows.
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
mod committed;
mod direct;
mod latency;
mod load;
mod measure;
mod overload;
mod payload;
mod side;
mod tokens;

fn main() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some(bare::COMMAND) => bare::serve(),
        Some(load::COMMAND) => load::run(&load::Plan::of_argument(arguments.next())),
        Some(direct::COMMAND) => {
            let brokers = arguments.next().expect("the brokers");
            direct::produce(&brokers, &load::Plan::of_argument(arguments.next()));
        }
        Some(committed::COMMAND) => {
            let database = arguments.next().expect("the database");
            committed::insert(&database, &load::Plan::of_argument(arguments.next()));
        }
        _ => common::within_limit(measure::all(common::Scale::of_arguments())),
    }
}
