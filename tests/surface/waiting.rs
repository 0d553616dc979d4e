//! `Prefer: wait`: answers that are held until the job has ended.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Answer, Jobgate, Options, until, uuid, verification};
use crate::support::SOON;

const JOB: &str = "/jobs/email.verification";
/// Who waits at once at most.
const WAITERS_MAX: usize = 500;

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_held_until_the_job_has_ended_or_the_time_is_up() {
    let mut jobgate = Jobgate::start(Options::default()).await;
    a_receipt_comes_with_the_end_of_its_job(&jobgate).await;
    a_repeated_request_waits_too(&jobgate).await;
    a_delayed_job_is_waited_for(&jobgate).await;
    what_waits_has_an_end(&jobgate).await;
    many_wait_and_nobody_else_does(&jobgate).await;
    whoever_goes_leaves_the_place(&jobgate).await;
    a_stop_answers_those_who_wait(&mut jobgate).await;
}

async fn post(jobgate: &Jobgate, path: &str, wait_s: u32, body: &Value) -> Answer {
    let request = jobgate.client().post(jobgate.url(path)).json(body);
    patient(request.header("prefer", format!("wait={wait_s}"))).await
}

async fn get(jobgate: &Jobgate, path: &str, wait_s: u32) -> Answer {
    let request = jobgate.client().get(jobgate.url(path));
    patient(request.header("prefer", format!("wait={wait_s}"))).await
}

/// Longer than the longest wait.
async fn patient(request: reqwest::RequestBuilder) -> Answer {
    let response = request.timeout(Duration::from_secs(45)).send().await.expect("an answer");
    let (status, headers) = (response.status(), response.headers().clone());
    Answer { status, headers, text: response.text().await.expect("its text") }
}

fn applied(answer: &Answer) -> Option<&str> {
    answer.headers.get("preference-applied").map(|value| value.to_str().expect("text"))
}

fn path_of(receipt: &Value) -> String {
    receipt["status_url"].as_str().expect("a path").to_owned()
}

async fn a_receipt_comes_with_the_end_of_its_job(jobgate: &Jobgate) {
    let plain = jobgate.post(JOB, &verification(&uuid(), &uuid())).await;
    let good = post(jobgate, JOB, 20, &verification(&uuid(), &uuid())).await;
    assert_eq!(good.status, StatusCode::ACCEPTED, "{}", good.text);
    assert_eq!(applied(&good), Some("wait=20"));
    assert_eq!(applied(&plain), None);
    let (mut body, plain) = (good.json(), plain.json());
    let status = body.as_object_mut().expect("an object").remove("status").expect("a status");
    assert_eq!((&status["state"], &status["id"]), (&json!("succeeded"), &body["id"]));
    let members = |body: &Value| body.as_object().map(|body| body.keys().cloned().collect());
    let (with, without): (Option<Vec<_>>, Option<Vec<_>>) = (members(&body), members(&plain));
    assert_eq!(with, without, "the receipt is as it is without");

    let mut poison = verification(&uuid(), &uuid());
    poison["template_data"]["email"] = json!("no address");
    let buried = post(jobgate, JOB, 20, &poison).await;
    assert_eq!(buried.status, StatusCode::ACCEPTED, "it was accepted: {}", buried.text);
    assert_eq!(buried.json()["status"]["state"], "dead_lettered", "{}", buried.text);
    // What has ended is told at once.
    let begun = Instant::now();
    let again = get(jobgate, &path_of(&body), 30).await;
    assert_eq!((applied(&again), &again.json()["state"]), (Some("wait=30"), &json!("succeeded")));
    assert!(begun.elapsed() < Duration::from_secs(10));
}

async fn a_repeated_request_waits_too(jobgate: &Jobgate) {
    let (key, job) = (uuid(), verification(&uuid(), &uuid()));
    let send = async |prefer: &str| {
        let request = jobgate.client().post(jobgate.url(JOB)).json(&job);
        patient(request.header("idempotency-key", &key).header("prefer", prefer)).await
    };
    let waited = send("wait=20").await;
    assert_eq!(waited.json()["status"]["state"], "succeeded", "{}", waited.text);
    let receipt = send("respond-async").await;
    assert_eq!(receipt.headers["idempotency-replayed"], "true");
    assert_eq!((applied(&receipt), receipt.json().get("status")), (None, None));
    let again = send("wait=20").await;
    assert_eq!((applied(&again), &again.text), (Some("wait=20"), &waited.text));
    let kept = receipt.text.strip_suffix('}').expect("an object");
    assert!(waited.text.starts_with(kept), "the receipt is the same to the byte");
}

