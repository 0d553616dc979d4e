//! What the tests of the engine stand on: a real Kafka, a real PostgreSQL, workers that are
//! processes of their own with jobgate's pool in them and a handler that does as its job says,
//! and a ledger of what came of it.
#![allow(dead_code, reason = "each test crate uses its own part")]
#![allow(clippy::allow_attributes, reason = "an expectation of dead code fails where all is used")]

pub(crate) mod handler;
pub(crate) mod ledger;
mod merged;
pub(crate) mod plan;
pub(crate) mod stage;
pub(crate) mod worker;
