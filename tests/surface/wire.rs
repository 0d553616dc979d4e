//! What stands on Kafka, read and written with Java's own tools: they are what other teams use.

use std::collections::{BTreeMap, HashMap};

use jobgate::broker::{BrokerSettings, LocalKafka};
use jobgate::domain::clock::rfc3339;
use jobgate::domain::id::time_of;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Jobgate, Options, uuid};
use crate::java_producer;

const CAMPAIGN: &str = "018F2C9E-7B1A-7C3D-9E4F-5A6B7C8D9E0F";
const USER: &str = "018F2C9E-8D2B-7A4E-8F50-6B7C8D9E0F1A";
const PER_USER: &str = "018f2c9e-7b1a-7c3d-9e4f-5a6b7c8d9e0f_018f2c9e-8d2b-7a4e-8f50-6b7c8d9e0f1a";
/// Separators that no value of these tests has.
const FIELD: &str = "\u{1}";
const RECORD: &str = "\u{2}\n";

/// A record to produce over HTTP, and what Kafka must hold of it.
struct Case {
    path: &'static str,
    type_name: &'static str,
    topic: &'static str,
    body: String,
    /// The value, where it is not the body itself.
    value: Option<String>,
    key: &'static str,
    headers: &'static [(&'static str, &'static str)],
}

/// A record as the console consumer prints it.
#[derive(Debug)]
struct Printed {
    timestamp_ms: i64,
    partition: i64,
    offset: i64,
    headers: BTreeMap<String, String>,
    key: String,
    value: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn java_reads_what_http_wrote_and_writes_what_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = BrokerSettings::new(dir.path());
    let kafka = LocalKafka::start(settings, |_| {}).await.expect("Kafka starts");
    let options = Options {
        brokers: Some(kafka.bootstrap_servers().to_owned()),
        // What events ask for would be among the records.
        args: ["--groups", "email-workers"].map(str::to_owned).to_vec(),
        env: vec![("JOBGATE_PRODUCER".into(), "the-tests".into())],
        ..Options::default()
    };
    let jobgate = Jobgate::start(options).await;

    let (cases, keys) = (cases(), 40);
    let mut receipts = Vec::new();
    for case in &cases {
        receipts.push(produce(&jobgate, case).await);
    }
    let (signups, printed, topics) = tokio::join!(
        signups(&jobgate, &kafka, keys),
        consume(&kafka, &["--include", r"waitlist\.(?!dlq).*"], cases.len() + keys),
        topics(&kafka),
    );
    let printed: HashMap<&str, &Printed> = printed
        .iter()
        .filter_map(|record| Some((record.headers.get("message_id")?.as_str(), record)))
        .collect();
    for (case, receipt) in cases.iter().zip(&receipts) {
        let id = receipt["id"].as_str().expect("an id");
        let record = printed.get(id).unwrap_or_else(|| panic!("{} is not there", case.path));
        assert_record(case, receipt, record);
    }
    partitions_are_javas(&kafka, signups).await;
    topics_are_as_declared(&topics, &jobgate).await;
    java_producer::a_bare_job_runs(&kafka, &jobgate).await;
    java_producer::a_job_of_the_former_system_runs(&kafka, &jobgate).await;
    drop(jobgate);
    kafka.stop().await.expect("it stops");
}

