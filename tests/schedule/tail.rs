//! Kafka as another client sees it, while it happens: every record of a topic with the time at
//! which it was there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use uuid::Uuid;

use super::now_ms;

/// How long one question to Kafka may take.
const ASK: Duration = Duration::from_secs(20);

/// A record.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) id: Uuid,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: i64,
    /// When it was seen, by the clock of this machine.
    pub(crate) arrived_ms: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    /// Those that are text; the last of each name.
    pub(crate) headers: HashMap<String, String>,
}

/// Follows a topic from its beginning, until it is dropped.
pub(crate) struct Tail {
    seen: Arc<Mutex<Vec<Seen>>>,
    is_over: Arc<AtomicBool>,
}

impl Tail {
    pub(crate) async fn follow(brokers: &str, topic: &'static str) -> Self {
        let brokers = brokers.to_owned();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let is_over: Arc<AtomicBool> = Arc::default();
        let (into, over) = (Arc::clone(&seen), Arc::clone(&is_over));
        let reader = tokio::task::spawn_blocking(move || reader(&brokers, topic)).await;
        let reader = reader.expect("a reader");
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                // An error is a broker that is away: it is asked again.
                let Some(Ok(message)) = reader.poll(Duration::from_millis(100)) else { continue };
                let record = read(&message);
                into.lock().unwrap_or_else(PoisonError::into_inner).push(record);
            }
        });
        Self { seen, is_over }
    }

    /// What was seen so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The records with this id.
    pub(crate) fn of(&self, id: &str) -> Vec<Seen> {
        let id = Uuid::parse_str(id).expect("an id");
        self.seen().into_iter().filter(|record| record.id == id).collect()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn reader(brokers: &str, topic: &str) -> BaseConsumer {
    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "the-tests")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let metadata = reader.fetch_metadata(Some(topic), ASK).expect("metadata");
    let mut start = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        start.add_partition_offset(topic, partition.id(), Offset::Beginning).expect("a partition");
    }
    reader.assign(&start).expect("assigned");
    reader
}

fn read(message: &rdkafka::message::BorrowedMessage<'_>) -> Seen {
    let headers: HashMap<String, String> = message
        .headers()
        .into_iter()
        .flat_map(|headers| headers.iter())
        .filter_map(|header| {
            let value = std::str::from_utf8(header.value?).ok()?;
            Some((header.key.to_owned(), value.to_owned()))
        })
        .collect();
    Seen {
        id: headers.get("message_id").and_then(|id| Uuid::parse_str(id).ok()).unwrap_or_default(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis().expect("a timestamp"),
        arrived_ms: now_ms(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers,
    }
}
