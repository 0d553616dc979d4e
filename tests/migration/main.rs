//! jobgate takes over from workers that are written against the same topics, as
//! docs/migration.md promises: their records, their group and their dead letters.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../harness/mod.rs"]
mod harness;

use std::time::Duration;

use harness::{Jobgate, Options, until, uuid, verification};
use jobgate::broker::{BrokerSettings, LocalKafka};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};

const TOPIC: &str = "waitlist.email.verification";
const GROUP: &str = "email-workers";
const DLQ: &str = "waitlist.dlq";
/// How long anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);
/// How long one look for a record waits.
const ASK: Duration = Duration::from_secs(1);
/// How often is looked.
const ASKS_MAX: usize = 60;

/// A record as the other system writes it; returns its offset.
async fn produce(producer: &FutureProducer, partition: i32, id: &str) -> i64 {
    let headers = [
        ("message_id", id),
        ("produced_at", "2025-01-01T00:00:00Z"),
        ("producer", "base-server"),
        ("job_type", "email"),
        ("email_type", "verification"),
    ];
    let mut payload = verification(&uuid(), &uuid());
    payload["type"] = "verification".into();
    send(producer, TOPIC, partition, &headers, &payload).await
}

/// A dead letter as the other system writes it, of a record that never ran; returns its offset.
async fn produce_letter(producer: &FutureProducer, topic: &str, id: &str, value: &str) -> i64 {
    let error = "smtp: connection refused";
    let letter = json!({
        "original_topic": topic,
        "original_partition": 7,
        "original_offset": 41,
        "original_key": "c_u",
        "original_value": value,
        "original_headers": { "message_id": id, "producer": "base-server" },
        "original_timestamp": "2025-01-01T00:00:00Z",
        "error": error,
        "failed_at": "2025-01-01T00:00:01Z",
    });
    let headers = [("original_topic", topic), ("error", error)];
    send(producer, DLQ, 0, &headers, &letter).await
}

async fn send(
    producer: &FutureProducer,
    topic: &str,
    partition: i32,
    headers: &[(&str, &str)],
    value: &Value,
) -> i64 {
    let headers = headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(*value) })
    });
    let value = value.to_string();
    let record =
        FutureRecord::to(topic).partition(partition).key("c_u").payload(&value).headers(headers);
    producer.send(record, SOON).await.expect("it is produced").offset
}

