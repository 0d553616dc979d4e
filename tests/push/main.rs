//! Types of a catalog file whose jobs are pushed to services: the real binary, its own Kafka, and
//! real receivers, of the tests' own and those in `examples/`.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
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
