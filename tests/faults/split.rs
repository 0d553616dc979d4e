//! Split roles: a gateway and two workers on one Kafka and one PostgreSQL. Each of the five
//! is killed once under load, but for the second worker, which takes over.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use jobgate::broker::{LocalKafka, NodeCount};
use reqwest::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use super::harness::{Jobgate, Options, until};
use super::ledger::{Ledger, dead_letters, message_id, outbox, until_buried, until_mailed_by};
use super::load::{EVERY_MAIL, Entry, Load, Outcome, Shape};
use super::membership::{Partition, settled};
use super::outside_kafka;
use super::postgres::Postgres;

const GROUP: &str = "email-workers";
/// Four topics of ten partitions and one of five.
const PARTITIONS: usize = 45;
/// How soon the other worker must have a killed one's partitions.
const TAKE_OVER: Duration = Duration::from_secs(10);
/// How long the database is away at least: longer than any connection is waited for.
const DATABASE_AWAY: Duration = Duration::from_secs(5);
/// How long anything may take that comes about by itself, on a busy machine.
const SOON: Duration = Duration::from_mins(1);
/// What must be answered before the load ends, whatever the machine bears.
const ANSWERS_MIN: usize = 4_000;

const SHAPE: Shape = Shape {
    types: EVERY_MAIL,
    jobs: 100_000,
    clients: 20,
    jobs_per_key: 100,
    pause: Duration::from_millis(100),
    with_poison: true,
};

/// The parts, each a process of its own.
struct Split {
    kafka: LocalKafka,
    database: Postgres,
    gateway: Jobgate,
    first: Jobgate,
    second: Jobgate,
    _folder: tempfile::TempDir,
}

impl Split {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let kafka = outside_kafka(folder.path(), NodeCount::One).await;
        let database = tokio::task::spawn_blocking(Postgres::start).await.expect("it started");
        let url = database.fresh_database();
        let member = |role: &str| {
            Jobgate::start(Options {
                brokers: Some(kafka.bootstrap_servers().to_owned()),
                args: ["--role", role].map(str::to_owned).to_vec(),
                env: vec![("DATABASE_URL".to_owned(), url.clone())],
                ..Options::default()
            })
        };
        // The gateway makes the topics.
        let gateway = member("gateway").await;
        let (first, second) = tokio::join!(member("worker"), member("worker"));
        Self { kafka, database, gateway, first, second, _folder: folder }
    }

    fn workers(&self) -> [&Jobgate; 2] {
        [&self.first, &self.second]
    }

    /// Waits until so many workers have all partitions between them, each some.
    async fn until_shared_by(&self, workers: usize, limit: Duration) -> Vec<BTreeSet<Partition>> {
        let what = format!("{workers} worker(s) have the {PARTITIONS} partitions");
        until(&what, limit, async || {
            let members = settled(self.kafka.bootstrap_servers(), GROUP).await?;
            let all: BTreeSet<_> = members.iter().flatten().collect();
            let had: usize = members.iter().map(BTreeSet::len).sum();
            let is_shared = members.len() == workers
                && members.iter().all(|partitions| !partitions.is_empty())
                && (all.len(), had) == (PARTITIONS, PARTITIONS);
            is_shared.then_some(members)
        })
        .await
    }

    /// The mails of both workers: the id of each, and the number of its job.
    fn mails(&self) -> HashMap<Uuid, usize> {
        self.workers().into_iter().flat_map(outbox).collect()
    }

    async fn stats(&self) -> Option<Value> {
        let answer = self.gateway.try_get("/admin/stats").await?;
        (answer.status == StatusCode::OK).then(|| answer.json())
    }

    /// Waits until each instance has written its counters down twice: the first time may
    /// have been under way, the second has what was counted before this call.
    async fn until_written_down(&self) {
        for _ in 0..2 {
            let former = seen(&until("the statistics", SOON, async || self.stats().await).await);
            until("every instance writes its counters down", SOON, async || {
                let now = seen(&self.stats().await?);
                former.iter().all(|(name, at)| now.get(name) != Some(at)).then_some(())
            })
            .await;
        }
    }
}

