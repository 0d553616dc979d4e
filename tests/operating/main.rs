//! What an operator asks and does: statuses, lag, statistics, topics, offsets, the audit. A
//! started `jobgate` on a Kafka whose own tools give the second opinion.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../faults/mail_server.rs"]
mod mail_server;
#[path = "../harness/postgres.rs"]
mod postgres;

mod other_clients;
mod paused_types;
mod workers_now;
mod workers_stopped;

use std::collections::HashMap;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use harness::{Jobgate, Options, until, uuid, verification};
use jobgate::broker::{BrokerSettings, LocalKafka};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a state may take to come about on a busy machine.
const SOON: Duration = Duration::from_secs(60);
const FRAUD: &str = "waitlist.fraud.detection";

/// A Kafka of the test's own, and a jobgate on it.
struct Place {
    kafka: LocalKafka,
    jobgate: Jobgate,
    _dir: TempDir,
}

impl Place {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let kafka =
            LocalKafka::start(BrokerSettings::new(dir.path()), |_| {}).await.expect("Kafka starts");
        let brokers = Some(kafka.bootstrap_servers().to_owned());
        // One group has workers, the others have none.
        let args = ["--groups", "email-workers"].map(str::to_owned).to_vec();
        let jobgate = Jobgate::start(Options { brokers, args, ..Options::default() }).await;
        // A Kafka that has just begun makes the topic of the groups' offsets first.
        until("the groups can be asked", SOON, async || {
            (jobgate.get("/admin/lag").await.status == StatusCode::OK).then_some(())
        })
        .await;
        Self { kafka, jobgate, _dir: dir }
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.jobgate.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        answer.json()
    }

    async fn problem(&self, path: &str) -> (u16, String) {
        let answer = self.jobgate.get(path).await;
        (answer.status.as_u16(), answer.problem())
    }

    async fn refused(&self, path: &str, body: &Value) -> (u16, String) {
        let answer = self.jobgate.post(path, body).await;
        (answer.status.as_u16(), answer.problem())
    }

    async fn enqueue(&self, job_type: &str, payload: &Value) -> Value {
        let answer = self.jobgate.post(&format!("/jobs/{job_type}"), payload).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
        answer.json()
    }

    async fn fraud(&self) -> Value {
        let payload =
            json!({ "campaign_id": uuid(), "user_id": uuid(), "check_types": ["fake_email"] });
        self.enqueue("fraud.detection", &payload).await
    }

    async fn state(&self, receipt: &Value) -> String {
        let status = self.get(text(&receipt["status_url"])).await;
        assert_eq!(status["id"], receipt["id"]);
        text(&status["state"]).to_owned()
    }

    async fn wait_for(&self, receipt: &Value, state: &str) {
        until(&format!("{state}: {receipt}"), SOON, async || {
            (self.state(receipt).await == state).then_some(())
        })
        .await;
    }

    /// The group without workers is as old as this, within a second.
    async fn assert_age(&self, oldest_ms: u64) {
        let before_ms = now_ms();
        let body = self.get("/admin/lag/fraud-workers").await;
        let after_ms = now_ms();
        let age_s = body["groups"][0]["age_seconds"].as_f64().expect("an age");
        let (low_s, high_s) = (seconds(before_ms - oldest_ms), seconds(after_ms - oldest_ms));
        assert!((low_s - 1.0..=high_s + 1.0).contains(&age_s), "{low_s} {age_s} {high_s}");
    }

    /// What Kafka's own tool says of a group: (topic, partition) to (committed, end, lag).
    async fn tool_lag(&self, group: &str) -> HashMap<(String, i64), (i64, i64, i64)> {
        let mut tool =
            self.kafka.tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand");
        tool.args(["--bootstrap-server", self.kafka.bootstrap_servers()])
            .args(["--describe", "--group", group])
            .stdin(Stdio::null());
        let output = tokio::time::timeout(SOON, tool.output()).await.expect("it ends");
        let output = String::from_utf8(output.expect("java runs").stdout).expect("text");
        let mut found = HashMap::new();
        for line in output.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.first() == Some(&group) {
                let number = |at: usize| words[at].parse::<i64>();
                if let (Ok(committed), Ok(end), Ok(lag)) = (number(3), number(4), number(5)) {
                    let partition = number(2).expect("a partition");
                    found.insert((words[1].to_owned(), partition), (committed, end, lag));
                }
            }
        }
        found
    }

    /// The same, as jobgate says; partitions without a commit are left out.
    async fn own_lag(&self, group: &str) -> HashMap<(String, i64), (i64, i64, i64)> {
        let body = self.get(&format!("/admin/lag/{group}")).await;
        let group = &body["groups"][0];
        let mut found = HashMap::new();
        for topic in group["topics"].as_array().expect("topics") {
            let mut sum = 0;
            for partition in topic["partitions"].as_array().expect("partitions") {
                let number = |name: &str| partition[name].as_i64();
                sum += number("lag").expect("a lag");
                if let Some(committed) = number("committed") {
                    let key = (text(&topic["topic"]).to_owned(), number("partition").expect("one"));
                    let end = number("end").expect("an end");
                    found.insert(key, (committed, end, number("lag").expect("a lag")));
                }
            }
            assert_eq!(topic["lag"], sum);
        }
        found
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}

