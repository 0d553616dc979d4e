//! Quarantined keys over HTTP: they are listed, their jobs have a state of their own, and they go
//! on by a decision about the letter or without one.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Jobgate, Options, until, uuid, verification};
use crate::support::{Client, Raw, SOON, letter, path, refused};

const TOPIC: &str = "waitlist.email.verification";
const JOB: &str = "/jobs/email.verification";
const RELEASE: &str = "/admin/quarantines/release";

/// A key with a job that cannot run, and behind it some that can.
struct Key {
    campaign: String,
    user: String,
    dead: Value,
    later: Vec<Value>,
}

impl Key {
    fn payload(&self) -> Value {
        verification(&self.campaign, &self.user)
    }

    async fn send(&self, jobgate: &Jobgate, payload: &Value) -> Value {
        let answer = jobgate.post(JOB, payload).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
        answer.json()
    }

    async fn new(jobgate: &Jobgate, later: usize) -> Self {
        let mut key = Self { campaign: uuid(), user: uuid(), dead: Value::Null, later: Vec::new() };
        let mut poison = key.payload();
        poison["template_data"].as_object_mut().expect("an object").remove("verification_link");
        key.dead = key.send(jobgate, &poison).await;
        for _ in 0..later {
            let receipt = key.send(jobgate, &key.payload()).await;
            key.later.push(receipt);
        }
        for receipt in &key.later {
            until_state(jobgate, receipt, "parked").await;
        }
        key
    }

    fn name(&self) -> &str {
        self.dead["key"].as_str().expect("a key")
    }

    async fn letter(&self, jobgate: &Jobgate) -> Value {
        let number = |member: &str| self.dead[member].as_i64().expect("a number");
        let partition = i32::try_from(number("partition")).expect("small");
        letter(jobgate, TOPIC, partition, number("offset")).await
    }

    async fn until_all_ran(&self, jobgate: &Jobgate) {
        for receipt in &self.later {
            until_state(jobgate, receipt, "succeeded").await;
            jobgate.mail(receipt["id"].as_str().expect("an id")).await;
        }
        until("the key is free", SOON, async || self.listed(jobgate).await.is_none().then_some(()))
            .await;
    }

    async fn listed(&self, jobgate: &Jobgate) -> Option<Value> {
        let list = jobgate.get("/admin/quarantines").await.json();
        let items = list["items"].as_array().expect("items");
        assert_eq!(list["total"], items.len());
        items.iter().find(|item| item["key"] == self.name()).cloned()
    }
}

async fn state(jobgate: &Jobgate, url: &str) -> Option<Value> {
    let answer = jobgate.try_get(url).await.filter(|answer| answer.status == StatusCode::OK)?;
    Some(answer.json())
}

