//! Reads records outside of any group: one by its place, or a topic from given offsets on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::convert::{reading, record_of};
use super::error::KafkaFault;
use super::settings::KafkaSettings;
use super::trouble::Troubles;
use crate::domain::receipt::Place;
use crate::domain::record::Record;

/// How long one question to Kafka may take.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(4);

/// The first offset that is still there and the one that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset that retention has left.
    pub low: i64,
    /// One past the last record.
    pub high: i64,
}

/// Reads single records and asks for bounds. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    pub(super) settings: KafkaSettings,
    /// Answers questions; it never has an assignment.
    pub(super) client: Arc<BaseConsumer>,
}

impl Reader {
    /// A reader of this cluster.
    pub fn new(settings: KafkaSettings) -> Result<Self, KafkaFault> {
        let client = build(&settings, "reader")?;
        Ok(Self { settings, client: Arc::new(client) })
    }

    /// The record at this place.
    pub async fn record(&self, place: Place) -> Result<Record, KafkaFault> {
        let settings = self.settings.clone();
        let questions = Arc::clone(&self.client);
        blocking(move || {
            let bounds = bounds(&questions, &place.topic, place.partition)?;
            let what = || format!("{}/{}/{}", place.topic, place.partition, place.offset);
            if !(bounds.low..bounds.high).contains(&place.offset) {
                return Err(KafkaFault::Missing { what: what() });
            }
            let client = build(&settings, "record")?;
            let mut start = TopicPartitionList::new();
            start
                .add_partition_offset(&place.topic, place.partition, Offset::Offset(place.offset))
                .and_then(|()| client.assign(&start))
                .map_err(KafkaFault::failed(format!("read {}", what())))?;
            let deadline = Instant::now() + ASK_TIMEOUT;
            while let Some(left) = deadline.checked_duration_since(Instant::now()) {
                match client.poll(left) {
                    Some(Ok(message)) if message_offset(&message) == place.offset => {
                        return Ok(record_of(&message));
                    }
                    // Compaction may have taken the record: what comes stands behind it.
                    Some(Ok(_)) => return Err(KafkaFault::Missing { what: what() }),
                    Some(Err(_)) | None => {}
                }
            }
            Err(KafkaFault::failed(format!("read {}", what()))(
                rdkafka::error::KafkaError::MessageConsumption(
                    rdkafka::error::RDKafkaErrorCode::OperationTimedOut,
                ),
            ))
        })
        .await
    }

    /// The bounds of each partition of a topic, in their order.
    pub async fn bounds(&self, topic: &str) -> Result<Vec<Bounds>, KafkaFault> {
        let client = Arc::clone(&self.client);
        let topic = topic.to_owned();
        blocking(move || {
            let count = partition_count(&client, &topic)?;
            (0..count).map(|partition| bounds(&client, &topic, partition)).collect()
        })
        .await
    }

    /// Follows a topic from these offsets on, one for each partition in their order.
    pub async fn follow(&self, topic: &str, from: Vec<i64>) -> Result<Tail, KafkaFault> {
        let settings = self.settings.clone();
        let topic = topic.to_owned();
        blocking(move || {
            let client = build(&settings, "tail")?;
            let mut start = TopicPartitionList::with_capacity(from.len());
            for (partition, offset) in (0_i32..).zip(from) {
                start
                    .add_partition_offset(&topic, partition, Offset::Offset(offset))
                    .map_err(KafkaFault::failed(format!("follow {topic}")))?;
            }
            client.assign(&start).map_err(KafkaFault::failed(format!("follow {topic}")))?;
            Ok(Tail { client: Arc::new(client), troubles: Arc::default() })
        })
        .await
    }
}

/// A topic being followed.
pub struct Tail {
    client: Arc<BaseConsumer>,
    troubles: Arc<Troubles>,
}

impl Tail {
    /// The next records: waits for the first at most this long, takes what else is there.
    pub async fn next(&self, wait: Duration, count_max: usize) -> Result<Vec<Record>, KafkaFault> {
        let (client, troubles) = (Arc::clone(&self.client), Arc::clone(&self.troubles));
        blocking(move || {
            let mut records = Vec::new();
            let mut wait = wait;
            while records.len() < count_max {
                match client.poll(wait) {
                    Some(Ok(message)) => records.push(record_of(&message)),
                    Some(Err(error)) => troubles.heard("tail", &error, ""),
                    None => break,
                }
                wait = Duration::ZERO;
            }
            Ok(records)
        })
        .await
    }
}

fn message_offset(message: &rdkafka::message::BorrowedMessage<'_>) -> i64 {
    use rdkafka::Message as _;
    message.offset()
}

fn build(settings: &KafkaSettings, name: &str) -> Result<BaseConsumer, KafkaFault> {
    let mut config = reading(settings, name);
    config
        // rdkafka wants one; nothing is ever committed under it.
        .set("group.id", "jobgate-reader")
        .set("auto.offset.reset", "earliest");
    config.create().map_err(KafkaFault::failed("set up a reader"))
}

fn partition_count(client: &BaseConsumer, topic: &str) -> Result<i32, KafkaFault> {
    let metadata = client
        .fetch_metadata(Some(topic), ASK_TIMEOUT)
        .map_err(KafkaFault::failed(format!("describe {topic}")))?;
    let found = metadata.topics().first().filter(|found| found.error().is_none());
    found
        .map(|found| i32::try_from(found.partitions().len()).unwrap_or(i32::MAX))
        .filter(|count| *count > 0)
        .ok_or_else(|| KafkaFault::Missing { what: format!("the topic {topic}") })
}

fn bounds(client: &BaseConsumer, topic: &str, partition: i32) -> Result<Bounds, KafkaFault> {
    let (low, high) = client
        .fetch_watermarks(topic, partition, ASK_TIMEOUT)
        .map_err(KafkaFault::failed(format!("tell the bounds of {topic}/{partition}")))?;
    Ok(Bounds { low, high })
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KafkaFault> + Send + 'static,
) -> Result<T, KafkaFault> {
    tokio::task::spawn_blocking(work).await.map_err(|_| KafkaFault::Stopping)?
}