#[expect(clippy::disallowed_methods, reason = "the test compares with its own clock")]
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("before the year 500,000,000")
}

fn seconds(milliseconds: u64) -> f64 {
    Duration::from_millis(milliseconds).as_secs_f64()
}

fn broken_verification() -> Value {
    let mut payload = verification(&uuid(), &uuid());
    payload["template_data"].as_object_mut().expect("an object").remove("verification_link");
    payload
}

#[tokio::test]
async fn an_operator_sees_and_sets_what_is_so() {
    let mut place = Place::start().await;
    let oldest = statuses(&place).await;
    ids(&place).await;
    lag(&place, oldest).await;
    statistics(&place).await;
    resets(&place).await;
    topics(&place).await;
    audit(&place).await;
    restart(&mut place).await;
    outage(&mut place).await;
}

/// Returns when the first job of a group without workers was produced.
async fn statuses(place: &Place) -> u64 {
    let waiting = place.fraud().await;
    let works = place.enqueue("email.verification", &verification(&uuid(), &uuid())).await;
    let broken = place.enqueue("email.verification", &broken_verification()).await;
    assert_eq!(place.state(&waiting).await, "queued", "nobody runs its type");
    place.wait_for(&works, "succeeded").await;
    assert!(place.jobgate.mail_path(text(&works["id"])).exists(), "it has been run");
    place.wait_for(&broken, "dead_lettered").await;

    let status = place.get(text(&broken["status_url"])).await;
    for member in ["type", "topic", "partition", "offset", "key", "produced_at", "status_url"] {
        assert_eq!(status[member], broken[member], "{member}");
    }
    assert_eq!((&status["group"], &status["attempts"]), (&json!("email-workers"), &json!(1)));
    assert_eq!(status["dead_letter"]["state"], "open");

    let event = place
        .jobgate
        .post(
            "/events/user.verified",
            &json!({ "user_id": uuid(), "campaign_id": uuid(), "timestamp": "2025-01-01T00:00:00Z" }),
        )
        .await;
    assert_eq!(place.state(&event.json()).await, "queued", "{}", event.text);

    let (partition, offset) = (waiting["partition"].as_i64(), waiting["offset"].as_i64());
    let past =
        format!("/jobs/fraud.detection/{}/{}", partition.expect("one"), offset.expect("one") + 1);
    for path in [
        &*past,
        "/jobs/fraud.detection/99/0",
        "/jobs/fraud.detection/0/-1",
        "/jobs/fraud.detection/x/0",
    ] {
        assert_eq!(place.problem(path).await, (404, "no-such-record".into()), "{path}");
    }
    let unknown = place.problem("/jobs/no.such.type/0/0").await;
    assert_eq!(unknown, (404, "unknown-type".into()));
    // The time inside the id is the record's: 48 bits of milliseconds.
    let id = text(&waiting["id"]).replace('-', "");
    u64::from_str_radix(&id[..12], 16).expect("a UUIDv7")
}

