//! What breaks while lines stream: Kafka, jobgate itself, and its stop.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jobgate::broker::{BrokerSettings, LocalKafka};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::client::{Answers, Client, Requests};
use super::harness::{Jobgate, Options, until, uuid};
use super::kafka::{Record, records};
use super::{SIGNUPS, TOPIC, lines_of, of_user};

/// How long anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);

async fn with_kafka() -> (tempfile::TempDir, LocalKafka, Jobgate) {
    let folder = tempfile::tempdir().expect("a directory");
    let kafka = LocalKafka::start(BrokerSettings::new(folder.path()), |_| {}).await.expect("Kafka");
    let jobgate = Jobgate::start(Options {
        brokers: Some(kafka.bootstrap_servers().to_owned()),
        args: ["--groups", "email-workers"].map(str::to_owned).to_vec(),
        ..Options::default()
    })
    .await;
    (folder, kafka, jobgate)
}

/// Sends numbered lines until it is told to stop, or nobody takes them.
async fn send(requests: &mut Requests, user: &str, stop: &CancellationToken) -> usize {
    let mut number = 0;
    while !stop.is_cancelled() {
        let lines = lines_of((0..20).map(|n| of_user(user, number + n)));
        if requests.try_send(lines).await.is_err() {
            break;
        }
        number += 20;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    number
}

async fn of_user_in_kafka(brokers: &str, user: &str) -> Vec<Record> {
    let all = records(brokers, TOPIC).await;
    all.into_iter().filter(|record| record.key == user).collect()
}

/// What was accepted is in Kafka once; what was refused is not there; what is unknown may be.
fn assert_true(lines: &[Value], kafka: &[Record]) -> BTreeMap<u64, usize> {
    let mut kept: HashMap<u64, Vec<&Record>> = HashMap::new();
    for record in kafka {
        kept.entry(record.number()).or_default().push(record);
    }
    let mut statuses: BTreeMap<u64, usize> = BTreeMap::new();
    for line in lines {
        let index = line["index"].as_u64().expect("an index");
        let status = line["status"].as_u64().expect("a status");
        *statuses.entry(status).or_default() += 1;
        let kept = kept.remove(&index).unwrap_or_default();
        match status {
            201 => {
                let [record] = kept[..] else { panic!("{line}: {kept:?}") };
                assert_eq!(line["receipt"]["id"], record.id());
                assert_eq!(line["receipt"]["offset"], record.offset);
            }
            503 => assert!(kept.is_empty(), "{line}: {kept:?}"),
            504 => {
                assert!(kept.len() <= 1, "{line}: {kept:?}");
                assert!(kept.iter().all(|record| line["problem"]["id"] == record.id()), "{line}");
            }
            other => panic!("{other}: {line}"),
        }
    }
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_that_goes_and_comes_back_is_told_line_by_line() {
    let (_folder, mut kafka, jobgate) = with_kafka().await;
    let user = uuid();
    let Client { mut requests, mut answers } = Client::open(&jobgate.base, SIGNUPS, "").await;
    answers.head().await;
    let stop = CancellationToken::new();
    let sending = send(&mut requests, &user, &stop);
    let course = async {
        let mut lines = Vec::new();
        until_status(&mut answers, &mut lines, 201).await;
        // It takes what is sent, and says nothing: neither known to be away nor there.
        kafka.freeze_node(1).expect("frozen");
        until_status(&mut answers, &mut lines, 504).await;
        until_status(&mut answers, &mut lines, 503).await;
        array_while_away(&jobgate).await;
        kafka.thaw_node(1).expect("thawed");
        until_status(&mut answers, &mut lines, 201).await;
        stop.cancel();
        lines
    };
    let (sent, mut lines) = tokio::join!(sending, course);
    requests.end().await;
    let (rest, summary) = answers.rest().await;
    lines.extend(rest);
    assert_eq!(lines.len(), sent, "a line for each: {summary}");
    // What is unknown is settled within the time that Kafka's client tries.
    let statuses = until("every line is true", SOON, async || {
        let kafka = of_user_in_kafka(&jobgate.brokers(), &user).await;
        Some(assert_true(&lines, &kafka))
    })
    .await;
    println!("{sent} lines: {statuses:?}, {summary}");
    let count = |status: u64| statuses.get(&status).copied().unwrap_or_default();
    assert_eq!(summary["accepted"], count(201));
    assert_eq!(summary["rejected"], count(503));
    assert_eq!(summary["unknown"], count(504));
    assert_eq!(summary["complete"], true);
    drop(jobgate);
    kafka.stop().await.expect("it stops");
}

/// Reads lines up to one of this status.
async fn until_status(answers: &mut Answers, lines: &mut Vec<Value>, status: u64) {
    loop {
        let line = answers.line().await.expect("an answer goes on");
        let is_it = line["status"] == status;
        lines.push(line);
        if is_it {
            return;
        }
    }
}

async fn array_while_away(jobgate: &Jobgate) {
    let answer = jobgate.post(SIGNUPS, &json!([of_user(&uuid(), 0), of_user(&uuid(), 1)])).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(answer.json()["rejected"], 2, "{}", answer.text);
    let answer = jobgate.post(SIGNUPS, &json!([of_user(&uuid(), 0), {}])).await;
    assert_eq!(answer.status, StatusCode::MULTI_STATUS, "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_before_a_kill_is_in_kafka() {
    let (_folder, kafka, mut jobgate) = with_kafka().await;
    let user = uuid();
    let Client { mut requests, mut answers } = Client::open(&jobgate.base, SIGNUPS, "").await;
    answers.head().await;
    let stop = CancellationToken::new();
    let mut lines = Vec::new();
    let course = async {
        for _ in 0..500 {
            lines.push(answers.line().await.expect("an answer"));
        }
        jobgate.kill().await;
        stop.cancel();
    };
    let (sent, ()) = tokio::join!(send(&mut requests, &user, &stop), course);
    lines.extend(answers.until_cut().await);
    assert!(lines.iter().all(|line| line["summary"].is_null()), "the answer is cut off");
    let kafka_has = of_user_in_kafka(kafka.bootstrap_servers(), &user).await;
    println!("{sent} sent, {} answered, {} in Kafka", lines.len(), kafka_has.len());
    assert_true(&lines, &kafka_has);
    kafka.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_a_stream_with_the_place_to_go_on_from() {
    let (_folder, kafka, mut jobgate) = with_kafka().await;
    let user = uuid();
    let Client { mut requests, mut answers } = Client::open(&jobgate.base, SIGNUPS, "").await;
    answers.head().await;
    let stop = CancellationToken::new();
    let (code, took, lines, summary) = {
        let course = async {
            let mut lines = vec![answers.line().await.expect("an answer")];
            let (ended, (rest, summary)) = tokio::join!(jobgate.terminate(), answers.rest());
            lines.extend(rest);
            stop.cancel();
            (ended.0, ended.1, lines, summary)
        };
        tokio::join!(send(&mut requests, &user, &stop), course).1
    };
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(12), "{took:?}");
    assert_eq!(summary["complete"], false, "{summary}");
    assert_eq!(summary["problem"]["type"], "urn:jobgate:problem:stopping", "{summary}");
    assert_eq!(summary["next_index"], lines.len(), "{summary}");
    let kafka_has = of_user_in_kafka(kafka.bootstrap_servers(), &user).await;
    assert_eq!(kafka_has.len(), lines.len(), "what was read was written, and nothing else");
    assert_true(&lines, &kafka_has);
    kafka.stop().await.expect("it stops");
}
