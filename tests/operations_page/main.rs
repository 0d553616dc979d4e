//! The commands of docs/operations.md, word for word, against a started `jobgate` and its
//! Kafka: what they print is what the page says.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/pages.rs"]
mod pages;

use std::collections::HashMap;
use std::time::Duration;

use harness::{Jobgate, Options, until, uuid, verification};
use pages::{Shell, blocks};
use serde_json::{Value, json};

/// How long anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// What the page's blocks printed, by their names.
struct Printed(HashMap<String, String>);

impl Printed {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("the page has no block {name}"))
    }

    /// The answers of a block, one after the other.
    fn answers(&self, name: &str) -> Vec<Value> {
        let text = self.text(name);
        let values = serde_json::Deserializer::from_str(text).into_iter();
        values.collect::<Result<_, _>>().unwrap_or_else(|_| panic!("not JSON: {text}"))
    }

    fn answer(&self, name: &str) -> Value {
        self.answers(name).swap_remove(0)
    }

    fn assert_has(&self, name: &str, words: &[&str]) {
        let text = self.text(name);
        for word in words {
            assert!(text.contains(word), "{name}: {word} is not in:\n{text}");
        }
    }
}

#[tokio::test]
async fn the_commands_of_the_page_do_what_it_says() {
    // The page resets the offsets of a group, which must have no members for that.
    let groups = "email-workers,position-workers,reward-workers,analytics-workers,webhook-workers";
    let args = ["--groups", groups].map(str::to_owned).to_vec();
    let jobgate = Jobgate::start(Options { args, ..Options::default() }).await;
    let broken = broken_jobs(&jobgate).await;
    // jobgate's data directory is `data` in this directory, as scripts/run has it.
    let mut shell = Shell::start(jobgate.dir.path());
    let mut printed = Printed(HashMap::new());
    let page = include_str!("../../docs/operations.md");
    for (name, block) in blocks(page, "run", &jobgate.base) {
        printed.0.insert(name, shell.run(&block).await);
    }
    dead_letters(&printed, &broken);
    lag(&printed);
    topics(&printed);
    offsets_and_status(&printed);
    workers(&printed);
    first_questions(&printed);
    replay(&jobgate, &printed).await;
    every_letter_was_replayed(&jobgate, &printed, &broken).await;
    new_partitions_are_used(&jobgate).await;
}

/// Two jobs that lack what their mail needs, once they are dead letters.
async fn broken_jobs(jobgate: &Jobgate) -> Vec<Value> {
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut job = verification(&uuid(), &uuid());
        job["template_data"] = json!({ "email": "ada@example.com" });
        let answer = jobgate.post("/jobs/email.verification", &job).await;
        ids.push(answer.json()["id"].clone());
    }
    until("both are dead letters", SOON, async || {
        let letters = jobgate.try_get("/admin/dlq").await?;
        (letters.status == 200 && letters.json()["total"] == 2).then_some(())
    })
    .await;
    ids
}

fn dead_letters(printed: &Printed, broken: &[Value]) {
    let listed = printed.answer("dead letters");
    assert_eq!(listed["total"], 2, "{listed}");
    // The tool says on the same output that it ended because nothing more came.
    let lines = printed.text("dead letters with kafka").lines();
    let lines = lines.filter_map(|line| serde_json::from_str(line).ok());
    let lines: Vec<Value> = lines.collect();
    assert_eq!(lines.len(), 2, "the tool sees the same: {lines:?}");
    for id in broken {
        assert!(lines.iter().any(|letter| letter["message_id"] == *id), "{id}: {lines:?}");
    }
    let fingerprint = listed["items"][0]["fingerprint"].as_str().expect("a fingerprint");
    let count = format!("2 \"fingerprint\":\"{fingerprint}\"");
    let kind = "2 \"class\":\"missing_data\",\"message\":\"template_data lacks verification_link\"";
    printed.assert_has("kinds", &[&count, kind]);
}

fn lag(printed: &Printed) {
    let group = &printed.answer("lag")["groups"][0];
    assert_eq!(group["group"], "email-workers");
    assert_eq!((&group["lag"], &group["status"]), (&json!(0), &json!("ok")), "{group}");
    printed.assert_has("lag with kafka", &["CURRENT-OFFSET", "LAG", "waitlist.email.verification"]);
}

