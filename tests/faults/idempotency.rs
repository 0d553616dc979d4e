//! Requests with an `Idempotency-Key`, over two gateways, through kills and outages: however often
//! one is sent, its job has one id, and what was accepted is on Kafka.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use jobgate::broker::{LocalKafka, NodeCount};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::harness::{Answer, Jobgate, Options, until, uuid, verification};
use super::ledger::{Kept, VERIFICATIONS, number_of, records};
use super::outside_kafka;
use super::postgres::Postgres;

const JOB: &str = "/jobs/email.verification";
/// Requests at once with one key.
const TWINS: usize = 1_000;
/// How long gateways are killed, seconds; `IDEMPOTENCY_KILLS_S` says otherwise.
const KILLS_S: u64 = 8;
/// Answers after each of which their gateway is killed at once.
const ANSWERS: usize = 5;
/// Clients that send one job after another and repeat each until it is accepted.
const CLIENTS: usize = 16;
/// A gateway lives for so long under load before it is killed, milliseconds.
const LIFE_MS: std::ops::Range<u64> = 300..2_500;
/// What a client waits before it repeats a request.
const RETRY_AFTER: Duration = Duration::from_millis(150);
/// How long a request is repeated at most: a start, and the lease of a gateway that was killed.
const GIVEN_UP_AFTER: Duration = Duration::from_mins(2);
/// How long anything may take that comes about by itself, on a busy machine.
const SOON: Duration = Duration::from_mins(1);

fn options(kafka: &LocalKafka, args: &[&str], database: Option<&str>) -> Options {
    Options {
        brokers: Some(kafka.bootstrap_servers().to_owned()),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        env: database.iter().map(|url| ("DATABASE_URL".to_owned(), (*url).to_owned())).collect(),
        ..Options::default()
    }
}

async fn gateways(kafka: &LocalKafka, database: &str) -> [Jobgate; 2] {
    let start = || Jobgate::start(options(kafka, &["--role", "gateway"], Some(database)));
    // The first one makes the topics.
    let first = start().await;
    [first, start().await]
}

async fn postgres() -> Postgres {
    tokio::task::spawn_blocking(Postgres::start_durable).await.expect("it started")
}

/// A job whose record tells its number.
fn job(campaign_id: &str, number: usize) -> Value {
    let mut job = verification(campaign_id, &uuid());
    job["template_data"]["verification_link"] =
        json!(format!("https://example.com/verify/{number}."));
    job
}

async fn send(jobgate: &Jobgate, key: &str, job: &Value) -> Answer {
    let request = jobgate.client().post(jobgate.url(JOB)).json(job);
    jobgate.send(request.header("idempotency-key", key)).await
}