fn cases() -> Vec<Case> {
    let ids = format!("\"campaign_id\" : \"{CAMPAIGN}\",\n\t\"user_id\":\"{USER}\"");
    let mut cases = Vec::new();
    for (name, topic, headers) in [
        (
            "verification",
            "waitlist.email.verification",
            [("job_type", "email"), ("email_type", "verification")].as_slice(),
        ),
        ("welcome", "waitlist.email.welcome", &[("job_type", "email"), ("email_type", "welcome")]),
        (
            "position-update",
            "waitlist.email.position-update",
            &[("job_type", "email"), ("email_type", "position-update")],
        ),
        (
            "reward-earned",
            "waitlist.email.reward-earned",
            &[("job_type", "email"), ("email_type", "reward-earned")],
        ),
        (
            "milestone",
            "waitlist.email.milestone",
            &[("job_type", "email"), ("email_type", "milestone")],
        ),
    ] {
        let (path, type_name): (&str, &str) = match name {
            "verification" => ("/jobs/email.verification", "email.verification"),
            "welcome" => ("/jobs/email.welcome", "email.welcome"),
            "position-update" => ("/jobs/email.position-update", "email.position-update"),
            "reward-earned" => ("/jobs/email.reward-earned", "email.reward-earned"),
            _ => ("/jobs/email.milestone", "email.milestone"),
        };
        // No mail goes out of it, which would ask for a campaign's figures.
        let rest = format!("{ids}, \"template_data\": {{\"email\":7,\"é\\u00e9\":1.0e0}} }}");
        cases.push(Case {
            path,
            type_name,
            topic,
            body: format!(" {{ {rest}"),
            value: Some(format!(" {{\"type\":\"{name}\", {rest}")),
            key: PER_USER,
            headers,
        });
    }
    let given = format!("{{{ids}, \"template_data\":{{}},\"type\" :\"welcome\"}}");
    let case = |path, type_name, topic, body, key, headers| Case {
        path,
        type_name,
        topic,
        body,
        value: None,
        key,
        headers,
    };
    let event_of =
        |body: &str| format!("{{{body},\"timestamp\" : \"2025-01-01T00:00:00.500+02:00\"}}");
    let welcome: &[(&str, &str)] = &[("job_type", "email"), ("email_type", "welcome")];
    let user = "018f2c9e-8d2b-7a4e-8f50-6b7c8d9e0f1a";
    let campaign = "018f2c9e-7b1a-7c3d-9e4f-5a6b7c8d9e0f";
    let signup = event_of(&format!("{ids},\"email\":\"ada@example.com\",\"source\":\"ad\""));
    cases.extend([
        case("/jobs/email.welcome", "email.welcome", "waitlist.email.welcome", given, PER_USER, welcome),
        case("/jobs/reward.delivery", "reward.delivery", "waitlist.reward.delivery",
            format!("{{\"user_reward_id\":\"{USER}\"}}"), user, &[("job_type", "reward")]),
        case("/jobs/position.recalculation", "position.recalculation", "waitlist.position.recalculation",
            format!("{{\"campaign_id\":\"{CAMPAIGN}\"}}"), campaign, &[("job_type", "position")]),
        case("/jobs/fraud.detection", "fraud.detection", "waitlist.fraud.detection",
            format!("{{{ids},\"check_types\":[\"bot\"]}}"), PER_USER, &[("job_type", "fraud")]),
        case("/jobs/webhook.delivery", "webhook.delivery", "waitlist.webhook.delivery",
            format!("{{\"webhook_id\":\"{USER}\",\"event_type\":\"x\",\"payload\":{{\"n\":1.00,\"ü\":null}}}}"),
            user, &[("job_type", "webhook")]),
        case("/jobs/analytics.aggregation", "analytics.aggregation", "waitlist.analytics.aggregation",
            format!("{{\"campaign_id\":\"{CAMPAIGN}\",\"start_time\":\"2025-01-01T02:00:00+02:00\",\"end_time\":\"2025-01-02T00:00:00Z\",\"granularity\":\"day\"}}"),
            "018f2c9e-7b1a-7c3d-9e4f-5a6b7c8d9e0f_1735689600", &[("job_type", "analytics")]),
        case("/events/user.signup", "user.signup", "waitlist.events.user.signup",
            signup.clone(), user, &[("event_type", "user.signup")]),
        case("/events/waitlist.events.user.signup", "user.signup", "waitlist.events.user.signup",
            signup, user, &[("event_type", "user.signup")]),
        case("/events/user.verified", "user.verified", "waitlist.events.user.verified",
            event_of(&ids), user, &[("event_type", "user.verified")]),
        case("/events/referral.created", "referral.created", "waitlist.events.referral.created",
            event_of(&format!("\"campaign_id\":\"{USER}\",\"referrer_id\":\"{CAMPAIGN}\",\"referred_id\":\"{USER}\"")),
            campaign, &[("event_type", "referral.created")]),
        case("/events/reward.earned", "reward.earned", "waitlist.events.reward.earned",
            event_of(&format!("{ids},\"reward_id\":\"{USER}\",\"user_reward_id\":\"{USER}\"")),
            user, &[("event_type", "reward.earned")]),
    ]);
    cases
}

