//! Dead letters over HTTP: nothing is lost, lists do not lie, and a replay is the same
//! message once more.

use std::cell::Cell;
use std::collections::BTreeSet;

use rdkafka::message::Message as _;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Answer, Jobgate, Options, until, uuid, verification};
use crate::support::{Client, Raw, SOON, header, letter, path};

const TOPIC: &str = "waitlist.email.verification";
const DLQ: &str = "waitlist.dlq";
const JOB: &str = "/jobs/email.verification";

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_can_be_found_mended_and_put_aside() {
    let jobgate = Jobgate::start(Options::default()).await;
    let kafka = Client::new(&jobgate.brokers());
    // First, while the topic holds nothing else.
    pages_are_exact(&jobgate).await;
    tokio::join!(
        a_letter_holds_everything(&jobgate, &kafka),
        a_replay_as_it_was_fails_again(&jobgate),
        a_replay_with_a_fixed_payload_succeeds(&jobgate, &kafka),
        of_two_replays_one_is_sent(&jobgate),
        a_letter_can_be_discarded_once(&jobgate),
        a_letter_of_a_group_that_runs_nothing_is_not_sent(&jobgate, &kafka),
    );
    what_is_not_there_is_not_found(&jobgate).await;
    what_is_asked_wrongly_is_refused(&jobgate).await;
    the_index_can_be_made_anew(&jobgate).await;
    a_letter_has_its_state_however_long_its_history(&jobgate, &kafka).await;
}

/// A job that cannot run: its mail lacks the link.
fn without_a_link() -> Value {
    let mut payload = verification(&uuid(), &uuid());
    let data = payload["template_data"].as_object_mut().expect("an object");
    data.remove("verification_link");
    payload
}

/// The payload with the link that it lacks.
fn fixed(payload: &Value) -> Value {
    let mut fixed = payload.clone();
    fixed["template_data"]["verification_link"] = json!("https://example.com/fixed");
    fixed
}

/// Enqueues a job that fails; returns its receipt and its dead letter.
async fn fail(jobgate: &Jobgate, payload: &Value) -> (Value, Value) {
    let answer = jobgate.post(JOB, payload).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    let receipt = answer.json();
    let letter = letter_of(jobgate, &receipt).await;
    assert_eq!(letter["message_id"], receipt["id"]);
    assert_eq!(letter["state"], "open");
    (receipt, letter)
}

/// The dead letter of the record that a receipt names.
async fn letter_of(jobgate: &Jobgate, receipt: &Value) -> Value {
    let (partition, offset) = place(receipt);
    letter(jobgate, TOPIC, partition, offset).await
}

fn place(of: &Value) -> (i32, i64) {
    let partition = of["partition"].as_i64().and_then(|partition| i32::try_from(partition).ok());
    (partition.expect("a partition"), of["offset"].as_i64().expect("an offset"))
}

/// Replays with this body; none at all where it is `None`.
async fn replay(jobgate: &Jobgate, letter: &Value, body: Option<&Value>) -> Answer {
    let path = format!("{}/replay", path(letter));
    if let Some(body) = body {
        return jobgate.post(&path, body).await;
    }
    let response = jobgate.client().post(jobgate.url(&path)).send().await;
    let response = response.expect("an answer");
    let (status, headers) = (response.status(), response.headers().clone());
    Answer { status, headers, text: response.text().await.expect("its text") }
}

async fn state(jobgate: &Jobgate, letter: &Value) -> String {
    let whole = jobgate.get(&path(letter)).await.json();
    whole["state"].as_str().expect("a state").to_owned()
}

async fn until_state(jobgate: &Jobgate, letter: &Value, wanted: &str) {
    until(&format!("{} is {wanted}", path(letter)), SOON, async || {
        (state(jobgate, letter).await == wanted).then_some(())
    })
    .await;
}

