//! The front door against those who mean it ill, and those who mean too much: connections that
//! only cost, requests that can be read in two ways, callers that take from others, and TLS.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../harness/mod.rs"]
mod harness;

mod callers;
mod hostile;
mod http2;
mod raw;
mod slow;
mod tls;
