//! What a caller sees of a job for later.

use jobgate::domain::clock::{parse_rfc3339, rfc3339};
use reqwest::StatusCode;
use serde_json::Value;

use super::harness::{Answer, Jobgate, Options, until, uuid, verification};
use super::tail::Tail;
use super::{SOON, TOPIC, now_ms, text};

const JOB: &str = "/jobs/email.verification";

async fn post(jobgate: &Jobgate, query: &str) -> Value {
    let answer = jobgate.post(&format!("{JOB}?{query}"), &verification(&uuid(), &uuid())).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    let body = answer.json();
    assert_eq!(answer.headers["location"], text(&body["status_url"]));
    assert_eq!(body["status_url"], format!("/jobs/scheduled/{}", text(&body["id"])));
    body
}

async fn delete(jobgate: &Jobgate, path: &str) -> Answer {
    jobgate.send(jobgate.client().delete(jobgate.url(path))).await
}

/// What it is answered with once it is in this state.
async fn in_state(jobgate: &Jobgate, path: &str, state: &str) -> Value {
    until(&format!("{path} is {state}"), SOON, async || {
        let answer = jobgate.get(path).await;
        (answer.status == 200 && answer.json()["state"] == state).then(|| answer.json())
    })
    .await
}

#[tokio::test]
async fn a_job_for_later_is_what_its_caller_was_told() {
    let jobgate = Jobgate::start(Options::default()).await;
    let tail = Tail::follow(&jobgate.brokers(), TOPIC).await;
    a_delayed_job_runs_after_its_time_and_not_before(&jobgate, &tail).await;
    a_time_that_is_named_is_kept_and_one_that_is_past_means_now(&jobgate, &tail).await;
    it_bears_what_a_job_that_is_sent_at_once_bears(&jobgate, &tail).await;
    a_cancelled_job_never_runs(&jobgate, &tail).await;
    what_was_sent_cannot_be_taken_back(&jobgate).await;
    what_cannot_be_put_off_is_refused(&jobgate).await;
    what_waits_survives_a_kill(jobgate).await;
}

async fn a_delayed_job_runs_after_its_time_and_not_before(jobgate: &Jobgate, tail: &Tail) {
    let before_ms = now_ms();
    let job = post(jobgate, "delay=2s").await;
    let id = text(&job["id"]);
    let due_ms = parse_rfc3339(text(&job["scheduled_for"])).expect("a time");
    assert!((before_ms + 2_000..=now_ms() + 2_000).contains(&due_ms), "{job}");

    let path = text(&job["status_url"]);
    let waits = jobgate.get(path).await.json();
    assert_eq!(waits["state"], "scheduled", "{waits}");
    for (member, expected) in [
        ("id", &job["id"]),
        ("type", &job["type"]),
        ("scheduled_for", &job["scheduled_for"]),
        ("status_url", &job["status_url"]),
        ("sent_at", &Value::Null),
        ("partition", &Value::Null),
    ] {
        assert_eq!(&waits[member], expected, "{member}: {waits}");
    }
    let by_id = jobgate.get(&format!("/jobs/by-id/{id}")).await.json();
    assert_eq!((&by_id["state"], &by_id["offset"]), (&"scheduled".into(), &Value::Null), "{by_id}");
    assert_eq!((&by_id["status_url"], &by_id["id"]), (&job["status_url"], &job["id"]), "{by_id}");

    jobgate.mail(id).await;
    let records = until("its record", SOON, async || {
        let records = tail.of(id);
        (!records.is_empty()).then_some(records)
    })
    .await;
    assert_eq!(records.len(), 1, "once");
    let record = &records[0];
    assert!(record.arrived_ms >= due_ms && record.timestamp_ms >= due_ms, "{record:?}, {job}");
    // Looked for by the test's own clock: late is what a busy machine is, not what it sleeps.
    assert!(record.timestamp_ms < due_ms + 5_000, "{record:?}, {job}");

    let done = in_state(jobgate, path, "succeeded").await;
    assert_eq!(
        (&done["partition"], &done["offset"]),
        (&record.partition.into(), &record.offset.into())
    );
    assert_eq!(done["status_url"], format!("{JOB}/{}/{}", record.partition, record.offset));
    let sent_ms = parse_rfc3339(text(&done["sent_at"])).expect("a time");
    assert!(sent_ms >= record.timestamp_ms, "{done}");
    let by_id = jobgate.get(&format!("/jobs/by-id/{id}")).await.json();
    assert_eq!((&by_id["state"], &by_id["offset"]), (&"succeeded".into(), &done["offset"]));
    let by_place = jobgate.get(text(&done["status_url"])).await.json();
    assert_eq!(by_place, by_id);
    assert_eq!(by_place["scheduled_for"], job["scheduled_for"]);
}

async fn a_time_that_is_named_is_kept_and_one_that_is_past_means_now(
    jobgate: &Jobgate,
    tail: &Tail,
) {
    let due_ms = now_ms() + 1_500;
    let job = post(jobgate, &format!("run_at={}", rfc3339(due_ms))).await;
    assert_eq!(job["scheduled_for"], rfc3339(due_ms));
    jobgate.mail(text(&job["id"])).await;
    assert!(tail.of(text(&job["id"])).iter().all(|record| record.arrived_ms >= due_ms));

    let before_ms = now_ms();
    let past = post(jobgate, "run_at=2020-01-01T02:00:00%2B02:00").await;
    let due_ms = parse_rfc3339(text(&past["scheduled_for"])).expect("a time");
    assert!((before_ms..=now_ms()).contains(&due_ms), "{past}");
    jobgate.mail(text(&past["id"])).await;
}