async fn pages_are_exact(jobgate: &Jobgate) {
    let empty = jobgate.get("/admin/dlq").await;
    assert_eq!(empty.json(), json!({ "items": [], "next_cursor": null, "total": 0 }));
    let mut expected = BTreeSet::new();
    for _ in 0..7 {
        let receipt = fail(jobgate, &without_a_link()).await.0;
        expected.insert(receipt["id"].as_str().expect("an id").to_owned());
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    for (page_number, length) in [(1, 3), (2, 3), (3, 1)] {
        let page = jobgate.get(&format!("/admin/dlq?limit=3{cursor}")).await.json();
        let items = page["items"].as_array().expect("items");
        assert_eq!(items.len(), length, "page {page_number}: {page}");
        // A letter comes with each page: the list moves while it is read.
        assert_eq!(page["total"], 7 + page_number - 1, "{page}");
        seen.extend(items.iter().cloned());
        fail(jobgate, &without_a_link()).await;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => assert_eq!(page_number, 3, "the last page: {page}"),
        }
    }
    let ids: BTreeSet<String> =
        seen.iter().map(|letter| letter["message_id"].as_str().expect("an id").into()).collect();
    assert_eq!((seen.len(), &ids), (7, &expected), "no letter twice, none missing");
    let times: Vec<&str> =
        seen.iter().map(|letter| letter["failed_at"].as_str().expect("a time")).collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older), "the newest first: {times:?}");
    // A page that ends exactly at the last letter is the last one.
    let all = jobgate.get("/admin/dlq?limit=10").await.json();
    assert_eq!((all["items"].as_array().map(Vec::len), &all["total"]), (Some(10), &json!(10)));
    assert_eq!(all["next_cursor"], Value::Null);
}

