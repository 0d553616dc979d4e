//! Write a dead letter, and mark a letter resolved whose replay has succeeded: what a worker
//! owes before it lets go of a record.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::insist::{insist, insist_until};
use crate::domain::clock::SharedClock;
use crate::domain::dead_letter::DeadLetter;
use crate::domain::handler::Failure;
use crate::domain::receipt::Place;
use crate::domain::record::{Record, header};
use crate::domain::trace::Trace;
use crate::kafka::{ProduceError, Producer};
use crate::store::Store;

/// How long the database is asked to mark a letter resolved. After that the letter stays
/// `replayed`, which is true as well; the key must not wait for it any longer.
const RESOLVE_TIME: Duration = Duration::from_secs(5);

/// Buries records that failed. Cheap to clone.
#[derive(Clone)]
pub struct Undertaker {
    producer: Producer,
    store: Store,
    clock: SharedClock,
    dlq_topic: Arc<str>,
}

impl Undertaker {
    /// An undertaker for this dead-letter topic.
    pub fn new(producer: Producer, store: Store, clock: SharedClock, dlq_topic: &str) -> Self {
        Self { producer, store, clock, dlq_topic: dlq_topic.into() }
    }

    /// Writes the dead letter, and tries until Kafka has acknowledged it. Returns its place; none
    /// if `stop` came first: then the record's offset must stay open.
    pub async fn bury(
        &self,
        record: &Record,
        group: &str,
        failure: &Failure,
        attempts: u32,
        stop: &CancellationToken,
    ) -> Option<Place> {
        let letter = DeadLetter::new(record, group, failure, attempts, self.clock.now_ms());
        let outgoing = match letter.to_record(&self.dlq_topic) {
            Ok(outgoing) => outgoing,
            Err(error) => {
                // Strings and numbers always serialise; the partition waits if not.
                tracing::error!(%error, "a dead letter could not be written as JSON");
                return None;
            }
        };
        let send = || self.producer.send(&outgoing);
        let place = insist_until(stop, send, |error| self.log_refused(record, error)).await?;
        let trace = Trace::of(&record.headers);
        tracing::warn!(
            job.id = %record.message_id(),
            topic = &*record.place.topic,
            partition = record.place.partition,
            offset = record.place.offset,
            attempts,
            trace_id = trace.as_ref().map(Trace::id),
            // Its message may quote the payload; the letter has it.
            error.class = failure.class,
            dead_letter = format!("{}/{}", place.partition, place.offset),
            "dead letter"
        );
        Some(place)
    }

    /// A letter that Kafka refuses waits as one that it does not answer for: letting it go would
    /// lose the record. But somebody has to do something.
    fn log_refused(&self, record: &Record, error: &ProduceError) {
        let job_id = record.message_id();
        let cause = error.source();
        let topic = &*self.dlq_topic;
        match error {
            ProduceError::TooLarge(_) => tracing::error!(
                job.id = %job_id,
                cause,
                topic,
                "a dead letter is larger than its topic takes; its partition waits until the \
                 topic's max.message.bytes is raised (with Kafka's kafka-configs.sh)"
            ),
            ProduceError::Refused(_) => tracing::error!(
                job.id = %job_id,
                cause,
                topic,
                "Kafka refuses a dead letter; its partition waits until the cause is mended"
            ),
            _ => tracing::warn!(
                job.id = %job_id,
                %error,
                cause,
                "a dead letter was not acknowledged; its partition waits"
            ),
        }
    }

    /// A record has succeeded: if it was the replay of a dead letter, that is resolved.
    pub async fn resolve(&self, record: &Record, stop: &CancellationToken) {
        let replay_id = record.headers.text(header::REPLAY_ID);
        let Some(replay_id) = replay_id.and_then(|id| Uuid::parse_str(id).ok()) else { return };
        let message_id = record.message_id();
        let resolve = || self.store.resolve_replay(replay_id, message_id, self.clock.now_ms());
        tokio::select! {
            () = stop.cancelled() => {}
            result = insist("a letter that is resolved", RESOLVE_TIME, resolve) => {
                if let Err(error) = result {
                    tracing::warn!(job.id = %message_id, %error, "not marked resolved");
                }
            }
        }
    }
}
