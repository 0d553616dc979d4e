//! Long waits between two attempts.

use std::time::Duration;

use sqlx::Row as _;

use super::harness::until;
use super::rig::ledger::{
    assert_one_effect_each, attempts_now, count_effects, effects, executions_of,
};
use super::rig::plan::{Deed, KindPlan, Task};
use super::rig::stage::{Sent, Stage};

const KIND: &str = "patient";
/// How long anything may take that comes about by itself, on a busy machine.
const SOON: Duration = Duration::from_mins(1);

/// What is noted of a job: its attempts, and when the next one starts.
async fn noted(stage: &Stage, job: &Sent) -> Option<(i64, i64)> {
    let row = sqlx::query(
        "SELECT attempts, not_before_ms FROM attempts
         WHERE message_id = $1 AND is_open = 0 AND not_before_ms IS NOT NULL",
    )
    .bind(job.id.to_string())
    .fetch_optional(&stage.pool)
    .await
    .expect("a row or none")?;
    Some((row.get(0), row.get(1)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_wait_and_its_attempts_outlive_the_worker_and_hold_the_key() {
    let _turn = super::turn().await;
    let wait_ms = 10 * 60_000;
    let stage = Stage::new(vec![KindPlan { wait_ms, ..KindPlan::new(KIND) }]).await;
    let worker = stage.worker();
    let failing = stage.send(KIND, Task::new("k", 1).first(Deed::Retry, 1)).await;
    let behind = stage.send(KIND, Task::new("k", 2)).await;
    let before = until("its attempts are noted", SOON, async || noted(&stage, &failing).await);
    let before = before.await;
    assert_eq!(before.0, 1);
    let began_ms = executions_of(&stage.pool, KIND, failing.id).await[0].started_ms;
    let wait_ms = i64::try_from(wait_ms).expect("a few");
    // Up to a fifth shorter.
    assert!(before.1 >= began_ms + wait_ms * 8 / 10 && before.1 < began_ms + wait_ms + 5_000);
    worker.kill().await;

    let worker = stage.worker();
    let other = stage.send(KIND, Task::new("other", 1)).await;
    until("others run", SOON, async || {
        (count_effects(&stage.pool, KIND).await? == 1).then_some(())
    })
    .await;
    // The same partition's later records have come too: the worker has the whole of its topic.
    assert_eq!(noted(&stage, &failing).await, Some(before), "it waits as before");
    assert_eq!(executions_of(&stage.pool, KIND, failing.id).await.len(), 1);
    assert_eq!(executions_of(&stage.pool, KIND, behind.id).await.len(), 0, "its key waits");
    worker.kill().await;

    // Its time has come.
    sqlx::query("UPDATE attempts SET not_before_ms = 1 WHERE message_id = $1")
        .bind(failing.id.to_string())
        .execute(&stage.pool)
        .await
        .expect("a row");
    let worker = stage.worker();
    stage.until_committed(KIND, 3, SOON).await;
    let both = executions_of(&stage.pool, KIND, failing.id).await;
    assert_eq!(both.iter().map(|e| e.attempt).collect::<Vec<_>>(), [1, 2]);
    let all = effects(&stage.pool, KIND).await;
    assert_one_effect_each(&all, &[failing, behind, other]);
    let of_key: Vec<i64> = all.iter().filter(|e| e.key == "k").map(|e| e.number).collect();
    assert_eq!(of_key, [1, 2]);
    until("nothing is noted any more", SOON, async || {
        (attempts_now(&stage.pool).await == 0).then_some(())
    })
    .await;
    worker.terminate().await;
}
