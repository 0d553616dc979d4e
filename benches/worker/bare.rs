//! The measure of the worker: consumers with nothing behind them, set as the worker's is
//! (`src/kafka/consumer.rs`), that commit as often.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _, StreamConsumer};
use rdkafka::{ClientConfig, Message as _};
use serde_json::Value;

use crate::backlog::Backlog;

/// What is done with each record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// The least that rdkafka can do: poll, and let librdkafka mark it as processed.
    Poll,
    /// The usual loop: a `StreamConsumer`, each record marked as processed.
    Consume,
    /// The same, with the value parsed as JSON first.
    Parse,
}

/// A backlog that was read.
pub(crate) struct Reading {
    /// From the first record to the last one's being processed.
    pub(crate) took: Duration,
    /// It commits when it is dropped, and that waits for Kafka.
    pub(crate) consumer: Box<dyn Send>,
}

/// Reads the whole backlog.
pub(crate) async fn read(backlog: &Backlog, group: &str, work: Work) -> Reading {
    let config = config(backlog, group, work);
    let (topic, count) = (backlog.jobs.topic().to_owned(), backlog.count);
    if work == Work::Poll {
        let polling = tokio::task::spawn_blocking(move || poll(&config, &topic, count));
        return polling.await.expect("polling ends well");
    }
    let consumer: StreamConsumer = config.create().expect("a consumer");
    consumer.subscribe(&[&topic]).expect("a topic");
    let mut first = None;
    for _ in 0..count {
        let record = consumer.recv().await.expect("a record");
        first.get_or_insert_with(Instant::now);
        if work == Work::Parse {
            let value = record.payload().expect("a value");
            black_box(serde_json::from_slice::<Value>(value).expect("JSON"));
        }
        consumer.store_offset_from_message(&record).expect("an assigned partition");
    }
    let took = first.expect("a record").elapsed();
    Reading { took, consumer: Box::new(consumer) }
}

fn poll(config: &ClientConfig, topic: &str, count: usize) -> Reading {
    let consumer: BaseConsumer = config.create().expect("a consumer");
    consumer.subscribe(&[topic]).expect("a topic");
    let (mut first, mut seen) = (None, 0);
    while seen < count {
        if let Some(record) = consumer.poll(Duration::from_millis(100)) {
            black_box(record.expect("a record").offset());
            first.get_or_insert_with(Instant::now);
            seen += 1;
        }
    }
    let took = first.expect("a record").elapsed();
    Reading { took, consumer: Box::new(consumer) }
}

fn config(backlog: &Backlog, group: &str, work: Work) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &backlog.jobs.kafka.brokers)
        .set("group.id", group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "2000")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("queued.min.messages", "1000")
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.queue.backoff.ms", "20")
        .set("fetch.wait.max.ms", "100")
        .set("enable.auto.offset.store", if work == Work::Poll { "true" } else { "false" })
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", "500");
    config
}
