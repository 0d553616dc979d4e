//! What an acknowledgement of Kafka takes by itself: records that lie ready, written by rdkafka's
//! usual producer with jobgate's own settings, each as soon as it is there. A process of its own,
//! whose load has the same form as that over HTTP.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use uuid::Uuid;

use crate::load::{Paced, Plan, Tally, print, tally_of};
use crate::payload::Template;

/// The argument that makes this program the producer.
pub(crate) const COMMAND: &str = "produce";
/// Where records go.
const TOPIC: &str = "waitlist.email.verification";

/// Produces from a process of its own.
pub(crate) async fn run(brokers: &str, plan: &Plan) -> Tally {
    crate::load::spawn(&[COMMAND, brokers], plan).await
}

/// Produces, and prints the tally.
pub(crate) fn produce(brokers: &str, plan: &Plan) {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("partitioner", "murmur2_random")
        .set("compression.type", "lz4")
        .set("linger.ms", "0")
        .set("queue.buffering.max.kbytes", "57344")
        .create()
        .expect("a producer");
    let connection =
        async |number: usize, paced: Paced| keep_producing(&producer, plan, number, paced).await;
    print(&tally_of(plan, connection));
}

async fn keep_producing(
    producer: &FutureProducer,
    plan: &Plan,
    number: usize,
    mut paced: Paced,
) -> crate::load::Latencies {
    let (mut payload, mut key) = (Template::payload(plan.shape.bytes), Template::key());
    let mut latencies = crate::load::Latencies::default();
    let first_user = crate::load::first_user(number);
    while let Some(begun) = paced.next().await {
        let user = Uuid::from_u128(first_user | latencies.len() as u128);
        let id = Uuid::now_v7().to_string();
        let headers = OwnedHeaders::new()
            .insert(Header { key: "message_id", value: Some(&id) })
            .insert(Header { key: "produced_at", value: Some("2026-01-01T00:00:00.000Z") })
            .insert(Header { key: "producer", value: Some("bench") })
            .insert(Header { key: "job_type", value: Some("email") })
            .insert(Header { key: "email_type", value: Some("verification") });
        let record = FutureRecord::to(TOPIC)
            .key(key.of_user(user))
            .payload(payload.of_user(user))
            .headers(headers);
        producer.send(record, Duration::ZERO).await.expect("it is written");
        latencies.accept(begun);
    }
    latencies
}
