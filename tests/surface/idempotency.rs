//! Requests with an `Idempotency-Key`: done once, however often they are sent.

use std::collections::HashSet;

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Answer, Jobgate, Options, uuid, verification};
use crate::support::Client;

const JOB: &str = "/jobs/email.verification";
const TOPIC: &str = "waitlist.email.verification";
/// Requests at once with one key.
const TWINS: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_a_key_is_done_once() {
    let jobgate = Jobgate::start(Options::default()).await;
    let kafka = Client::new(&jobgate.brokers());
    the_first_answer_is_given_again_to_the_byte(&jobgate, &kafka).await;
    another_request_under_the_key_is_refused(&jobgate, &kafka).await;
    a_mended_payload_may_keep_its_key(&jobgate).await;
    what_is_no_key_is_refused(&jobgate, &kafka).await;
    an_event_is_published_once_whatever_its_name(&jobgate, &kafka).await;
    a_delayed_job_waits_once(&jobgate).await;
    of_many_at_once_one_is_done(&jobgate, &kafka).await;
}

async fn send(jobgate: &Jobgate, path: &str, key: &str, body: &Value) -> Answer {
    let request = jobgate.client().post(jobgate.url(path)).json(body);
    jobgate.send(request.header("idempotency-key", key)).await
}

async fn written(kafka: &Client, topic: &str) -> i64 {
    kafka.ends(topic).await.iter().sum()
}

fn is_replayed(answer: &Answer) -> bool {
    answer.headers.get("idempotency-replayed").is_some_and(|value| value == "true")
}

async fn the_first_answer_is_given_again_to_the_byte(jobgate: &Jobgate, kafka: &Client) {
    let (word, job) = (uuid(), verification(&uuid(), &uuid()));
    let quoted = format!("\"{word}\"");
    let before = written(kafka, TOPIC).await;
    let first = send(jobgate, JOB, &quoted, &job).await;
    assert_eq!(first.status, StatusCode::ACCEPTED, "{}", first.text);
    assert!(!is_replayed(&first));
    for key in [&quoted, &word, &format!("{quoted};v=1")] {
        let again = send(jobgate, JOB, key, &job).await;
        assert_eq!((again.status, &again.text), (first.status, &first.text), "{key}");
        assert!(is_replayed(&again), "{key}");
        for name in ["location", "content-type"] {
            assert_eq!(again.headers[name], first.headers[name], "{key}");
        }
    }
    assert_eq!(written(kafka, TOPIC).await, before + 1);
    // The receipt is as good as any.
    let receipt = first.json();
    assert_eq!(first.headers["location"], receipt["status_url"].as_str().expect("a path"));
    for path in [
        receipt["status_url"].as_str().expect("a path").to_owned(),
        format!("/jobs/by-id/{}", receipt["id"].as_str().expect("an id")),
    ] {
        let status = jobgate.get(&path).await;
        assert_eq!(status.status, StatusCode::OK, "{path}: {}", status.text);
        assert_eq!(status.json()["id"], receipt["id"], "{path}");
    }
}

async fn another_request_under_the_key_is_refused(jobgate: &Jobgate, kafka: &Client) {
    let (key, job) = (uuid(), verification(&uuid(), &uuid()));
    let first = send(jobgate, JOB, &key, &job).await;
    assert_eq!(first.status, StatusCode::ACCEPTED, "{}", first.text);
    let before = written(kafka, TOPIC).await;
    let other = verification(&uuid(), &uuid());
    for (path, body) in [(JOB, &other), ("/jobs/email.verification?delay=10m", &job)] {
        let refused = send(jobgate, path, &key, body).await;
        let told = (refused.status.as_u16(), refused.problem());
        assert_eq!(told, (422, "idempotency-key-reused".to_owned()), "{}", refused.text);
    }
    assert_eq!(written(kafka, TOPIC).await, before);
    // For another type it is another key.
    let welcome = send(jobgate, "/jobs/email.welcome", &key, &job).await;
    assert_eq!(welcome.status, StatusCode::ACCEPTED, "{}", welcome.text);
    assert!(!is_replayed(&welcome));
}

