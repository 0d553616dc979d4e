//! A partition whose intake has stopped, since enough of it waits here, goes to another worker
//! and comes back.

use std::time::Duration;

use super::harness::until;
use super::rig::ledger::{assert_one_effect_each, effects, executions, out_of_order};
use super::rig::plan::{KindPlan, Task};
use super::rig::stage::Stage;

const KIND: &str = "backlog";
/// More than twice as many as a worker takes in of one partition.
const JOBS: i64 = 5_000;
const KEYS: i64 = 40;
const LIMIT: Duration = Duration::from_mins(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_comes_back_is_read_on() {
    let _turn = super::turn().await;
    let stage = Stage::new(vec![KindPlan { partitions: 2, ..KindPlan::new(KIND) }]).await;
    let tasks = (0..JOBS).map(|job| Task::new(&format!("k{}", job % KEYS), job).taking(20));
    let jobs = stage.send_all(KIND, tasks).await;
    let first = stage.worker();
    let runs = async |count: usize| {
        until("jobs run", LIMIT, async || {
            let executions = executions(&stage.pool, KIND).await;
            let mut by_worker: Vec<&str> =
                executions.iter().map(|execution| execution.instance.as_str()).collect();
            by_worker.sort_unstable();
            by_worker.dedup();
            (by_worker.len() >= count).then_some(())
        })
        .await;
    };
    runs(1).await;
    // Its memberships come and go while far more waits than it has taken in.
    for others in 2..5 {
        let other = stage.worker();
        runs(others).await;
        other.terminate().await;
    }
    let left = stage.left(KIND, jobs.len()).await;
    assert!(left > 1_000, "too little was left for the intake to have stopped: {left}");
    stage.until_committed(KIND, jobs.len(), LIMIT).await;
    let effects = effects(&stage.pool, KIND).await;
    assert_one_effect_each(&effects, &jobs);
    assert!(out_of_order(&effects).is_empty(), "{:?}", out_of_order(&effects));
    first.terminate().await;
}
