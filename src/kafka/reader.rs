//! Reads records outside of any group: one by its place, or a topic from given offsets on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::Semaphore;

use super::convert::{reading, record_of};
use super::error::KafkaFault;
use super::kept::Kept;
use super::settings::KafkaSettings;
use super::trouble::Troubles;
use crate::domain::receipt::Place;
use crate::domain::record::Record;

/// How long one question to Kafka may take.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(4);

/// Reads at the same time: each is a client of Kafka's with its connections and threads.
const READS_MAX: usize = 8;
/// How long a read may wait for another to end.
const READ_WAIT: Duration = Duration::from_secs(2);

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
    kept: Arc<Kept<BaseConsumer>>,
    /// Reads that may begin.
    reads: Arc<Semaphore>,
}

impl Reader {
    /// A reader of this cluster.
    pub fn new(settings: KafkaSettings) -> Result<Self, KafkaFault> {
        let reads = Arc::new(Semaphore::new(READS_MAX));
        let reader = Self { settings, kept: Arc::default(), reads };
        reader.question(|_| Ok(()))?;
        Ok(reader)
    }

    /// Asks the client that is kept for it. Blocks.
    pub(super) fn question<T>(
        &self,
        question: impl FnOnce(&BaseConsumer) -> Result<T, KafkaFault>,
    ) -> Result<T, KafkaFault> {
        let make = || build(&self.settings, "reader", &[]).map_err(KafkaFault::failed(SET_UP));
        self.kept.ask(make, question)
    }

    /// The record at this place.
    pub async fn record(&self, place: Place) -> Result<Record, KafkaFault> {
        let reader = self.clone();
        self.reading(move || {
            let bounds = reader.question(|client| bounds(client, &place.topic, place.partition))?;
            let what = || format!("{}/{}/{}", place.topic, place.partition, place.offset);
            let failed = |error| KafkaFault::failed(format!("read {}", what()))(error);
            if !(bounds.low..bounds.high).contains(&place.offset) {
                return Err(KafkaFault::Missing { what: what() });
            }
            let client = build(&reader.settings, "record", &[TELLS_ENDS]).map_err(failed)?;
            let mut start = TopicPartitionList::new();
            start
                .add_partition_offset(&place.topic, place.partition, Offset::Offset(place.offset))
                .and_then(|()| client.assign(&start))
                .map_err(failed)?;
            let deadline = Instant::now() + ASK_TIMEOUT;
            while let Some(left) = deadline.checked_duration_since(Instant::now()) {
                match client.poll(left) {
                    Some(Ok(message)) if message_offset(&message) == place.offset => {
                        return Ok(record_of(&message));
                    }
                    // Compaction may have taken the record, or it is the end of a transaction:
                    // what comes stands behind it, or nothing does.
                    Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => {
                        return Err(KafkaFault::Missing { what: what() });
                    }
                    Some(Err(_)) | None => {}
                }
            }
            Err(failed(timed_out()))
        })
        .await
    }

