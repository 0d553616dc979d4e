//! Enqueue a job, publish an event: a valid payload becomes a durable record and a receipt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::batch::BATCHES_KIB_MAX;
use crate::domain::catalog::{Accepted, RecordType};
use crate::domain::clock::{SharedClock, rfc3339};
use crate::domain::cloud_event::Attributes;
use crate::domain::counters::{Counters, TypeCounters};
use crate::domain::fair_share::FairShares;
use crate::domain::id::{IdSource, time_of};
use crate::domain::receipt::{Place, Receipt};
use crate::domain::record::{Headers, OutgoingRecord, header};
use crate::domain::trace::Trace;
use crate::kafka::{Delivery, ProduceError, Producer};

/// How long a caller waits for the acknowledgement. Below the 10 s after which many HTTP
/// clients give up, far above any healthy acknowledgement.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// What of the queue towards Kafka callers may fill, each its fair share. Not all of it: dead
/// letters, and jobs that are due, always find room.
const OF_THE_QUEUE: (usize, usize) = (6, 7);
/// What a record costs there besides its value: its headers, and what keeps account of it.
const RECORD_BYTES: usize = 1 << 10;

/// Why there is no receipt.
#[derive(Debug, Error)]
pub enum EnqueueError {
    /// Kafka is away; nothing was written.
    #[error("Kafka cannot be reached")]
    Away,
    /// The queue towards Kafka is full; nothing was written.
    #[error("the queue towards Kafka is full")]
    Overloaded,
    /// The caller has its share of the queue towards Kafka; nothing was written.
    #[error("the caller has its share of the queue towards Kafka")]
    OverShare,
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
    counters: Arc<Counters>,
    /// The queue towards Kafka, as far as callers may fill it.
    queue: Arc<FairShares>,
    /// What the batches of this process have on their way together.
    pub(super) batches: Arc<Semaphore>,
}

impl Enqueue {
    /// The use case, on these parts.
    pub fn new(
        producer: Producer,
        ids: Arc<IdSource>,
        clock: SharedClock,
        producer_name: &str,
        counters: Arc<Counters>,
    ) -> Self {
        let producer_name = producer_name.into();
        let (part, whole) = OF_THE_QUEUE;
        let queue = FairShares::of(producer.queue_bytes() / whole * part);
        let batches = Arc::new(Semaphore::new(BATCHES_KIB_MAX));
        Self { producer, ids, clock, producer_name, counters, queue, batches }
    }

    /// Whether a record would be accepted now.
    pub fn is_ready(&self) -> bool {
        self.producer.is_ready()
    }

    /// Writes a record of this type. A receipt means that every in-sync replica has it.
    pub async fn enqueue(
        &self,
        record_type: &RecordType,
        accepted: Accepted,
        marks: Marks<'_>,
    ) -> Result<Receipt, EnqueueError> {
        let (sent, delivery) = self.hand_over(record_type, accepted, marks, |_| {})?;
        let id = sent.id;
        match tokio::time::timeout(ANSWER_DEADLINE, delivery).await {
            Ok(Ok(place)) => Ok(sent.receipt(record_type, place)),
            Ok(Err(error)) => Err(EnqueueError::from_produce(error, id)),
            Err(_) => Err(EnqueueError::OutcomeUnknown { id }),
        }
    }

    /// The same, waiting for as long as the producer tries.
    pub async fn enqueue_patiently(
        &self,
        record_type: &RecordType,
        accepted: Accepted,
        marks: Marks<'_>,
    ) -> Result<Receipt, EnqueueError> {
        let (sent, delivery) = self.hand_over(record_type, accepted, marks, |_| {})?;
        let id = sent.id;
        match delivery.await {
            Ok(place) => Ok(sent.receipt(record_type, place)),
            Err(error) => Err(EnqueueError::from_produce(error, id)),
        }
    }

