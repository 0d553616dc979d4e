//! Jobs of a key of which one run does for several.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::harness::until;
use super::rig::ledger::{
    Execution, assert_one_effect_each, effects, executions, executions_of, out_of_order,
};
use super::rig::plan::{Deed, KindPlan, Plan, Task};
use super::rig::stage::{Sent, Stage};

const KIND: &str = "merging";
/// How long anything may take that comes about by itself, on a busy machine.
const SOON: Duration = Duration::from_mins(2);

fn kind() -> KindPlan {
    KindPlan { merged: 1_000, ..KindPlan::new(KIND) }
}

/// A run tells all of its jobs the same start.
fn runs(executions: &[Execution]) -> usize {
    let runs: BTreeSet<_> = executions.iter().map(|it| (&it.instance, it.started_ms)).collect();
    runs.len()
}

async fn until_running(stage: &Stage, count: usize) {
    until("so many have begun", SOON, async || {
        (executions(&stage.pool, KIND).await.len() >= count).then_some(())
    })
    .await;
}

/// A job that runs, and those that wait behind it.
async fn one_and_those_behind(stage: &Stage, ms: u64, behind: Vec<Task>) -> Vec<Sent> {
    let mut sent = vec![stage.send(KIND, Task::new("k", 0).taking(ms)).await];
    until_running(stage, 1).await;
    sent.extend(stage.send_all(KIND, behind).await);
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_that_wait_are_a_few_runs_and_a_kill_repeats_none() {
    let _turn = super::turn().await;
    let stage = Stage::new(vec![kind()]).await;
    let plan = Plan { instance: Some("one".to_owned()), ..stage.plan.clone() };
    let worker = stage.worker_of(&plan);
    let tasks = (1..500).map(|number| Task::new("k", number).taking(1_500)).collect();
    let sent = one_and_those_behind(&stage, 5_000, tasks).await;
    // In the middle of a run of many.
    until_running(&stage, 100).await;
    worker.kill().await;
    let before = runs(&executions(&stage.pool, KIND).await);
    let worker = stage.worker_of(&plan);
    stage.until_committed(KIND, sent.len(), SOON).await;
    let all = effects(&stage.pool, KIND).await;
    assert_one_effect_each(&all, &sent);
    assert!(out_of_order(&all).is_empty());
    let executions = executions(&stage.pool, KIND).await;
    let runs = runs(&executions);
    assert!(runs <= 25, "{runs} runs of {} executions, {before} before the kill", executions.len());
    assert!(executions.iter().all(|it| it.attempt == 1), "a kill counts for none");
    worker.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_fails_is_an_attempt_of_each_and_a_dead_letter_of_each() {
    let _turn = super::turn().await;
    let stage = Stage::new(vec![kind()]).await;
    let worker = stage.worker();
    let mut tasks: Vec<Task> = (1..20).map(|number| Task::new("k", number).taking(50)).collect();
    tasks[4] = tasks[4].clone().first(Deed::Retry, 1);
    let sent = one_and_those_behind(&stage, 4_000, tasks).await;
    stage.until_committed(KIND, sent.len(), SOON).await;
    assert_one_effect_each(&effects(&stage.pool, KIND).await, &sent);
    for job in &sent[1..] {
        let attempts = executions_of(&stage.pool, KIND, job.id).await;
        let attempts: Vec<_> = attempts.iter().map(|e| (e.attempt, e.outcome.as_deref())).collect();
        assert_eq!(attempts, [(1, Some("retry")), (2, Some("done"))], "{job:?}");
    }
    assert_eq!(runs(&executions(&stage.pool, KIND).await), 3);

    // None of these will ever work, while another key does.
    let bad = (20..25).map(|number| Task::new("k", number).first(Deed::Retry, u32::MAX)).collect();
    let slow = one_and_those_behind(&stage, 4_000, bad).await;
    let mut well = 0;
    let letters = until("each has its dead letter", SOON, async || {
        well += 1;
        stage.send(KIND, Task::new("well", well)).await;
        let letters = stage.letters().await;
        (letters.len() >= slow.len() - 1).then_some(letters)
    })
    .await;
    let mut buried: Vec<_> = letters.iter().map(|it| it["message_id"].to_string()).collect();
    let mut ids: Vec<_> = slow[1..].iter().map(|job| format!("\"{}\"", job.id)).collect();
    buried.sort_unstable();
    ids.sort_unstable();
    assert_eq!(buried, ids);
    assert!(letters.iter().all(|it| it["attempts"] == 3), "{letters:?}");
    worker.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_wrong_is_no_other_ones_fault() {
    let _turn = super::turn().await;
    let stage = Stage::new(vec![kind()]).await;
    let worker = stage.worker();
    let before = (1..4).map(|number| Task::new("k", number)).collect();
    let mut sent = one_and_those_behind(&stage, 5_000, before).await;
    raw(&stage, "c_k", "{\"number\":").await;
    sent.extend(stage.send_all(KIND, (4..8).map(|number| Task::new("k", number))).await);
    stage.until_committed(KIND, sent.len() + 1, SOON).await;
    assert_one_effect_each(&effects(&stage.pool, KIND).await, &sent);
    let letters = stage.letters().await;
    let classes: Vec<_> = letters.iter().map(|letter| &letter["error_class"]).collect();
    assert_eq!(classes, ["not_json"], "{letters:?}");
    assert!(executions(&stage.pool, KIND).await.iter().all(|it| it.attempt == 1));
    assert_eq!(runs(&executions(&stage.pool, KIND).await), 2, "it was one run all the same");
    worker.terminate().await;
}

/// Writes a record that jobgate would not.
async fn raw(stage: &Stage, key: &str, value: &str) {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &stage.plan.brokers)
        .set("partitioner", "murmur2_random")
        .create()
        .expect("a producer");
    let topic = kind().topic();
    let record = FutureRecord::to(&topic).key(key).payload(value);
    producer.send(record, Duration::from_secs(20)).await.expect("it is acknowledged");
}
