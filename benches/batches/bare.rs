//! The measure: records that lie ready, written by rdkafka's usual producer.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use crate::TOPIC;

/// How long a full queue is left alone.
const PAUSE: Duration = Duration::from_millis(1);

/// Writes so many records, and waits until Kafka has acknowledged the last one.
pub(crate) async fn write(brokers: &str, payloads: &[(String, String)], count: usize) -> Duration {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("compression.type", "lz4")
        .set("queue.buffering.max.kbytes", "57344")
        .create()
        .expect("a producer");
    let begun = Instant::now();
    let mut deliveries = Vec::with_capacity(count);
    for (key, payload) in payloads.iter().cycle().take(count) {
        let id = uuid::Uuid::now_v7();
        let headers = OwnedHeaders::new()
            .insert(Header { key: "message_id", value: Some(&id.to_string()) })
            .insert(Header { key: "produced_at", value: Some("2026-01-01T00:00:00.000Z") })
            .insert(Header { key: "producer", value: Some("bench") })
            .insert(Header { key: "job_type", value: Some("email") })
            .insert(Header { key: "email_type", value: Some("verification") });
        let mut record = FutureRecord::to(TOPIC).key(key).payload(payload).headers(headers);
        loop {
            match producer.send_result(record) {
                Ok(delivery) => break deliveries.push(delivery),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                    record = refused;
                    tokio::time::sleep(PAUSE).await;
                }
                Err((error, _)) => panic!("{error}"),
            }
        }
    }
    for delivery in deliveries {
        delivery.await.expect("an outcome").expect("it is written");
    }
    let took = begun.elapsed();
    producer.flush(Duration::from_secs(5)).expect("nothing is left");
    took
}
