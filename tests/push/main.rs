//! Types of a catalog file whose jobs are pushed to services: the real binary, its own Kafka, and
//! real receivers, of the tests' own and those in `examples/`.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and its ledger is for a person to read"
)]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/pages.rs"]
mod pages;

mod answers;
mod catalog;
mod examples;
mod kills;
mod outages;
mod receiver;
mod stage;
mod start;
