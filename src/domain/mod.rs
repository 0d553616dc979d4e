//! The words of jobgate and the rules between them.
//!
//! Owns what a record, a catalog, a dead letter and an attempt *are*, and the state
//! machines that decide what happens next. Knows no IO: no Kafka, no database, no HTTP,
//! and no clock but the one it is handed.

pub mod actor;
pub mod calendar;
pub mod catalog;
pub mod clock;
pub mod cloud_event;
pub mod commit_note;
pub mod counters;
pub mod dead_letter;
pub mod dispatch;
pub mod fair_share;
pub mod fault;
pub mod handler;
pub mod id;
pub mod idempotency;
pub mod json;
pub mod key;
pub mod lag_status;
pub mod nearest;
pub mod offset_map;
pub mod offsets;
pub mod outage;
pub mod pace;
pub mod pause;
pub mod quarantine;
pub mod receipt;
pub mod record;
pub mod replay;
pub mod retry;
pub mod scheduled;
pub mod schema;
pub mod snapshot;
pub mod speed;
pub mod status;
pub mod trace;