    /// Hands a record over, to be written whether or not the answer is waited for. `settled`
    /// hears what became of it, on Kafka's thread: it must not block.
    pub(super) fn hand_over(
        &self,
        record_type: &RecordType,
        accepted: Accepted,
        marks: Marks<'_>,
        settled: impl FnOnce(&Result<Place, ProduceError>) + Send + Sync + 'static,
    ) -> Result<(Sent, Delivery), EnqueueError> {
        if self.producer.is_away() {
            return Err(self.refuse(record_type, EnqueueError::Away));
        }
        let bytes = accepted.value.len() + RECORD_BYTES;
        let Some(share) = self.queue.take(marks.producer.unwrap_or_default(), bytes) else {
            return Err(self.refuse(record_type, EnqueueError::OverShare));
        };
        let Accepted { payload, key, value } = accepted;
        // Read, it may be many times as large as its text: not while Kafka is waited for.
        drop(payload);
        let counters = self.counters.of(&record_type.name).cloned().unwrap_or_default();
        let id = marks.id.unwrap_or_else(|| self.ids.next(self.clock.now_ms()));
        // The id's own time: the source may run ahead of the clock to keep its order.
        let produced_at_ms = time_of(id).unwrap_or_else(|| self.clock.now_ms());
        let record = OutgoingRecord {
            topic: record_type.topic.name.clone(),
            key: Some(key.clone().into_bytes()),
            value: Some(value),
            headers: self.headers(record_type, id, produced_at_ms, marks),
            timestamp_ms: produced_at_ms,
        };
        let begun = Instant::now();
        // Counted by what becomes of the record, whether or not somebody still waits for it.
        let told = move |outcome: &Result<_, _>| {
            drop(share);
            if outcome.is_ok() {
                TypeCounters::count(&counters.enqueued);
                counters.enqueue_time.observe(begun.elapsed());
            } else {
                TypeCounters::count(&counters.enqueue_errors);
            }
            settled(outcome);
        };
        let delivery = self.producer.hand_over(record, told);
        Ok((Sent { id, key, produced_at_ms }, delivery))
    }

    /// Whether Kafka is known to be away.
    pub(super) fn is_away(&self) -> bool {
        self.producer.is_away()
    }

    /// Counts a record that is refused before it is handed over.
    pub(super) fn refuse(&self, record_type: &RecordType, error: EnqueueError) -> EnqueueError {
        if let Some(counters) = self.counters.of(&record_type.name) {
            TypeCounters::count(&counters.enqueue_errors);
        }
        error
    }

    fn headers(
        &self,
        record_type: &RecordType,
        id: Uuid,
        produced_at_ms: i64,
        marks: Marks<'_>,
    ) -> Headers {
        // Three of its own, and a trace.
        let mut headers = Headers::with_capacity(record_type.headers.len() + 5);
        headers.push(header::MESSAGE_ID, id.to_string());
        headers.push(header::PRODUCED_AT, rfc3339(produced_at_ms));
        headers.push(header::PRODUCER, marks.producer.unwrap_or(&self.producer_name).as_bytes());
        for (name, value) in &record_type.headers {
            headers.push(name.clone(), value.as_bytes());
        }
        for (name, value) in marks.event.into_iter().flat_map(Attributes::headers) {
            headers.push(name, value.as_bytes());
        }
        if let Some(trace) = marks.trace {
            headers.push_trace(trace);
        }
        headers
    }
}

/// What a record bears beside what its type says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Marks<'a> {
    /// Who sends it, where that is not this process.
    pub producer: Option<&'a str>,
    /// Its id, where that follows from something; a fresh one otherwise.
    pub id: Option<Uuid>,
    /// What it came as, if it was a `CloudEvent`.
    pub event: Option<&'a Attributes>,
    /// The trace that it belongs to.
    pub trace: Option<&'a Trace>,
}

/// A record that was handed over: what its receipt will say, but for its place.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) id: Uuid,
    key: String,
    produced_at_ms: i64,
}

impl Sent {
    /// Its receipt, now that Kafka has it at this place.
    pub(super) fn receipt(self, record_type: &RecordType, place: Place) -> Receipt {
        let Self { id, key, produced_at_ms } = self;
        Receipt::new(id, &record_type.name, place, &key, produced_at_ms)
    }
}

impl EnqueueError {
    /// Whether the record may have been written all the same.
    pub fn may_be_done(&self) -> bool {
        matches!(self, Self::OutcomeUnknown { .. })
    }

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

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use futures_util::FutureExt as _;
    use serde_json::json;

    use super::*;
    use crate::domain::catalog::{Declaration, PayloadType, RecordKind, TopicSpec};
    use crate::domain::clock::SystemClock;
    use crate::domain::retry::RetryPolicy;
    use crate::kafka::KafkaSettings;

    const TYPE: &str = "a";

    /// A use case on a Kafka that does not answer, which gives a record up after a moment.
    fn without_kafka(brokers: &str) -> (Enqueue, Arc<Counters>) {
        let settings = KafkaSettings {
            brokers: brokers.to_owned(),
            properties: vec![("message.timeout.ms".to_owned(), "200".to_owned())],
        };
        let clock: SharedClock = Arc::new(SystemClock);
        let producer = Producer::new(settings, Arc::clone(&clock)).unwrap();
        let counters = Arc::new(Counters::new([TYPE]));
        let ids = Arc::new(IdSource::new());
        let enqueue = Enqueue::new(producer, ids, clock, "tests", Arc::clone(&counters));
        (enqueue, counters)
    }