async fn ids(place: &Place) {
    let receipt = place.fraud().await;
    let by_id = place.get(&format!("/jobs/by-id/{}", text(&receipt["id"]))).await;
    let by_place = place.get(text(&receipt["status_url"])).await;
    assert_eq!(by_id, by_place);
    let never = uuid();
    for unknown in [&*never, "0193b8b2-7d51-4000-8000-000000000001", "seven"] {
        let problem = place.problem(&format!("/jobs/by-id/{unknown}")).await;
        assert_eq!(problem, (404, "unknown-id".into()), "{unknown}");
    }
}

async fn lag(place: &Place, oldest_ms: u64) {
    // Nobody has ever run the group: everything is before it, as old as its oldest record.
    let body = place.get("/admin/lag").await;
    let groups = body["groups"].as_array().expect("groups");
    assert_eq!(groups.len(), 7, "{body}");
    let fraud = groups.iter().find(|group| group["group"] == "fraud-workers").expect("it is there");
    assert_eq!(fraud["lag"], 2, "{fraud}");
    place.assert_age(oldest_ms).await;
    assert_eq!(fraud["topics"][0]["partitions"][0]["committed"], Value::Null);
    assert_eq!(place.own_lag("fraud-workers").await, HashMap::new());
    assert_eq!(place.problem("/admin/lag/nobody").await, (404, "unknown-group".into()));

    until("the mails' group has caught up", SOON, async || {
        let body = place.get("/admin/lag/email-workers").await;
        let group = &body["groups"][0];
        (group["lag"] == 0 && group["age_seconds"] == 0.0 && group["status"] == "ok").then_some(())
    })
    .await;
    let told = place.tool_lag("email-workers").await;
    assert!(!told.is_empty(), "the tool says something");
    assert_eq!(place.own_lag("email-workers").await, told);
}

async fn statistics(place: &Place) {
    let stats = place.get("/admin/stats").await;
    let mails = &stats["types"]["email.verification"];
    assert_eq!((&mails["enqueued"], &mails["consumed"]), (&json!(2), &json!(2)), "{stats}");
    assert_eq!((&mails["succeeded"], &mails["dead_lettered"]), (&json!(1), &json!(1)), "{stats}");
    assert_eq!(stats["consumer"]["messages"], 2);
    assert_eq!(stats["consumer"]["dead_letters"], 1);
    assert_eq!(stats["consumer"]["lag"], 3, "two of fraud and an event: {stats}");
    assert_eq!(stats["producer"]["messages"], 6, "five over HTTP and a dead letter: {stats}");
    assert_eq!(stats["producer"]["errors"], 0);
    let instances = stats["instances"].as_array().expect("instances");
    assert_eq!((instances.len(), &instances[0]["alive"]), (1, &json!(true)), "{stats}");

    let metrics = place.jobgate.get("/metrics").await;
    assert!(text_type(&metrics.headers).starts_with("text/plain; version=0.0.4"));
    for line in [
        "jobgate_build_info{version=",
        "jobgate_dead_letters_total{type=\"email.verification\",topic=\"waitlist.email.verification\"} 1\n",
        "jobgate_attempts_total{type=\"email.verification\",topic=\"waitlist.email.verification\",outcome=\"succeeded\"} 1\n",
        "jobgate_enqueue_duration_seconds_count{type=\"fraud.detection\"} 2\n",
        "jobgate_attempt_duration_seconds_bucket{type=\"email.verification\",le=\"+Inf\"} 2\n",
        "jobgate_running_attempts{type=\"email.verification\"} 0\n",
    ] {
        assert!(metrics.text.contains(line), "{line} is not in:\n{}", metrics.text);
    }
    let sampled =
        "jobgate_group_lag_records{group=\"fraud-workers\",topic=\"waitlist.fraud.detection\"} 2\n";
    until("a sample of the lag", SOON, async || {
        place.jobgate.get("/metrics").await.text.contains(sampled).then_some(())
    })
    .await;
}

fn text_type(headers: &reqwest::header::HeaderMap) -> &str {
    headers["content-type"].to_str().expect("text")
}

