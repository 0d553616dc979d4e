//! The only home of axum: the HTTP surface.
//!
//! Owns the wire: paths, bodies, problem documents, the OpenAPI document, connections and
//! their limits. An endpoint extracts, makes one call into [`crate::operations`] and maps
//! the answer; no SQL and no Kafka here, and never a word of the worker.
//!
//! To add an endpoint: a file in `endpoints/` with request, response and handler in that
//! order, and a line in [`router`] that says which scope it asks for.

mod access;
mod body;
mod endpoints;
mod loopback;
mod openapi;
mod problem;
mod router;
mod server;

use std::sync::Arc;

use crate::domain::catalog::Catalog;
use crate::operations::{DeadLetters, Enqueue, Replay};

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
}
