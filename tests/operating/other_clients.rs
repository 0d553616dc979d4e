//! What other clients do to the topics: transactions, retention, a topic that is made anew.

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::harness::{until, uuid, verification};
use super::{Place, SOON, broken_verification, text};

const MAILS: &str = "waitlist.email.verification";
const DLQ: &str = "waitlist.dlq";

#[tokio::test(flavor = "multi_thread")]
async fn what_other_clients_do_to_topics_is_no_obstacle() {
    let place = Place::start().await;
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", place.kafka.bootstrap_servers())
        .create()
        .expect("an admin");
    the_end_of_a_transaction_is_no_record(&place).await;
    what_retention_takes_is_not_listed(&place, &admin).await;
    a_dead_letter_topic_made_anew_is_indexed_anew(&place, &admin).await;
}

/// Writes a record to partition 0 of each topic in one transaction.
async fn in_a_transaction(brokers: &str, records: Vec<(&'static str, String)>) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("transactional.id", "the tests")
        .create()
        .expect("a producer");
    let work = move || {
        producer.init_transactions(SOON).expect("transactions");
        producer.begin_transaction().expect("a transaction");
        for (topic, value) in &records {
            let record = BaseRecord::<str, str>::to(topic).partition(0).payload(value);
            producer.send(record).map_err(|(error, _)| error).expect("it is taken");
        }
        producer.commit_transaction(SOON).expect("it is committed");
    };
    tokio::task::spawn_blocking(work).await.expect("it ends");
}

fn foreign_letter(offset: i64) -> String {
    json!({
        "original_topic": MAILS, "original_partition": 0, "original_offset": offset,
        "original_value": "{}", "error": "no", "failed_at": "2025-01-01T00:00:00Z"
    })
    .to_string()
}

async fn the_end_of_a_transaction_is_no_record(place: &Place) {
    let never = uuid();
    let mail = verification(&uuid(), &uuid()).to_string();
    let records = vec![(MAILS, mail), (DLQ, foreign_letter(9_999))];
    in_a_transaction(place.kafka.bootstrap_servers(), records).await;

    // The mail is at offset 0, the end of its transaction at 1.
    until("the mail is out", SOON, async || {
        let answer = place.jobgate.get("/jobs/email.verification/0/0").await;
        (answer.status == StatusCode::OK && answer.json()["state"] == "succeeded").then_some(())
    })
    .await;
    let lag = place.get("/admin/lag/email-workers").await;
    let group = &lag["groups"][0];
    assert_eq!((&group["lag"], &group["age_seconds"]), (&json!(0), &json!(0.0)), "{group}");
    assert_eq!(group["status"], "ok", "{group}");
    let end = place.problem("/jobs/email.verification/0/1").await;
    assert_eq!(end, (404, "no-such-record".into()));
    let unknown = place.problem(&format!("/jobs/by-id/{never}")).await;
    assert_eq!(unknown, (404, "unknown-id".into()), "there is nothing left to search");

    until("the letter is listed", SOON, async || {
        let answer = place.jobgate.get("/admin/dlq").await;
        (answer.status == StatusCode::OK && answer.json()["total"] == 1).then_some(())
    })
    .await;
    let end = place.problem("/admin/dlq/0/1").await;
    assert_eq!(end, (404, "no-such-dead-letter".into()));
}

async fn what_retention_takes_is_not_listed(
    place: &Place,
    admin: &AdminClient<DefaultClientContext>,
) {
    let mut left = TopicPartitionList::new();
    left.add_partition_offset(DLQ, 0, Offset::Offset(2)).expect("a partition");
    admin.delete_records(&left, &AdminOptions::new()).await.expect("they are deleted");
    until("the letter is listed no more", SOON, async || {
        let answer = place.jobgate.get("/admin/dlq").await;
        (answer.status == StatusCode::OK && answer.json()["total"] == 0).then_some(())
    })
    .await;
}

/// Waits until a job that fails has its letter.
async fn fails(place: &Place) -> Value {
    let receipt = place.enqueue("email.verification", &broken_verification()).await;
    until("the job is dead-lettered", SOON, async || {
        let answer = place.jobgate.get(text(&receipt["status_url"])).await;
        (answer.status == StatusCode::OK && answer.json()["state"] == "dead_lettered").then_some(())
    })
    .await;
    receipt
}

async fn a_dead_letter_topic_made_anew_is_indexed_anew(
    place: &Place,
    admin: &AdminClient<DefaultClientContext>,
) {
    for _ in 0..6 {
        fails(place).await;
    }
    let topics = admin.delete_topics(&[DLQ], &AdminOptions::new()).await.expect("an answer");
    assert!(topics.iter().all(Result::is_ok), "{topics:?}");
    let missing = until("the topic is missed", SOON, async || {
        let answer = place.jobgate.get("/admin/dlq").await;
        (answer.status != StatusCode::OK && answer.problem() == "missing-topic").then_some(answer)
    })
    .await;
    assert_eq!(missing.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(missing.text.contains(DLQ), "{}", missing.text);

    // With fewer partitions than before.
    let topic = NewTopic::new(DLQ, 1, TopicReplication::Fixed(1));
    until("the topic is made", SOON, async || {
        let made = admin.create_topics([&topic], &AdminOptions::new()).await.expect("an answer");
        made.iter().all(Result::is_ok).then_some(())
    })
    .await;
    until("what was in the former topic is forgotten", SOON, async || {
        let answer = place.jobgate.get("/admin/dlq").await;
        (answer.status == StatusCode::OK && answer.json()["total"] == 0).then_some(())
    })
    .await;
    let receipt = fails(place).await;
    let list = place.get("/admin/dlq").await;
    assert_eq!(list["total"], 1, "{list}");
    assert_eq!(list["items"][0]["message_id"], receipt["id"]);
    assert_eq!(
        (&list["items"][0]["partition"], &list["items"][0]["offset"]),
        (&json!(0), &json!(0))
    );
}