fn topics(printed: &Printed) {
    let topics = printed.answer("topics");
    assert_eq!(topics["total"], 15);
    let names: Vec<&str> = printed.text("topics with kafka").lines().collect();
    for topic in topics["items"].as_array().expect("items") {
        let name = topic["topic"].as_str().expect("a name");
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    let grown = printed.answer("partitions");
    assert_eq!((&grown["partitions"], &grown["drift"]), (&json!(20), &json!([])), "{grown}");
}

fn offsets_and_status(printed: &Printed) {
    let reset = printed.answer("offsets");
    assert_eq!(reset["group"], "fraud-workers");
    assert_eq!(reset["partitions"].as_array().map(Vec::len), Some(5), "{reset}");
    let statuses = printed.answers("one job");
    assert_eq!(statuses.len(), 2);
    assert_eq!(statuses[0], statuses[1], "by place and by id");
    assert_eq!(statuses[0]["state"], "queued");
    let audit = printed.answer("audit");
    let deeds: Vec<&Value> =
        audit["items"].as_array().expect("items").iter().map(|entry| &entry["action"]).collect();
    let expected = ["resume_type", "pause_type", "start_replay", "reset_offsets", "add_partitions"];
    assert_eq!(deeds, expected, "the newest first: {audit}");
    assert_eq!(audit["items"][4]["reason"], "more workers than partitions");
}

fn workers(printed: &Printed) {
    let workers = printed.answer("workers");
    assert_eq!((&workers["total"], &workers["items"][0]["alive"]), (&json!(1), &json!(true)));
    let answers = printed.answers("pause");
    assert_eq!((&answers[0]["paused"], &answers[1]["paused"]), (&json!(true), &json!(false)));
    assert_eq!(answers[0]["reason"], "the offer in it is wrong");
}

fn first_questions(printed: &Printed) {
    printed.assert_has(
        "first",
        &[
            "{\"status\":\"live\"}",
            "{\"status\":\"ready\"}",
            "ok     settings",
            "ok     kafka",
            "ok     topics    all 15 are there",
            "ok     database",
            "ok     mail",
        ],
    );
    assert!(!printed.text("first").contains("FAULT"), "{}", printed.text("first"));
}

/// The two broken jobs fail in it as well, and make no further dead letters.
async fn replay(jobgate: &Jobgate, printed: &Printed) {
    assert_eq!(printed.answer("replay plan")["offsets"], 2);
    let started = printed.answer("replay");
    assert_eq!(started["rate_per_second"], 50.0, "{started}");
    let path = format!("/admin/replays/{}", started["id"].as_str().expect("an id"));
    let replay = until("the replay ends", SOON, async || {
        let replay = jobgate.get(&path).await.json();
        (replay["state"] == "completed").then_some(replay)
    })
    .await;
    assert_eq!(replay["counts"]["failed"], 2, "{replay}");
    assert_eq!(replay["failures"]["items"][0]["error"]["class"], "missing_data", "{replay}");
}

async fn every_letter_was_replayed(jobgate: &Jobgate, printed: &Printed, broken: &[Value]) {
    let receipts = printed.answers("replay all");
    assert_eq!(receipts.len(), 2, "{receipts:?}");
    for id in broken {
        assert!(receipts.iter().any(|receipt| receipt["id"] == *id), "{id}: {receipts:?}");
    }
    // They are as broken as before: each has a new letter, and the old one was replayed.
    until("both are dead letters again", SOON, async || {
        let letters = jobgate.get("/admin/dlq?state=open").await.json();
        let replayed = jobgate.get("/admin/dlq?state=replayed").await.json();
        (letters["total"] == 2 && replayed["total"] == 2).then_some(())
    })
    .await;
    // What Kafka's tool did is there too.
    let topic = jobgate.get("/admin/topics/waitlist.email.verification").await.json();
    assert_eq!(topic["partitions"], 20, "{topic}");
}

/// Producer and worker see the new partitions without a restart.
async fn new_partitions_are_used(jobgate: &Jobgate) {
    let id = until("a job in a new partition", SOON, async || {
        let job = verification(&uuid(), &uuid());
        let receipt = jobgate.post("/jobs/email.welcome", &job).await.json();
        let is_new = receipt["partition"].as_i64().expect("a partition") >= 10;
        is_new.then(|| receipt["id"].as_str().expect("an id").to_owned())
    })
    .await;
    jobgate.mail(&id).await;
}