/// The records of these jobs, by number.
async fn by_number(kafka: &LocalKafka) -> HashMap<usize, Vec<Kept>> {
    let mut by_number: HashMap<usize, Vec<Kept>> = HashMap::new();
    for record in records(kafka.bootstrap_servers(), VERIFICATIONS).await {
        by_number.entry(number_of(&record.value)).or_default().push(record);
    }
    by_number
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_twins_over_two_gateways_are_one_job() {
    let _turn = super::alone().await;
    let folder = tempfile::tempdir().expect("a folder");
    let kafka = outside_kafka(folder.path(), NodeCount::One).await;
    let database = postgres().await;
    let gateways = gateways(&kafka, &database.fresh_database()).await;
    let (key, job) = (uuid(), job(&uuid(), 1));
    let begun = Instant::now();
    let twins = (0..TWINS).map(|number| send(&gateways[number % 2], &key, &job));
    let answers = join_all(twins).await;
    let took = begun.elapsed();
    let mut bodies = HashSet::new();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for answer in &answers {
        let is_replayed = answer.headers.contains_key("idempotency-replayed");
        let what = if answer.status == StatusCode::ACCEPTED {
            bodies.insert(&answer.text);
            if is_replayed { "202 again" } else { "202" }
        } else {
            assert_eq!(answer.problem(), "idempotency-key-in-flight", "{}", answer.text);
            "409"
        };
        *counts.entry(what).or_default() += 1;
    }
    println!("[twins] {TWINS} over two gateways in {took:?}: {counts:?}");
    assert_eq!((bodies.len(), counts["202"]), (1, 1), "one answer: {counts:?}");
    // On either gateway, later.
    for gateway in &gateways {
        let again = send(gateway, &key, &job).await;
        assert!(bodies.contains(&again.text), "{}", again.text);
    }
    assert_eq!(by_number(&kafka).await[&1].len(), 1, "one record");
    kafka.stop().await.expect("it stops");
}

/// What clients share.
struct Crowd {
    bases: Mutex<Vec<String>>,
    is_over: AtomicBool,
    campaign_id: String,
    client: reqwest::Client,
    /// For each job its number, the ids it was said to have, and how often it was sent.
    jobs: Mutex<Vec<(usize, HashSet<String>, usize)>>,
    /// How often each status was seen; 0 for no answer.
    statuses: Mutex<HashMap<u16, usize>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}

impl Crowd {
    fn start(gateways: &[Jobgate]) -> (Arc<Self>, JoinSet<()>) {
        let crowd = Arc::new(Self {
            bases: Mutex::new(gateways.iter().map(|gateway| gateway.base.clone()).collect()),
            is_over: AtomicBool::new(false),
            campaign_id: uuid(),
            client: reqwest::Client::new(),
            jobs: Mutex::default(),
            statuses: Mutex::default(),
        });
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            clients.spawn(Arc::clone(&crowd).send_jobs(client));
        }
        (crowd, clients)
    }

    async fn send_jobs(self: Arc<Self>, client: usize) {
        let mut number = client;
        while !self.is_over.load(Ordering::Relaxed) {
            let (ids, sent) = self.insist(number).await;
            locked(&self.jobs).push((number, ids, sent));
            number += CLIENTS;
        }
    }

    /// Sends a job until it is accepted, here and there.
    async fn insist(&self, number: usize) -> (HashSet<String>, usize) {
        let (key, job) = (uuid(), job(&self.campaign_id, number));
        let (begun, mut ids) = (Instant::now(), HashSet::new());
        for sent in 1.. {
            let (status, id) = self.send(number + sent, &key, &job).await;
            *locked(&self.statuses).entry(status).or_default() += 1;
            ids.extend(id);
            match status {
                202 => return (ids, sent),
                0 | 409 | 503 | 504 => tokio::time::sleep(RETRY_AFTER).await,
                _ => panic!("job {number} was answered {status}"),
            }
            assert!(begun.elapsed() < GIVEN_UP_AFTER, "job {number} is not accepted: {status}");
        }
        unreachable!("it is sent for ever");
    }

    async fn send(&self, turn: usize, key: &str, job: &Value) -> (u16, Option<String>) {
        let base = {
            let bases = locked(&self.bases);
            bases[turn % bases.len()].clone()
        };
        let request = self.client.post(format!("{base}{JOB}")).json(job);
        let request = request.header("idempotency-key", key).timeout(Duration::from_secs(20));
        let Ok(response) = request.send().await else { return (0, None) };
        let status = response.status().as_u16();
        let Ok(body) = response.json::<Value>().await else { return (0, None) };
        (status, body["id"].as_str().map(str::to_owned))
    }

    fn accepted(&self) -> usize {
        locked(&self.jobs).len()
    }
}