async fn a_letter_holds_everything(jobgate: &Jobgate, kafka: &Client) {
    let (key, partition) = ("schlüssel", 5);
    let value = format!(
        "{{ \"campaign_id\":\"{}\",\"user_id\":\"{}\",\n\"template_data\":{{\"é\":1.00,\
         \"email\":\"a@example.com\"}} }}",
        uuid(),
        uuid()
    );
    let id = uuid();
    let headers = [
        ("message_id", Some(id.as_bytes())),
        ("x", Some(b"1".as_slice())),
        ("x", Some(b"\xff".as_slice())),
        ("none", None),
        (
            "traceparent",
            Some(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".as_slice()),
        ),
    ];
    let raw = Raw { key: Some(key), value: Some(value.as_bytes()), headers: &headers };
    let offset = kafka.produce(TOPIC, partition, raw).await;
    let original = kafka.read(TOPIC, partition, offset).await;
    let listed = letter(jobgate, TOPIC, partition, offset).await;
    let (dlq_partition, dlq_offset) = place(&listed);

    let record = kafka.read(DLQ, dlq_partition, dlq_offset).await;
    let written: Value = serde_json::from_slice(record.payload().expect("a value")).expect("JSON");
    let timestamp_ms = original.timestamp().to_millis().expect("a time");
    let timestamp = jobgate::domain::clock::rfc3339(timestamp_ms);
    let headers = json!({
        "message_id": id, "x": ["1", { "base64": "/w==" }], "none": null,
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    });
    for (member, expected) in [
        ("original_topic", json!(TOPIC)),
        ("original_partition", json!(partition)),
        ("original_offset", json!(offset)),
        ("original_key", json!(key)),
        ("original_value", json!(value)),
        ("original_headers", headers.clone()),
        ("original_timestamp", json!(timestamp)),
        ("error", json!("template_data lacks verification_link")),
        ("attempts", json!(1)),
        ("group", json!("email-workers")),
        ("message_id", json!(id)),
    ] {
        assert_eq!(written[member], expected, "{member}");
    }
    let failed_at = written["failed_at"].as_str().expect("a time");
    assert!(failed_at >= timestamp.as_str() && failed_at.ends_with('Z'), "{failed_at}");
    assert_eq!(record.key(), Some(key.as_bytes()), "the original key");
    assert_eq!(header(&record, "original_topic").as_deref(), Some(TOPIC));
    assert_eq!(header(&record, "error").as_deref(), written["error"].as_str());
    assert_eq!(header(&record, "message_id"), Some(id.clone()));
    assert_eq!(
        record.timestamp().to_millis().map(jobgate::domain::clock::rfc3339).as_deref(),
        Some(failed_at)
    );

    let mut whole = jobgate.get(&path(&listed)).await.json();
    let history = whole["history"].take();
    let object = whole.as_object_mut().expect("an object");
    object.remove("history");
    assert_eq!(object.remove("headers"), Some(headers));
    let payload: Value = serde_json::from_str(&value).expect("JSON");
    assert_eq!(object.remove("payload"), Some(payload));
    assert_eq!(whole, listed, "beyond that, the whole letter is what lists show");
    assert_eq!(history.as_array().map(Vec::len), Some(1), "{history}");
    assert_eq!(listed["type"], "email.verification");
    assert_eq!(
        listed["original"],
        json!({
            "topic": TOPIC, "partition": partition, "offset": offset, "key": key,
            "timestamp": timestamp
        })
    );
    assert_eq!(listed["error"]["message"], written["error"]);
    assert!(!listed["fingerprint"].as_str().expect("a fingerprint").is_empty());
}

async fn a_replay_as_it_was_fails_again(jobgate: &Jobgate) {
    let (receipt, first) = fail(jobgate, &without_a_link()).await;
    let answer = replay(jobgate, &first, None).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    let again = answer.json();
    assert_eq!(again["id"], receipt["id"], "the message keeps its id");
    assert_eq!((&again["topic"], &again["partition"]), (&receipt["topic"], &receipt["partition"]));
    assert!(again["offset"].as_i64() > receipt["offset"].as_i64());
    let second = letter_of(jobgate, &again).await;
    assert_eq!(second["message_id"], first["message_id"]);
    assert_ne!(path(&second), path(&first));
    assert_eq!(second["fingerprint"], first["fingerprint"]);
    let whole = jobgate.get(&path(&second)).await.json();
    let history = whole["history"].as_array().expect("a history");
    let seen: Vec<(&Value, &Value, &str)> = history
        .iter()
        .map(|past| (&past["partition"], &past["offset"], past["state"].as_str().expect("one")))
        .collect();
    assert_eq!(
        seen,
        [
            (&first["partition"], &first["offset"], "replayed"),
            (&second["partition"], &second["offset"], "open"),
        ]
    );
    assert_eq!(history[0]["replay_id"], again["replay_id"]);
    assert_eq!(
        history[0]["replayed_to"],
        format!("{TOPIC}/{}/{}", again["partition"], again["offset"])
    );
    assert_eq!(replay(jobgate, &first, None).await.problem(), "dead-letter-settled");
}

async fn a_replay_with_a_fixed_payload_succeeds(jobgate: &Jobgate, kafka: &Client) {
    let broken = without_a_link();
    let (receipt, letter) = fail(jobgate, &broken).await;
    // A fix that is none is refused with its faults, and the letter stays open.
    let mut bad = broken.clone();
    bad["user_id"] = json!("nobody");
    bad["other"] = json!(1);
    let answer = replay(jobgate, &letter, Some(&json!({ "payload": bad }))).await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (422, "invalid-payload".into()));
    let answer = answer.json();
    let faults = answer["errors"].as_array().expect("errors");
    let pointers: BTreeSet<&str> =
        faults.iter().map(|fault| fault["pointer"].as_str().expect("a pointer")).collect();
    assert_eq!(pointers, BTreeSet::from(["/user_id", "/other"]), "{answer}");
    // An array is no object, whatever its first item is.
    for wrong in [
        json!({ "payload": fixed(&broken), "x": 1 }),
        json!({ "paylaod": fixed(&broken) }),
        json!([fixed(&broken)]),
        json!("x"),
    ] {
        let answer = replay(jobgate, &letter, Some(&wrong)).await;
        assert_eq!(answer.problem(), "invalid-request", "{wrong}: {}", answer.text);
        assert!(!answer.text.contains("struct"), "internals: {}", answer.text);
    }
    let answer = replay(jobgate, &letter, Some(&json!({ "payload": 7 }))).await;
    assert_eq!(answer.problem(), "invalid-payload", "{}", answer.text);
    assert_eq!(state(jobgate, &letter).await, "open");

    let fixed = fixed(&broken);
    let answer = replay(jobgate, &letter, Some(&json!({ "payload": fixed }))).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    let again = answer.json();
    assert_eq!(again["id"], receipt["id"], "the message keeps its id");
    let mail = jobgate.mail(receipt["id"].as_str().expect("an id")).await;
    assert!(String::from_utf8_lossy(&mail).contains("https://example.com/fixed"));
    until_state(jobgate, &letter, "resolved").await;
    let (partition, offset) = place(&again);
    let record = kafka.read(TOPIC, partition, offset).await;
    assert_eq!(header(&record, "message_id").as_deref(), receipt["id"].as_str());
    assert_eq!(header(&record, "replay_id").as_deref(), again["replay_id"].as_str());
    assert_eq!(header(&record, "target_group").as_deref(), Some("email-workers"));
    assert_eq!(header(&record, "job_type").as_deref(), Some("email"));
    assert_eq!(header(&record, "producer").as_deref(), Some("jobgate"));
    assert_eq!(record.key().map(String::from_utf8_lossy).as_deref(), receipt["key"].as_str());
    let mut expected = fixed.clone();
    expected["type"] = json!("verification");
    let sent: Value = serde_json::from_slice(record.payload().expect("a value")).expect("JSON");
    assert_eq!(sent, expected);
    let answer = replay(jobgate, &letter, None).await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (409, "dead-letter-settled".into()));
    let answer = discard(jobgate, &letter, &json!({ "reason": "too late" })).await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (409, "dead-letter-settled".into()));
}

