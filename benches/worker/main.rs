//! What the worker costs: jobs a second through the real pool with a handler that does
//! nothing, beside bare consumers of the same records; and how soon a job starts when nothing
//! else runs. `scripts/bench` runs it.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark fails by panicking, and prints figures of a few digits"
)]

#[path = "../common/mod.rs"]
mod common;

mod backlog;
mod bare;
mod lone;
mod measure;

fn main() {
    common::within_limit(measure::all(common::Scale::of_arguments()));
}