async fn it_bears_what_a_job_that_is_sent_at_once_bears(jobgate: &Jobgate, tail: &Tail) {
    // Spaces and a number as nobody writes them: the bytes are the caller's own. And nearly as
    // many of them as there may be.
    let (campaign, user) = (uuid(), uuid());
    let long = "x".repeat(1_000_000);
    let body = format!(
        r#"{{ "campaign_id":"{campaign}",  "user_id":"{user}","template_data":{{"email":"ada@example.com","verification_link":"https://example.com/v","n":1.50,"long":"{long}"}}}}"#
    );
    let now = jobgate.post_raw(JOB, body.clone()).await.json();
    let later = jobgate.post_raw(&format!("{JOB}?delay=1ms"), body).await.json();
    let record = async |answer: &Value| {
        let id = text(&answer["id"]);
        until("its record", SOON, async || tail.of(id).into_iter().next()).await
    };
    let (now, later) = (record(&now).await, record(&later).await);
    assert_eq!((&now.key, &now.value), (&later.key, &later.value));
    assert_eq!(later.key.as_deref(), Some(format!("{campaign}_{user}").as_bytes()));
    assert_eq!(now.partition, later.partition);
    let mut headers = later.headers.clone();
    assert!(headers.remove("scheduled_for").is_some());
    assert_eq!(headers["produced_at"], rfc3339(later.timestamp_ms));
    for of_each in ["message_id", "produced_at"] {
        headers.insert(of_each.to_owned(), now.headers[of_each].clone());
    }
    assert_eq!(headers, now.headers);
}

async fn a_cancelled_job_never_runs(jobgate: &Jobgate, tail: &Tail) {
    let job = post(jobgate, "delay=1s").await;
    let path = text(&job["status_url"]);
    let cancelled = delete(jobgate, path).await;
    assert_eq!(cancelled.status, StatusCode::OK, "{}", cancelled.text);
    assert_eq!(cancelled.json()["state"], "cancelled");
    assert_eq!(delete(jobgate, path).await.json(), cancelled.json(), "once more is no error");
    // Others that were due after it have been sent.
    let other = post(jobgate, "delay=1200ms").await;
    jobgate.mail(text(&other["id"])).await;
    assert_eq!(tail.of(text(&job["id"])).len(), 0);
    assert_eq!(jobgate.get(path).await.json(), cancelled.json());
    let by_id = jobgate.get(&format!("/jobs/by-id/{}", text(&job["id"]))).await.json();
    assert_eq!(by_id["state"], "cancelled");
}

async fn what_was_sent_cannot_be_taken_back(jobgate: &Jobgate) {
    let job = post(jobgate, "delay=1ms").await;
    let path = text(&job["status_url"]);
    let done = in_state(jobgate, path, "succeeded").await;
    let answer = delete(jobgate, path).await;
    assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::CONFLICT, "job-sent"));
    assert!(answer.text.contains(text(&done["status_url"])), "{}", answer.text);
}

async fn what_cannot_be_put_off_is_refused(jobgate: &Jobgate) {
    let good = verification(&uuid(), &uuid());
    for (query, slug, words) in [
        ("delay=0s", "invalid-query", "1ms or more"),
        ("delay=366days", "invalid-query", "365 days"),
        ("delay=soon", "invalid-query", "for example 90s"),
        ("run_at=2999-01-01T00:00:00Z", "invalid-query", "365 days"),
        ("run_at=noon", "invalid-query", "RFC 3339"),
        ("delay=1s&run_at=2027-01-01T00:00:00Z", "invalid-query", "not both"),
        ("delay=1s&x=1", "unknown-query-parameter", "delay or run_at"),
    ] {
        let answer = jobgate.post(&format!("{JOB}?{query}"), &good).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (400, slug), "{query}");
        assert!(answer.text.contains(words), "{query}: {}", answer.text);
    }
    let answer = jobgate.post(&format!("{JOB}?delay=1s"), &serde_json::json!({})).await;
    assert_eq!(answer.problem(), "invalid-payload", "checked at once, not when it is due");
    let answer = jobgate.post("/events/user.signup?delay=1s", &good).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (400, "unknown-query-parameter")
    );
    assert!(answer.text.contains("cannot be put off"), "{}", answer.text);
    let unknown = format!("/jobs/scheduled/{}", uuid());
    for path in [unknown.as_str(), "/jobs/scheduled/x"] {
        assert_eq!(jobgate.get(path).await.problem(), "unknown-id");
        assert_eq!(delete(jobgate, path).await.problem(), "unknown-id");
    }
}

async fn what_waits_survives_a_kill(mut jobgate: Jobgate) {
    let job = post(&jobgate, "delay=2s").await;
    jobgate.kill().await;
    jobgate.start_again().await;
    jobgate.mail(text(&job["id"])).await;
    // A stop gives back what it holds, and leaves what waits.
    let job = post(&jobgate, "delay=3s").await;
    let (code, _) = jobgate.terminate().await;
    assert_eq!(code, Some(0));
    jobgate.start_again().await;
    jobgate.mail(text(&job["id"])).await;
}
