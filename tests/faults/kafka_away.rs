//! Kafka is killed or frozen under load, and comes back.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jobgate::broker::{LocalKafka, NodeCount};
use reqwest::StatusCode;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::harness::{Jobgate, Options, until, uuid, verification};
use super::ledger::{
    Ledger, VERIFICATIONS, dead_letters, number_of, outbox, records, until_mailed,
};
use super::load::{Load, Outcome, Shape, VERIFICATION};
use super::outside_kafka;

/// How long Kafka is away.
const OUTAGE: Duration = Duration::from_secs(20);
/// A 503 must be quicker than this, and a 504 comes soon after it.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// The answer's way back on a busy machine.
const SLACK: Duration = Duration::from_millis(1_500);
/// How soon it must be known that Kafka is away. Frozen, it gives no sign: 2 s of silence
/// make doubt, and a question goes unanswered for another 2 s.
const NOTICE: Duration = Duration::from_secs(5);
/// How long after its return a request may hang: a client that has forgotten every broker then is
/// found out, and replaced, by this time.
const REPLACED: Duration = Duration::from_secs(4);
/// How soon after its return everything must be as before.
const RECOVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Killed,
    Frozen,
}

/// What the health endpoints said, and when.
#[derive(Debug, Clone, Copy)]
struct Sample {
    asked: Instant,
    answered: Instant,
    live: Option<StatusCode>,
    ready: Option<StatusCode>,
}

/// Asks for the health until it is told to stop.
struct Watch {
    samples: Arc<Mutex<Vec<Sample>>>,
    stop: CancellationToken,
    task: JoinSet<()>,
}

