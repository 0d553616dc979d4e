//! Split roles on one Kafka and one PostgreSQL: a gateway and workers, each a process of its
//! own.
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

use std::collections::{HashMap, HashSet};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Jobgate, Options, until, uuid, verification};
use jobgate::broker::{BrokerSettings, LocalKafka};
use reqwest::StatusCode;

/// How soon another worker must run a killed worker's jobs.
const TAKE_OVER: Duration = Duration::from_secs(10);

struct Cluster {
    kafka: LocalKafka,
    database: String,
    dir: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let kafka = LocalKafka::start(BrokerSettings::new(dir.path()), |_| {}).await;
        let kafka = kafka.expect("a local Kafka");
        Self { kafka, database: postgres::fresh_database(), dir }
    }

    fn options(&self, args: &[&str]) -> Options {
        Options {
            brokers: Some(self.kafka.bootstrap_servers().to_owned()),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: vec![("DATABASE_URL".to_owned(), self.database.clone())],
            ..Options::default()
        }
    }

    async fn member(&self, role: &str, args: &[&str]) -> Jobgate {
        let args = [&["--role", role], args].concat();
        Jobgate::start(self.options(&args)).await
    }
}

/// The types of mail: the partitions of one topic may all be one worker's.
const KINDS: [&str; 5] =
    ["verification", "welcome", "position-update", "reward-earned", "milestone"];

/// Posts mails of every type for as many users and returns their ids.
async fn post_mails(gateway: &Jobgate, count: usize) -> HashSet<String> {
    let mut ids = HashSet::new();
    for kind in KINDS.iter().cycle().take(count) {
        let mut job = verification(&uuid(), &uuid());
        let data = job["template_data"].as_object_mut().expect("an object");
        data.insert("new_position".into(), 7.into());
        data.insert("reward_name".into(), "a mug".into());
        data.insert("milestone".into(), "ten friends".into());
        let answer = gateway.post(&format!("/jobs/email.{kind}"), &job).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
        ids.insert(answer.json()["id"].as_str().expect("an id").to_owned());
    }
    ids
}

fn mailed<'a>(worker: &Jobgate, ids: &'a HashSet<String>) -> HashSet<&'a str> {
    ids.iter().filter(|id| worker.mail_path(id).exists()).map(String::as_str).collect()
}

#[tokio::test]
async fn workers_share_the_partitions_and_one_takes_over_from_another() {
    let cluster = Cluster::start().await;
    let gateway = cluster.member("gateway", &[]).await;
    let mut first = cluster.member("worker", &[]).await;
    let second = cluster.member("worker", &[]).await;

    // Both are joined; the rebalance between them may still be under way.
    let shared = async || {
        let ids = post_mails(&gateway, 20).await;
        let all = async || {
            let count = mailed(&first, &ids).len() + mailed(&second, &ids).len();
            (count >= ids.len()).then_some(())
        };
        until("every mail", Duration::from_secs(30), all).await;
        let both = !mailed(&first, &ids).is_empty() && !mailed(&second, &ids).is_empty();
        both.then_some(())
    };
    until("both workers run jobs", Duration::from_secs(60), shared).await;

    first.kill().await;
    let killed = Instant::now();
    let ids = post_mails(&gateway, 40).await;
    until("the other worker runs all", Duration::from_secs(30), async || {
        (mailed(&second, &ids).len() == ids.len()).then_some(())
    })
    .await;
    let took = killed.elapsed();
    println!("taken over after {took:?}");
    assert!(took < TAKE_OVER, "{took:?}");

    // A worker serves its health and nothing else.
    assert_eq!(second.get("/health/live").await.status, StatusCode::OK);
    assert_eq!(second.get("/catalog").await.problem(), "no-such-path");

    // Dead letters of any worker are the gateway's to show.
    let mut broken = verification(&uuid(), &uuid());
    broken["template_data"] = serde_json::json!({ "email": "ada@example.com" });
    let receipt = gateway.post("/jobs/email.verification", &broken).await.json();
    until("the dead letter", Duration::from_secs(20), async || {
        let letters = gateway.get("/admin/dlq").await;
        let is_there =
            letters.status == 200 && letters.json()["items"][0]["message_id"] == receipt["id"];
        is_there.then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_instance_name_is_one_worker_s_alone() {
    let cluster = Cluster::start().await;
    let named = |name: &str| {
        let mut options = cluster.options(&["--role", "worker"]);
        options.env.push(("CONSUMER_INSTANCE".to_owned(), name.to_owned()));
        options
    };
    let mut first = Jobgate::start(named("1")).await;
    let second = Jobgate::start(named("1")).await;
    let (code, log) = first.ended(Duration::from_secs(30)).await;
    assert_eq!(code, Some(1), "it does not work on without its partitions");
    assert!(log.contains("lost for good"), "{log}");
    assert_eq!(second.get("/health/ready").await.status, StatusCode::OK);
}

fn refused(args: &[&str], env: &HashMap<&str, &str>) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_jobgate"))
        .args(args)
        .env_remove("KAFKA_BROKERS")
        .envs(env)
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

#[test]
fn split_roles_say_what_they_need() {
    for role in ["gateway", "worker"] {
        let said = refused(&["--role", role], &HashMap::new());
        assert!(said.contains("KAFKA_BROKERS") && said.contains("DATABASE_URL"), "{said}");
    }
    let outside = HashMap::from([
        ("KAFKA_BROKERS", "127.0.0.1:1"),
        ("DATABASE_URL", "postgres://u:hush@127.0.0.1:1/n"),
    ]);
    let said = refused(&["--role", "worker", "--listen", "127.0.0.1:0"], &outside);
    assert!(said.contains("database") && !said.contains("hush"), "{said}");
}

#[tokio::test]
async fn check_names_each_fault_and_its_remedy() {
    let away = HashMap::from([
        ("KAFKA_BROKERS", "127.0.0.1:1"),
        ("DATABASE_URL", "postgres://u:hush@127.0.0.1:1/n"),
        ("SMTP_URL", "smtp://127.0.0.1:1"),
    ]);
    let said = tokio::task::spawn_blocking(move || refused(&["check"], &away)).await;
    let said = said.expect("it ran");
    for part in ["kafka", "database", "mail"] {
        let line = said.lines().find(|line| line.starts_with(&format!("FAULT  {part}")));
        assert!(line.is_some(), "{part}: {said}");
    }
    assert!(said.contains("check DATABASE_URL or DB_*") && !said.contains("hush"), "{said}");

    let cluster = Cluster::start().await;
    let output = Command::new(env!("CARGO_BIN_EXE_jobgate"))
        .arg("check")
        .env("KAFKA_BROKERS", cluster.kafka.bootstrap_servers())
        .env("DATABASE_URL", &cluster.database)
        .current_dir(cluster.dir.path())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("missing: waitlist.email.verification"), "{said}");
}
