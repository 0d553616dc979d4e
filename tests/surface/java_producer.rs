//! Jobs that Java's own producer wrote, as another team's service would: without jobgate's
//! headers, and with those that the former system sent.

use std::collections::BTreeMap;
use std::process::Stdio;

use jobgate::broker::LocalKafka;
use jobgate::domain::id::of_place;
use rdkafka::message::{Headers, Message as _};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::harness::{Jobgate, until, uuid, verification};
use crate::support::{Client, SOON, path};

/// The id of the former system's records is a `UUIDv4`.
const ITS_ID: &str = "2f1d7c52-9a63-4c1e-8f0b-5d3e6a7b8c90";
const ITS_POISON_ID: &str = "7be0a9d4-31c5-4f2a-b6d8-0c9e1f2a3b4c";

/// Has Java's console producer write these lines.
pub(crate) async fn produce(kafka: &LocalKafka, topic: &str, properties: &[&str], lines: &str) {
    let mut command = kafka.tool("org.apache.kafka.tools.ConsoleProducer");
    command.args(["--bootstrap-server", kafka.bootstrap_servers(), "--topic", topic]);
    for property in properties {
        command.args(["--reader-property", property]);
    }
    let mut producer =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("Java's producer");
    let mut stdin = producer.stdin.take().expect("its input");
    stdin.write_all(lines.as_bytes()).await.expect("it reads");
    drop(stdin);
    let status = tokio::time::timeout(SOON, producer.wait()).await.expect("in time");
    assert!(status.expect("it ran").success());
}

/// A key and a value alone: the job runs under an id that follows from its place, and that
/// is where jobgate itself puts the key.
pub(crate) async fn a_bare_job_runs(kafka: &LocalKafka, jobgate: &Jobgate) {
    let topic = "waitlist.email.welcome";
    let client = Client::new(kafka.bootstrap_servers());
    let (mut chosen, mut lines) = (BTreeMap::new(), String::new());
    for _ in 0..12 {
        let job = verification(&uuid(), &uuid());
        let answer = jobgate.post("/jobs/email.welcome", &job).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
        let receipt = answer.json();
        let key = receipt["key"].as_str().expect("a key").to_owned();
        lines.extend([key.as_str(), "|", &job.to_string(), "\n"]);
        chosen.insert(key, receipt["partition"].as_i64().expect("a partition"));
    }
    let before = client.ends(topic).await;
    produce(kafka, topic, &["parse.key=true", "key.separator=|"], &lines).await;
    let after = client.ends(topic).await;

    let mut javas = BTreeMap::new();
    for (partition, (from, to)) in (0..).zip(before.into_iter().zip(after)) {
        for offset in from..to {
            let record = client.read(topic, partition, offset).await;
            assert_eq!(record.headers().map_or(0, Headers::count), 0, "none of ours");
            let key = String::from_utf8(record.key().expect("a key").to_vec()).expect("text");
            javas.insert(key, i64::from(partition));
            let id = of_place(topic, partition, offset).to_string();
            let mail = String::from_utf8(jobgate.mail(&id).await).expect("text");
            assert!(mail.contains(&format!("Message-ID: <{id}@")), "{mail}");
        }
    }
    assert_eq!(chosen, javas);
}

/// Key, value and headers as the former system wrote them.
pub(crate) async fn a_job_of_the_former_system_runs(kafka: &LocalKafka, jobgate: &Jobgate) {
    let topic = "waitlist.email.verification";
    let headers = |id: &str| {
        [
            ("message_id", id),
            ("produced_at", "2025-01-01T00:00:00Z"),
            ("producer", "base-server"),
            ("job_type", "email"),
            ("email_type", "verification"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let line = |id: &str, job: &Value| {
        let headers = headers(id).map(|(name, value)| format!("{name}:{value}")).join(",");
        let [campaign, user] =
            ["campaign_id", "user_id"].map(|name| job[name].as_str().expect("an id"));
        format!("{headers}\t{campaign}_{user}\t{job}\n")
    };
    let mut job = verification(&uuid(), &uuid());
    job["type"] = json!("verification");
    let mut poison = job.clone();
    poison["user_id"] = json!(uuid());
    poison["template_data"] = json!({ "email": "ada@example.com" });
    let lines = line(ITS_ID, &job) + &line(ITS_POISON_ID, &poison);
    produce(kafka, topic, &["parse.headers=true", "parse.key=true"], &lines).await;

    let mail = String::from_utf8(jobgate.mail(ITS_ID).await).expect("text");
    assert!(mail.contains(&format!("Message-ID: <{ITS_ID}@")), "{mail}");
    let letter = until("the dead letter", SOON, async || {
        let page = jobgate.get(&format!("/admin/dlq?topic={topic}&limit=500")).await.json();
        let items = page["items"].as_array()?;
        items.iter().find(|item| item["message_id"] == ITS_POISON_ID).cloned()
    })
    .await;
    let whole = jobgate.get(&path(&letter)).await.json();
    assert_eq!(whole["payload"], poison, "{whole}");
    let kept: serde_json::Map<String, Value> =
        headers(ITS_POISON_ID).into_iter().map(|(name, value)| (name, json!(value))).collect();
    assert_eq!(whole["headers"], Value::Object(kept), "{whole}");
}
