//! The clients in `examples/`, each run as its README says: what they write stands in Kafka,
//! and they do the right thing with answers that are no receipt.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../harness/mod.rs"]
mod harness;
mod scripted;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use harness::{Jobgate, Options};
use jobgate::broker::{BrokerSettings, LocalKafka};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _, OwnedMessage};
use rdkafka::{Offset, TopicPartitionList};
use scripted::{CutServer, Server};
use serde_json::Value;
use tokio::process::Command;

/// How long a client may take on a busy machine, the compiler of Go included.
const CLIENT_DEADLINE: Duration = Duration::from_secs(120);
/// How long a question to Kafka may take.
const ASK: Duration = Duration::from_secs(30);

const CAMPAIGN: &str = "7f0c9a52-6b1d-4e3f-8a2b-1c5d7e9f0a11";
const USER: &str = "3d2e8b74-9c1f-4a6d-b5e0-2f4a6c8e0b22";
const SECRET: &str = "a secret of the tests, of 32 bytes and more";

/// The folder of each client, and the command that is run in it.
const CLIENTS: [(&str, &[&str]); 3] = [
    ("go", &["go", "run", "."]),
    ("python", &["python3", "main.py"]),
    ("node", &["node", "main.mjs"]),
];
const REFUSED: [&str; 2] =
    ["fraud.detection", r#"{"campaign_id": "seven", "check_types": ["psychic"]}"#];
/// Any job: the scripted server does not look at it.
const ONE_JOB: [&str; 2] = ["fraud.detection", "{}"];

/// Runs a client to its end.
async fn run(client: (&str, &[&str]), url: &str, token: Option<&str>, args: &[&str]) -> Output {
    let (folder, command) = client;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(folder);
    let mut child = Command::new(command[0]);
    child
        .args(&command[1..])
        .args(args)
        .current_dir(folder)
        .env("JOBGATE_URL", url)
        .env_remove("JOBGATE_TOKEN")
        .envs(token.map(|token| ("JOBGATE_TOKEN", token)))
        // The standard library is all there is: nothing is fetched.
        .env("GOPROXY", "off")
        .env("GOTOOLCHAIN", "local")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(CLIENT_DEADLINE, child.output()).await.expect("it ends");
    output.unwrap_or_else(|error| panic!("{} (scripts/test installs it): {error}", command[0]))
}

/// What it printed, if all went well.
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// What it complained of, if it did and printed nothing else.
fn complaint(output: &Output) -> String {
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr.clone()).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_send_is_in_kafka() {
    let dir = tempfile::tempdir().expect("a directory");
    let kafka = LocalKafka::start(BrokerSettings::new(dir.path()), |_| {}).await.expect("Kafka");
    let brokers = kafka.bootstrap_servers().to_owned();
    let options = Options { brokers: Some(brokers.clone()), ..Options::default() };
    let open = Jobgate::start(options.clone()).await;
    let env = vec![("JOBGATE_JWT_SECRET".to_owned(), SECRET.to_owned())];
    let guarded = Jobgate::start(Options { env, ..options }).await;
    let token = token().await;

    for client in CLIENTS {
        let sent = printed(&run(client, &open.base, None, &[]).await);
        assert_sent(&brokers, &sent, "jobgate").await;

        let refused = complaint(&run(client, &open.base, None, &REFUSED).await);
        for word in ["422 ", "/campaign_id: ", "/check_types/0: ", "/user_id: "] {
            assert!(refused.contains(word), "{word} is not in: {refused}");
        }

        let sent = printed(&run(client, &guarded.base, Some(&token), &[]).await);
        assert_sent(&brokers, &sent, "examples").await;
        let refused = complaint(&run(client, &guarded.base, None, &[]).await);
        assert!(refused.contains("401 "), "{refused}");
    }
    drop((open, guarded));
    kafka.stop().await.expect("it stops");
}

/// A token, made as examples/README.md says.
async fn token() -> String {
    let made = Command::new(env!("CARGO_BIN_EXE_jobgate"))
        .args(["token", "--sub", "examples", "--scope", "jobs:write events:write"])
        .env("JOBGATE_JWT_SECRET", SECRET)
        .output()
        .await;
    printed(&made.expect("jobgate runs")).trim().to_owned()
}

/// The three lines name three records, each as it should be.
async fn assert_sent(brokers: &str, printed: &str, producer: &str) {
    let per_user = format!("{CAMPAIGN}_{USER}");
    let expected = [
        (
            "email.verification",
            "waitlist.email.verification",
            &*per_user,
            vec![("job_type", "email"), ("email_type", "verification")],
        ),
        ("fraud.detection", "waitlist.fraud.detection", &*per_user, vec![("job_type", "fraud")]),
        ("user.signup", "waitlist.events.user.signup", USER, vec![("event_type", "user.signup")]),
    ];
    let lines: Vec<Vec<&str>> =
        printed.lines().map(|line| line.split([' ', '/']).collect()).collect();
    assert_eq!(lines.len(), expected.len(), "{printed}");
    for (line, (type_name, topic, key, its_headers)) in lines.iter().zip(expected) {
        let [printed_type, id, printed_topic, partition, offset] = line[..] else {
            panic!("not a line of five words: {line:?}")
        };
        assert_eq!((printed_type, printed_topic), (type_name, topic));
        let partition = partition.parse().expect("a partition");
        let record = record(brokers, topic, partition, offset.parse().expect("an offset")).await;
        assert_eq!(record.key(), Some(key.as_bytes()), "{line:?}");
        let headers = headers(&record);
        let mut expected = BTreeMap::from([("message_id", id), ("producer", producer)]);
        expected.extend(its_headers);
        for (name, value) in expected {
            assert_eq!(headers.get(name).map(String::as_str), Some(value), "{name}: {line:?}");
        }
        let payload: Value =
            serde_json::from_slice(record.payload().expect("a value")).expect("JSON");
        assert_eq!(payload["user_id"], USER, "{line:?}");
    }
}

/// The record at this place.
async fn record(brokers: &str, topic: &str, partition: i32, offset: i64) -> OwnedMessage {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "the-tests")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let mut start = TopicPartitionList::new();
    start.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("a partition");
    tokio::task::spawn_blocking(move || {
        consumer.assign(&start).expect("an assignment");
        let message = consumer.poll(ASK).expect("a record in time").expect("a record");
        assert_eq!((message.partition(), message.offset()), (partition, offset));
        message.detach()
    })
    .await
    .expect("no panic")
}

