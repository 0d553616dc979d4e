//! What stands in a topic, as a client sees it that is not jobgate.

use std::collections::BTreeMap;
use std::time::Duration;

use super::harness::until;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

/// How long one question to Kafka may take.
const ASK: Duration = Duration::from_secs(30);

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) timestamp_ms: i64,
}

impl Record {
    pub(crate) fn id(&self) -> &str {
        &self.headers["message_id"]
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.value).expect("JSON")
    }

    /// The number of a numbered signup.
    pub(crate) fn number(&self) -> u64 {
        self.json()["metadata"]["number"].as_u64().expect("a number")
    }
}

/// Every record of the topic, partition by partition, once each has its leader: after a start
/// that takes Kafka a moment.
pub(crate) async fn records(brokers: &str, topic: &str) -> Vec<Record> {
    until(&format!("the records of {topic}"), ASK * 2, async || {
        let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
        tokio::task::spawn_blocking(move || read(&brokers, &topic)).await.expect("no panic")
    })
    .await
}

fn read(brokers: &str, topic: &str) -> Option<Vec<Record>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "the-tests")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let metadata = consumer.fetch_metadata(Some(topic), ASK).ok()?;
    let (mut start, mut left) = (TopicPartitionList::new(), BTreeMap::new());
    for partition in metadata.topics()[0].partitions() {
        let (first, end) = consumer.fetch_watermarks(topic, partition.id(), ASK).ok()?;
        if end > first {
            left.insert(partition.id(), end);
            start.add_partition_offset(topic, partition.id(), Offset::Beginning).expect("it");
        }
    }
    consumer.assign(&start).expect("an assignment");
    let mut records = Vec::new();
    while !left.is_empty() {
        let message = consumer.poll(ASK).expect("a record in time").expect("a record");
        if left.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
            left.remove(&message.partition());
        }
        let text = |bytes: Option<&[u8]>| {
            String::from_utf8(bytes.unwrap_or_default().to_vec()).expect("text")
        };
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        records.push(Record {
            partition: message.partition(),
            offset: message.offset(),
            key: text(message.key()),
            value: message.payload().unwrap_or_default().to_vec(),
            headers: headers.map(|h| (h.key.to_owned(), text(h.value))).collect(),
            timestamp_ms: message.timestamp().to_millis().expect("a time"),
        });
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    Some(records)
}
