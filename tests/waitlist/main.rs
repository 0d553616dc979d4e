//! The waitlist platform, from the HTTP call to the row or the mail: the real binary, its own
//! Kafka, and each database.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and its ledger is for a person to read"
)]

#[path = "../harness/dns.rs"]
#[expect(dead_code, reason = "the tests of the resolver use all of it")]
mod dns;
#[path = "../harness/mod.rs"]
mod harness;
#[path = "../mail/server.rs"]
#[expect(dead_code, reason = "the tests of the mail module use all of it")]
mod mail_server;
#[path = "../harness/postgres.rs"]
mod postgres;

mod analytics;
mod emails;
mod events;
mod kills;
mod positions;
mod receiver;
mod stage;
mod webhooks;
