//! The HTTP surface and the wire of a started `jobgate` on a real Kafka, with everything
//! healthy. One file for each theme; most themes share one start.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../harness/mod.rs"]
mod harness;

mod asyncapi;
mod catalog;
mod errors;
mod foreign;
mod guard;
mod idempotency;
mod java_producer;
mod letters;
mod lifecycle;
mod openapi;
mod quarantine;
mod raw_produce;
mod support;
mod traces;
mod trouble;
mod waiting;
mod wire;
