//! The lag of groups whose workers are all stopped, against what Kafka's own tools say and
//! what the test itself wrote: groups that have committed everything, some, and nothing.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::harness::{Jobgate, Options, until, uuid, verification};
use super::{LocalKafka, Place, SOON, StatusCode, Value, json, now_ms, reset, seconds, text};
use crate::postgres::fresh_database;

const VERIFICATION: &str = "waitlist.email.verification";
const WELCOME: &str = "waitlist.email.welcome";
const WEBHOOK: &str = "waitlist.webhook.delivery";
const FRAUD: &str = super::FRAUD;
/// The groups that are looked at, with their topics.
const GROUPS: [(&str, &[&str]); 3] = [
    (
        "email-workers",
        &[
            VERIFICATION,
            WELCOME,
            "waitlist.email.position-update",
            "waitlist.email.reward-earned",
            "waitlist.email.milestone",
        ],
    ),
    ("webhook-workers", &[WEBHOOK]),
    ("fraud-workers", &[FRAUD]),
];

/// A topic and a partition of it.
type Partition = (String, i64);

/// A gateway, and a worker that has run some mails and is stopped.
struct Stopped {
    place: Place,
    /// When the oldest unfinished record of a partition was produced, as its writer knows.
    oldest_ms: BTreeMap<Partition, u64>,
    producer: FutureProducer,
}

impl Stopped {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let kafka = LocalKafka::start(super::BrokerSettings::new(dir.path()), |_| {}).await;
        let kafka = kafka.expect("Kafka starts");
        let database = tokio::task::spawn_blocking(fresh_database).await.expect("a database");
        let member = |args: &[&str]| {
            Jobgate::start(Options {
                brokers: Some(kafka.bootstrap_servers().to_owned()),
                args: args.iter().map(|arg| (*arg).to_owned()).collect(),
                env: vec![("DATABASE_URL".to_owned(), database.clone())],
                ..Options::default()
            })
        };
        let gateway = member(&["--role", "gateway"]).await;
        let mut worker = member(&["--role", "worker", "--groups", "email-workers"]).await;
        let producer = ClientConfig::new()
            .set("bootstrap.servers", kafka.bootstrap_servers())
            .create()
            .expect("a producer");
        let place = Place { kafka, jobgate: gateway, _dir: dir };
        run_some_mails(&place, &worker).await;
        let (code, took) = worker.terminate().await;
        assert_eq!(code, Some(0), "after {took:?}: {}", worker.log());
        Self { place, oldest_ms: BTreeMap::new(), producer }
    }

    /// Writes a record as if it had been produced so long ago.
    async fn write(&mut self, topic: &str, partition: i32, ago: Duration) {
        let at_ms = now_ms() - u64::try_from(ago.as_millis()).expect("small");
        let payload = verification(&uuid(), &uuid()).to_string();
        let record: FutureRecord<'_, str, str> = FutureRecord::to(topic)
            .partition(partition)
            .payload(payload.as_str())
            .timestamp(i64::try_from(at_ms).expect("small"));
        self.producer.send(record, SOON).await.expect("it is produced");
        // The first one stays the oldest that is unfinished.
        self.oldest_ms.entry((topic.to_owned(), i64::from(partition))).or_insert(at_ms);
    }

    /// The group has done all that this partition has by now.
    fn done(&mut self, topic: &str, partition: i64) {
        self.oldest_ms.remove(&(topic.to_owned(), partition));
    }

    /// Each partition of a group as jobgate says: commit, end, lag; its age is right.
    async fn told(&self, group: &str) -> BTreeMap<Partition, (Option<i64>, i64, i64)> {
        let before_ms = now_ms();
        let body = self.place.get(&format!("/admin/lag/{group}")).await;
        let after_ms = now_ms();
        let assert_age = |what: &str, age: &Value, oldest_ms: Option<u64>| {
            let age_s = age.as_f64().unwrap_or_else(|| panic!("{what} has no age: {body}"));
            let Some(at_ms) = oldest_ms else {
                assert!(age_s.abs() < f64::EPSILON, "{what} is done: {age_s}");
                return;
            };
            let (low_s, high_s) = (seconds(before_ms - at_ms), seconds(after_ms - at_ms));
            let is_right = (low_s - 1.0..=high_s + 1.0).contains(&age_s);
            assert!(is_right, "{what}: {age_s}, and not {low_s} to {high_s}");
        };
        let mut told = BTreeMap::new();
        let mut oldest_ms: Option<u64> = None;
        for topic in body["groups"][0]["topics"].as_array().expect("topics") {
            let name = text(&topic["topic"]);
            for partition in topic["partitions"].as_array().expect("partitions") {
                let number = |name: &str| partition[name].as_i64();
                let id = (name.to_owned(), number("partition").expect("its number"));
                let at_ms = self.oldest_ms.get(&id).copied();
                assert_age(&format!("{id:?}"), &partition["age_seconds"], at_ms);
                oldest_ms = at_ms.into_iter().chain(oldest_ms).min();
                let (end, lag) = (number("end").expect("an end"), number("lag").expect("a lag"));
                told.insert(id, (number("committed"), end, lag));
            }
        }
        assert_age(group, &body["groups"][0]["age_seconds"], oldest_ms);
        let sum: i64 = told.values().map(|(_, _, lag)| lag).sum();
        assert_eq!(body["groups"][0]["lag"], sum, "{body}");
        told
    }

    /// The same as Kafka's tools say. What has no commit is not in the tool's list of the
    /// group; all there is in it is unfinished.
    async fn true_lag(&self, group: &str) -> BTreeMap<Partition, (Option<i64>, i64, i64)> {
        let committed = self.place.tool_lag(group).await;
        let (_, topics) = GROUPS.iter().find(|(name, _)| *name == group).expect("one of ours");
        let mut found = BTreeMap::new();
        for (partition, end) in self.ends(topics).await {
            let of_group = match committed.get(&partition) {
                Some((committed, tools_end, lag)) => {
                    assert_eq!(*tools_end, end, "the two tools agree on {partition:?}");
                    (Some(*committed), end, *lag)
                }
                None => (None, end, end),
            };
            found.insert(partition, of_group);
        }
        found
    }

    /// One past the last record of each partition, as Kafka's tool says.
    async fn ends(&self, topics: &[&str]) -> BTreeMap<Partition, i64> {
        let kafka = &self.place.kafka;
        let mut tool = kafka.tool("org.apache.kafka.tools.GetOffsetShell");
        tool.args(["--bootstrap-server", kafka.bootstrap_servers()])
            .args(["--topic-partitions", &topics.join(",")]);
        let output = tokio::time::timeout(SOON, tool.output()).await.expect("it ends");
        let output = String::from_utf8(output.expect("java runs").stdout).expect("text");
        let parse = |line: &str| {
            let (rest, end) = line.rsplit_once(':')?;
            let (topic, partition) = rest.rsplit_once(':')?;
            Some(((topic.to_owned(), partition.parse().ok()?), end.parse().ok()?))
        };
        output.lines().filter_map(parse).collect()
    }
}

