//! Jobs of a key run in their order, one at a time, also those that fail first.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rig::ledger::{
    Execution, assert_one_effect_each, effects, executions, most_at_once, out_of_order,
};
use super::rig::plan::{Deed, KindPlan, Task};
use super::rig::stage::Stage;

const KIND: &str = "ordered";
const KEYS: i64 = 50;
const JOBS: i64 = 2_000;
const LIMIT: Duration = Duration::from_mins(2);

/// How often a job fails: one fifth of them do, once or twice in turn.
fn failures(job: i64) -> u32 {
    match job % 10 {
        3 => 1,
        8 => 2,
        _ => 0,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_a_key_run_in_order_and_one_at_a_time_though_some_fail_first() {
    let _turn = super::turn().await;
    let stage = Stage::new(vec![KindPlan::new(KIND)]).await;
    let workers = [stage.worker(), stage.worker()];
    let tasks = (0..JOBS).map(|job| {
        // 7 and 50 share no factor: the failing ones are spread over all keys.
        let key = format!("k{}", (job * 7 + job / KEYS) % KEYS);
        Task::new(&key, job).taking(2).first(Deed::Retry, failures(job))
    });
    let jobs = stage.send_all(KIND, tasks).await;
    stage.until_committed(KIND, jobs.len(), LIMIT).await;
    let effects = effects(&stage.pool, KIND).await;
    assert_one_effect_each(&effects, &jobs);
    assert!(out_of_order(&effects).is_empty(), "{:?}", out_of_order(&effects));

    let all = executions(&stage.pool, KIND).await;
    let mut by_key: BTreeMap<&str, Vec<&Execution>> = BTreeMap::new();
    for execution in &all {
        by_key.entry(&execution.key).or_default().push(execution);
    }
    assert_eq!(by_key.len(), usize::try_from(KEYS).expect("a few"));
    for (key, executions) in by_key {
        assert_eq!(most_at_once(executions.iter().copied()), 1, "{key}");
        assert!(executions.is_sorted_by_key(|e| e.number), "{key}: {executions:?}");
    }
    // The second worker takes over some that wait for their next attempt, which then count anew;
    // nothing else makes one run more often than it fails.
    let asked: usize = jobs.iter().map(|job| 1 + job.task.times as usize).sum();
    assert!(all.len() >= asked && all.len() < asked + 64, "{} executions of {asked}", all.len());
    for worker in workers {
        worker.terminate().await;
    }
}