async fn resets(place: &Place) {
    let url = "/admin/groups/fraud-workers/offsets";
    let to = |to: Value| json!({ "topic": FRAUD, "to": to, "reason": "a test" });
    let live = json!({ "topic": "waitlist.email.welcome", "to": "latest", "reason": "a test" });
    let refused = place.refused("/admin/groups/email-workers/offsets", &live).await;
    assert_eq!(refused, (409, "group-is-live".into()));
    for (path, body, expected) in [
        (url, live, (422, "invalid-payload")),
        (url, to(json!({ "offset": 99 })), (422, "invalid-payload")),
        (url, to(json!({ "timestamp": "soon" })), (422, "invalid-payload")),
        (url, to(json!("sideways")), (400, "invalid-request")),
        (url, json!({ "topic": FRAUD, "to": "latest", "reason": " " }), (422, "invalid-payload")),
        (
            url,
            json!({ "topic": FRAUD, "to": "latest", "reason": "x", "partitions": [99] }),
            (422, "invalid-payload"),
        ),
        ("/admin/groups/nobody/offsets", to(json!("latest")), (404, "unknown-group")),
    ] {
        assert_eq!(place.refused(path, &body).await, (expected.0, expected.1.to_owned()), "{body}");
    }

    let passed = place.fraud().await;
    reset(place, url, &to(json!("latest"))).await;
    assert_eq!(place.state(&passed).await, "skipped");
    let next = place.fraud().await;
    assert_eq!(place.state(&next).await, "queued");
    let told = place.tool_lag("fraud-workers").await;
    assert_eq!(told.values().map(|(_, _, lag)| lag).sum::<i64>(), 1, "{told:?}");
    assert_eq!(place.own_lag("fraud-workers").await, told);
    let id = text(&next["id"]).replace('-', "");
    place.assert_age(u64::from_str_radix(&id[..12], 16).expect("a UUIDv7")).await;

    // Back to before the second: what the first reset passed over waits again.
    let back = reset(place, url, &to(json!({ "timestamp": passed["produced_at"] }))).await;
    assert_eq!(place.state(&passed).await, "queued", "{back}");
    let one = json!({
        "topic": FRAUD, "partitions": [passed["partition"]], "to": "latest", "reason": "again"
    });
    let done = reset(place, url, &one).await;
    assert_eq!(done["partitions"].as_array().map(Vec::len), Some(1), "{done}");
    assert_eq!(place.state(&passed).await, "skipped");
    reset(place, url, &to(json!("earliest"))).await;
    assert_eq!(place.state(&passed).await, "queued");
    assert_eq!(place.own_lag("fraud-workers").await, place.tool_lag("fraud-workers").await);
}

async fn reset(place: &Place, url: &str, body: &Value) -> Value {
    let answer = place.jobgate.post(url, body).await;
    assert_eq!(answer.status, StatusCode::OK, "{body}: {}\n{}", answer.text, place.jobgate.log());
    answer.json()
}

async fn topics(place: &Place) {
    let list = place.get("/admin/topics").await;
    assert_eq!(list["total"], 15, "14 types and the dead letters");
    let topic = format!("/admin/topics/{FRAUD}");
    let before = place.get(&topic).await;
    assert_eq!((&before["partitions"], &before["drift"]), (&json!(5), &json!([])), "{before}");
    assert_eq!(before["settings"]["retention.ms"], (30_u64 * 86_400_000).to_string());
    assert_eq!(before["records"], 4, "{before}");

    let url = format!("{topic}/partitions");
    let answer = place.jobgate.post(&url, &json!({ "count": 7, "reason": "more users" })).await;
    assert_eq!(answer.status, StatusCode::OK, "{}\n{}", answer.text, place.jobgate.log());
    assert_eq!(answer.json()["partitions"], 7);
    let after = place.get(&topic).await;
    assert_eq!(after["partition_list"].as_array().map(Vec::len), Some(7));
    assert_eq!(after["drift"], json!([]), "more than declared is no drift");
    for (path, count, expected) in [
        (&*url, 7, (409, "not-more-partitions")),
        (&*url, 0, (422, "invalid-payload")),
        ("/admin/topics/other/partitions", 9, (404, "unknown-topic")),
    ] {
        let refused = place.refused(path, &json!({ "count": count })).await;
        assert_eq!(refused, (expected.0, expected.1.to_owned()), "{path} {count}");
    }
    assert_eq!(place.problem("/admin/topics/other").await, (404, "unknown-topic".into()));
}