/// Many of one type and one of another, so that something has run in some partitions only.
async fn run_some_mails(place: &Place, worker: &Jobgate) {
    let mut ids = HashSet::new();
    for number in 0..40 {
        let job_type = if number == 0 { "email.welcome" } else { "email.verification" };
        let receipt = place.enqueue(job_type, &verification(&uuid(), &uuid())).await;
        ids.insert(text(&receipt["id"]).to_owned());
    }
    until("every mail", SOON, async || {
        ids.iter().all(|id| worker.mail_path(id).exists()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn lag_is_what_kafka_says_and_age_what_was_written_while_the_workers_are_stopped() {
    let mut stopped = Stopped::start().await;
    let mails = stopped.told("email-workers").await;
    assert!(mails.values().all(|(_, _, lag)| *lag == 0), "a stop commits what is done: {mails:?}");
    let partition_of = |topic: &str, has_run: bool| {
        let mut its = mails.iter().filter(|((name, _), _)| name == topic);
        // A group commits the beginning of each partition that it gets for the first time.
        let found = its.find(|(_, (committed, ..))| (committed.expect("a commit") > 0) == has_run);
        i32::try_from(found.expect("there is one").0.1).expect("small")
    };
    let (begun, unrun) = (partition_of(VERIFICATION, true), partition_of(WELCOME, false));

    let minutes = Duration::from_mins;
    // Behind what has run, where nothing has run, and in a group that never ran.
    for (topic, partition, ago) in [
        (VERIFICATION, begun, minutes(60)),
        (VERIFICATION, begun, minutes(30)),
        (WELCOME, unrun, minutes(10)),
        ("waitlist.email.milestone", 4, Duration::from_secs(90)),
        (FRAUD, 0, minutes(120)),
        (FRAUD, 0, minutes(2)),
        (FRAUD, 3, minutes(5)),
        (WEBHOOK, 0, minutes(50)),
        (WEBHOOK, 1, minutes(40)),
        (WEBHOOK, 2, minutes(20)),
    ] {
        stopped.write(topic, partition, ago).await;
    }
    // Of the three partitions of this group one is done, one has one more to do, and one is
    // without a commit.
    let url = "/admin/groups/webhook-workers/offsets";
    let request = json!({
        "topic": WEBHOOK, "partitions": [0, 1], "to": "latest", "reason": "a test"
    });
    reset(&stopped.place, url, &request).await;
    stopped.done(WEBHOOK, 0);
    stopped.done(WEBHOOK, 1);
    stopped.write(WEBHOOK, 1, minutes(15)).await;

    for (group, _) in GROUPS {
        let told = stopped.told(group).await;
        assert_eq!(told, stopped.true_lag(group).await, "{group}");
    }
    let webhook = stopped.told("webhook-workers").await;
    let of = |partition: i64| webhook[&(WEBHOOK.to_owned(), partition)];
    assert_eq!((of(0), of(1)), ((Some(1), 1, 0), (Some(1), 2, 1)));
    assert_eq!((of(2), of(3)), ((None, 1, 1), (None, 0, 0)));
    let lag = |group: &'static str| {
        let stopped = &stopped;
        async move { stopped.told(group).await.values().map(|(_, _, lag)| lag).sum::<i64>() }
    };
    assert_eq!((lag("email-workers").await, lag("fraud-workers").await), (4, 3));

    // A Kafka that says nothing is no Kafka without lag.
    stopped.place.kafka.freeze_node(1).expect("it runs");
    for path in ["/admin/lag", "/admin/lag/fraud-workers"] {
        let answer = stopped.place.jobgate.get(path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {}", answer.text);
    }
    stopped.place.kafka.thaw_node(1).expect("it is there");
}
