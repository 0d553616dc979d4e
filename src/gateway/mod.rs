//! The only home of axum: the HTTP surface.
//!
//! Owns the wire: paths, bodies, problem documents, the OpenAPI and `AsyncAPI` documents,
//! connections and their limits. An endpoint extracts, makes one call into [`crate::operations`] and maps
//! the answer; no SQL and no Kafka here, and never a word of the worker.
//!
//! To add an endpoint: a file in `endpoints/` with request, response and handler in that
//! order, and a line in [`router`] that says which scope it asks for.

mod access;
mod asyncapi;
mod batch;
mod body;
mod body_memory;
mod caller;
mod cloud_events;
mod door;
mod endpoints;
mod exposition;
mod framing;
mod front;
mod limits;
mod loopback;
mod openapi;
mod pace;
mod problem;
mod router;
mod schemas;
mod trace;

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRef;

use crate::domain::catalog::Catalog;
use crate::operations::{
    Audit, DeadLetters, Enqueue, Idempotency, Lag, Pauses, QuarantineDesk, ReplayLetter, Replays,
    ResetOffsets, Schedule, Stats, Statuses, Topics, Waiting, Workers,
};

pub use asyncapi::async_document;
pub use batch::Streams;
pub use door::{CONNECTIONS_MAX, Certificate, CertificateError, Door, listen};
pub use front::Front;
pub use limits::{RateLimit, RateLimitError};
pub use openapi::document;
pub use router::{router, worker_router};

/// What the endpoints call. One pointer: axum clones it several times for each request.
#[derive(Clone)]
pub struct Services(Arc<UseCases>);

impl Services {
    /// The endpoints call these.
    pub fn new(use_cases: UseCases) -> Self {
        Self(Arc::new(use_cases))
    }
}

impl Deref for Services {
    type Target = UseCases;

    fn deref(&self) -> &UseCases {
        &self.0
    }
}

/// Every use case, with what else the endpoints ask.
pub struct UseCases {
    /// Every type.
    pub catalog: Arc<Catalog>,
    /// Enqueue and publish.
    pub enqueue: Enqueue,
    /// Do what was asked for under a key once.
    pub idempotency: Idempotency,
    /// Put jobs off.
    pub schedule: Schedule,
    /// List, read and discard dead letters.
    pub dead_letters: DeadLetters,
    /// Replay dead letters.
    pub replay_letter: ReplayLetter,
    /// Replay topics.
    pub replays: Replays,
    /// What became of a job.
    pub statuses: Statuses,
    /// Wait for the end of a job.
    pub waiting: Waiting,
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
    /// What the workers do now.
    pub workers: Workers,
    /// Pause and resume types.
    pub pauses: Pauses,
    /// List and release quarantined keys.
    pub quarantines: QuarantineDesk,
    /// Where the streams of lines run.
    pub streams: Streams,
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

/// What `/metrics` shows.
#[derive(Clone)]
pub struct Metrics {
    /// The types that things are counted by.
    pub catalog: Arc<Catalog>,
    /// What is counted.
    pub stats: Stats,
}

impl FromRef<Services> for Metrics {
    fn from_ref(services: &Services) -> Self {
        Self { catalog: Arc::clone(&services.catalog), stats: services.stats.clone() }
    }
}

impl FromRef<Services> for Readiness {
    fn from_ref(services: &Services) -> Self {
        services.readiness.clone()
    }
}