    async fn enqueue_one(enqueue: &Enqueue) -> Result<Receipt, EnqueueError> {
        let (record_type, accepted) = record(&json!({ "id": "1" }));
        enqueue.enqueue(&record_type, accepted, Marks::default()).await
    }

    fn record(payload: &serde_json::Value) -> (RecordType, Accepted) {
        let properties = json!({ "id": { "type": "string" }, "text": { "type": "string" } });
        let schema = json!({ "type": "object", "properties": properties, "required": ["id"] });
        let record_type = RecordType::declare(Declaration {
            name: TYPE.to_owned(),
            kind: RecordKind::Job,
            description: "A type.".to_owned(),
            topic: TopicSpec::new("t", 1, Duration::from_hours(1)),
            group: "workers".to_owned(),
            key: "{id}".to_owned(),
            retry: RetryPolicy::DEFAULT,
            critical: false,
            headers: Vec::new(),
            constants: Vec::new(),
            payload: PayloadType::from_schema(schema, payload.clone()),
        });
        let record_type = record_type.unwrap();
        let accepted = record_type.accept(payload.to_string().as_bytes()).unwrap();
        (record_type, accepted)
    }

    /// What is known of a record as soon as it is handed over.
    fn hand_over(
        enqueue: &Enqueue,
        (record_type, accepted): &(RecordType, Accepted),
        caller: &str,
    ) -> Option<Result<Receipt, EnqueueError>> {
        let accepted = Accepted {
            payload: accepted.payload.clone(),
            value: accepted.value.clone(),
            key: accepted.key.clone(),
        };
        let marks = Marks { producer: Some(caller), ..Marks::default() };
        enqueue.enqueue(record_type, accepted, marks).now_or_never()
    }

    /// The same, once the producer's thread has come to what was handed over before.
    async fn hand_over_in_turn(
        enqueue: &Enqueue,
        record: &(RecordType, Accepted),
        caller: &str,
    ) -> Option<Result<Receipt, EnqueueError>> {
        let turn = async {
            loop {
                match hand_over(enqueue, record, caller) {
                    Some(Err(EnqueueError::Overloaded)) => {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    known => return known,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), turn).await.expect("a turn")
    }

    #[tokio::test]
    async fn a_caller_that_fills_the_queue_leaves_room_for_others() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (enqueue, _) = without_kafka(&silent.local_addr().unwrap().to_string());
        let large = record(&json!({ "id": "1", "text": "a".repeat(1 << 20) }));
        let small = record(&json!({ "id": "1" }));
        let mut waits = 0;
        loop {
            match hand_over_in_turn(&enqueue, &large, "greedy").await {
                None => waits += 1,
                Some(Err(EnqueueError::OverShare)) => break,
                Some(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(waits, 31, "two thirds of 48 MiB, with what is around");
        for _ in 0..100 {
            let answer = hand_over_in_turn(&enqueue, &small, "other").await;
            assert!(answer.is_none(), "it is on its way: {answer:?}");
        }
        let answer = hand_over_in_turn(&enqueue, &large, "other").await;
        assert!(answer.is_none(), "it is on its way: {answer:?}");
        // What Kafka does not take is given up after a while, and no longer in anybody's way.
        let free = async {
            while hand_over(&enqueue, &large, "greedy").is_some() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), free).await.expect("its share is free");
    }

    fn errors(counters: &Counters) -> u64 {
        counters.of(TYPE).unwrap().enqueue_errors.load(Relaxed)
    }

    #[tokio::test]
    async fn a_record_that_is_refused_at_once_is_counted() {
        let (enqueue, counters) = without_kafka("127.0.0.1:1");
        assert!(!enqueue.producer.probe().await);
        assert!(matches!(enqueue_one(&enqueue).await, Err(EnqueueError::Away)));
        assert_eq!(errors(&counters), 1);
    }

    #[tokio::test]
    async fn a_record_whose_caller_has_gone_is_counted() {
        // It takes the connection and says nothing, so that Kafka is not known to be away.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (enqueue, counters) = without_kafka(&silent.local_addr().unwrap().to_string());
        tokio::select! {
            biased;
            answer = enqueue_one(&enqueue) => panic!("an answer at once: {answer:?}"),
            () = std::future::ready(()) => {}
        }
        let counted = async {
            while errors(&counters) == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), counted).await.expect("it is counted");
    }
}
