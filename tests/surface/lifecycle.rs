//! Start, stop, and the end that nobody planned: nothing is lost and nothing is left behind.

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::json;
use tokio::net::TcpStream;

use crate::harness::{Jobgate, Options, until, uuid, verification};
use crate::support::{Client, exchange, letter, path, refused};

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_and_starts_again_with_everything() {
    // The address stays over all starts; a free port is found by asking for one.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("its address").port();
    drop(free);
    let variable = ("JOBGATE_DLQ_TOPIC".to_owned(), "the.letters".to_owned());
    // Nobody runs rewards here.
    let args = vec!["--groups=event-processor,email-workers".to_owned()];
    let options = Options { env: vec![variable], args, ..Options::default() };
    let mut jobgate = Jobgate::start(options).await;
    let data = jobgate.data();
    let brokers = jobgate.brokers();
    assert!(TcpStream::connect(&brokers).await.is_ok(), "data/kafka/brokers: {brokers}");
    assert!(brokers.starts_with("127.0.0.1:"), "{brokers}");
    assert!(!javas(&data).is_empty(), "the test knows Kafka's process");

    // A second one on the same address or the same data is refused, and disturbs nothing.
    let listen = jobgate.base.strip_prefix("http://").expect("http").to_owned();
    let sentence = refused(&data, &["--listen", &listen], &[]).await;
    assert!(sentence.contains(&listen), "{sentence}");
    let own = format!("127.0.0.1:{port}");
    let elsewhere = ["--listen", own.as_str()];
    let (sentence, receipt) = tokio::join!(refused(&data, &elsewhere, &[]), work(&jobgate));
    assert!(sentence.contains(&data.join("kafka").display().to_string()), "{sentence}");
    assert!(sentence.contains("in use"), "{sentence}");
    assert_eq!(jobgate.get("/health/ready").await.status, StatusCode::OK);

    // kill -9: Kafka goes too.
    jobgate.kill().await;
    no_java(&data).await;
    jobgate.start_again().await;
    assert_eq!(jobgate.brokers(), brokers, "Kafka's address stays");
    everything_is_there(&jobgate, &receipt).await;

    // SIGTERM: it says so and goes on serving for a moment, then it is gone.
    let begun = Instant::now();
    rustix::process::kill_process(jobgate.pid(), rustix::process::Signal::TERM).expect("SIGTERM");
    let late = served_while_unready(&jobgate).await;
    let (code, log) = jobgate.ended(Duration::from_secs(40)).await;
    let after = begun.elapsed();
    assert_eq!(code, Some(0), "{log}");
    assert!(after < Duration::from_secs(10), "an idle end took {after:?}");
    assert_eq!(javas(&data), Vec::<String>::new(), "Kafka is gone before jobgate is");
    jobgate.start_again().await;
    everything_is_there(&jobgate, &receipt).await;
    jobgate.mail(&late).await;
    let (code, _) = jobgate.terminate().await;
    assert_eq!(code, Some(0));
}

/// What a balancer relies on: it hears 503 where it asks, and what it still sends is accepted.
/// Each request on a connection of its own. Returns the id of a job.
async fn served_while_unready(jobgate: &Jobgate) -> String {
    let host = jobgate.base.strip_prefix("http://").expect("http");
    let question =
        format!("GET /health/ready HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let unready = async || {
        let answer = exchange(&jobgate.base, question.as_bytes()).await;
        answer.starts_with("HTTP/1.1 503").then_some(())
    };
    until("not ready any more", Duration::from_secs(2), unready).await;
    let job = verification(&uuid(), &uuid()).to_string();
    let head = format!(
        "POST /jobs/email.verification HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        job.len()
    );
    let answer = exchange(&jobgate.base, (head + &job).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    let (_, receipt) = answer.split_once("\r\n\r\n").expect("a body");
    let receipt: serde_json::Value = serde_json::from_str(receipt).expect("JSON");
    receipt["id"].as_str().expect("an id").to_owned()
}

/// What must outlive the process: an event, a job that was never run, a dead letter.
struct Work {
    event: (i32, i64),
    waiting: i64,
    letter: String,
}

async fn work(jobgate: &Jobgate) -> Work {
    let event = json!({
        "user_id": uuid(), "campaign_id": uuid(), "timestamp": "2025-01-01T00:00:00Z"
    });
    let event = jobgate.post("/events/user.verified", &event).await;
    assert_eq!(event.status, StatusCode::CREATED, "{}", event.text);
    let reward = jobgate.post("/jobs/reward.delivery", &json!({ "user_reward_id": uuid() })).await;
    assert_eq!(reward.status, StatusCode::ACCEPTED, "{}", reward.text);
    let mut payload = verification(&uuid(), &uuid());
    payload["template_data"] = json!({ "email": "ada@example.com" });
    let failing = jobgate.post("/jobs/email.verification", &payload).await.json();
    let (partition, offset) = place(&failing);
    let letter = letter(jobgate, "waitlist.email.verification", partition, offset).await;
    let discard = format!("{}/discard", path(&letter));
    let answer = jobgate.post(&discard, &json!({ "reason": "to be remembered" })).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text);
    Work { event: place(&event.json()), waiting: 1, letter: path(&letter) }
}

fn place(receipt: &serde_json::Value) -> (i32, i64) {
    let partition = receipt["partition"].as_i64().expect("a partition");
    let offset = receipt["offset"].as_i64().expect("an offset");
    (i32::try_from(partition).expect("a partition"), offset)
}

async fn everything_is_there(jobgate: &Jobgate, work: &Work) {
    let kafka = Client::new(&jobgate.brokers());
    let (partition, offset) = work.event;
    let event = kafka.read("waitlist.events.user.verified", partition, offset).await;
    assert!(rdkafka::Message::payload(&event).is_some_and(|value| !value.is_empty()));
    let waiting: i64 = kafka.ends("waitlist.reward.delivery").await.iter().sum();
    assert_eq!(waiting, work.waiting);
    assert_eq!(
        kafka.ends("the.letters").await.iter().sum::<i64>(),
        1,
        "under the name that is set"
    );
    let page = jobgate.get("/admin/dlq?state=discarded").await.json();
    assert_eq!(page["total"], 1, "{page}");
    let letter = jobgate.get(&work.letter).await.json();
    assert_eq!(letter["history"][0]["reason"], "to be remembered", "{letter}");
    // And it works.
    let job = jobgate.post("/jobs/email.verification", &verification(&uuid(), &uuid())).await;
    assert_eq!(job.status, StatusCode::ACCEPTED, "{}", job.text);
    jobgate.mail(job.json()["id"].as_str().expect("an id")).await;
}

async fn no_java(data: &Path) {
    until("Kafka is gone", Duration::from_secs(20), async || javas(data).is_empty().then_some(()))
        .await;
}

/// The processes that run in this data directory, by their working directory or command.
fn javas(data: &Path) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").expect("/proc");
    let data = data.canonicalize().expect("the data directory");
    processes
        .flatten()
        .filter(|process| {
            let runs_in = std::fs::read_link(process.path().join("cwd"));
            runs_in.is_ok_and(|directory| directory.starts_with(&data))
        })
        .filter_map(|process| std::fs::read_to_string(process.path().join("cmdline")).ok())
        .filter(|command| command.contains("kafka.Kafka"))
        .collect()
}