/// Kills gateways at random while clients repeat what has no answer.
async fn kill(kafka: &LocalKafka, name: &str, mut gateways: Vec<Jobgate>) {
    let seconds = std::env::var("IDEMPOTENCY_KILLS_S").ok().and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(KILLS_S));
    let (crowd, clients) = Crowd::start(&gateways);
    let mut kills = 0;
    while Instant::now() < end || kills < gateways.len() {
        let accepted = crowd.accepted();
        until("jobs are accepted", SOON, async || (crowd.accepted() > accepted).then_some(()))
            .await;
        tokio::time::sleep(Duration::from_millis(rand::random_range(LIFE_MS))).await;
        let at = kills % gateways.len();
        gateways[at].kill().await;
        gateways[at].start_again().await;
        gateways[at].base.clone_into(&mut locked(&crowd.bases)[at]);
        kills += 1;
    }
    crowd.is_over.store(true, Ordering::Relaxed);
    clients.join_all().await;

    let on_kafka = by_number(kafka).await;
    let jobs = locked(&crowd.jobs);
    let records: usize = on_kafka.values().map(Vec::len).sum();
    let sent: usize = jobs.iter().map(|(_, _, sent)| sent).sum();
    println!(
        "[keys, {name}] kills {kills} | jobs accepted {} | requests {sent} | records {records}, of \
         which {} are a second time | answers by status {:?}",
        jobs.len(),
        records - on_kafka.len(),
        locked(&crowd.statuses),
    );
    assert_eq!(on_kafka.len(), jobs.len(), "every job that is on Kafka was accepted in the end");
    for (number, ids, _) in jobs.iter() {
        assert_eq!(ids.len(), 1, "job {number} was said to have several ids: {ids:?}");
        let kept = on_kafka.get(number).unwrap_or_else(|| panic!("job {number} is lost"));
        for record in kept {
            assert!(ids.contains(&record.id.to_string()), "job {number} has another id on Kafka");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_that_are_killed_give_no_job_a_second_id() {
    let _turn = super::alone().await;
    let folder = tempfile::tempdir().expect("a folder");
    let kafka = outside_kafka(folder.path(), NodeCount::One).await;
    let database = postgres().await;
    let gateways = gateways(&kafka, &database.fresh_database()).await;
    kill(&kafka, "two gateways on PostgreSQL", gateways.into()).await;
    kafka.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jobgate_on_sqlite_that_is_killed_gives_no_job_a_second_id() {
    let _turn = super::alone().await;
    let folder = tempfile::tempdir().expect("a folder");
    let kafka = outside_kafka(folder.path(), NodeCount::One).await;
    let jobgate = Jobgate::start(options(&kafka, &[], None)).await;
    kill(&kafka, "one process on SQLite", vec![jobgate]).await;
    kafka.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_answered_so_by_others_after_a_kill() {
    let _turn = super::alone().await;
    let folder = tempfile::tempdir().expect("a folder");
    let kafka = outside_kafka(folder.path(), NodeCount::One).await;
    let database = postgres().await;
    let [mut first, second] = gateways(&kafka, &database.fresh_database()).await;
    for number in 1..=ANSWERS {
        let (key, job) = (uuid(), job(&uuid(), number));
        let answer = send(&first, &key, &job).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
        first.kill().await;
        let again = send(&second, &key, &job).await;
        assert_eq!(again.text, answer.text, "to the byte");
        assert!(again.headers.contains_key("idempotency-replayed"));
        first.start_again().await;
    }
    for (number, records) in by_number(&kafka).await {
        assert_eq!(records.len(), 1, "records of job {number}");
    }
    kafka.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_unknown_is_known_to_whoever_asks_again() {
    let _turn = super::alone().await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut kafka = outside_kafka(folder.path(), NodeCount::One).await;
    let jobgate = Jobgate::start(options(&kafka, &[], None)).await;
    let (key, job) = (uuid(), job(&uuid(), 1));
    let accepted = jobgate.post(JOB, &self::job(&uuid(), 2)).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED);
    kafka.freeze_node(1).expect("frozen");
    let event_key = uuid();
    let (unknown, unknown_event) =
        tokio::join!(send(&jobgate, &key, &job), send_event(&jobgate, &event_key));
    assert_eq!(unknown.problem(), "outcome-unknown", "{}", unknown.text);
    assert_eq!(unknown_event.problem(), "outcome-unknown", "{}", unknown_event.text);
    assert!(unknown.headers.contains_key("retry-after"));
    let id = unknown.json()["id"].clone();
    // The first attempt goes on. Longer than its lease is: it says that it is there.
    let frozen = Instant::now();
    while frozen.elapsed() < Duration::from_secs(7) {
        let again = send(&jobgate, &key, &job).await;
        assert_eq!(again.problem(), "idempotency-key-in-flight", "{}", again.text);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    kafka.thaw_node(1).expect("thawed");
    let answer = until("the first attempt has its answer", SOON, async || {
        let again = send(&jobgate, &key, &job).await;
        (again.status == StatusCode::ACCEPTED).then_some(again)
    })
    .await;
    assert_eq!(answer.json()["id"], id, "under the id that was told");
    assert!(answer.headers.contains_key("idempotency-replayed"));
    let found = until("it is found by its id", SOON, async || {
        let found = jobgate.get(&format!("/jobs/by-id/{}", id.as_str().expect("an id"))).await;
        (found.status == StatusCode::OK).then_some(found)
    })
    .await;
    assert_eq!(found.json()["offset"], answer.json()["offset"], "{}", found.text);
    assert_eq!(by_number(&kafka).await[&1].len(), 1, "one record");
    // The id of a CloudEvent follows from the event, and is the one that was told as well.
    let event = until("the event has its answer", SOON, async || {
        let again = send_event(&jobgate, &event_key).await;
        (again.status == StatusCode::CREATED).then_some(again)
    })
    .await;
    assert_eq!(event.json()["id"], unknown_event.json()["id"]);
    kafka.stop().await.expect("it stops");
}

/// The same `CloudEvent` each time.
async fn send_event(jobgate: &Jobgate, key: &str) -> Answer {
    let event = json!({
        "campaign_id": "7f0c9a52-6b1d-4e3f-8a2b-1c5d7e9f0a11",
        "user_id": "3d2e8b74-9c1f-4a6d-b5e0-2f4a6c8e0b22", "timestamp": "2025-01-01T00:00:00Z",
    });
    let mut request = jobgate.client().post(jobgate.url("/events/user.verified")).json(&event);
    let attributes =
        [("specversion", "1.0"), ("id", "1"), ("source", "/a"), ("type", "user.verified")];
    for (name, value) in attributes {
        request = request.header(format!("ce-{name}"), value);
    }
    jobgate.send(request.header("idempotency-key", key)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_never_written_leaves_its_key_free() {
    let _turn = super::alone().await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut kafka = outside_kafka(folder.path(), NodeCount::One).await;
    let jobgate = Jobgate::start(options(&kafka, &[], None)).await;
    kafka.kill_node(1).await.expect("killed");
    until("Kafka is known to be away", SOON, async || {
        let answer = jobgate.post(JOB, &job(&uuid(), 9)).await;
        (answer.status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    let key = uuid();
    let (first, mended) = (job(&uuid(), 1), job(&uuid(), 2));
    let refused = send(&jobgate, &key, &first).await;
    assert_eq!(refused.problem(), "kafka-unavailable", "{}", refused.text);
    kafka.restart_node(1).await.expect("started again");
    jobgate.wait_ready().await;
    let answer = send(&jobgate, &key, &mended).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    let kept = by_number(&kafka).await;
    assert!(!kept.contains_key(&1) && kept[&2].len() == 1);
    kafka.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_database_only_requests_with_a_key_wait() {
    let _turn = super::alone().await;
    let folder = tempfile::tempdir().expect("a folder");
    let kafka = outside_kafka(folder.path(), NodeCount::One).await;
    let mut database = postgres().await;
    let gateways = gateways(&kafka, &database.fresh_database()).await;
    let (key, job) = (uuid(), job(&uuid(), 1));
    database.kill();
    let begun = Instant::now();
    let refused = send(&gateways[0], &key, &job).await;
    let took = begun.elapsed();
    assert_eq!(refused.problem(), "database-unavailable", "{}", refused.text);
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers.contains_key("retry-after"));
    assert!(took < Duration::from_secs(5), "a slow 503: {took:?}");
    for number in 2..20 {
        let answer = gateways[0].post(JOB, &self::job(&uuid(), number)).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    }
    assert!(!by_number(&kafka).await.contains_key(&1), "nothing was accepted");
    database.start_again();
    until("it is accepted", SOON, async || {
        let answer = send(&gateways[1], &key, &job).await;
        (answer.status == StatusCode::ACCEPTED).then_some(())
    })
    .await;
    assert_eq!(by_number(&kafka).await[&1].len(), 1, "one record");
    kafka.stop().await.expect("it stops");
}
