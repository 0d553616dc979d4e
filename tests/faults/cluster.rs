//! Three brokers: one may be lost, and nothing is accepted that two do not have.

use std::time::{Duration, Instant};

use jobgate::broker::NodeCount;
use reqwest::StatusCode;

use super::harness::{Jobgate, Options, until};
use super::ledger::{
    Ledger, VERIFICATIONS, dead_letters, kafka_tool, number_of, outbox, records, until_mailed,
};
use super::load::{Load, Outcome, Shape, VERIFICATION};
use super::outside_kafka;

/// A new leader is chosen once the lost one's session of 6 s is over.
const ELECTION: Duration = Duration::from_secs(15);
/// How long two of three are away.
const TWO_AWAY: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_broker_of_three_costs_no_job_and_two_lost_ones_no_lie() {
    let _turn = super::alone().await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut kafka = outside_kafka(folder.path(), NodeCount::Three).await;
    let brokers = kafka.bootstrap_servers().to_owned();
    let jobgate = Jobgate::start(Options { brokers: Some(brokers), ..Options::default() }).await;
    let class = "org.apache.kafka.tools.TopicCommand";
    let described = kafka_tool(&kafka, class, &["--describe"]).await;
    let topics: Vec<&str> = described
        .lines()
        .filter(|line| line.starts_with("Topic: waitlist.") && line.contains("PartitionCount"))
        .collect();
    println!("[cluster] topics {}, for example: {}", topics.len(), topics[0]);
    assert_eq!(topics.len(), 15, "ten of jobs, four of events, one of dead letters: {described}");
    for topic in topics {
        assert!(topic.contains("ReplicationFactor: 3"), "{topic}");
        assert!(topic.contains("min.insync.replicas=2"), "{topic}");
    }

    let shape = Shape {
        types: VERIFICATION,
        jobs: 100_000,
        clients: 16,
        jobs_per_key: 100,
        pause: Duration::from_millis(50),
        with_poison: false,
    };
    let load = Load::start(&jobgate, shape);
    load.until_answered(300).await;
    let one_gone = Instant::now();
    kafka.kill_node(2).await.expect("killed");
    until("the election is over", ELECTION, async || {
        (one_gone.elapsed() > Duration::from_secs(8)).then_some(())
    })
    .await;
    load.until_accepted_again(ELECTION).await;
    load.until_answered(load.answered() + 300).await;

    kafka.kill_node(3).await.expect("killed");
    let two_gone = Instant::now();
    let mut ready_while_away = 0;
    let mut asked = 0;
    while two_gone.elapsed() < TWO_AWAY {
        let ready = jobgate.get("/health/ready").await.status == StatusCode::OK;
        if two_gone.elapsed() > Duration::from_secs(5) {
            asked += 1;
            ready_while_away += usize::from(ready);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let still_gone = Instant::now();
    // Two of three are a majority again.
    kafka.restart_node(3).await.expect("started again");
    let back = Instant::now();
    let again = load.until_accepted_again(Duration::from_mins(1)).await;
    load.until_answered(load.answered() + 100).await;
    let ledger = Ledger::new("cluster", load.stop().await);
    until_mailed(&jobgate, &ledger.owed_mails(), Duration::from_mins(1)).await;
    let kept = records(kafka.bootstrap_servers(), VERIFICATIONS).await;
    // What is in Kafka runs, whether its sender was told so or not.
    let ids: Vec<_> = kept.iter().map(|record| record.id).collect();
    until_mailed(&jobgate, &ids, Duration::from_mins(1)).await;
    let letters = dead_letters(&jobgate).await;
    let accepted_in = |from: Instant, to: Instant| {
        ledger.accepted().filter(|(entry, _)| entry.begun > from && entry.begun < to).count()
    };
    ledger.print(&[
        ("accepted while one was away", accepted_in(one_gone, two_gone)),
        ("accepted while two were away", accepted_in(two_gone, still_gone)),
        ("records", kept.len()),
        ("mails", outbox(&jobgate).len()),
        ("dead letters", letters.len()),
    ]);
    println!(
        "[cluster] /health/ready said 200 {ready_while_away} times of {asked} while two were \
         away; 202 again {:.1} s after the return of one",
        (back.elapsed().min(again)).as_secs_f64()
    );
    ledger.assert_answers_are_known();
    assert_eq!(letters.len(), 0, "an outage is not a dead letter");
    assert!(accepted_in(one_gone, two_gone) > 200, "POSTs go on with two of three");
    for (entry, id) in ledger.accepted() {
        assert!(kept.iter().any(|record| record.id == id), "accepted without a record");
        let answered = entry.begun + entry.took;
        assert!(
            entry.begun < two_gone || answered > still_gone,
            "accepted while two of three were away: {entry:?}"
        );
    }
    for record in &kept {
        ledger.assert_may_exist(number_of(&record.value), record.id, "a record");
    }
    let unready = ledger.count(|o| matches!(o, Outcome::Refused { has_retry_after: false }));
    assert_eq!(unready, 0, "503 without Retry-After");
    kafka.stop().await.expect("it stops");
}