/// When each instance that is alive has last written its counters down.
fn seen(stats: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    instances(stats)
        .filter(|instance| instance["alive"] == true)
        .map(|instance| (text(&instance["instance"]), text(&instance["seen_at"])))
        .collect()
}

fn instances(stats: &Value) -> impl Iterator<Item = &Value> {
    stats["instances"].as_array().expect("instances").iter()
}

/// Jobs of each type that were run for certain by a process that could write it down: the
/// mails and the dead letters.
#[derive(Default)]
struct Run {
    mailed: u64,
    buried: u64,
}

/// By type.
type RunByType = BTreeMap<&'static str, Run>;

/// What these jobs, which were accepted, have ended as.
fn add<'a>(run: &mut RunByType, entries: impl Iterator<Item = &'a Entry>) {
    for entry in entries {
        let of_type = run.entry(entry.job_type).or_default();
        if entry.is_poison { of_type.buried += 1 } else { of_type.mailed += 1 }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn split_roles_lose_no_accepted_job_whichever_part_is_killed() {
    let _turn = super::alone().await;
    let mut split = Split::start().await;
    let shares = split.until_shared_by(2, SOON).await;
    let begun = Instant::now();
    let load = Load::start(&split.gateway, SHAPE);
    until("both workers send mails", SOON, async || {
        split.workers().into_iter().all(|worker| !outbox(worker).is_empty()).then_some(())
    })
    .await;
    load.until_answered(600).await;

    // A killed worker's counts of the last seconds are lost: what has ended by now is safe
    // once it is written down.
    let mails = split.mails();
    let letters: Vec<Uuid> = dead_letters(&split.gateway).await.iter().map(message_id).collect();
    let mut run = RunByType::new();
    let so_far = load.so_far();
    let has_ended = |entry: &&Entry| matches!(entry.outcome, Outcome::Accepted(id) if mails.contains_key(&id) || letters.contains(&id));
    add(&mut run, so_far.iter().filter(has_ended));
    split.until_written_down().await;

    split.first.kill().await;
    let worker_gone = Instant::now();
    split.until_shared_by(1, SOON).await;
    let taken_over = worker_gone.elapsed();
    load.until_accepted_again(SOON).await;
    split.first.start_again().await;
    split.until_shared_by(2, SOON).await;

    split.gateway.kill().await;
    split.gateway.start_again().await;
    load.go_to(&split.gateway);
    let gateway_back = load.until_accepted_again(SOON).await;

    split.database.kill();
    let database_gone = Instant::now();
    let answered = load.answered();
    tokio::time::sleep(DATABASE_AWAY).await;
    load.until_answered(answered + 200).await;
    let database_away = database_gone..Instant::now();
    split.database.start_again();
    let database_back = Instant::now();
    until("the dead letters can be listed again", SOON, async || {
        let answer = split.gateway.try_get("/admin/dlq").await;
        answer.filter(|answer| answer.status == StatusCode::OK)
    })
    .await;
    let listed_after = database_back.elapsed();

    split.kafka.kill_node(1).await.expect("killed");
    split.kafka.restart_node(1).await.expect("started again");
    let kafka_back = load.until_accepted_again(SOON).await;
    load.until_answered((load.answered() + 200).max(ANSWERS_MIN)).await;
    let ledger = Ledger::new("split roles", load.stop().await);
    let posted = begun.elapsed();

    until_mailed_by(&split.workers(), &ledger.owed_mails(), Duration::from_mins(2)).await;
    let letters = until_buried(&split.gateway, &ledger.owed_letters(), SOON).await;
    let mails = split.mails();
    let in_outage: Vec<&Entry> = (ledger.entries.iter())
        .filter(|entry| {
            database_away.contains(&entry.begun)
                && database_away.contains(&(entry.begun + entry.took))
        })
        .collect();
    ledger.print(&[
        ("mails", mails.len()),
        ("dead letters", letters.len()),
        ("answered while the database was away", in_outage.len()),
        ("lost", 0),
        ("seconds of load", usize::try_from(posted.as_secs()).unwrap_or(0)),
        ("seconds in all", usize::try_from(begun.elapsed().as_secs()).unwrap_or(0)),
    ]);
    println!(
        "[split roles] partitions {:?} | a killed worker's were taken over after {:.1} s | 202 \
         again {:.1} s after the gateway's return, {:.1} s after Kafka's | dead letters listed \
         {:.1} s after the database's return",
        shares.iter().map(BTreeSet::len).collect::<Vec<_>>(),
        taken_over.as_secs_f64(),
        gateway_back.as_secs_f64(),
        kafka_back.as_secs_f64(),
        listed_after.as_secs_f64(),
    );

    ledger.assert_answers_are_known();
    assert!(taken_over < TAKE_OVER, "{taken_over:?}");
    for entry in &in_outage {
        let is_accepted = matches!(entry.outcome, Outcome::Accepted(_));
        assert!(is_accepted, "a POST does not need the database: {entry:?}");
    }
    assert!(!in_outage.is_empty(), "POSTs went on while the database was away");
    for (&id, &number) in &mails {
        ledger.assert_may_exist(number, id, "a mail");
    }
    ledger.assert_only_poison_is_buried(&letters, &mails);
    // What was sent after the kill was run by workers that went on to the end.
    let after = ledger.accepted().map(|(entry, _)| entry);
    add(&mut run, after.filter(|entry| entry.begun > worker_gone));
    the_statistics_add_up(&split, &run).await;
    split.kafka.stop().await.expect("it stops");
}

/// At least what the ledger knows, and the totals are the sums over the instances.
async fn the_statistics_add_up(split: &Split, run: &RunByType) {
    until("nothing is left before the workers", SOON, async || {
        let answer = split.gateway.try_get(&format!("/admin/lag/{GROUP}")).await?;
        (answer.status == StatusCode::OK && answer.json()["groups"][0]["lag"] == 0).then_some(())
    })
    .await;
    split.until_written_down().await;
    let stats = until("the killed ones are known to be gone", SOON, async || {
        let stats = split.stats().await?;
        let alive = instances(&stats).filter(|instance| instance["alive"] == true).count();
        (alive == 3).then_some(stats)
    })
    .await;
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("no number in {stats}"));
    assert_eq!(instances(&stats).count(), 5, "three, and two that were killed: {stats}");
    let sum = |name: &str| instances(&stats).map(|instance| number(&instance[name])).sum::<u64>();
    let of_types = |name: &str| {
        let types = stats["types"].as_object().expect("types").values();
        types.map(|of_type| number(&of_type[name])).sum::<u64>()
    };
    let consumer = &stats["consumer"];
    assert_eq!(number(&stats["producer"]["messages"]), sum("produced"), "{stats}");
    assert_eq!(number(&consumer["messages"]), sum("consumed"), "{stats}");
    assert_eq!(number(&consumer["messages"]), of_types("consumed"), "{stats}");
    assert_eq!(number(&consumer["dead_letters"]), of_types("dead_lettered"), "{stats}");
    assert_eq!(of_types("started"), sum("started"), "{stats}");
    for (job_type, run) in run {
        let counted = &stats["types"][job_type];
        assert!(number(&counted["succeeded"]) >= run.mailed, "{job_type}: {counted}");
        assert!(number(&counted["dead_lettered"]) >= run.buried, "{job_type}: {counted}");
        let ended = run.mailed + run.buried;
        assert!(number(&counted["consumed"]) >= ended, "{job_type}: {counted}");
        // What is counted is real: an attempt that succeeded began.
        assert!(number(&counted["started"]) >= number(&counted["succeeded"]), "{counted}");
    }
    let known: u64 = run.values().map(|run| run.mailed + run.buried).sum();
    println!(
        "[split roles] consumed {} and dead letters {}, of which the ledger is sure of {known} \
         and {}",
        consumer["messages"],
        consumer["dead_letters"],
        run.values().map(|run| run.buried).sum::<u64>(),
    );
    assert_eq!(run.len(), EVERY_MAIL.len(), "every type was run");
}