impl Watch {
    fn start(jobgate: &Jobgate) -> Self {
        let samples = Arc::new(Mutex::new(Vec::new()));
        let stop = CancellationToken::new();
        let client = jobgate.client().clone();
        let urls = ["/health/live", "/health/ready"].map(|path| jobgate.url(path));
        let (kept, stopped) = (Arc::clone(&samples), stop.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            while !stopped.is_cancelled() {
                let ask = |url: &String| {
                    let request = client.get(url).timeout(Duration::from_secs(5)).send();
                    async move { request.await.ok().map(|answer| answer.status()) }
                };
                let asked = Instant::now();
                let (live, ready) = tokio::join!(ask(&urls[0]), ask(&urls[1]));
                let sample = Sample { asked, answered: Instant::now(), live, ready };
                kept.lock().expect("nobody panics while holding it").push(sample);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        Self { samples, stop, task }
    }

    async fn stop(self) -> Vec<Sample> {
        self.stop.cancel();
        self.task.join_all().await;
        self.samples.lock().expect("nobody panics while holding it").clone()
    }
}

/// A test that fails shows what Kafka said last.
struct LastWords(PathBuf);

impl Drop for LastWords {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = std::fs::read_to_string(self.0.join("kafka/node-1/server.log"));
            let said = said.unwrap_or_else(|error| error.to_string());
            let lines: Vec<&str> = said.lines().collect();
            let last = &lines[lines.len().saturating_sub(60)..];
            println!("the end of Kafka's log:\n{}", last.join("\n"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kafka_that_is_away_for_20_s_costs_no_job_and_nobody_is_lied_to() {
    let _turn = super::alone().await;
    let folder = tempfile::tempdir().expect("a folder");
    let _last_words = LastWords(folder.path().to_owned());
    let mut kafka = outside_kafka(folder.path(), NodeCount::One).await;
    let brokers = kafka.bootstrap_servers().to_owned();
    let jobgate =
        Jobgate::start(Options { brokers: Some(brokers.clone()), ..Options::default() }).await;
    let mut former = HashSet::new();
    for how in [How::Killed, How::Frozen] {
        run(&mut kafka, &jobgate, how, &mut former).await;
    }
    kafka.stop().await.expect("it stops");
}

/// One outage. `former` are the ids of the records that were there before.
#[expect(clippy::too_many_lines, reason = "one outage from its begin to its end")]
async fn run(kafka: &mut LocalKafka, jobgate: &Jobgate, how: How, former: &mut HashSet<Uuid>) {
    let shape = Shape {
        types: VERIFICATION,
        jobs: 100_000,
        clients: 16,
        jobs_per_key: 100,
        pause: Duration::from_millis(100),
        with_poison: false,
    };
    let watch = Watch::start(jobgate);
    let load = Load::start(jobgate, shape);
    load.until_answered(200).await;

    let gone = Instant::now();
    match how {
        How::Killed => kafka.kill_node(1).await.expect("killed"),
        How::Frozen => kafka.freeze_node(1).expect("frozen"),
    }
    tokio::time::sleep(OUTAGE).await;
    match how {
        How::Killed => kafka.restart_node(1).await.expect("started again"),
        How::Frozen => kafka.thaw_node(1).expect("thawed"),
    }
    let back = Instant::now();
    let accepted_after = load.until_accepted_again(Duration::from_mins(1)).await;
    load.until_answered(load.answered() + 300).await;
    let ledger = Ledger::new(format!("Kafka {how:?}"), load.stop().await);
    let samples = watch.stop().await;

    until_mailed(jobgate, &ledger.owed_mails(), Duration::from_mins(1)).await;
    let kept = records(kafka.bootstrap_servers(), VERIFICATIONS).await;
    let kept: Vec<_> = kept.into_iter().filter(|record| !former.contains(&record.id)).collect();
    // What is in Kafka runs, whether its sender was told so or not.
    let written = kept.iter().map(|record| record.id).collect::<Vec<_>>();
    until_mailed(jobgate, &written, Duration::from_mins(1)).await;
    let last_504 = (ledger.entries.iter())
        .filter(|entry| matches!(entry.outcome, Outcome::Unknown(_)))
        .map(|entry| entry.begun.saturating_duration_since(gone))
        .max();
    let unready = samples.iter().find(|s| s.asked > gone && s.ready != Some(StatusCode::OK));
    let ready = samples.iter().find(|s| s.asked > back && s.ready == Some(StatusCode::OK));
    let seconds = |since: Instant, at: Option<Instant>| {
        at.map_or(f64::NAN, |at| at.saturating_duration_since(since).as_secs_f64())
    };
    println!(
        "[Kafka {how:?}] unready {:.1} s after it went; the last 504 was sent {:.1} s after it \
         went; back: ready after {:.1} s, 202 after {:.1} s",
        seconds(gone, unready.map(|s| s.answered)),
        last_504.map_or(f64::NAN, |d| d.as_secs_f64()),
        seconds(back, ready.map(|s| s.answered)),
        accepted_after.as_secs_f64(),
    );
    let letters = dead_letters(jobgate).await;
    ledger.print(&[
        ("records", kept.len()),
        ("mails in all", outbox(jobgate).len()),
        ("dead letters", letters.len()),
    ]);

    ledger.assert_answers_are_known();
    assert_eq!(letters.len(), 0, "an outage is not a dead letter");
    assert_eq!(ledger.count(|o| matches!(o, Outcome::NoAnswer | Outcome::NotConnected)), 0);
    // Never a 2xx without a record, and no record of a request that was refused.
    let ids: HashSet<Uuid> = kept.iter().map(|record| record.id).collect();
    assert_eq!(ids.len(), kept.len(), "no record was written twice");
    for (entry, id) in ledger.accepted() {
        assert!(ids.contains(&id), "{how:?}: job {} was accepted without a record", entry.number);
    }
    for record in &kept {
        ledger.assert_may_exist(number_of(&record.value), record.id, "a record");
    }
    for entry in &ledger.entries {
        let sent_s = entry.begun.saturating_duration_since(gone).as_secs_f64();
        match &entry.outcome {
            Outcome::Refused { has_retry_after } => {
                assert!(*has_retry_after, "503 without Retry-After: {entry:?}");
                assert!(entry.took < ANSWER_DEADLINE, "a slow 503: {entry:?}");
                assert!(
                    entry.begun + entry.took > gone && entry.begun < back + RECOVERY,
                    "refused although Kafka was there, {sent_s:.1} s after it went"
                );
            }
            Outcome::Unknown(_) => {
                assert!(entry.took < ANSWER_DEADLINE + SLACK, "a slow 504: {entry:?}");
                let is_noticed = entry.begun >= gone + NOTICE;
                let is_back = entry.begun > back && entry.begun < back + REPLACED;
                assert!(
                    entry.begun + entry.took > gone && (!is_noticed || is_back),
                    "a request that was sent {sent_s:.1} s after Kafka went (0.0: before) hung and \
                     ended as unknown"
                );
            }
            _ => {}
        }
    }
    for sample in &samples {
        assert_eq!(sample.live, Some(StatusCode::OK), "live never asks Kafka");
        let since = sample.asked.saturating_duration_since(gone);
        if sample.asked > gone + NOTICE && sample.answered < gone + OUTAGE {
            let unavailable = Some(StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(sample.ready, unavailable, "ready {since:?} after Kafka went");
        }
        if sample.asked > back + RECOVERY {
            assert_eq!(sample.ready, Some(StatusCode::OK), "ready again, without a restart");
        }
    }
    assert!(accepted_after < RECOVERY, "{how:?}: 202 again only after {accepted_after:?}");
    former.extend(ids);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_means_unknown_and_a_stop_does_not_wait_for_a_frozen_kafka() {
    let _turn = super::alone().await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut kafka = outside_kafka(folder.path(), NodeCount::One).await;
    let brokers = kafka.bootstrap_servers().to_owned();
    let mut jobgate =
        Jobgate::start(Options { brokers: Some(brokers), ..Options::default() }).await;
    let path = "/jobs/email.verification";
    let job = || verification(&uuid(), &uuid());
    let first = jobgate.post(path, &job()).await;
    assert_eq!(first.status, StatusCode::ACCEPTED);
    jobgate.mail(first.json()["id"].as_str().expect("an id")).await;

    kafka.freeze_node(1).expect("frozen");
    let begun = Instant::now();
    let unknown = jobgate.post(path, &job()).await;
    let took = begun.elapsed();
    assert_eq!(unknown.status, StatusCode::GATEWAY_TIMEOUT, "{}", unknown.text);
    assert_eq!(unknown.problem(), "outcome-unknown");
    assert!(took > Duration::from_secs(4) && took < ANSWER_DEADLINE + SLACK, "{took:?}");
    let id = unknown.json()["id"].as_str().expect("the id it has if it was written").to_owned();
    let begun = Instant::now();
    let refused = jobgate.post(path, &job()).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.text);
    let refused_after = begun.elapsed();
    assert!(refused_after < Duration::from_secs(1), "Kafka is known to be away");
    assert!(!jobgate.mail_path(&id).exists(), "not yet: Kafka is frozen");
    kafka.thaw_node(1).expect("thawed");
    let thawed = Instant::now();
    jobgate.mail(&id).await;
    println!(
        "[frozen] 504 with an id after {:.2} s; then 503 after {:.3} s; the mail {:.1} s after \
         the thaw",
        took.as_secs_f64(),
        refused_after.as_secs_f64(),
        thawed.elapsed().as_secs_f64()
    );

    jobgate.wait_ready().await;
    kafka.freeze_node(1).expect("frozen");
    until("Kafka is known to be away", Duration::from_secs(30), async || {
        (jobgate.post(path, &job()).await.status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    let (code, took) = jobgate.terminate().await;
    println!("[frozen] SIGTERM: exit {code:?} after {:.1} s", took.as_secs_f64());
    kafka.thaw_node(1).expect("thawed");
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(25), "a stop takes at most 25 s, this one {took:?}");
    jobgate.start_again().await;
    assert_eq!(jobgate.post(path, &job()).await.status, StatusCode::ACCEPTED);
    kafka.stop().await.expect("it stops");
}
