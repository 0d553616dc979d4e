//! Enqueue a job, publish an event: a valid payload becomes a durable record and a receipt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::detached::run_detached;
use crate::domain::catalog::{Accepted, RecordType};
use crate::domain::clock::{SharedClock, rfc3339};
use crate::domain::counters::{Counters, TypeCounters};
use crate::domain::id::{IdSource, time_of};
use crate::domain::receipt::Receipt;
use crate::domain::record::{Headers, OutgoingRecord, header};
use crate::kafka::{ProduceError, Producer};

/// How long a caller waits for the acknowledgement. Below the 10 s after which many HTTP
/// clients give up, far above any healthy acknowledgement.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// Why there is no receipt.
#[derive(Debug, Error)]
pub enum EnqueueError {
    /// Kafka is away; nothing was written.
    #[error("Kafka cannot be reached")]
    Away,
    /// The queue towards Kafka is full; nothing was written.
    #[error("the queue towards Kafka is full")]
    Overloaded,
    /// The record is larger than its topic takes; nothing was written.
    #[error("the record is larger than its topic takes")]
    TooLarge(#[source] ProduceError),
    /// Kafka refused the record; nothing was written.
    #[error("Kafka refused the record")]
    Refused(#[source] ProduceError),
    /// The record may have been written, or may still be.
    #[error("the outcome is unknown")]
    OutcomeUnknown {
        /// The id it has if it was.
        id: Uuid,
    },
}

/// Writes records of the catalog's types. Cheap to clone.
#[derive(Clone)]
pub struct Enqueue {
    producer: Producer,
    ids: Arc<IdSource>,
    clock: SharedClock,
    /// The `producer` header of callers that have no name of their own.
    producer_name: Arc<str>,
    tracker: TaskTracker,
    counters: Arc<Counters>,
}

impl Enqueue {
    /// The use case, on these parts.
    pub fn new(
        producer: Producer,
        ids: Arc<IdSource>,
        clock: SharedClock,
        producer_name: &str,
        tracker: TaskTracker,
        counters: Arc<Counters>,
    ) -> Self {
        let producer_name = producer_name.into();
        Self { producer, ids, clock, producer_name, tracker, counters }
    }

    /// Whether a record would be accepted now.
    pub fn is_ready(&self) -> bool {
        self.producer.is_ready()
    }

    /// Writes a record of this type, as sent by `producer` or, without one, by this process.
    /// A receipt means that every in-sync replica has it.
    pub async fn enqueue(
        &self,
        record_type: &RecordType,
        accepted: Accepted,
        producer: Option<&str>,
    ) -> Result<Receipt, EnqueueError> {
        if self.producer.is_away() {
            return Err(EnqueueError::Away);
        }
        let id = self.ids.next(self.clock.now_ms());
        // The id's own time: the source may run ahead of the clock to keep its order.
        let produced_at_ms = time_of(id).unwrap_or_else(|| self.clock.now_ms());
        let record = OutgoingRecord {
            topic: record_type.topic.name.clone(),
            key: Some(accepted.key.clone().into_bytes()),
            value: Some(accepted.value),
            headers: self.headers(record_type, id, produced_at_ms, producer),
            timestamp_ms: produced_at_ms,
        };
        let producer = self.producer.clone();
        let begun = Instant::now();
        let sent =
            run_detached(
                &self.tracker,
                ANSWER_DEADLINE,
                async move { producer.send(&record).await },
            )
            .await;
        if let Some(counters) = self.counters.of(&record_type.name) {
            let is_durable = matches!(sent, Some(Ok(_)));
            TypeCounters::count(if is_durable {
                &counters.enqueued
            } else {
                &counters.enqueue_errors
            });
            counters.enqueue_time.observe(begun.elapsed());
        }
        match sent {
            Some(Ok(place)) => {
                Ok(Receipt::new(id, &record_type.name, place, &accepted.key, produced_at_ms))
            }
            Some(Err(error)) => Err(EnqueueError::from_produce(error, id)),
            None => Err(EnqueueError::OutcomeUnknown { id }),
        }
    }

    fn headers(
        &self,
        record_type: &RecordType,
        id: Uuid,
        produced_at_ms: i64,
        producer: Option<&str>,
    ) -> Headers {
        let mut headers = Headers::new();
        headers.push(header::MESSAGE_ID, id.to_string());
        headers.push(header::PRODUCED_AT, rfc3339(produced_at_ms));
        headers.push(header::PRODUCER, producer.unwrap_or(&self.producer_name).as_bytes());
        for (name, value) in &record_type.headers {
            headers.push(name.clone(), value.as_bytes());
        }
        headers
    }
}

impl EnqueueError {
    pub(super) fn from_produce(error: ProduceError, id: Uuid) -> Self {
        match error {
            ProduceError::Away => Self::Away,
            ProduceError::QueueFull => Self::Overloaded,
            ProduceError::TooLarge(_) => Self::TooLarge(error),
            ProduceError::Refused(_) => Self::Refused(error),
            ProduceError::Unknown(_) => {
                tracing::warn!(job.id = %id, %error, "the outcome of a record is unknown");
                Self::OutcomeUnknown { id }
            }
        }
    }
}