async fn of_two_replays_one_is_sent(jobgate: &Jobgate) {
    let (receipt, letter) = fail(jobgate, &without_a_link()).await;
    let answers =
        futures_util::future::join_all((0..6).map(|_| replay(jobgate, &letter, None))).await;
    let (sent, refused): (Vec<&Answer>, Vec<&Answer>) =
        answers.iter().partition(|answer| answer.status == StatusCode::ACCEPTED);
    assert_eq!(sent.len(), 1, "{answers:?}");
    for answer in refused {
        assert_eq!(answer.status, StatusCode::CONFLICT);
        assert!(["replay-under-way", "dead-letter-settled"].contains(&answer.problem().as_str()));
    }
    let second = letter_of(jobgate, &sent[0].json()).await;
    let whole = jobgate.get(&path(&second)).await.json();
    assert_eq!(whole["history"].as_array().map(Vec::len), Some(2), "{whole}");
    assert_eq!(second["message_id"], receipt["id"]);
}

/// No worker would run the record: the letter would count as replayed for ever.
async fn a_letter_of_a_group_that_runs_nothing_is_not_sent(jobgate: &Jobgate, kafka: &Client) {
    let foreign = json!({
        "original_topic": TOPIC, "original_partition": 0, "original_offset": 999_999,
        "original_value": verification(&uuid(), &uuid()).to_string(), "error": "no",
        "group": "mail-workers-of-old", "failed_at": "2025-01-01T00:00:00Z"
    })
    .to_string();
    let raw = Raw { key: None, value: Some(foreign.as_bytes()), headers: &[] };
    kafka.produce(DLQ, 0, raw).await;
    let letter = letter(jobgate, TOPIC, 0, 999_999).await;
    let answer = replay(jobgate, &letter, None).await;
    assert_eq!((answer.status, &*answer.problem()), (StatusCode::CONFLICT, "not-replayable"));
    assert!(answer.text.contains("mail-workers-of-old"), "{}", answer.text);
    assert_eq!(state(jobgate, &letter).await, "open");
}

