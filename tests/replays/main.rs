//! Replays of topics: a range of a topic runs once more, under a group of its own, and nobody
//! else notices. Real Kafka, killed workers.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/postgres.rs"]
mod postgres;

mod split;

use std::time::Duration;

use harness::{Answer, Jobgate, Options, until, uuid, verification};
use rdkafka::ClientConfig;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use reqwest::StatusCode;
use serde_json::{Value, json};

const TOPIC: &str = "waitlist.email.verification";
const GROUP: &str = "email-workers";
/// How long something may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// A jobgate with some mails behind it.
struct Place {
    jobgate: Jobgate,
}

impl Place {
    async fn start() -> Self {
        Self { jobgate: Jobgate::start(Options::default()).await }
    }

    /// Posts a job; returns its receipt.
    async fn post(&self, job: &Value) -> Value {
        post(&self.jobgate, job).await
    }

    /// Posts that many good jobs, one after the other, and waits for their mails.
    async fn mails(&self, count: usize) -> Vec<Value> {
        let mut receipts = Vec::with_capacity(count);
        for _ in 0..count {
            receipts.push(self.post(&verification(&uuid(), &uuid())).await);
        }
        for receipt in &receipts {
            self.jobgate.mail(text(&receipt["id"])).await;
        }
        receipts
    }

    /// Which of these have a mail in the outbox.
    fn mailed(&self, receipts: &[Value]) -> usize {
        receipts.iter().filter(|r| self.jobgate.mail_path(text(&r["id"])).exists()).count()
    }

    fn empty_outbox(&self) {
        let outbox = self.jobgate.data().join("outbox");
        for file in std::fs::read_dir(&outbox).expect("the outbox") {
            std::fs::remove_file(file.expect("a file").path()).expect("removed");
        }
    }

    async fn replay(&self, request: &Value) -> Value {
        let started = start(&self.jobgate, request).await;
        ended(&self.jobgate, text(&started["id"])).await
    }

    async fn refused(&self, request: &Value) -> (u16, String, Value) {
        let answer = self.jobgate.post("/admin/replays", request).await;
        let problem = answer.problem();
        (answer.status.as_u16(), problem, answer.json())
    }
}

async fn post(gateway: &Jobgate, job: &Value) -> Value {
    let answer = gateway.post("/jobs/email.verification", job).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    answer.json()
}

/// Starts a replay.
async fn start(gateway: &Jobgate, request: &Value) -> Value {
    let answer = gateway.post("/admin/replays", request).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    let body = answer.json();
    let location = answer.headers["location"].to_str().expect("text");
    assert_eq!(location, format!("/admin/replays/{}", text(&body["id"])));
    body
}

