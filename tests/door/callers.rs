//! What one caller may take, and what is left to the others.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use jobgate::broker::{BrokerSettings, LocalKafka};
use reqwest::StatusCode;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::harness::{Answer, Jobgate, Options, until, uuid, verification};
use crate::raw::SOON;

const SECRET: &str = "a secret of the tests, which is long enough";
pub(crate) const PATH: &str = "/jobs/email.verification";

pub(crate) fn token(caller: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_jobgate"))
        .args(["token", "--sub", caller, "--scope", "jobs:write jobs:read"])
        .env("JOBGATE_JWT_SECRET", SECRET)
        .current_dir(Path::new(env!("CARGO_TARGET_TMPDIR")))
        .output()
        .expect("jobgate token runs");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

pub(crate) async fn post(
    client: reqwest::Client,
    url: String,
    token: String,
    body: Value,
) -> Option<Answer> {
    let request = client.post(url).bearer_auth(token).json(&body).timeout(SOON);
    let response = request.send().await.ok()?;
    let (status, headers) = (response.status(), response.headers().clone());
    Some(Answer { status, headers, text: response.text().await.ok()? })
}

pub(crate) async fn send(jobgate: &Jobgate, token: &str, path: &str) -> Answer {
    let job = verification(&uuid(), &uuid());
    let answer = post(jobgate.client().clone(), jobgate.url(path), token.to_owned(), job).await;
    answer.expect("an answer")
}

pub(crate) fn with_tokens(args: &[&str]) -> Options {
    Options {
        args: args.iter().map(|argument| (*argument).to_owned()).collect(),
        env: vec![("JOBGATE_JWT_SECRET".to_owned(), SECRET.to_owned())],
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_has_spent_its_rate_is_told_when_to_come_back_and_others_go_on() {
    let jobgate = Jobgate::start(with_tokens(&["--rate-limit", "1/4"])).await;
    let (greedy, other) = (token("greedy"), token("other"));
    let mut refused = None;
    for number in 0..20 {
        let answer = send(&jobgate, &greedy, PATH).await;
        assert_eq!(answer.headers["ratelimit-policy"], "\"records\";q=4;w=4", "{answer:?}");
        let state = answer.headers["ratelimit"].to_str().expect("text").to_owned();
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert!(number >= 4 && state.starts_with("\"records\";r=0;t="), "{number}: {state}");
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    }
    let refused = refused.expect("20 at once are more than 4 and 1 a second");
    assert_eq!(refused.problem(), "rate-exceeded");
    let wait = refused.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
    let refused_at = Instant::now();

    // Others, and those who watch, notice nothing.
    assert_eq!(send(&jobgate, &other, PATH).await.status, StatusCode::ACCEPTED);
    for _ in 0..10 {
        for path in ["/health/ready", "/health/live", "/metrics", "/openapi.json", "/asyncapi.json"]
        {
            let answer = jobgate.get(path).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}");
            assert!(!answer.headers.contains_key("ratelimit"), "{path}");
        }
    }
    // Who waits as it was told is let in again.
    tokio::time::sleep_until((refused_at + Duration::from_secs(wait)).into()).await;
    assert_eq!(send(&jobgate, &greedy, PATH).await.status, StatusCode::ACCEPTED);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tokens_an_address_is_a_caller_and_without_a_rate_nothing_is_said() {
    let args = ["--rate-limit", "1/3"].map(str::to_owned).to_vec();
    let jobgate = Jobgate::start(Options { args, ..Options::default() }).await;
    let mut statuses = Vec::new();
    for _ in 0..8 {
        let answer = jobgate.get("/catalog").await;
        assert!(answer.headers.contains_key("ratelimit"), "{answer:?}");
        statuses.push(answer.status.as_u16());
    }
    assert!(statuses.starts_with(&[200, 200, 200]) && statuses.contains(&429), "{statuses:?}");

    let jobgate = Jobgate::start(Options::default()).await;
    let answer = jobgate.get("/catalog").await;
    assert!(!answer.headers.contains_key("ratelimit") && answer.status == StatusCode::OK);
}

/// Jobs of a megabyte that the greedy one sends at once.
const SENT: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_fills_the_queue_while_kafka_is_slow_leaves_room_for_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = BrokerSettings { heap_mib: 256, ..BrokerSettings::new(folder.path()) };
    let mut kafka = LocalKafka::start(settings, |_| {}).await.expect("Kafka starts");
    let brokers = Some(kafka.bootstrap_servers().to_owned());
    // A queue that is soon full: 6,000 KiB of it are the callers'.
    let options = with_tokens(&["--kafka-property", "queue.buffering.max.kbytes=7000"]);
    let jobgate = Jobgate::start(Options { brokers, ..options }).await;
    let (greedy, other) = (token("greedy"), token("other"));
    // A connection for each, so that what follows is quick.
    assert_eq!(send(&jobgate, &other, PATH).await.status, StatusCode::ACCEPTED);

    kafka.freeze_node(1).expect("frozen");
    let mut large = verification(&uuid(), &uuid());
    large["template_data"]["unused"] = "a".repeat(1_000_000).into();
    let mut sending = JoinSet::new();
    for _ in 0..SENT {
        let (client, url) = (jobgate.client().clone(), jobgate.url(PATH));
        sending.spawn(post(client, url, greedy.clone(), large.clone()));
    }
    // That is more than the queue holds. Once some of it is refused, its share is full.
    let mut outcomes = Vec::new();
    let mut next = async || sending.join_next().await.expect("some are left").expect("no panic");
    let refused = loop {
        let answer = next().await.expect("an answer");
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            break answer;
        }
        outcomes.push(Some(answer.status.as_u16()));
    };
    assert_eq!(refused.problem(), "over-share");
    assert!(refused.headers.contains_key("retry-after"));
    let (others, thawed) = tokio::join!(send(&jobgate, &other, PATH), async {
        // Until the other one's job is on its way.
        tokio::time::sleep(Duration::from_millis(300)).await;
        kafka.thaw_node(1)
    });
    thawed.expect("it goes on");
    assert_eq!(others.status, StatusCode::ACCEPTED, "{}", others.text);
    while outcomes.len() < SENT - 1 {
        outcomes.push(next().await.map(|answer| answer.status.as_u16()));
    }
    let of = |status| outcomes.iter().filter(|outcome| **outcome == Some(status)).count();
    assert!(of(202) + of(504) >= 3, "what was taken is answered for: {outcomes:?}");
    assert_eq!(of(503), 0, "the queue itself was never full: {outcomes:?}");
    until("its share is free again", SOON, async || {
        (send(&jobgate, &greedy, PATH).await.status == StatusCode::ACCEPTED).then_some(())
    })
    .await;
}