async fn discard(jobgate: &Jobgate, letter: &Value, body: &Value) -> Answer {
    jobgate.post(&format!("{}/discard", path(letter)), body).await
}

async fn a_letter_can_be_discarded_once(jobgate: &Jobgate) {
    let (_, letter) = fail(jobgate, &without_a_link()).await;
    for (body, slug) in [
        (json!({}), "invalid-request"),
        (json!({ "reason": 1 }), "invalid-request"),
        (json!(["a reason"]), "invalid-request"),
        (json!({ "reason": "x", "other": 1 }), "invalid-request"),
        (json!({ "reason": " " }), "invalid-payload"),
        (json!({ "reason": "x".repeat(1_001) }), "invalid-payload"),
        (json!({ "reason": "a\u{0}b" }), "invalid-payload"),
    ] {
        let answer = discard(jobgate, &letter, &body).await;
        assert_eq!(answer.problem(), slug, "{}", answer.text);
        assert!(answer.status.is_client_error());
    }
    assert_eq!(state(jobgate, &letter).await, "open");
    let answer = discard(jobgate, &letter, &json!({ "reason": "a test" })).await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::NO_CONTENT, ""));
    let whole = jobgate.get(&path(&letter)).await.json();
    assert_eq!(whole["state"], "discarded");
    assert_eq!(whole["history"][0]["reason"], "a test");
    assert!(whole["history"][0]["changed_at"].is_string());
    let again = discard(jobgate, &letter, &json!({ "reason": "again" })).await;
    assert_eq!((again.status.as_u16(), again.problem()), (409, "dead-letter-settled".into()));
    assert_eq!(replay(jobgate, &letter, None).await.problem(), "dead-letter-settled");
}

async fn what_is_not_there_is_not_found(jobgate: &Jobgate) {
    for place in ["0/999999", "9/0", "-1/0", "0/-1", "x/y", "0/99999999999999999999"] {
        let path = format!("/admin/dlq/{place}");
        let answers = [
            jobgate.get(&path).await,
            jobgate.post(&format!("{path}/replay"), &json!({})).await,
            jobgate.post(&format!("{path}/discard"), &json!({ "reason": "x" })).await,
        ];
        for answer in answers {
            assert_eq!(
                (answer.status.as_u16(), answer.problem()),
                (404, "no-such-dead-letter".into())
            );
        }
    }
}

