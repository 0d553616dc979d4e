//! `jobgate demo`: a day of a waitlist adds up, whatever is killed while it is played.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/postgres.rs"]
mod postgres;

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use harness::{Jobgate, Options, until};
use jobgate::broker::{BrokerSettings, LocalKafka};
use sqlx::any::AnyPoolOptions;
use sqlx::{AnyPool, Row as _};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Honest people of a day. `JOBGATE_TEST_DEMO_PEOPLE=2000` is the demo's own number.
const PEOPLE: usize = 150;
/// Times that somebody is killed while it is played: whenever every person has caused one more
/// job, of the ten that they cause in a day.
const KILLS: i64 = 3;
/// How long a day may take, for each of its people, on a busy machine.
const PERSON_MAX: Duration = Duration::from_millis(1_200);
/// Webhooks of the demo go to this machine.
const ARGS: [&str; 2] = ["--webhook-allow-net", "127.0.0.1/32"];

fn people() -> usize {
    let people = std::env::var("JOBGATE_TEST_DEMO_PEOPLE");
    people.map_or(PEOPLE, |people| people.parse().expect("a number of people"))
}

fn soon() -> Duration {
    Duration::from_secs(120) + PERSON_MAX * u32::try_from(people()).expect("a count")
}

/// The demo, with these settings.
fn demo(data_dir: &Path, env: &[(String, String)], settings: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobgate"));
    command
        .arg("--data-dir")
        .arg(data_dir)
        .args(settings)
        .args(["demo", "--people", &people().to_string()])
        .env_remove("KAFKA_BROKERS")
        .env_remove("DATABASE_URL")
        .env_remove("SMTP_URL")
        .env_remove("JOBGATE_JWT_SECRET")
        .env_remove("JOBGATE_JWT_PUBLIC_KEY")
        .envs(env.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Waits for its end, which must say that all is right.
async fn adds_up(playing: Child) -> String {
    let output = tokio::time::timeout(soon(), playing.wait_with_output()).await;
    let Output { status, stdout, stderr } =
        output.expect("the demo comes to its end").expect("its output");
    let said = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "{said}\n{}", String::from_utf8_lossy(&stderr));
    assert!(said.contains("It adds up"), "{said}");
    said
}

/// The number that a line of the summary begins with: `mails     1234 sent`.
fn number(said: &str, line: &str) -> i64 {
    // The welcome has lines of the same beginning, without numbers.
    let number =
        |text: &str| text.trim().strip_prefix(line)?.split_whitespace().next()?.parse().ok();
    said.lines().find_map(number).unwrap_or_else(|| panic!("no {line} in {said}"))
}

async fn database(url: &str) -> AnyPool {
    sqlx::any::install_default_drivers();
    AnyPoolOptions::new().max_connections(1).connect(url).await.expect("the database")
}

/// Waits until so many jobs have had their effect, counted from the day's beginning: what is
/// left of a day may be done before one who was killed is back.
async fn until_claimed(database: &AnyPool, claims: i64) {
    until("jobs have their effects", soon(), async || {
        let row = sqlx::query("SELECT COUNT(*) FROM claims").fetch_one(database).await.ok()?;
        row.try_get::<i64, _>(0).ok().filter(|now| *now >= claims)
    })
    .await;
}

/// Everything that the story is made of has come about.
fn has_moved(said: &str) {
    for line in ["mails", "fraud", "list", "rewards", "webhooks", "poison"] {
        assert!(number(said, line) > 0, "{line}: {said}");
    }
    assert!(!said.contains("gone: 0 dead letters"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_adds_up_while_the_workers_are_killed() {
    let dir = tempfile::tempdir().expect("a directory");
    let kafka = LocalKafka::start(BrokerSettings::new(dir.path()), |_| {}).await;
    let kafka = kafka.expect("a local Kafka");
    let brokers = kafka.bootstrap_servers().to_owned();
    let url = postgres::fresh_database();
    let env = vec![("DATABASE_URL".to_owned(), url.clone())];
    let options = |role: &str| Options {
        brokers: Some(brokers.clone()),
        args: ["--role", role].iter().chain(&ARGS).map(ToString::to_string).collect(),
        env: env.clone(),
        ..Options::default()
    };
    let gateway = Jobgate::start(options("gateway")).await;
    let mut workers =
        [Jobgate::start(options("worker")).await, Jobgate::start(options("worker")).await];
    let database = database(&url).await;

    let kafka_too = [env, vec![("KAFKA_BROKERS".to_owned(), brokers)]].concat();
    let playing = demo(dir.path(), &kafka_too, &[]).args(["--url", &gateway.base]).spawn();
    let playing = playing.expect("the demo starts");
    for kill in 1..=KILLS {
        until_claimed(&database, kill * i64::try_from(people()).expect("a count")).await;
        let worker = workers.get_mut(usize::try_from(kill % 2).expect("one of two"));
        let worker = worker.expect("one of two");
        worker.kill().await;
        worker.start_again().await;
    }
    has_moved(&adds_up(playing).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_adds_up_while_the_one_process_is_killed() {
    let args = ARGS.map(str::to_owned).to_vec();
    // The port stays, or the demo would not find it again.
    let port = free_port();
    let listen = Some(format!("127.0.0.1:{port}"));
    let mut jobgate = Jobgate::start(Options { listen, args, ..Options::default() }).await;
    let database =
        database(&format!("sqlite:{}", jobgate.data().join("jobgate.db").display())).await;
    let playing = demo(&jobgate.data(), &[], &[]).args(["--url", &jobgate.base]).spawn();
    let playing = playing.expect("the demo starts");
    for kill in 1..=KILLS {
        until_claimed(&database, kill * i64::try_from(people()).expect("a count")).await;
        jobgate.kill().await;
        jobgate.start_again().await;
    }
    has_moved(&adds_up(playing).await);
}

/// Nothing runs: the demo runs what it needs, and goes on serving.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_alone_is_enough() {
    let dir = tempfile::tempdir().expect("a directory");
    let address = format!("127.0.0.1:{}", free_port());
    let mut playing = demo(&dir.path().join("data"), &[], &["--listen", &address])
        .stderr(Stdio::null())
        .spawn()
        .expect("the demo starts");
    let mut lines = BufReader::new(playing.stdout.take().expect("its output")).lines();
    let mut said = String::new();
    let telling = async {
        while let Ok(Some(line)) = lines.next_line().await {
            said.push_str(&line);
            said.push('\n');
            if line.contains("goes on serving") {
                return;
            }
        }
    };
    tokio::time::timeout(soon() + Duration::from_secs(120), telling).await.expect("a summary");
    assert!(said.contains("It adds up"), "{said}");
    has_moved(&said);
    // What the summary says to try next works as it stands.
    let calls: Vec<&str> =
        said.lines().filter_map(|line| line.trim().strip_prefix("curl ")).collect();
    assert!(calls.len() > 4, "{said}");
    for call in calls.iter().filter(|call| !call.starts_with("--json")) {
        let url = call.split('#').next().unwrap_or_default().trim().trim_matches('\'');
        let answer = reqwest::get(url).await.expect("an answer");
        assert!(answer.status().is_success(), "{url}: {}", answer.status());
    }
    let pid = playing.id().and_then(|id| i32::try_from(id).ok());
    let pid = pid.and_then(rustix::process::Pid::from_raw).expect("it runs");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("SIGTERM");
    let status = tokio::time::timeout(Duration::from_secs(40), playing.wait()).await;
    assert!(status.expect("it ends in time").expect("its status").success());
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}