async fn produce(jobgate: &Jobgate, case: &Case) -> Value {
    let answer = jobgate.post_raw(case.path, case.body.clone()).await;
    let is_event = case.path.starts_with("/events/");
    let expected = if is_event { StatusCode::CREATED } else { StatusCode::ACCEPTED };
    assert_eq!(answer.status, expected, "{}: {}", case.path, answer.text);
    let receipt = answer.json();
    assert_eq!(receipt["type"], case.type_name);
    assert_eq!(receipt["topic"], case.topic);
    assert_eq!(receipt["key"], case.key);
    assert_eq!(answer.headers["location"], receipt["status_url"].as_str().expect("a URL"));
    receipt
}

fn assert_record(case: &Case, receipt: &Value, record: &Printed) {
    let what = format!("{}: {receipt} {record:?}", case.path);
    assert_eq!(record.key, case.key, "{what}");
    assert_eq!(record.value, *case.value.as_ref().unwrap_or(&case.body), "{what}");
    assert_eq!(receipt["partition"], record.partition, "{what}");
    assert_eq!(receipt["offset"], record.offset, "{what}");
    let id = Uuid::parse_str(receipt["id"].as_str().expect("an id")).expect("a UUID");
    assert_eq!(id.get_version_num(), 7, "{what}");
    assert_eq!(time_of(id), Some(record.timestamp_ms), "the id's time: {what}");
    let produced_at = rfc3339(record.timestamp_ms);
    assert_eq!(receipt["produced_at"], produced_at, "{what}");
    let mut headers = BTreeMap::from([
        ("message_id", receipt["id"].as_str().expect("an id")),
        ("produced_at", produced_at.as_str()),
        ("producer", "the-tests"),
    ]);
    headers.extend(case.headers.iter().copied());
    let found: BTreeMap<&str, &str> =
        record.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(found, headers, "these headers and no other: {what}");
}

/// Events with fresh keys; returns the partition that jobgate chose for each.
async fn signups(jobgate: &Jobgate, _: &LocalKafka, count: usize) -> BTreeMap<String, i64> {
    let mut chosen = BTreeMap::new();
    for _ in 0..count {
        let event = json!({
            "user_id": uuid::Uuid::new_v5(&Uuid::NAMESPACE_OID, uuid().as_bytes()),
            "campaign_id": uuid(), "email": "ada@example.com",
            "source": "direct", "timestamp": "2025-01-01T00:00:00Z"
        });
        let receipt = jobgate.post("/events/user.signup", &event).await.json();
        let key = receipt["key"].as_str().expect("a key").to_owned();
        chosen.insert(key, receipt["partition"].as_i64().expect("a partition"));
    }
    chosen
}

/// Java's producer puts the same keys into the same partitions of the same topic.
async fn partitions_are_javas(kafka: &LocalKafka, chosen: BTreeMap<String, i64>) {
    let topic = "waitlist.events.user.signup";
    let lines: String = chosen.keys().flat_map(|key| [key.as_str(), "|from Java\n"]).collect();
    java_producer::produce(kafka, topic, &["parse.key=true", "key.separator=|"], &lines).await;
    // Two signups came from the table.
    let printed = consume(kafka, &["--topic", topic], 2 * chosen.len() + 2).await;
    let javas: BTreeMap<String, i64> = printed
        .into_iter()
        .filter(|record| record.value == "from Java")
        .map(|record| (record.key, record.partition))
        .collect();
    assert!(chosen.values().collect::<std::collections::BTreeSet<_>>().len() > 3, "{chosen:?}");
    assert_eq!(chosen, javas);
}

