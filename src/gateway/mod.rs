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

use axum::extract::FromRef;

use crate::domain::catalog::Catalog;
use crate::operations::{DeadLetters, Enqueue, Replay};

pub use openapi::document;
pub use router::{health_router, router};
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
    /// Whether this process is ready.
    pub readiness: Readiness,
}

/// Says whether this process is ready: a gateway to accept a job, a worker to run one.
#[derive(Clone)]
pub struct Readiness(Arc<dyn Fn() -> bool + Send + Sync>);

impl Readiness {
    /// Ready whenever this says so.
    pub fn new(is_ready: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_ready))
    }
}

impl FromRef<Services> for Readiness {
    fn from_ref(services: &Services) -> Self {
        services.readiness.clone()
    }
}
