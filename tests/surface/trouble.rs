//! Topics that are not as jobgate needs them: nothing is lost, and the log says what to mend.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use reqwest::StatusCode;
use serde_json::json;

use crate::harness::{Jobgate, Options, until, uuid, verification};
use crate::support::{SOON, letter};

const DEAD_LETTERS: &str = "waitlist.dlq";
const FRAUD: &str = "waitlist.fraud.detection";
const MILESTONES: &str = "waitlist.email.milestone";

#[tokio::test(flavor = "multi_thread")]
async fn what_kafka_refuses_is_said_and_loses_nothing() {
    // How soon a worker misses a topic; a user's properties win.
    let properties =
        ["topic.metadata.refresh.interval.ms=1000", "topic.metadata.propagation.max.ms=1000"];
    let args = properties.map(|property| ["--kafka-property".to_owned(), property.to_owned()]);
    let jobgate = Jobgate::start(Options { args: args.concat(), ..Options::default() }).await;
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", jobgate.brokers()).create().expect("an admin");

    // A record that is too large says nothing of Kafka: jobgate stays ready.
    take_at_most(&admin, FRAUD, "100").await;
    let enqueue = async || {
        let job = json!({
            "campaign_id": uuid(), "user_id": uuid(), "check_types": ["self_referral", "bot"]
        });
        jobgate.post("/jobs/fraud.detection", &job).await
    };
    // The broker says that it is changed a moment before it is.
    until("the topic takes less", SOON, async || {
        (enqueue().await.status != StatusCode::ACCEPTED).then_some(())
    })
    .await;
    for _ in 0..5 {
        let refused = enqueue().await;
        assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE, "{}", refused.text);
        assert_eq!(jobgate.get("/health/ready").await.status, StatusCode::OK);
    }

    // A dead letter that does not fit waits, says why, and is written once it fits.
    take_at_most(&admin, DEAD_LETTERS, "100").await;
    let mut payload = verification(&uuid(), &uuid());
    payload["template_data"] = json!({ "email": "secret@example.com" });
    let receipt = jobgate.post("/jobs/email.verification", &payload).await.json();
    let said = "max.message.bytes is raised";
    until(said, SOON, async || jobgate.log().contains(said).then_some(())).await;
    take_at_most(&admin, DEAD_LETTERS, "1000000").await;
    let partition = receipt["partition"].as_i64().and_then(|p| i32::try_from(p).ok());
    let offset = receipt["offset"].as_i64();
    let (partition, offset) = (partition.expect("a partition"), offset.expect("an offset"));
    let found = letter(&jobgate, "waitlist.email.verification", partition, offset).await;
    assert_eq!(found["message_id"], receipt["id"], "{found}");
    let log = jobgate.log();
    let line = log.lines().find(|line| line.contains("\"dead letter\"")).expect("it is logged");
    assert!(line.contains(found["error"]["class"].as_str().expect("a class")), "{line}");

    // A topic that is gone is said by the worker that misses it.
    let deleted = admin.delete_topics(&[MILESTONES], &AdminOptions::new()).await;
    deleted.expect("an answer").into_iter().for_each(|topic| drop(topic.expect("deleted")));
    until("the worker says that a topic is gone", Duration::from_secs(60), async || {
        let log = jobgate.log();
        let said = |line: &str| line.contains("email-workers") && line.contains("a topic is gone");
        log.lines().any(said).then_some(())
    })
    .await;
}

/// Sets the largest record that a topic takes, bytes.
async fn take_at_most(admin: &AdminClient<DefaultClientContext>, topic: &str, bytes: &str) {
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("max.message.bytes", bytes);
    let changed = admin.alter_configs(&[change], &AdminOptions::new()).await;
    changed.expect("an answer").into_iter().for_each(|topic| drop(topic.expect("changed")));
}
