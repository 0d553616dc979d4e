//! Records by other Kafka clients: valid ones run, all others end as dead letters that say
//! why, and no record ever stops a partition.

use std::time::Duration;

use jobgate::domain::id::of_place;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Jobgate, Options, until, uuid, verification};
use crate::raw_produce::produce_with_header;
use crate::support::{Client, Raw, SOON, letter, path};

const TOPIC: &str = "waitlist.email.verification";
const GROUP: &str = "email-workers";

#[tokio::test(flavor = "multi_thread")]
async fn records_of_other_clients_run_or_say_why() {
    let args = ["--groups", GROUP].map(str::to_owned).to_vec();
    let jobgate = Jobgate::start(Options { args, ..Options::default() }).await;
    let kafka = Client::new(&jobgate.brokers());
    tokio::join!(
        a_valid_record_runs(&jobgate, &kafka),
        what_is_wrong_becomes_a_dead_letter(&jobgate, &kafka),
        a_poison_header_stops_nothing(&jobgate, &kafka),
        a_record_for_another_group_is_passed_over(&jobgate, &kafka),
        a_type_whose_group_nobody_runs_stays(&jobgate, &kafka),
    );
}

/// A good job in this partition, behind what was put there before, becomes a mail.
async fn the_partition_goes_on(jobgate: &Jobgate, kafka: &Client, partition: i32, key: &str) {
    let payload = verification(&uuid(), &uuid()).to_string();
    let raw = Raw { key: Some(key), value: Some(payload.as_bytes()), headers: &[] };
    let offset = kafka.produce(TOPIC, partition, raw).await;
    jobgate.mail(&of_place(TOPIC, partition, offset).to_string()).await;
    // The partition is done: what stood before is not left open either.
    until(&format!("{TOPIC}/{partition} is committed up to {offset}"), SOON, async || {
        kafka.committed(GROUP, TOPIC, partition).await.filter(|next| *next > offset)
    })
    .await;
}

async fn a_valid_record_runs(jobgate: &Jobgate, kafka: &Client) {
    let payload = verification(&uuid(), &uuid()).to_string();
    let partition = 0;
    // Without headers: the id follows from the place.
    let raw = Raw { key: Some("k"), value: Some(payload.as_bytes()), headers: &[] };
    let offset = kafka.produce(TOPIC, partition, raw).await;
    let id = of_place(TOPIC, partition, offset).to_string();
    let mail = jobgate.mail(&id).await;
    let mail = String::from_utf8_lossy(&mail).into_owned();
    assert!(mail.contains(&format!("Message-ID: <{id}@")), "{mail}");
    // With an id of its own it keeps that; without a key it runs as well.
    let own = uuid();
    let headers = [("message_id", Some(own.as_bytes())), ("x", None)];
    let raw = Raw { key: None, value: Some(payload.as_bytes()), headers: &headers };
    kafka.produce(TOPIC, partition, raw).await;
    jobgate.mail(&own).await;
    // An id that is none is none.
    let headers = [("message_id", Some(b"../../x".as_slice()))];
    let raw = Raw { key: None, value: Some(payload.as_bytes()), headers: &headers };
    let offset = kafka.produce(TOPIC, partition, raw).await;
    jobgate.mail(&of_place(TOPIC, partition, offset).to_string()).await;
}

/// What is wrong, the record's value; the error's class, a part of its message, the payload.
type Case<'a> = (&'a str, Option<&'a [u8]>, &'a str, &'a str, Value);

async fn what_is_wrong_becomes_a_dead_letter(jobgate: &Jobgate, kafka: &Client) {
    let partition = 1;
    let (campaign, user) = (uuid(), uuid());
    let no_link = json!({
        "campaign_id": campaign, "user_id": user, "template_data": { "email": "a@example.com" }
    })
    .to_string();
    let wrong_type = json!({
        "campaign_id": campaign, "user_id": user, "template_data": {}, "type": "welcome"
    })
    .to_string();
    let cases: [Case<'_>; 7] = [
        ("not JSON", Some(b"hello"), "not_json", "line 1", json!("hello")),
        ("empty", Some(b""), "not_json", "empty", json!("")),
        ("no value", None, "no_value", "tombstone", Value::Null),
        ("not text", Some(b"\xff\xfe"), "not_json", "UTF-8", json!({ "base64": "//4=" })),
        (
            "invalid",
            Some(b"{\"user_id\": 1.0}"),
            "invalid_payload",
            "/campaign_id",
            json!({ "user_id": 1.0 }),
        ),
        (
            "contradicting",
            Some(wrong_type.as_bytes()),
            "invalid_payload",
            "/type",
            serde_json::from_str(&wrong_type).expect("JSON"),
        ),
        (
            "without a link",
            Some(no_link.as_bytes()),
            "missing_data",
            "verification_link",
            serde_json::from_str(&no_link).expect("JSON"),
        ),
    ];
    // All under one key, so that each must be out of the way before the next.
    for (what, value, class, said, payload) in cases {
        let offset =
            kafka.produce(TOPIC, partition, Raw { key: Some("k"), value, headers: &[] }).await;
        let letter = letter(jobgate, TOPIC, partition, offset).await;
        assert_eq!(letter["error"]["class"], class, "{what}: {letter}");
        let message = letter["error"]["message"].as_str().expect("a message");
        assert!(message.contains(said), "{what}: {message}");
        assert_eq!(letter["group"], GROUP, "{what}");
        assert_eq!(letter["attempts"], 1, "{what}: what cannot work is not tried again");
        assert_eq!(letter["message_id"], of_place(TOPIC, partition, offset).to_string());
        let whole = jobgate.get(&path(&letter)).await.json();
        assert_eq!(whole["payload"], payload, "{what}");
    }
    the_partition_goes_on(jobgate, kafka, partition, "k").await;
}