async fn what_is_asked_wrongly_is_refused(jobgate: &Jobgate) {
    for query in [
        "limit=0",
        "limit=501",
        "limit=-1",
        "limit=x",
        "state=lost",
        "state=replaying",
        "cursor=x",
        "cursor=",
        "cursor=MQ",
        "order=asc",
        "limit=1&limit=2",
        "state=",
    ] {
        let answer = jobgate.get(&format!("/admin/dlq?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}: {}", answer.text);
        assert_eq!(answer.problem(), "invalid-query", "{query}");
    }
}

/// Every letter, page by page.
async fn all(jobgate: &Jobgate, filter: &str) -> Vec<Value> {
    let (mut letters, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = until("the index is there", SOON, async || {
            let answer = jobgate.get(&format!("/admin/dlq?limit=4{filter}{cursor}")).await;
            // While it is made anew, a list is refused rather than short.
            match answer.status {
                StatusCode::OK => Some(answer.json()),
                status => {
                    assert_eq!((status.as_u16(), answer.problem()), (503, "index-behind".into()));
                    None
                }
            }
        })
        .await;
        letters.extend(page["items"].as_array().expect("items").iter().cloned());
        let Some(next) = page["next_cursor"].as_str() else {
            assert_eq!(page["total"], letters.len(), "the total is exact: {filter}");
            return letters;
        };
        cursor = format!("&cursor={next}");
    }
}

async fn the_index_can_be_made_anew(jobgate: &Jobgate) {
    let reward = "waitlist.email.reward-earned";
    let mut payload = without_a_link();
    payload["template_data"] = json!({ "email": "ada@example.com" });
    let answer = jobgate.post("/jobs/email.reward-earned", &payload).await;
    let (partition, offset) = place(&answer.json());
    let other = letter(jobgate, reward, partition, offset).await;
    assert_eq!(other["type"], "email.reward-earned");

    let before = all(jobgate, "").await;
    for (filter, matches) in [
        ("&type=email.reward-earned", 1),
        ("&topic=waitlist.email.reward-earned", 1),
        ("&type=email.welcome", 0),
        ("&type=nosuch", 0),
        ("&state=discarded", 1),
        ("&state=resolved", 1),
        ("&state=replayed", 2),
        ("&state=open&type=email.reward-earned", 1),
        ("&state=resolved&type=email.reward-earned", 0),
    ] {
        assert_eq!(all(jobgate, filter).await.len(), matches, "{filter}");
    }
    let states = ["open", "replayed", "resolved", "discarded"];
    let mut by_state = 0;
    for state in states {
        let letters = all(jobgate, &format!("&state={state}")).await;
        assert!(letters.iter().all(|letter| letter["state"] == state), "{state}");
        by_state += letters.len();
    }
    assert_eq!(by_state, before.len(), "each letter is in one state");

    let answer = jobgate.post("/admin/dlq/index/rebuild", &json!({})).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    // What was replayed or discarded is kept: the states are in the list.
    assert_eq!(all(jobgate, "").await, before);
    no_answer_comes_out_of_half_an_index(jobgate, &answer_url(&other)).await;
}

fn answer_url(letter: &Value) -> String {
    let original = &letter["original"];
    let kind = letter["type"].as_str().expect("a type");
    format!("/jobs/{kind}/{}/{}", original["partition"], original["offset"])
}

/// Whoever asks while the index is thrown away waits, or is told so.
async fn no_answer_comes_out_of_half_an_index(jobgate: &Jobgate, status_url: &str) {
    let is_over = Cell::new(false);
    let rebuild = async {
        for _ in 0..30 {
            let answer = jobgate.post("/admin/dlq/index/rebuild", &json!({})).await;
            assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
        }
        is_over.set(true);
    };
    let ask = async {
        while !is_over.get() {
            let answer = jobgate.get(status_url).await;
            match answer.status {
                StatusCode::OK => assert_eq!(answer.json()["state"], "dead_lettered"),
                status => assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text),
            }
        }
    };
    tokio::join!(rebuild, ask);
}

/// A history shows the newest hundred letters of a message; an older one is still itself.
async fn a_letter_has_its_state_however_long_its_history(jobgate: &Jobgate, kafka: &Client) {
    let (_, letter) = fail(jobgate, &without_a_link()).await;
    let answer = discard(jobgate, &letter, &json!({ "reason": "seen" })).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text);
    let (partition, offset) = place(&letter);
    let record = kafka.read(DLQ, partition, offset).await;
    let mut later: Value =
        serde_json::from_slice(record.payload().expect("a value")).expect("JSON");
    later["failed_at"] = json!("2099-01-01T00:00:00.000Z");
    let value = later.to_string();
    for _ in 0..100 {
        let raw = Raw { value: Some(value.as_bytes()), ..Raw::default() };
        kafka.produce(DLQ, 0, raw).await;
    }
    until("the history is full", SOON, async || {
        let whole = jobgate.get(&path(&letter)).await.json();
        (whole["history"].as_array()?.len() == 100).then_some(())
    })
    .await;
    let whole = jobgate.get(&path(&letter)).await.json();
    assert_eq!(whole["state"], "discarded", "{}", whole["state"]);
}