    /// Work with a client of its own, on a thread that may block. Who asked may go away; the
    /// read counts until it has ended.
    pub(super) async fn reading<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, KafkaFault> + Send + 'static,
    ) -> Result<T, KafkaFault> {
        let permit = Arc::clone(&self.reads).acquire_owned();
        let permit = tokio::time::timeout(READ_WAIT, permit).await.map_err(|_| KafkaFault::Busy)?;
        blocking(move || {
            let _permit = permit;
            work()
        })
        .await
    }

    /// The bounds of each partition of a topic, in their order.
    pub async fn bounds(&self, topic: &str) -> Result<Vec<Bounds>, KafkaFault> {
        let (reader, topic) = (self.clone(), topic.to_owned());
        blocking(move || {
            reader.question(|client| {
                let count = partition_count(client, &topic)?;
                (0..count).map(|partition| bounds(client, &topic, partition)).collect()
            })
        })
        .await
    }

    /// Follows a topic from these offsets on, one for each partition in their order.
    pub async fn follow(&self, topic: &str, from: Vec<i64>) -> Result<Tail, KafkaFault> {
        let settings = self.settings.clone();
        let topic = topic.to_owned();
        blocking(move || {
            let client = build(&settings, "tail", &[TELLS_ENDS])
                .map_err(KafkaFault::failed(format!("follow {topic}")))?;
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

/// What came of a topic being followed.
#[derive(Debug, Default)]
pub struct Tailed {
    /// The next records.
    pub records: Vec<Record>,
    /// Whether the end of a partition was reached. Behind its last record there may stand the
    /// ends of transactions, which are no records.
    pub is_at_an_end: bool,
}

impl Tail {
    /// The next records: waits for the first at most this long, takes what else is there.
    pub async fn next(&self, wait: Duration, count_max: usize) -> Result<Tailed, KafkaFault> {
        let (client, troubles) = (Arc::clone(&self.client), Arc::clone(&self.troubles));
        blocking(move || {
            let mut tailed = Tailed::default();
            let mut wait = wait;
            while tailed.records.len() < count_max {
                match client.poll(wait) {
                    Some(Ok(message)) => tailed.records.push(record_of(&message)),
                    Some(Err(KafkaError::PartitionEOF(_))) => tailed.is_at_an_end = true,
                    // Whoever follows begins anew where it was: a client that is stranded would
                    // bring nothing any more, and say nothing.
                    Some(Err(error)) if is_out_of_brokers(&error) => {
                        return Err(KafkaFault::failed("be followed")(error));
                    }
                    Some(Err(error)) => troubles.heard("tail", &error, ""),
                    None => break,
                }
                wait = Duration::ZERO;
            }
            Ok(tailed)
        })
        .await
    }
}

fn is_out_of_brokers(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown)
}

fn message_offset(message: &rdkafka::message::BorrowedMessage<'_>) -> i64 {
    use rdkafka::Message as _;
    message.offset()
}

/// Has a client say when it has reached the end of a partition.
pub(super) const TELLS_ENDS: (&str, &str) = ("enable.partition.eof", "true");
const SET_UP: &str = "set up a reader";

pub(super) fn build(
    settings: &KafkaSettings,
    name: &str,
    properties: &[(&str, &str)],
) -> Result<BaseConsumer, KafkaError> {
    let mut config = reading(settings, name);
    config
        // rdkafka wants one; nothing is ever committed under it.
        .set("group.id", "jobgate-reader")
        .set("auto.offset.reset", "earliest");
    for (name, value) in properties {
        config.set(*name, *value);
    }
    config.create()
}

pub(super) fn timed_out() -> KafkaError {
    KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut)
}

fn partition_count(client: &BaseConsumer, topic: &str) -> Result<i32, KafkaFault> {
    let metadata = client
        .fetch_metadata(Some(topic), ASK_TIMEOUT)
        .map_err(KafkaFault::failed(format!("describe {topic}")))?;
    let found = metadata.topics().first().filter(|found| found.error().is_none());
    found
        .map(|found| i32::try_from(found.partitions().len()).unwrap_or(i32::MAX))
        .filter(|count| *count > 0)
        .ok_or_else(|| KafkaFault::MissingTopic { topic: topic.to_owned() })
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

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn no_more_is_read_at_once_than_may_be() {
        // Nobody listens there: each read lasts as long as one may.
        let brokers = "127.0.0.1:1".to_owned();
        let reader = Reader::new(KafkaSettings { brokers, properties: Vec::new() }).unwrap();
        let place = Place { topic: "t".into(), partition: 0, offset: 0 };
        let asked = join_all((0..READS_MAX + 3).map(|_| reader.record(place.clone()))).await;
        let refused = asked.iter().filter(|read| matches!(read, Err(KafkaFault::Busy))).count();
        assert_eq!(refused, 3, "{asked:?}");
    }
}