/// A header whose name is not UTF-8, which no Rust client can read.
async fn a_poison_header_stops_nothing(jobgate: &Jobgate, kafka: &Client) {
    let partition = 2;
    let brokers = jobgate.brokers();
    let poison = (b"\xff\xfename".as_slice(), b"x".as_slice());
    let payload = verification(&uuid(), &uuid()).to_string();
    let good =
        produce_with_header(&brokers, TOPIC, partition, b"k", payload.as_bytes(), poison).await;
    // The record's payload is sound, so it runs.
    jobgate.mail(&of_place(TOPIC, partition, good).to_string()).await;
    let bad = produce_with_header(&brokers, TOPIC, partition, b"k", b"no JSON", poison).await;
    let letter = letter(jobgate, TOPIC, partition, bad).await;
    assert_eq!(letter["error"]["class"], "not_json", "{letter}");
    assert!(letter["error"]["chain"].to_string().contains("not UTF-8"), "{letter}");
    the_partition_goes_on(jobgate, kafka, partition, "k").await;
}

async fn a_record_for_another_group_is_passed_over(jobgate: &Jobgate, kafka: &Client) {
    let partition = 3;
    let payload = verification(&uuid(), &uuid()).to_string();
    let another = [("target_group", Some(b"somebody-else".as_slice()))];
    let raw = Raw { key: Some("k"), value: Some(payload.as_bytes()), headers: &another };
    let passed = kafka.produce(TOPIC, partition, raw).await;
    // Not even a record that could not run is a failure of a group it is not for.
    let raw = Raw { key: Some("k"), value: Some(b"no JSON"), headers: &another };
    let poison = kafka.produce(TOPIC, partition, raw).await;
    let own = [("target_group", Some(GROUP.as_bytes()))];
    let raw = Raw { key: Some("k"), value: Some(payload.as_bytes()), headers: &own };
    let run = kafka.produce(TOPIC, partition, raw).await;
    jobgate.mail(&of_place(TOPIC, partition, run).to_string()).await;
    the_partition_goes_on(jobgate, kafka, partition, "k").await;
    assert!(!jobgate.mail_path(&of_place(TOPIC, partition, passed).to_string()).exists());
    let page = jobgate.get(&format!("/admin/dlq?topic={TOPIC}&limit=500")).await.json();
    let letters = page["items"].as_array().expect("items");
    let of_poison = |letter: &&Value| {
        letter["original"]["partition"] == partition && letter["original"]["offset"] == poison
    };
    assert_eq!(letters.iter().find(of_poison), None);
}

async fn a_type_whose_group_nobody_runs_stays(jobgate: &Jobgate, kafka: &Client) {
    let payload = json!({
        "campaign_id": uuid(), "user_id": uuid(), "check_types": ["bot"]
    });
    let answer = jobgate.post("/jobs/fraud.detection", &payload).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    // The workers are at work meanwhile.
    until("the email workers have joined", Duration::from_secs(60), async || {
        kafka.groups().await.iter().any(|group| group == GROUP).then_some(())
    })
    .await;
    the_partition_goes_on(jobgate, kafka, 4, "k").await;
    let groups = kafka.groups().await;
    assert!(!groups.iter().any(|group| group == "fraud-workers"), "{groups:?}");
    let topic = "waitlist.fraud.detection";
    assert_eq!(kafka.committed("fraud-workers", topic, 0).await, None);
    assert_eq!(kafka.ends(topic).await.iter().sum::<i64>(), 1, "it waits in Kafka");
    let letters = jobgate.get(&format!("/admin/dlq?topic={topic}")).await.json();
    assert_eq!(letters["total"], 0, "{letters}");
}
