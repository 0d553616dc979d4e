//! What runs a job, and how it may end.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::record::Record;

/// A job as its handler gets it: the payload has been validated against its type.
#[derive(Debug)]
pub struct Job {
    /// The record's `message_id`: the same on every attempt, delivery and replay.
    pub id: Uuid,
    /// The type, for example `email.welcome`.
    pub type_name: Arc<str>,
    /// Where its effect is claimed: an effect is had once for each (scope, id). The group of
    /// the type, also in a replay, unless that asks for the effects again.
    pub scope: Arc<str>,
    /// The attempt, counted from 1.
    pub attempt: u32,
    /// The payload.
    pub payload: Value,
    /// The record it came in.
    pub record: Arc<Record>,
    /// Its end, for those who ask; see [`Job::cancelled`].
    pub end: AttemptEnd,
}

/// Tells whoever has asked that an attempt is over, when it is dropped. Made only where somebody
/// asks: most handlers do not.
#[derive(Debug, Default)]
pub struct AttemptEnd(OnceLock<CancellationToken>);

impl Drop for AttemptEnd {
    fn drop(&mut self) {
        if let Some(token) = self.0.get() {
            token.cancel();
        }
    }
}

impl Job {
    /// Cancelled when nobody waits for the attempt any more: it has ended, its time is over, or
    /// the process stops. For work that goes on by itself, on a thread of its own say; the
    /// handler's future is dropped at the same time.
    pub fn cancelled(&self) -> CancellationToken {
        self.end.0.get_or_init(CancellationToken::new).clone()
    }

    /// The payload as the type that was declared for it.
    ///
    /// Fails as poison: a payload that passed validation and does not fit its type will
    /// not fit it the next time either.
    pub fn payload<P: DeserializeOwned>(&self) -> Result<P, Outcome> {
        P::deserialize(&self.payload).map_err(|error| {
            Outcome::Fail(Failure::new(
                "invalid_payload",
                format!("the payload does not fit: {error}"),
            ))
        })
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The effect is there.
    Done,
    /// The effect was there before this attempt, which did nothing.
    AlreadyDone,
    /// Poison: it will never work. A dead letter at once, and no sign of an outage.
    Fail(Failure),
    /// It may work later. A dead letter after the attempts of its type, but only while
    /// the type also succeeds for others.
    Retry(Failure),
    /// A dependency is away, for everybody. The type pauses and probes; no attempt is spent.
    Unavailable(Failure),
    /// Not now, for reasons of this job alone: what it goes to is away, and others of its type go
    /// elsewhere; or its first attempt still runs there. No sign of an outage of the type.
    Later(Later),
}

/// A wait that the handler has chosen. It is the handler, too, who bounds how often it does so:
/// the policy of the type has no say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Later {
    /// Why.
    pub failure: Failure,
    /// How long. If this is a long wait ([`LONG_WAIT`](super::retry::LONG_WAIT)) and the type's
    /// order is relaxed, the key goes on meanwhile.
    pub after: Duration,
    /// Whether the attempt counts.
    pub spends_attempt: bool,
}

/// Why an attempt did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A stable word for the kind of error, for example `invalid_payload`.
    pub class: String,
    /// A sentence for a person.
    pub message: String,
    /// The causes beneath it, the nearest first.
    pub chain: Vec<String>,
    /// How long the dependency has asked to be left alone. Of an [`Outcome::Unavailable`]: the
    /// type probes no earlier, but after an hour at the latest.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure without further causes.
    pub fn new(class: impl Into<String>, message: impl Into<String>) -> Self {
        Self { class: class.into(), message: message.into(), chain: Vec::new(), retry_after: None }
    }

    /// A failure with the causes of an error beneath it.
    pub fn caused_by(
        class: impl Into<String>,
        message: impl Into<String>,
        error: &(dyn std::error::Error + 'static),
    ) -> Self {
        /// An error that names more causes than this goes round in a circle.
        const CAUSES_MAX: usize = 16;
        let chain = std::iter::successors(Some(error), |error| error.source())
            .take(CAUSES_MAX)
            .map(ToString::to_string)
            .collect();
        Self { class: class.into(), message: message.into(), chain, retry_after: None }
    }

    /// The same, of a dependency that has asked to be left alone for so long.
    #[must_use]
    pub fn retry_after(self, wait: Option<Duration>) -> Self {
        Self { retry_after: wait, ..self }
    }
}

/// A handler that is no type's own: replays run it where they name it.
#[derive(Clone)]
pub struct ReplayHandler {
    /// Its name; also the consumer group of its replays, unless they name another one.
    pub name: String,
    /// The group whose workers run it.
    pub workers: String,
    /// The types whose records it runs.
    pub types: BTreeSet<String>,
    /// What runs them, payloads checked as ever.
    pub handler: Arc<dyn Handler>,
}

/// Runs the jobs of a type.
///
/// It may be called more than once for one job (at-least-once delivery): the effect
/// must bear that, by the job's stable `id`. A panic counts as [`Outcome::Retry`].
pub trait Handler: Send + Sync + 'static {
    /// Runs one attempt. The future is dropped when the attempt's time is over.
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Outcome>;

    /// How many jobs of one key that wait behind each other may run in one attempt; 1: each runs
    /// by itself. With more, [`Handler::run_merged`] must say what one run for several is.
    fn merged_max(&self) -> usize {
        1
    }

    /// Runs one attempt at several jobs of a key, in their order, and says how each has ended:
    /// each has its own id to claim, its own attempts and its own dead letter. Their payloads
    /// agree in nothing but the key, and not even in the fields that the key is made of, since
    /// other Kafka clients write records too. A time limit or a panic is the end of all.
    fn run_merged<'a>(&'a self, jobs: &'a [Job]) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            let mut outcomes = Vec::with_capacity(jobs.len());
            for job in jobs {
                outcomes.push(self.run(job).await);
            }
            outcomes
        })
    }

    /// How long an attempt may take; none: as long as the pool gives every attempt.
    fn timeout(&self) -> Option<Duration> {
        None
    }
}