async fn audit(place: &Place) {
    let letters = place.get("/admin/dlq").await;
    let letter = &letters["items"][0];
    let letter = format!("{}/{}", letter["partition"], letter["offset"]);
    let url = format!("/admin/dlq/{letter}");
    let replay = place.jobgate.post(&format!("{url}/replay"), &json!({})).await;
    assert_eq!(replay.status, StatusCode::ACCEPTED, "{}", replay.text);
    let discard = place.refused(&format!("{url}/discard"), &json!({ "reason": "late" })).await;
    assert_eq!(discard.0, 409);
    let rebuilt = place.jobgate.post("/admin/dlq/index/rebuild", &json!({})).await;
    assert_eq!(rebuilt.status, StatusCode::ACCEPTED, "{}", rebuilt.text);

    let mut entries = Vec::new();
    let mut path = "/admin/audit?limit=3".to_owned();
    loop {
        let page = place.get(&path).await;
        entries.extend(page["items"].as_array().expect("items").clone());
        assert!(page["total"].as_u64().is_some_and(|total| total >= entries.len() as u64));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/admin/audit?limit=3&cursor={cursor}");
    }
    let of = |action: &str, outcome: &str| {
        let is_it = |e: &&Value| e["action"] == action && e["outcome"] == outcome;
        entries.iter().filter(is_it).count()
    };
    assert_eq!(entries[0]["action"], "rebuild_dead_letter_index", "the newest first");
    assert!(entries.iter().all(|entry| entry["actor"] == "loopback"));
    assert_eq!((of("reset_offsets", "done"), of("add_partitions", "done")), (4, 1), "{entries:?}");
    assert_eq!(of("reset_offsets", "the group has live members"), 1);
    assert_eq!(of("replay_dead_letter", "done"), 1);
    assert_eq!(of("discard_dead_letter", "done"), 0);
    let discard =
        entries.iter().find(|e| e["action"] == "discard_dead_letter").expect("it is there");
    assert_eq!(
        (text(&discard["reason"]), text(&discard["target"])),
        ("late", &*format!("waitlist.dlq/{letter}"))
    );
    let grown = entries.iter().find(|e| e["action"] == "add_partitions" && e["outcome"] == "done");
    assert_eq!(grown.expect("it is there")["detail"], json!({ "count": 7 }));
    assert_eq!(place.problem("/admin/audit?cursor=x").await, (400, "invalid-query".into()));
}

/// What was counted before a restart is not lost.
async fn restart(place: &mut Place) {
    let before = place.get("/admin/stats").await;
    let (code, took) = place.jobgate.terminate().await;
    assert_eq!(code, Some(0), "after {took:?}: {}", place.jobgate.log());
    place.jobgate.start_again().await;
    let after = place.get("/admin/stats").await;
    let enqueued = |stats: &Value| stats["types"]["fraud.detection"]["enqueued"].clone();
    assert_eq!((enqueued(&before), enqueued(&after)), (json!(4), json!(4)), "{after}");
    assert_eq!(after["instances"].as_array().map(Vec::len), Some(2), "{after}");
    place.fraud().await;
    assert_eq!(enqueued(&place.get("/admin/stats").await), 5);
}

/// What Kafka does not tell is an error: never zero, never a state.
async fn outage(place: &mut Place) {
    place.kafka.kill_node(1).await.expect("it runs");
    for path in [
        "/admin/lag",
        "/admin/lag/email-workers",
        "/admin/stats",
        "/admin/topics",
        "/jobs/fraud.detection/0/0",
    ] {
        assert_eq!(place.jobgate.get(path).await.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
    let answer = place.jobgate.get(&format!("/jobs/by-id/{}", uuid())).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
    until("no lag is shown where none is known", SOON, async || {
        let metrics = place.jobgate.get("/metrics").await;
        assert_eq!(metrics.status, StatusCode::OK);
        (!metrics.text.contains("\njobgate_group_lag_records{")).then_some(())
    })
    .await;
    place.get("/admin/audit").await;
}