/// A worker of the other system: it joins the group by another protocol, finishes one
/// record and stays.
async fn other_worker(brokers: &str, first: i64) -> BaseConsumer {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", GROUP)
        .set("partition.assignment.strategy", "range")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("session.timeout.ms", "6000")
        .create()
        .expect("a consumer");
    tokio::task::spawn_blocking(move || {
        consumer.subscribe(&[TOPIC]).expect("a subscription");
        // It also wakes up for what happens to the group: a member of another protocol that was
        // stopped while it joined is one until its session ends.
        let mut polls = std::iter::repeat_with(|| consumer.poll(ASK)).take(ASKS_MAX);
        let message = polls.find_map(|found| found?.ok()).expect("a record in time");
        assert_eq!(message.offset(), first);
        consumer.commit_message(&message, CommitMode::Sync).expect("a commit");
        drop(message);
        consumer
    })
    .await
    .expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn jobgate_goes_on_where_other_workers_stopped() {
    let dir = tempfile::tempdir().expect("a directory");
    let kafka = LocalKafka::start(BrokerSettings::new(dir.path()), |_| {}).await.expect("Kafka");
    let brokers = kafka.bootstrap_servers().to_owned();
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", &brokers).create().expect("a producer");
    // A first start makes the topics.
    let mut jobgate = Jobgate::start(Options {
        brokers: Some(brokers.clone()),
        env: vec![("RUST_LOG".to_owned(), "info,jobgate::kafka=debug".to_owned())],
        ..Options::default()
    })
    .await;
    jobgate.terminate().await;

    let (finished, waiting, untouched) = (uuid(), uuid(), uuid());
    let first = produce(&producer, 0, &finished).await;
    produce(&producer, 0, &waiting).await;
    let other = other_worker(&brokers, first).await;
    produce(&producer, 1, &untouched).await;

    // jobgate waits for as long as workers of the other protocol are in the group.
    jobgate.start_again().await;
    until("it is not let into the group", SOON, async || {
        jobgate.log().contains("InconsistentGroupProtocol").then_some(())
    })
    .await;
    assert!(!jobgate.mail_path(&waiting).exists());
    tokio::task::spawn_blocking(move || drop(other)).await.expect("it leaves");
    jobgate.mail(&waiting).await;
    // Where the group has not committed it begins with the oldest record.
    jobgate.mail(&untouched).await;
    assert!(!jobgate.mail_path(&finished).exists(), "the other worker has finished it");
    let status = jobgate.get(&format!("/jobs/email.verification/0/{first}")).await.json();
    assert_eq!((&status["state"], &status["id"]), (&json!("succeeded"), &json!(finished)));

    other_letters(&jobgate, &producer).await;
    letters_that_are_not_sound(&jobgate, &producer).await;
    drop(jobgate);
    kafka.stop().await.expect("it stops");
}

/// A dead letter of the other system is listed, and replayed by the group of its topic.
async fn other_letters(jobgate: &Jobgate, producer: &FutureProducer) {
    let id = uuid();
    let job = verification(&uuid(), &uuid()).to_string();
    let offset = produce_letter(producer, TOPIC, &id, &job).await;
    let letters = jobgate.get("/admin/dlq?state=open&type=email.verification").await.json();
    assert_eq!(letters["total"], 1, "{letters}");
    let letter = &letters["items"][0];
    assert_eq!(letter["message_id"], id);
    assert_eq!((&letter["group"], &letter["attempts"]), (&Value::Null, &json!(0)));
    assert_eq!(letter["error"]["class"], "unknown");
    assert_eq!(letter["error"]["message"], "smtp: connection refused");

    let path = format!("/admin/dlq/0/{offset}");
    let replay = jobgate.post(&format!("{path}/replay"), &json!({})).await;
    assert_eq!(replay.status, 202, "{}", replay.text);
    assert_eq!(replay.json()["id"], id, "the id that it always had");
    jobgate.mail(&id).await;
    until("it is resolved", SOON, async || {
        (jobgate.get(&path).await.json()["state"] == "resolved").then_some(())
    })
    .await;
}

async fn letters_that_are_not_sound(jobgate: &Jobgate, producer: &FutureProducer) {
    // The value in base64, as Go writes bytes: a replay as it is fails again, under the same id.
    let id = uuid();
    let offset = produce_letter(producer, TOPIC, &id, "eyJ0eXBlIjoidmVyaWZpY2F0aW9uIn0=").await;
    let path = format!("/admin/dlq/0/{offset}/replay");
    assert_eq!(jobgate.post(&path, &json!({})).await.status, 202);
    until("it has failed again", SOON, async || {
        let letters = jobgate.get("/admin/dlq?state=open").await.json();
        let items = letters["items"].as_array().expect("items").clone();
        let of_it =
            |letter: &Value| letter["message_id"] == id && letter["error"]["class"] == "not_json";
        items.iter().any(of_it).then_some(())
    })
    .await;

    let unknown = produce_letter(producer, "waitlist.sms.reminder", &uuid(), "{}").await;
    let no_letter = send(producer, DLQ, 0, &[], &json!({ "text": "hello" })).await;
    for offset in [unknown, no_letter] {
        let path = format!("/admin/dlq/0/{offset}");
        let replay = jobgate.post(&format!("{path}/replay"), &json!({})).await;
        assert_eq!((replay.status.as_u16(), replay.problem()), (409, "not-replayable".to_owned()));
        let discard = jobgate.post(&format!("{path}/discard"), &json!({ "reason": "old" })).await;
        assert_eq!(discard.status, 204, "{}", discard.text);
    }
    let listed = jobgate.get(&format!("/admin/dlq/0/{no_letter}")).await.json();
    assert_eq!(listed["error"]["class"], "unreadable_dead_letter", "{listed}");
}
