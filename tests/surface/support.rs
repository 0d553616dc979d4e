//! What several themes need: Kafka as any other client sees it, HTTP as bytes, and the
//! binary with arguments that make it end.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::harness::{Jobgate, until};

/// How long anything that happens behind HTTP may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// How long one question to Kafka may take.
const ASK: Duration = Duration::from_secs(15);

/// A Kafka client that is not jobgate.
#[derive(Clone)]
pub(crate) struct Client {
    brokers: String,
    producer: FutureProducer,
}

/// A record to produce, with whatever is wrong with it.
#[derive(Default, Clone)]
pub(crate) struct Raw<'a> {
    pub(crate) key: Option<&'a str>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [(&'a str, Option<&'a [u8]>)],
}

impl Client {
    pub(crate) fn new(brokers: &str) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("partitioner", "murmur2_random")
            .create()
            .expect("a producer");
        Self { brokers: brokers.to_owned(), producer }
    }

    /// Produces a record to this partition; returns its offset.
    pub(crate) async fn produce(&self, topic: &str, partition: i32, raw: Raw<'_>) -> i64 {
        let headers = raw.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: *value })
        });
        let mut record = FutureRecord::<str, [u8]>::to(topic).partition(partition).headers(headers);
        record.key = raw.key;
        record.payload = raw.value;
        self.producer.send(record, ASK).await.expect("it is produced").offset
    }

    /// The record at this place.
    pub(crate) async fn read(&self, topic: &str, partition: i32, offset: i64) -> OwnedMessage {
        let (consumer, topic) = (self.consumer(), topic.to_owned());
        blocking(move || {
            let mut start = TopicPartitionList::new();
            start
                .add_partition_offset(&topic, partition, Offset::Offset(offset))
                .expect("a partition");
            consumer.assign(&start).expect("an assignment");
            let message = consumer.poll(ASK).expect("a record in time").expect("a record");
            assert_eq!(message.offset(), offset, "{topic}/{partition}");
            message.detach()
        })
        .await
    }

    /// The next offset of each partition, once each has its leader: after a start that takes
    /// Kafka a moment.
    pub(crate) async fn ends(&self, topic: &str) -> Vec<i64> {
        until(&format!("the ends of {topic}"), SOON, async || {
            let (consumer, topic) = (self.consumer(), topic.to_owned());
            blocking(move || {
                let metadata = consumer.fetch_metadata(Some(&topic), ASK).ok()?;
                let partitions = metadata.topics()[0].partitions().len();
                (0..i32::try_from(partitions).expect("few"))
                    .map(|partition| {
                        Some(consumer.fetch_watermarks(&topic, partition, ASK).ok()?.1)
                    })
                    .collect()
            })
            .await
        })
        .await
    }

    /// The groups that the cluster knows, once it can tell.
    pub(crate) async fn groups(&self) -> Vec<String> {
        until("the groups are known", SOON, async || {
            let consumer = self.consumer();
            blocking(move || {
                let list = consumer.fetch_group_list(None, ASK).ok()?;
                Some(list.groups().iter().map(|group| group.name().to_owned()).collect())
            })
            .await
        })
        .await
    }

    /// What a group has committed, per partition; none where it has committed nothing.
    pub(crate) async fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", group)
            .create()
            .expect("a consumer");
        let topic = topic.to_owned();
        blocking(move || {
            let mut list = TopicPartitionList::new();
            list.add_partition(&topic, partition);
            let list = consumer.committed_offsets(list, ASK).expect("offsets");
            let found = list.find_partition(&topic, partition).expect("the partition");
            match found.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            }
        })
        .await
    }

    fn consumer(&self) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            // A reader by place needs a name for a group, which it never joins.
            .set("group.id", "the-tests")
            .set("enable.auto.commit", "false")
            .create()
            .expect("a consumer")
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

/// The last header of this name, as text.
pub(crate) fn header(message: &OwnedMessage, name: &str) -> Option<String> {
    let headers = message.headers()?;
    let found = headers.iter().filter(|header| header.key == name).last()?;
    Some(String::from_utf8(found.value?.to_vec()).expect("text"))
}

/// The dead letter of the record at this place of its topic, as lists show it.
pub(crate) async fn letter(jobgate: &Jobgate, topic: &str, partition: i32, offset: i64) -> Value {
    let what = format!("the dead letter of {topic}/{partition}/{offset}");
    until(&what, SOON, async || {
        let page = jobgate.get(&format!("/admin/dlq?topic={topic}&limit=500")).await.json();
        let items = page["items"].as_array()?;
        let is_it = |item: &&Value| {
            item["original"]["partition"] == partition && item["original"]["offset"] == offset
        };
        items.iter().find(is_it).cloned()
    })
    .await
}

/// The path of a dead letter.
pub(crate) fn path(letter: &Value) -> String {
    format!("/admin/dlq/{}/{}", letter["partition"], letter["offset"])
}

/// The answer to bytes sent as they are, up to the end of the connection.
pub(crate) async fn exchange(base: &str, request: &[u8]) -> String {
    let mut stream = connect(base).await;
    stream.write_all(request).await.expect("the request is taken");
    read_to_end(&mut stream).await
}

pub(crate) async fn connect(base: &str) -> TcpStream {
    TcpStream::connect(address(base)).await.expect("a connection")
}

/// `host:port` of the base URL.
pub(crate) fn address(base: &str) -> &str {
    base.strip_prefix("http://").expect("http")
}

pub(crate) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    tokio::time::timeout(SOON, stream.read_to_end(&mut answer))
        .await
        .expect("the connection ends in time")
        .expect("the answer arrives");
    String::from_utf8(answer).expect("text")
}

/// Runs the binary until it ends by itself.
pub(crate) async fn run_to_end(data: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    let child = Command::new(env!("CARGO_BIN_EXE_jobgate"))
        .args(args)
        .env_remove("KAFKA_BROKERS")
        .env_remove("SMTP_URL")
        .env("JOBGATE_DATA_DIR", data)
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    tokio::time::timeout(Duration::from_secs(60), child).await.expect("it ends").expect("it runs")
}

/// A start that is refused: exit code 1 and a sentence, which is returned.
pub(crate) async fn refused(data: &Path, args: &[&str], env: &[(&str, &str)]) -> String {
    let output = run_to_end(data, args, env).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    let sentence = said.lines().find(|line| line.starts_with("jobgate: "));
    sentence.unwrap_or_else(|| panic!("{args:?} is refused without a sentence: {said}")).to_owned()
}
