//! Arrays: read whole, answered whole.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::harness::{Answer, Jobgate, uuid, verification};
use super::kafka::records;
use super::{SIGNUPS, TOPIC, gateway, of_user, signup};

const JOBS: &str = "/jobs/email.welcome/batch";

async fn post(jobgate: &Jobgate, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = jobgate.client().post(jobgate.url(path)).body(body.to_owned());
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    jobgate.send(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_array_is_answered_item_by_item_and_kafka_has_what_was_accepted() {
    let jobgate = gateway().await;
    each_item_has_its_outcome(&jobgate).await;
    items_that_agree_speak_for_all(&jobgate).await;
    what_is_no_batch_is_refused_whole(&jobgate).await;
    the_answer_has_the_form_that_is_asked_for(&jobgate).await;
    a_key_makes_the_ids(&jobgate).await;
    bounds_hold(&jobgate).await;
}

async fn each_item_has_its_outcome(jobgate: &Jobgate) {
    let user = uuid();
    let items: Vec<Value> = (0..200)
        .map(|n| if n % 10 == 3 { json!({ "user_id": "seven" }) } else { of_user(&user, n) })
        .collect();
    let answer = jobgate.post(SIGNUPS, &json!(items)).await;
    assert_eq!(answer.status, StatusCode::MULTI_STATUS, "{}", answer.text);
    let body = answer.json();
    assert_eq!((&body["accepted"], &body["rejected"]), (&json!(180), &json!(20)));
    assert_eq!(body["unknown"], 0);
    let answered = body["items"].as_array().expect("items");
    assert_eq!(answered.len(), 200);
    let kafka = records(&jobgate.brokers(), TOPIC).await;
    let kafka: Vec<_> = kafka.into_iter().filter(|record| record.key == user).collect();
    let mut written = kafka.iter();
    for (at, item) in answered.iter().enumerate() {
        assert_eq!(item["index"], at);
        if at % 10 == 3 {
            assert_eq!((&item["status"], &item["receipt"]), (&json!(422), &Value::Null));
            let problem = &item["problem"];
            assert_eq!(problem["type"], "urn:jobgate:problem:invalid-payload");
            let faults = problem["errors"].as_array().expect("faults");
            assert!(faults.iter().any(|fault| fault["pointer"] == "/user_id"), "{problem}");
            continue;
        }
        // In the order of the array, each where its receipt says.
        let record = written.next().expect("a record");
        assert_eq!((&item["status"], &item["problem"]), (&json!(201), &Value::Null));
        let receipt = &item["receipt"];
        assert_eq!((receipt["id"].as_str(), record.number()), (Some(record.id()), at as u64));
        assert_eq!(receipt["partition"], record.partition);
        assert_eq!(receipt["offset"], record.offset);
        assert_eq!(record.value, items[at].to_string().into_bytes(), "the caller's own bytes");
        assert_eq!(record.headers["event_type"], "user.signup");
    }
    assert!(written.next().is_none(), "nothing else was written");
}

async fn items_that_agree_speak_for_all(jobgate: &Jobgate) {
    let jobs = json!([verification(&uuid(), &uuid()), verification(&uuid(), &uuid())]);
    assert_eq!(jobgate.post(JOBS, &jobs).await.status, StatusCode::ACCEPTED);
    assert_eq!(jobgate.post(SIGNUPS, &json!([signup()])).await.status, StatusCode::CREATED);
    let answer = jobgate.post(SIGNUPS, &json!([{}, 7, "x", null, []])).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.json()["rejected"], 5, "{}", answer.text);
    // Faults that a reader of values would not see are seen in items too.
    let twice = signup().to_string().replacen('{', "{\"email\":\"a@b.c\",", 1);
    let answer = post(jobgate, SIGNUPS, &[], &format!("[{twice}]")).await;
    assert!(answer.text.contains("given more than once"), "{}", answer.text);
}

async fn what_is_no_batch_is_refused_whole(jobgate: &Jobgate) {
    let good = signup();
    for (body, status, slug) in [
        (good.to_string(), 422, "invalid-payload"),
        ("[]".to_owned(), 422, "invalid-payload"),
        (format!("[{good}"), 400, "not-json"),
        (format!("[{good},]"), 400, "not-json"),
        (String::new(), 400, "not-json"),
        ("nothing".to_owned(), 400, "not-json"),
    ] {
        let answer = post(jobgate, SIGNUPS, &[], &body).await;
        assert_eq!((answer.status.as_u16(), answer.problem()), (status, slug.to_owned()), "{body}");
    }
    let array = json!([good]).to_string();
    let answer = post(jobgate, &format!("{JOBS}?delay=10m"), &[], &array).await;
    assert_eq!(answer.problem(), "unknown-query-parameter");
    assert!(answer.text.contains("without /batch"), "{}", answer.text);
    let answer = post(jobgate, "/jobs/email.nothing/batch", &[], &array).await;
    assert_eq!(answer.problem(), "unknown-type");
    // An event is no job.
    let answer = post(jobgate, "/jobs/user.signup/batch", &[], &array).await;
    assert_eq!(answer.problem(), "unknown-type");
    for media_type in ["text/csv", "application/cloudevents+json"] {
        let answer = post(jobgate, SIGNUPS, &[("content-type", media_type)], &array).await;
        assert_eq!(answer.problem(), "unsupported-media-type", "{media_type}");
    }
    let events = ("content-type", "application/cloudevents-batch+json");
    assert_eq!(post(jobgate, JOBS, &[events], &array).await.problem(), "unsupported-media-type");
    let event = post(jobgate, SIGNUPS, &[("ce-id", "7")], &array).await;
    assert_eq!(event.problem(), "not-an-event");
}

async fn the_answer_has_the_form_that_is_asked_for(jobgate: &Jobgate) {
    let array = json!([signup(), {}, signup()]).to_string();
    let lines = format!("{}\n\n{{}}\n{}\n", signup(), signup());
    let ndjson = ("content-type", "application/x-ndjson");
    let json_wanted = ("accept", "application/json");
    let lines_wanted = ("accept", "application/x-ndjson, application/json;q=0.1");

    let answer = post(jobgate, SIGNUPS, &[lines_wanted], &array).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let answered: Vec<Value> =
        answer.text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let indexes: Vec<&Value> = answered.iter().map(|line| &line["index"]).collect();
    assert_eq!(indexes, [&json!(0), &json!(1), &json!(2), &Value::Null]);
    let summary = json!({ "accepted": 2, "rejected": 1, "unknown": 0, "complete": true });
    assert_eq!(answered[3]["summary"], summary);

    let answer = post(jobgate, SIGNUPS, &[ndjson, json_wanted], &lines).await;
    assert_eq!(answer.status, StatusCode::MULTI_STATUS);
    let body = answer.json();
    let indexes: Vec<&Value> =
        body["items"].as_array().expect("items").iter().map(|item| &item["index"]).collect();
    assert_eq!(indexes, [&json!(0), &json!(2), &json!(3)], "the numbers of the lines");

    let minimal = ("prefer", "return=minimal");
    let answer = post(jobgate, SIGNUPS, &[minimal], &array).await;
    assert_eq!(answer.headers["preference-applied"], "return=minimal");
    let body = answer.json();
    assert_eq!(body["items"].as_array().map(Vec::len), Some(1), "{body}");
    assert_eq!((&body["items"][0]["index"], &body["accepted"]), (&json!(1), &json!(2)));

    let answer = post(jobgate, SIGNUPS, &[("accept", "text/csv")], &array).await;
    assert_eq!(
        (answer.status, answer.problem()),
        (StatusCode::NOT_ACCEPTABLE, "not-acceptable".into())
    );
}

/// The same batch under the same key has the same ids; whatever differs has others.
async fn a_key_makes_the_ids(jobgate: &Jobgate) {
    let (one, other) = (signup(), signup());
    let array = json!([one, other]).to_string();
    let spaced = format!("[ {}, {other} ]", one.to_string().replacen(':', " : ", 1));
    let lines = format!("{one}\n{other}\n");
    let ids = async |headers: &[(&str, &str)], body: &str| {
        let headers = [headers, &[("accept", "application/json")]].concat();
        let answer = post(jobgate, SIGNUPS, &headers, body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        let body = answer.json();
        let items = body["items"].as_array().expect("items");
        items.iter().map(|item| item["receipt"]["id"].clone()).collect::<Vec<_>>()
    };
    let key = ("idempotency-key", "\"a key\"");
    let first = ids(&[key], &array).await;
    assert_ne!(first[0], first[1]);
    assert_eq!(ids(&[("idempotency-key", "a key")], &array).await, first);
    assert_eq!(ids(&[key], &spaced).await, first, "the same payload, written otherwise");
    let ndjson = ("content-type", "application/x-ndjson");
    assert_eq!(ids(&[key, ndjson], &lines).await, first, "the same items, as lines");
    let swapped = json!([other, one]).to_string();
    for changed in [
        ids(&[("idempotency-key", "\"b\"")], &array).await,
        ids(&[key], &swapped).await,
        ids(&[], &array).await,
    ] {
        assert!(changed.iter().all(|id| !first.contains(id)), "{changed:?}");
    }
    let answer = post(jobgate, SIGNUPS, &[("idempotency-key", "")], &array).await;
    assert_eq!(answer.problem(), "invalid-idempotency-key");
}

async fn bounds_hold(jobgate: &Jobgate) {
    let many = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
    let answer = post(jobgate, SIGNUPS, &[], &many(10_000)).await;
    assert_eq!(answer.json()["rejected"], 10_000);
    let answer = post(jobgate, SIGNUPS, &[], &many(10_001)).await;
    assert_eq!(
        (answer.status, answer.problem()),
        (StatusCode::PAYLOAD_TOO_LARGE, "payload-too-large".into())
    );
    assert!(answer.text.contains("10000 items"), "{}", answer.text);
    let lines = [("content-type", "application/x-ndjson"), ("accept", "application/json")];
    let answer = post(jobgate, SIGNUPS, &lines, &"{}\n".repeat(10_001)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);

    // 8 MiB and a byte; and one item that no request of its own could have.
    let large = |bytes: usize| format!("[\"{}\"]", "x".repeat(bytes - 4));
    let answer = post(jobgate, SIGNUPS, &[], &large((8 << 20) + 1)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer.text.contains("8 MiB"), "{}", answer.text);
    let answer = post(jobgate, SIGNUPS, &[], &large(8 << 20)).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.json()["items"][0]["status"], 413, "{}", answer.text);

    // A hostile array does not make an answer a hundred times its size.
    let name = "n".repeat(900);
    let twice = format!("\"{name}\":0,");
    let item = format!("{{{}\"x\":0}}", twice.repeat(100));
    let array = format!("[{}]", vec![item; 80].join(","));
    let answer = post(jobgate, SIGNUPS, &[], &array).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.text.len() < array.len(), "{} for {}", answer.text.len(), array.len());
    assert!(answer.text.contains("are left out"));
}
