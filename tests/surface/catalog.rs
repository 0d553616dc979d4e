//! The catalog says what the documents say, and its examples work.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Jobgate, Options, uuid, verification};

const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// The table of the design: type, topic, partitions, days, group, key.
const TABLE: [(&str, &str, u32, u64, &str, &str); 14] = [
    ("email.verification", "waitlist.email.verification", 10, 7, "email-workers", PER_USER),
    ("email.welcome", "waitlist.email.welcome", 10, 7, "email-workers", PER_USER),
    ("email.position-update", "waitlist.email.position-update", 10, 7, "email-workers", PER_USER),
    ("email.reward-earned", "waitlist.email.reward-earned", 10, 7, "email-workers", PER_USER),
    ("email.milestone", "waitlist.email.milestone", 5, 7, "email-workers", PER_USER),
    ("reward.delivery", "waitlist.reward.delivery", 10, 30, "reward-workers", "{user_reward_id}"),
    (
        "position.recalculation",
        "waitlist.position.recalculation",
        5,
        7,
        "position-workers",
        "{campaign_id}",
    ),
    ("fraud.detection", "waitlist.fraud.detection", 5, 30, "fraud-workers", PER_USER),
    ("webhook.delivery", "waitlist.webhook.delivery", 5, 7, "webhook-workers", "{webhook_id}"),
    (
        "analytics.aggregation",
        "waitlist.analytics.aggregation",
        3,
        7,
        "analytics-workers",
        "{campaign_id}_{start_time as unix seconds}",
    ),
    ("user.signup", "waitlist.events.user.signup", 10, 365, "event-processor", "{user_id}"),
    ("user.verified", "waitlist.events.user.verified", 10, 365, "event-processor", "{user_id}"),
    (
        "referral.created",
        "waitlist.events.referral.created",
        10,
        365,
        "event-processor",
        "{referrer_id}",
    ),
    ("reward.earned", "waitlist.events.reward.earned", 10, 365, "event-processor", "{user_id}"),
];
const PER_USER: &str = "{campaign_id}_{user_id}";

#[tokio::test(flavor = "multi_thread")]
async fn the_catalog_is_the_table_and_its_examples_work() {
    let jobgate = Jobgate::start(Options::default()).await;
    let catalog = jobgate.get("/catalog").await.json();
    assert_eq!(catalog["total"], 14);
    assert_eq!(catalog["next_cursor"], Value::Null);
    let items = catalog["items"].as_array().expect("items");
    assert_eq!(items.len(), TABLE.len());
    for (item, (name, topic, partitions, days, group, key)) in items.iter().zip(TABLE) {
        let expected = json!({
            "type": name, "topic": topic, "partitions": partitions,
            "retention_ms": days * DAY_MS, "group": group, "key": key,
            "kind": if topic.contains(".events.") { "event" } else { "job" },
            "critical": name == "reward.delivery",
        });
        for (member, expected) in expected.as_object().expect("an object") {
            assert_eq!(item[member], *expected, "{member} of {name}");
        }
        assert!(!item["description"].as_str().expect("a description").is_empty(), "{name}");
        assert_eq!(item["schema"]["type"], "object", "{name} has a schema");
        assert!(item["retry"]["attempts"].as_u64().is_some_and(|attempts| attempts > 0));
    }
    for item in items {
        example_works(&jobgate, item).await;
    }
    a_job_becomes_a_mail(&jobgate).await;
}

async fn a_job_becomes_a_mail(jobgate: &Jobgate) {
    let answer = jobgate.post("/jobs/email.verification", &verification(&uuid(), &uuid())).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    let mail = jobgate.mail(answer.json()["id"].as_str().expect("an id")).await;
    assert!(String::from_utf8_lossy(&mail).contains("https://example.com/verify/1"));
}

async fn example_works(jobgate: &Jobgate, item: &Value) {
    let name = item["type"].as_str().expect("a type");
    let (root, accepted) = match item["kind"].as_str() {
        Some("job") => ("jobs", StatusCode::ACCEPTED),
        _ => ("events", StatusCode::CREATED),
    };
    let validated = jobgate.post(&format!("/{root}/{name}/validate"), &item["example"]).await;
    assert_eq!(validated.status, StatusCode::OK, "{name}: {}", validated.text);
    assert_eq!(validated.json(), json!({ "valid": true }), "{name}");
    let answer = jobgate.post(&format!("/{root}/{name}"), &item["example"]).await;
    assert_eq!(answer.status, accepted, "{name}: {}", answer.text);
    let receipt = answer.json();
    assert_eq!((&receipt["type"], &receipt["topic"]), (&item["type"], &item["topic"]));
    // Whoever tries an example out wants to see it work.
    if name.starts_with("email.") {
        let mail = jobgate.mail(receipt["id"].as_str().expect("an id")).await;
        assert!(!mail.is_empty(), "{name}");
    }
}
