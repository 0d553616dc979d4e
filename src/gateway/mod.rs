//! The only home of axum: the HTTP surface.
//!
//! Owns the wire: paths, bodies, problem documents, the OpenAPI document, connections and
//! their limits. An endpoint extracts, makes one call into [`crate::operations`] and maps
//! the answer; no SQL and no Kafka here, and never a word of the worker.
//!
//! To add an endpoint: a file in `endpoints/` with request, response and handler in that
//! order, and a line in [`router`].

mod body;
mod caller;
mod endpoints;
mod exposition;
mod loopback;
mod openapi;
mod problem;
mod router;
mod server;

use std::sync::Arc;

use crate::domain::catalog::Catalog;
use crate::operations::{
    Audit, DeadLetters, Enqueue, Lag, Replay, ResetOffsets, Stats, Statuses, Topics,
};

pub use openapi::document;
pub use router::router;
pub use server::serve;

/// What the endpoints call. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    /// Every type.
    pub catalog: Arc<Catalog>,
    /// Enqueue and publish.
    pub enqueue: Enqueue,
    /// List, read and discard dead letters.
    pub dead_letters: DeadLetters,
    /// Replay dead letters.
    pub replay: Replay,
    /// What became of a job.
    pub statuses: Statuses,
    /// How far the groups are behind.
    pub lag: Lag,
    /// What is counted.
    pub stats: Stats,
    /// Show and change topics.
    pub topics: Topics,
    /// Set the offsets of a group.
    pub reset_offsets: ResetOffsets,
    /// Who did what.
    pub audit: Audit,
}