async fn until_state(jobgate: &Jobgate, receipt: &Value, wanted: &str) {
    let url = receipt["status_url"].as_str().expect("a URL");
    until(&format!("{url} is {wanted}"), SOON, async || {
        (state(jobgate, url).await?["state"] == wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarantined_key_is_shown_and_goes_on_when_somebody_decides() {
    let jobgate = Jobgate::start(Options {
        args: vec!["--quarantine".to_owned(), "email.verification".to_owned()],
        ..Options::default()
    })
    .await;
    let empty = jobgate.get("/admin/quarantines").await.json();
    assert_eq!(empty, json!({ "items": [], "next_cursor": null, "total": 0 }));
    what_is_asked_wrongly_is_refused(&jobgate).await;

    let key = Key::new(&jobgate, 3).await;
    let letter = key.letter(&jobgate).await;
    let listed = key.listed(&jobgate).await.expect("it is listed");
    let whole = jobgate.get(&path(&letter)).await.json();
    assert_eq!(whole["quarantine"], listed, "the letter shows what it holds");
    let expected = json!({
        "group": "email-workers", "type": "email.verification", "topic": TOPIC,
        "key": key.name(), "message_id": key.dead["id"], "state": "held", "parked": 3,
        "letter": { "partition": letter["partition"], "offset": letter["offset"] },
        "since": listed["since"]
    });
    assert_eq!(listed, expected);
    let id = key.later[0]["id"].as_str().expect("an id");
    let by_id = state(&jobgate, &format!("/jobs/by-id/{id}")).await.expect("it is found");
    assert_eq!((&by_id["state"], &by_id["offset"]), (&json!("parked"), &key.later[0]["offset"]));
    let stats = jobgate.get("/admin/stats").await.json();
    assert_eq!(stats["types"]["email.verification"]["parked"], 3, "{stats}");
    assert_eq!(stats["types"]["email.verification"]["succeeded"], 0, "no success: {stats}");

    // Another key's letter holds that one alone.
    let other = Key::new(&jobgate, 1).await;
    let page = jobgate.get("/admin/quarantines?limit=1").await.json();
    assert_eq!((&page["items"][0]["key"], &page["total"]), (&json!(other.name()), &json!(2)));
    let next = page["next_cursor"].as_str().expect("a next page");
    let page = jobgate.get(&format!("/admin/quarantines?limit=1&cursor={next}")).await.json();
    assert_eq!(
        (&page["items"][0]["key"], &page["next_cursor"]),
        (&json!(key.name()), &Value::Null)
    );

    // One goes on when its letter is replayed, mended.
    let replay = json!({ "payload": key.payload() });
    let answer = jobgate.post(&format!("{}/replay", path(&letter)), &replay).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    key.until_all_ran(&jobgate).await;
    assert_eq!(jobgate.get(&path(&letter)).await.json()["quarantine"], Value::Null);
    jobgate.mail(key.dead["id"].as_str().expect("an id")).await;

    // The other one without a decision about the letter.
    let request = json!({
        "group": "email-workers", "topic": TOPIC, "key": other.name(), "reason": "it may go on"
    });
    let answer = jobgate.post(RELEASE, &request).await;
    assert_eq!(answer.json(), json!({ "state": "releasing", "parked": 1 }));
    other.until_all_ran(&jobgate).await;
    assert_eq!(other.letter(&jobgate).await["state"], "open", "nothing is decided about it");
    let again = jobgate.post(RELEASE, &request).await;
    assert_eq!((again.status, again.problem()), (StatusCode::NOT_FOUND, "not-quarantined".into()));
    let audit = jobgate.get("/admin/audit?limit=2").await.json();
    let entries = audit["items"].as_array().expect("items");
    let deeds: Vec<_> = entries.iter().map(|entry| (&entry["action"], &entry["reason"])).collect();
    let (action, reason) = (json!("release_quarantine"), json!("it may go on"));
    assert_eq!(deeds, [(&action, &reason), (&action, &reason)], "the refused one too");
    assert_eq!(entries[1]["outcome"], "done");
    let target = entries[1]["target"].as_str().expect("a target");
    assert_eq!(target, format!("email-workers/{TOPIC}/{}", other.name()));

    a_key_of_any_bytes_can_be_released(&jobgate).await;
    a_release_of_nothing_is_the_end_of_it(&jobgate).await;
}

async fn what_is_asked_wrongly_is_refused(jobgate: &Jobgate) {
    let full = json!({ "group": "g", "topic": "t", "key": "k", "reason": "r" });
    for (member, value, status, problem) in [
        ("group", Value::Null, 400, "invalid-request"),
        ("key", json!(5), 400, "invalid-request"),
        ("extra", json!(1), 400, "invalid-request"),
        ("reason", json!(" "), 422, "invalid-payload"),
        ("key", json!({ "base64": "?" }), 422, "invalid-payload"),
        ("group", json!("a\u{0}b"), 404, "not-quarantined"),
        ("key", json!("another"), 404, "not-quarantined"),
    ] {
        let mut request = full.clone();
        request[member] = value;
        let answer = jobgate.post(RELEASE, &request).await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (status, problem.to_owned()));
    }
    let answer = jobgate.get("/admin/quarantines?cursor=x").await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (400, "invalid-query".to_owned()));
}

/// Records of other clients may have such keys, and no value.
async fn a_key_of_any_bytes_can_be_released(jobgate: &Jobgate) {
    let kafka = Client::new(&jobgate.brokers());
    let key = "\u{1}\u{2}\u{3}\u{4}";
    kafka.produce(TOPIC, 4, Raw { key: Some(key), ..Raw::default() }).await;
    let listed = until("it is quarantined", SOON, async || {
        let list = jobgate.get("/admin/quarantines").await.json();
        list["items"].get(0).cloned()
    })
    .await;
    assert_eq!(listed["key"], json!({ "base64": "AQIDBA==" }));
    let request = json!({
        "group": "email-workers", "topic": TOPIC, "key": listed["key"], "reason": "none was meant"
    });
    let answer = jobgate.post(RELEASE, &request).await;
    assert_eq!(answer.json(), json!({ "state": "lifted", "parked": 0 }), "nothing was parked");
}

async fn a_release_of_nothing_is_the_end_of_it(jobgate: &Jobgate) {
    let key = Key::new(jobgate, 0).await;
    let letter = key.letter(jobgate).await;
    until("it is quarantined", SOON, async || key.listed(jobgate).await).await;
    let discard = format!("{}/discard", path(&letter));
    let answer = jobgate.post(&discard, &json!({ "reason": "over" })).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text);
    assert_eq!(key.listed(jobgate).await, None);
    let receipt = key.send(jobgate, &key.payload()).await;
    until_state(jobgate, &receipt, "succeeded").await;
}

#[tokio::test]
async fn a_type_that_is_not_there_cannot_be_quarantined() {
    let dir = tempfile::tempdir().expect("a directory");
    let said = refused(dir.path(), &["--quarantine", "email.wellcome"], &[]).await;
    assert!(said.contains("email.wellcome"), "{said}");
    let made = std::fs::read_dir(dir.path()).expect("the directory").count();
    assert_eq!(made, 0, "nothing was started");
}