/// Reads this many records with the console consumer.
async fn consume(kafka: &LocalKafka, which: &[&str], count: usize) -> Vec<Printed> {
    let mut command = kafka.tool("org.apache.kafka.tools.consumer.ConsoleConsumer");
    command
        .args(["--bootstrap-server", kafka.bootstrap_servers(), "--from-beginning"])
        .args(["--timeout-ms", "30000", "--max-messages", &count.to_string()])
        .args(which);
    for (name, value) in [
        ("print.timestamp", "true"),
        ("print.partition", "true"),
        ("print.offset", "true"),
        ("print.headers", "true"),
        ("print.key", "true"),
        ("key.separator", FIELD),
        ("headers.separator", "\u{3}"),
        ("line.separator", RECORD),
    ] {
        command.args(["--formatter-property", &format!("{name}={value}")]);
    }
    let output = command.output().await.expect("Java's consumer");
    let (text, log) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
    let text = text.expect("text");
    let records: Vec<Printed> =
        text.split(RECORD).filter(|record| !record.is_empty()).map(parse).collect();
    assert_eq!(records.len(), count, "{log:?}");
    records
}

fn parse(text: &str) -> Printed {
    let fields: Vec<&str> = text.split(FIELD).collect();
    let [timestamp, partition, offset, headers, key, value] = fields[..] else {
        panic!("not a record: {text:?}")
    };
    let number = |text: &str| {
        let digits = text.rsplit(':').next().and_then(|digits| digits.parse().ok());
        digits.unwrap_or_else(|| panic!("not a number: {text}"))
    };
    assert!(timestamp.starts_with("CreateTime:"), "{timestamp}");
    let headers = headers.split('\u{3}').filter_map(|header| header.split_once(':'));
    Printed {
        timestamp_ms: number(timestamp),
        partition: number(partition),
        offset: number(offset),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

/// What `kafka-topics --describe` says.
async fn topics(kafka: &LocalKafka) -> String {
    let output = kafka
        .tool("org.apache.kafka.tools.TopicCommand")
        .args(["--bootstrap-server", kafka.bootstrap_servers(), "--describe"])
        .output()
        .await
        .expect("Java's kafka-topics");
    String::from_utf8(output.stdout).expect("text")
}

async fn topics_are_as_declared(described: &str, jobgate: &Jobgate) {
    let catalog = jobgate.get("/catalog").await.json();
    let mut declared: BTreeMap<String, (i64, i64, i64)> = BTreeMap::new();
    let bytes_max = 1_048_576 + 65_536;
    for item in catalog["items"].as_array().expect("items") {
        let topic = item["topic"].as_str().expect("a topic").to_owned();
        let number = |member: &str| item[member].as_i64().expect("a number");
        declared.insert(topic, (number("partitions"), number("retention_ms"), bytes_max));
    }
    // Records of the dead letters' topic may be four times as large, and stay for a year.
    declared.insert("waitlist.dlq".to_owned(), (3, 365 * 86_400_000, 4 * bytes_max));
    let mut found = BTreeMap::new();
    for line in described.lines().filter(|line| line.starts_with("Topic: waitlist.")) {
        let after = |name: &str| {
            let rest = line.split(name).nth(1).unwrap_or_else(|| panic!("{name} in {line}"));
            rest.split(|c: char| c == ',' || c.is_whitespace()).find(|word| !word.is_empty())
        };
        let number = |name: &str| after(name).and_then(|word| word.parse().ok()).expect("a number");
        let topic = after("Topic:").expect("a topic").to_owned();
        assert_eq!(after("cleanup.policy="), Some("delete"), "{line}");
        found.insert(
            topic,
            (number("PartitionCount:"), number("retention.ms="), number("max.message.bytes=")),
        );
    }
    assert_eq!(found, declared);
}