fn headers(record: &OwnedMessage) -> BTreeMap<String, String> {
    let headers = record.headers().expect("headers");
    let text = |value: Option<&[u8]>| String::from_utf8(value.expect("a value").to_vec());
    let pairs = headers.iter().map(|h| (h.key.to_owned(), text(h.value).expect("text")));
    pairs.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_send_again_under_one_key_until_the_outcome_is_known() {
    futures_util::future::join_all(CLIENTS.map(sends_again)).await;
}

async fn sends_again(client: (&str, &[&str])) {
    let answers = &[
        scripted::NOT_NOW,
        scripted::TOO_MUCH,
        scripted::OUTCOME_UNKNOWN,
        scripted::IN_FLIGHT,
        scripted::ACCEPTED,
    ];
    let server = Server::start(answers).await;
    let sent = printed(&run(client, &server.url, None, &ONE_JOB).await);
    assert_eq!(sent.trim(), scripted::ACCEPTED_LINE);
    let (times, key) = server.asked();
    assert_eq!(times.len(), 5, "{}", client.0);
    for (before, after) in [(0, 1), (1, 2)] {
        let waited = times[after] - times[before];
        assert!(waited >= scripted::RETRY_AFTER, "{}: before Retry-After: {times:?}", client.0);
    }

    let server = Server::start(&[scripted::NOT_NOW_BUT_AT_ONCE]).await;
    let gave_up = complaint(&run(client, &server.url, None, &ONE_JOB).await);
    assert!(gave_up.contains("503 "), "{gave_up}");
    let (times, another_key) = server.asked();
    assert_eq!(times.len(), 5, "{}: a bounded number of times", client.0);
    assert_ne!(key, another_key, "{}: each request has its own", client.0);

    let server = Server::start(&[scripted::OUTCOME_UNKNOWN]).await;
    let unknown = complaint(&run(client, &server.url, None, &ONE_JOB).await);
    assert!(unknown.contains("504 ") && unknown.contains(scripted::ID), "{unknown}");
    assert_eq!(server.asked().0.len(), 5, "{}: a bounded number of times", client.0);

    let server = CutServer::start().await;
    let unanswered = complaint(&run(client, &server.url, None, &ONE_JOB).await);
    assert!(unanswered.contains("may or may not be there"), "{unanswered}");
    assert_eq!(server.connections(), 5, "{}: a bounded number of times", client.0);
}
