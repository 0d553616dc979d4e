//! A worker that is frozen past its session and wakes up in the middle of another's work.

use std::time::Duration;

use super::harness::until;
use super::rig::ledger::{
    assert_one_effect_each, count_effects, effects, executions, out_of_order,
};
use super::rig::plan::{KindPlan, Task};
use super::rig::stage::Stage;

const KIND: &str = "shared";
/// How long anything may take that comes about by itself, on a busy machine.
const SOON: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_wakes_up_late_repeats_no_effect_and_skips_no_job() {
    let _turn = super::turn().await;
    let stage = Stage::new(vec![KindPlan::new(KIND)]).await;
    let sleeper = stage.worker();
    let tasks = |from: i64, to: i64| {
        (from..to).map(|number| Task::new(&format!("k{}", number % 40), number).taking(40))
    };
    let mut jobs = stage.send_all(KIND, tasks(0, 800)).await;
    until("it is in the middle of it", SOON, async || {
        (count_effects(&stage.pool, KIND).await? >= 100).then_some(())
    })
    .await;
    sleeper.freeze();
    let done = count_effects(&stage.pool, KIND).await.expect("the database is there");
    assert!(done < 700, "it was frozen too late: {done}");
    let other = stage.worker();
    until("another one takes over", SOON, async || {
        (count_effects(&stage.pool, KIND).await? >= done + 200).then_some(())
    })
    .await;
    sleeper.thaw();
    jobs.extend(stage.send_all(KIND, tasks(800, 1_000)).await);
    stage.until_committed(KIND, jobs.len(), SOON).await;
    // Both are there, and what the one has left the other had.
    let all = effects(&stage.pool, KIND).await;
    assert_one_effect_each(&all, &jobs);
    assert!(out_of_order(&all).is_empty(), "{:?}", out_of_order(&all));
    let executions = executions(&stage.pool, KIND).await;
    let repeated = executions.len() - jobs.len();
    assert!(repeated > 0, "jobs ran while it was frozen");
    until("the sleeper has noticed", SOON, async || {
        sleeper.log().contains("partitions lost").then_some(())
    })
    .await;
    assert!(stage.letters().await.is_empty());
    sleeper.terminate().await;
    other.terminate().await;
    assert_eq!(stage.left(KIND, jobs.len()).await, 0, "no late commit went back");
}
