//! Jobs that take long.

use std::time::Duration;

use super::harness::until;
use super::rig::ledger::{assert_one_effect_each, effects, executions, executions_of};
use super::rig::plan::{Deed, KindPlan, Plan, Task};
use super::rig::stage::Stage;

const KIND: &str = "plain";
/// How long anything may take that comes about by itself, on a busy machine.
const SOON: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_slower_than_the_poll_interval_keeps_its_partition() {
    let _turn = super::turn().await;
    let stage = Stage::new(vec![KindPlan::new(KIND)]).await;
    let poll_ms = 8_000_u64;
    let properties = vec![("max.poll.interval.ms".to_owned(), poll_ms.to_string())];
    let worker = stage.worker_of(&Plan { properties, ..stage.plan.clone() });
    let slow = stage.send(KIND, Task::new("slow", 1).taking(poll_ms + 6_000)).await;
    let behind = stage.send(KIND, Task::new("slow", 2)).await;
    stage.until_committed(KIND, 2, SOON).await;
    assert_one_effect_each(&effects(&stage.pool, KIND).await, &[slow, behind]);
    assert_eq!(executions(&stage.pool, KIND).await.len(), 2, "each ran once");
    let log = worker.log();
    assert_eq!(log.matches("partitions assigned").count(), 1, "{log}");
    assert!(!log.contains("partitions lost") && !log.contains("partitions revoked"), "{log}");
    worker.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_whose_time_is_over_is_told_so_and_tried_again() {
    let _turn = super::turn().await;
    let limit_ms = 700;
    let kind = KindPlan { timeout_ms: Some(limit_ms), ..KindPlan::new(KIND) };
    let stage = Stage::new(vec![kind]).await;
    let worker = stage.worker();
    let sent = stage.send(KIND, Task::new("k", 1).first(Deed::Hang, 1)).await;
    stage.until_committed(KIND, 1, SOON).await;
    let both = executions_of(&stage.pool, KIND, sent.id).await;
    let outcomes: Vec<_> = both.iter().map(|e| (e.attempt, e.outcome.as_deref())).collect();
    assert_eq!(outcomes, [(1, Some("cancelled")), (2, Some("done"))]);
    let took_ms = both[0].ended_ms.expect("it was told") - both[0].started_ms;
    let limit_ms = i64::try_from(limit_ms).expect("a few");
    assert!(took_ms >= limit_ms - 100 && took_ms < limit_ms + 3_000, "{took_ms} ms");
    assert!(both[1].started_ms >= both[0].started_ms + limit_ms, "one at a time");
    assert_one_effect_each(&effects(&stage.pool, KIND).await, &[sent]);
    worker.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_a_stop_does_not_wait_for_is_told_so_and_runs_elsewhere() {
    let _turn = super::turn().await;
    let stage = Stage::new(vec![KindPlan::new(KIND)]).await;
    let worker = stage.worker();
    let sent = stage.send(KIND, Task::new("k", 1).first(Deed::Hang, 1)).await;
    until("it runs", SOON, async || (executions(&stage.pool, KIND).await.len() == 1).then_some(()))
        .await;
    // Longer than the drain.
    worker.terminate().await;
    let left = executions_of(&stage.pool, KIND, sent.id).await;
    assert_eq!(left[0].outcome.as_deref(), Some("cancelled"));
    assert_eq!(stage.left(KIND, 1).await, 1, "it is not finished");
}