async fn a_mended_payload_may_keep_its_key(jobgate: &Jobgate) {
    let (key, job) = (uuid(), verification(&uuid(), &uuid()));
    let wrong = send(jobgate, JOB, &key, &json!({})).await;
    assert_eq!(wrong.problem(), "invalid-payload");
    let too_late = send(jobgate, "/jobs/email.verification?delay=366days", &key, &job).await;
    assert_eq!(too_late.problem(), "invalid-query");
    let mended = send(jobgate, JOB, &key, &job).await;
    assert_eq!(mended.status, StatusCode::ACCEPTED, "{}", mended.text);
    assert!(!is_replayed(&mended));
}

async fn what_is_no_key_is_refused(jobgate: &Jobgate, kafka: &Client) {
    let before = written(kafka, TOPIC).await;
    let job = verification(&uuid(), &uuid());
    let long = "x".repeat(256);
    for key in ["", "\"\"", "\"open", "two words", "a,b", "\"a\" x", &long] {
        let refused = send(jobgate, JOB, key, &job).await;
        assert_eq!(refused.problem(), "invalid-idempotency-key", "{key}: {}", refused.text);
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    }
    let twice = jobgate.client().post(jobgate.url(JOB)).json(&job);
    let twice = twice.header("idempotency-key", "a").header("idempotency-key", "b");
    assert_eq!(jobgate.send(twice).await.problem(), "invalid-idempotency-key");
    assert_eq!(written(kafka, TOPIC).await, before);
}

async fn an_event_is_published_once_whatever_its_name(jobgate: &Jobgate, kafka: &Client) {
    let topic = "waitlist.events.user.verified";
    let event = json!({
        "campaign_id": uuid(), "user_id": uuid(), "timestamp": "2025-01-01T00:00:00Z"
    });
    let key = uuid();
    let before = written(kafka, topic).await;
    let first = send(jobgate, "/events/user.verified", &key, &event).await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.text);
    let again = send(jobgate, &format!("/events/{topic}"), &key, &event).await;
    assert_eq!((again.status, &again.text), (first.status, &first.text));
    assert!(is_replayed(&again));
    assert_eq!(written(kafka, topic).await, before + 1);
}

async fn a_delayed_job_waits_once(jobgate: &Jobgate) {
    let (key, job) = (uuid(), verification(&uuid(), &uuid()));
    let path = "/jobs/email.verification?delay=10m";
    let first = send(jobgate, path, &key, &job).await;
    assert_eq!(first.status, StatusCode::ACCEPTED, "{}", first.text);
    let again = send(jobgate, path, &key, &job).await;
    assert_eq!((again.status, &again.text), (first.status, &first.text));
    assert!(is_replayed(&again));
    let url = first.json()["status_url"].as_str().expect("a path").to_owned();
    assert_eq!(jobgate.get(&url).await.json()["state"], "scheduled");
}

async fn of_many_at_once_one_is_done(jobgate: &Jobgate, kafka: &Client) {
    let (key, job) = (uuid(), verification(&uuid(), &uuid()));
    let before = written(kafka, TOPIC).await;
    let answers = join_all((0..TWINS).map(|_| send(jobgate, JOB, &key, &job))).await;
    let mut bodies = HashSet::new();
    let mut first = 0;
    for answer in &answers {
        if answer.status == StatusCode::ACCEPTED {
            bodies.insert(&answer.text);
            first += usize::from(!is_replayed(answer));
        } else {
            assert_eq!(answer.problem(), "idempotency-key-in-flight", "{}", answer.text);
            assert!(answer.headers.contains_key("retry-after"));
        }
    }
    assert_eq!((bodies.len(), first), (1, 1), "one answer");
    assert_eq!(written(kafka, TOPIC).await, before + 1, "one record");
}