async fn get(gateway: &Jobgate, path: &str) -> Value {
    let answer = gateway.get(path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
    answer.json()
}

async fn show(gateway: &Jobgate, id: &str) -> Value {
    get(gateway, &format!("/admin/replays/{id}")).await
}

/// Waits for a replay's end.
async fn ended(gateway: &Jobgate, id: &str) -> Value {
    until("the replay ends", SOON, async || {
        let replay = show(gateway, id).await;
        let is_open = ["queued", "running", "cancelling"].contains(&text(&replay["state"]));
        (!is_open).then_some(replay)
    })
    .await
}

async fn cancel(gateway: &Jobgate, id: &str) -> Answer {
    gateway.post(&format!("/admin/replays/{id}/cancel"), &json!({ "reason": "enough" })).await
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// What became of its records: done, `already_done`, failed, skipped.
fn counts(replay: &Value) -> [i64; 4] {
    ["done", "already_done", "failed", "skipped"]
        .map(|name| replay["counts"][name].as_i64().expect("a count"))
}

/// What a group has committed in the topic, by partition.
async fn committed(brokers: &str, group: &str) -> Vec<Option<i64>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .create()
        .expect("a consumer");
    let ask = move || {
        let mut list = TopicPartitionList::new();
        for partition in 0..10 {
            list.add_partition(TOPIC, partition);
        }
        let list = consumer.committed_offsets(list, Duration::from_secs(15)).expect("offsets");
        let offset = |partition| match list.find_partition(TOPIC, partition)?.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        (0..10).map(offset).collect()
    };
    tokio::task::spawn_blocking(ask).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_a_topic_runs_once_more_under_a_group_of_its_own() {
    let place = Place::start().await;
    let receipts = place.mails(30).await;
    until("the workers have committed all", SOON, async || {
        let lag = get(&place.jobgate, &format!("/admin/lag/{GROUP}")).await;
        (lag["groups"][0]["lag"] == 0).then_some(())
    })
    .await;
    let of_workers = committed(&place.jobgate.brokers(), GROUP).await;

    what_is_done_is_not_done_again(&place, &receipts).await;
    effects_happen_again_where_that_is_asked(&place, &receipts).await;
    a_key_a_partition_or_an_end_narrows_it(&place, &receipts).await;
    a_dry_run_starts_nothing(&place, &receipts).await;
    what_cannot_be_replayed_is_refused(&place).await;

    assert_eq!(
        committed(&place.jobgate.brokers(), GROUP).await,
        of_workers,
        "the workers' own offsets are where they were"
    );
}

async fn what_is_done_is_not_done_again(place: &Place, receipts: &[Value]) {
    place.empty_outbox();
    let since = &receipts[20]["produced_at"];
    let request = json!({ "topic": TOPIC, "from": { "timestamp": since }, "reason": "a look" });
    let replay = place.replay(&request).await;
    assert_eq!(replay["state"], "completed", "{replay}");
    assert_eq!(counts(&replay), [0, 10, 0, 0], "{replay}");
    assert_eq!(place.mailed(receipts), 0);
    assert_eq!(replay["effects"], "once");
    assert_eq!(replay["group"], format!("replay-{}", text(&replay["id"])));
    assert_eq!((&replay["offsets"], &replay["offsets_done"]), (&json!(10), &json!(10)));
    assert!(replay["finished_at"].is_string() && replay["worker"].is_null(), "{replay}");
    let audit = get(&place.jobgate, "/admin/audit?limit=1").await;
    let entry = &audit["items"][0];
    assert_eq!((&entry["action"], &entry["target"]), (&json!("start_replay"), &json!(TOPIC)));
    assert_eq!((&entry["reason"], &entry["outcome"]), (&json!("a look"), &json!("done")));
}

async fn effects_happen_again_where_that_is_asked(place: &Place, receipts: &[Value]) {
    place.empty_outbox();
    // By the name of its type, with a group of one's own.
    let request = json!({
        "topic": "email.verification", "from": "earliest", "effects": "again", "group": "again-1"
    });
    let replay = place.replay(&request).await;
    assert_eq!((counts(&replay), &replay["state"]), ([30, 0, 0, 0], &json!("completed")));
    assert_eq!(place.mailed(receipts), 30, "under the ids that they always had");
    // Its group has committed what it ran, as any Kafka tool shows.
    let spans = replay["partitions"].as_array().expect("partitions");
    let offsets = committed(&place.jobgate.brokers(), "again-1").await;
    for span in spans.iter().filter(|span| span["from"] != span["to"]) {
        let partition = span["partition"].as_u64().and_then(|p| usize::try_from(p).ok());
        assert_eq!(offsets[partition.expect("a number")], span["to"].as_i64(), "{span}");
        assert_eq!(span["position"], span["to"]);
    }
    // The group is free again: the next replay under it begins where it is told to.
    let replay = place.replay(&request).await;
    assert_eq!(counts(&replay), [30, 0, 0, 0], "each replay has effects of its own");
}

async fn a_key_a_partition_or_an_end_narrows_it(place: &Place, receipts: &[Value]) {
    let one = &receipts[7];
    let partition = &one["partition"];
    let in_partition = |r: &&Value| r["partition"] == *partition;
    let others = receipts.iter().filter(in_partition).count() - 1;
    let others = i64::try_from(others).expect("few");
    let request = json!({
        "topic": TOPIC, "from": "earliest", "partitions": [partition], "key": one["key"]
    });
    assert_eq!(counts(&place.replay(&request).await), [0, 1, 0, others]);

    let offset = one["offset"].as_i64().expect("an offset");
    let request = json!({
        "topic": TOPIC, "partitions": [partition],
        "from": { "offset": offset }, "to": { "offset": offset + 1 }
    });
    assert_eq!(counts(&place.replay(&request).await), [0, 1, 0, 0]);

    let until = json!({ "timestamp": receipts[20]["produced_at"] });
    let request = json!({ "topic": TOPIC, "from": "earliest", "to": until });
    assert_eq!(counts(&place.replay(&request).await), [0, 20, 0, 0]);

    let request = json!({ "topic": TOPIC, "from": "latest" });
    let nothing = place.replay(&request).await;
    assert_eq!((counts(&nothing), &nothing["state"]), ([0; 4], &json!("completed")));
}

async fn a_dry_run_starts_nothing(place: &Place, receipts: &[Value]) {
    let total = get(&place.jobgate, "/admin/replays").await["total"].clone();
    let since = &receipts[25]["produced_at"];
    let request = json!({ "topic": TOPIC, "from": { "timestamp": since }, "dry_run": true });
    let answer = place.jobgate.post("/admin/replays", &request).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let plan = answer.json();
    assert_eq!((&plan["offsets"], &plan["dry_run"]), (&json!(5), &json!(true)));
    assert_eq!(plan["handler"], "email.verification");
    assert_eq!(get(&place.jobgate, "/admin/replays").await["total"], total);
    // The list goes page by page, the newest first.
    let page = get(&place.jobgate, "/admin/replays?limit=2").await;
    let next = format!("/admin/replays?limit=2&cursor={}", text(&page["next_cursor"]));
    let second = get(&place.jobgate, &next).await;
    let newest = |page: &Value| text(&page["items"][0]["created_at"]).to_owned();
    assert!(newest(&page) > newest(&second));
}

async fn what_cannot_be_replayed_is_refused(place: &Place) {
    let with = |changes: Value| {
        let mut request = json!({ "topic": TOPIC, "from": "earliest" });
        for (name, value) in changes.as_object().expect("members") {
            request[name] = value.clone();
        }
        request
    };
    let faults = [
        (json!({ "group": GROUP }), "/group", "a replay needs one of its own"),
        (json!({ "group": "a b" }), "/group", "must be 1 to 249"),
        (json!({ "handler": "email.welcome" }), "/handler", "no handler email.welcome runs"),
        (json!({ "handler": "analytics-rebuild" }), "/handler", "no handler analytics-rebuild"),
        (json!({ "partitions": [99] }), "/partitions", "has no partition 99"),
        (json!({ "partitions": [] }), "/partitions", "must name"),
        (json!({ "from": { "offset": 1_000_000 } }), "/from/offset", "has the offsets"),
        (json!({ "to": { "timestamp": "soon" } }), "/to/timestamp", "RFC 3339"),
        (json!({ "rate_per_second": 0 }), "/rate_per_second", "must be 0.001"),
        (json!({ "key": "" }), "/key", "must have 1"),
        (json!({ "reason": " " }), "/reason", "say why"),
    ];
    for (changes, pointer, words) in faults {
        let (status, problem, body) = place.refused(&with(changes.clone())).await;
        assert_eq!((status, problem.as_str()), (422, "invalid-payload"), "{changes}: {body}");
        assert_eq!(body["errors"][0]["pointer"], pointer, "{changes}: {body}");
        assert!(text(&body["errors"][0]["detail"]).contains(words), "{changes}: {body}");
    }
    let (status, problem, _) = place.refused(&with(json!({ "topic": "waitlist.dlq" }))).await;
    assert_eq!((status, problem.as_str()), (404, "unknown-topic"));
    for changes in [json!({ "rate": 5 }), json!({ "from": "now" }), json!({ "effects": "none" })] {
        let (status, problem, body) = place.refused(&with(changes)).await;
        assert_eq!((status, problem.as_str()), (400, "invalid-request"), "{body}");
    }
    let unknown = format!("/admin/replays/{}", uuid());
    assert_eq!(place.jobgate.get(&unknown).await.problem(), "unknown-replay");
    assert_eq!(cancel(&place.jobgate, &uuid()).await.problem(), "unknown-replay");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_listed_and_an_old_target_group_is_ignored() {
    let place = Place::start().await;
    let mut broken = verification(&uuid(), &uuid());
    broken["template_data"] = json!({ "email": "ada@example.com" });
    let receipt = place.post(&broken).await;
    let letters = async || {
        let letters = place.jobgate.get("/admin/dlq").await;
        (letters.status == StatusCode::OK).then(|| letters.json())
    };
    let letter = until("the dead letter", SOON, async || {
        letters().await.filter(|list| list["total"] == 1).map(|list| list["items"][0].clone())
    })
    .await;

    // The letter goes back, mended: its record is meant for one group alone.
    let mut fixed = broken.clone();
    fixed["template_data"]["verification_link"] = json!("https://example.com/verify/1");
    let path = format!("/admin/dlq/{}/{}/replay", letter["partition"], letter["offset"]);
    let answer = place.jobgate.post(&path, &json!({ "payload": fixed })).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    place.jobgate.mail(text(&receipt["id"])).await;

    let request = json!({
        "topic": TOPIC, "from": "earliest", "effects": "again", "key": receipt["key"]
    });
    place.empty_outbox();
    let replay = place.replay(&request).await;
    assert_eq!(replay["state"], "completed");
    assert_eq!(counts(&replay), [1, 0, 1, 0], "the mended record ran: {replay}");
    place.jobgate.mail(text(&receipt["id"])).await;
    let failures = &replay["failures"];
    assert_eq!(failures["total"], 1);
    let failure = &failures["items"][0];
    for member in ["partition", "offset", "key"] {
        assert_eq!(failure[member], receipt[member], "{failure}");
    }
    assert_eq!(failure["message_id"], receipt["id"]);
    assert_eq!(failure["error"]["class"], "missing_data");
    assert_eq!(letters().await.expect("letters")["total"], 1, "nothing was dead-lettered");

    // Where that is asked, failures are dead letters as well, of the group that runs the type.
    let mut request = request;
    request["dead_letters"] = json!(true);
    let replay = place.replay(&request).await;
    assert_eq!(counts(&replay), [1, 0, 1, 0]);
    let letter = until("the second dead letter", SOON, async || {
        letters().await.filter(|list| list["total"] == 2).map(|list| list["items"][0].clone())
    })
    .await;
    assert_eq!((&letter["group"], &letter["message_id"]), (&json!(GROUP), &receipt["id"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_keeps_its_rate_tells_its_end_and_can_be_cancelled() {
    let place = Place::start().await;
    let receipts = place.mails(60).await;
    place.empty_outbox();
    let request = json!({
        "topic": TOPIC, "from": "earliest", "effects": "again", "rate_per_second": 5, "group": "slow"
    });
    let id = text(&start(&place.jobgate, &request).await["id"]).to_owned();
    let running = until("it tells when it will end", SOON, async || {
        let replay = show(&place.jobgate, &id).await;
        assert_ne!(replay["state"], "completed", "60 records at 5 a second take 12 s: {replay}");
        replay["eta_seconds"].is_i64().then_some(replay)
    })
    .await;
    assert_eq!(running["state"], "running");
    assert!(running["worker"].is_string(), "{running}");
    let speed = running["records_per_second"].as_f64().expect("a pace");
    assert!(speed > 0.0, "{running}");

    let (status, problem, _) = place.refused(&request).await;
    assert_eq!((status, problem.as_str()), (409, "group-in-use"));

    let answer = cancel(&place.jobgate, &id).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    let cancelled = ended(&place.jobgate, &id).await;
    assert_eq!(cancelled["state"], "cancelled");
    let [done, ..] = counts(&cancelled);
    assert!(0 < done && done < 60, "{cancelled}");
    let mailed = i64::try_from(place.mailed(&receipts)).expect("few");
    assert_eq!(mailed, done, "what it counts is what it did: {cancelled}");
    assert_eq!(cancel(&place.jobgate, &id).await.problem(), "replay-ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_goes_on_after_kill_9_and_counts_each_record_once() {
    let mut place = Place::start().await;
    let receipts = place.mails(80).await;
    place.empty_outbox();
    let since = &receipts[20]["produced_at"];
    let request = json!({
        "topic": TOPIC, "from": { "timestamp": since }, "effects": "again", "rate_per_second": 10
    });
    let id = text(&start(&place.jobgate, &request).await["id"]).to_owned();
    let before = until("a third is done", SOON, async || {
        let replay = show(&place.jobgate, &id).await;
        assert_ne!(replay["state"], "completed", "it had no time to be killed: {replay}");
        (counts(&replay)[0] >= 20).then_some(replay)
    })
    .await;
    place.jobgate.kill().await;
    place.jobgate.start_again().await;
    let replay = ended(&place.jobgate, &id).await;
    assert_eq!(replay["state"], "completed", "{replay}");
    let [done, already_done, failed, skipped] = counts(&replay);
    assert_eq!(done + already_done, 60, "each record counts once: {replay}");
    assert_eq!((failed, skipped), (0, 0));
    assert!(done >= counts(&before)[0]);
    assert_eq!(place.mailed(&receipts[20..]), 60, "each record ran");
    assert_eq!(place.mailed(&receipts[..20]), 0, "none from before the time did");
}