async fn a_delayed_job_is_waited_for(jobgate: &Jobgate) {
    let path = "/jobs/email.verification?delay=1s";
    let ended = post(jobgate, path, 30, &verification(&uuid(), &uuid())).await;
    assert_eq!(ended.status, StatusCode::ACCEPTED, "{}", ended.text);
    assert_eq!(ended.json()["status"]["state"], "succeeded", "{}", ended.text);

    let path = "/jobs/email.verification?delay=10m";
    let receipt = jobgate.post(path, &verification(&uuid(), &uuid())).await.json();
    let url = path_of(&receipt);
    let by_id = format!("/jobs/by-id/{}", receipt["id"].as_str().expect("an id"));
    let cancelled = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        jobgate.client().delete(jobgate.url(&url)).send().await.expect("an answer").status()
    };
    let (delayed, found, status) =
        tokio::join!(get(jobgate, &url, 30), get(jobgate, &by_id, 30), cancelled);
    assert_eq!(status, StatusCode::OK);
    assert_eq!(delayed.json()["state"], "cancelled", "{}", delayed.text);
    assert_eq!(found.json()["state"], "cancelled", "{}", found.text);
}

async fn pause(jobgate: &Jobgate, deed: &str) {
    let path = format!("/admin/jobs/email.verification/{deed}");
    let answer = jobgate.post(&path, &json!({ "reason": "a test" })).await;
    assert!(answer.status.is_success(), "{}", answer.text);
}

async fn what_waits_has_an_end(jobgate: &Jobgate) {
    pause(jobgate, "pause").await;
    let begun = Instant::now();
    let queued = post(jobgate, JOB, 2, &verification(&uuid(), &uuid())).await;
    let took = begun.elapsed();
    assert_eq!(queued.json()["status"]["state"], "queued", "{}", queued.text);
    assert_eq!(applied(&queued), Some("wait=2"));
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(6), "{took:?}");
    let url = path_of(&queued.json());
    let resumed = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        pause(jobgate, "resume").await;
    };
    let (ended, ()) = tokio::join!(get(jobgate, &url, 30), resumed);
    assert_eq!(ended.json()["state"], "succeeded", "{}", ended.text);
}

async fn many_wait_and_nobody_else_does(jobgate: &Jobgate) {
    pause(jobgate, "pause").await;
    let job = || verification(&uuid(), &uuid());
    let many = join_all((0..WAITERS_MAX + 20).map(async |_| post(jobgate, JOB, 30, &job()).await));
    let others = async {
        // Those beyond the bound come back at once, so the places are taken then.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let mut slowest = Duration::ZERO;
        for _ in 0..50 {
            let begun = Instant::now();
            let answer = jobgate.post("/jobs/email.welcome", &job()).await;
            assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
            slowest = slowest.max(begun.elapsed());
        }
        pause(jobgate, "resume").await;
        (slowest, Instant::now())
    };
    let (answers, (slowest, resumed)) = tokio::join!(many, others);
    let took = resumed.elapsed();
    assert!(took < SOON, "all are answered soon after the end: {took:?}");
    let waited: Vec<&Answer> = answers.iter().filter(|answer| applied(answer).is_some()).collect();
    assert_eq!(waited.len(), WAITERS_MAX, "no more wait than may");
    for answer in &answers {
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    }
    for answer in waited {
        assert_eq!(answer.json()["status"]["state"], "succeeded", "{}", answer.text);
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}

async fn whoever_goes_leaves_the_place(jobgate: &Jobgate) {
    pause(jobgate, "pause").await;
    let receipt = jobgate.post(JOB, &verification(&uuid(), &uuid())).await.json();
    let url = path_of(&receipt);
    let gone = join_all((0..WAITERS_MAX).map(async |_| {
        let request = jobgate.client().get(jobgate.url(&url)).header("prefer", "wait=30");
        request.timeout(Duration::from_secs(4)).send().await.err()
    }));
    assert!(gone.await.iter().flatten().count() > WAITERS_MAX / 2, "they go without an answer");
    until("there is a place again", SOON, async || {
        let answer = get(jobgate, &url, 1).await;
        (applied(&answer) == Some("wait=1")).then_some(())
    })
    .await;
}

/// The type is paused still.
async fn a_stop_answers_those_who_wait(jobgate: &mut Jobgate) {
    let receipt = jobgate.post(JOB, &verification(&uuid(), &uuid())).await.json();
    let request = jobgate.client().get(jobgate.url(&path_of(&receipt)));
    let request = request.header("prefer", "wait=30");
    let (begun, waits) = (Instant::now(), patient(request));
    let stopped = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        jobgate.terminate().await
    };
    let (answer, (code, _)) = tokio::join!(waits, stopped);
    assert_eq!((answer.status, code), (StatusCode::OK, Some(0)), "{}", answer.text);
    assert_eq!(answer.json()["state"], "queued", "{}", answer.text);
    assert!(begun.elapsed() < Duration::from_secs(25), "the stop does not wait for its end");
}
