//! The front door against those who mean it ill, and those who mean too much: connections that
//! only cost, requests that can be read in two ways, callers that take from others, and TLS.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints what it measured"
)]

#[path = "../harness/mod.rs"]
mod harness;

mod callers;
mod crowded;
mod frames;
mod hostile;
mod http2;
mod raw;
mod slow;
mod tls;
