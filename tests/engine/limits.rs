//! How many jobs run at once: by type, by the first field of the key, by process.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rig::ledger::{Execution, assert_one_effect_each, effects, executions, most_at_once};
use super::rig::plan::{KindPlan, Plan, Task};
use super::rig::stage::Stage;

/// How long anything may take that comes about by itself, on a busy machine.
const SOON: Duration = Duration::from_mins(1);

/// Jobs of so many campaigns in turn, each of a key of its own.
fn tasks(campaigns: i64, count: i64, ms: u64) -> impl Iterator<Item = Task> {
    (0..count).map(move |number| Task {
        campaign: format!("c{}", number % campaigns),
        ..Task::new(&format!("k{number}"), number).taking(ms)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_of_a_type_and_of_a_campaign_run_at_once_than_may() {
    let _turn = super::turn().await;
    let by_type = KindPlan { running: Some(3), ..KindPlan::new("by-type") };
    let by_campaign = KindPlan { running_per_prefix: Some(2), ..KindPlan::new("by-campaign") };
    let stage = Stage::new(vec![by_type, by_campaign]).await;
    let worker = stage.worker();
    let (typed, campaigns) = tokio::join!(
        stage.send_all("by-type", tasks(1, 60, 100)),
        stage.send_all("by-campaign", tasks(4, 120, 100)),
    );
    stage.until_committed("by-type", typed.len(), SOON).await;
    stage.until_committed("by-campaign", campaigns.len(), SOON).await;
    assert_one_effect_each(&effects(&stage.pool, "by-type").await, &typed);
    assert_one_effect_each(&effects(&stage.pool, "by-campaign").await, &campaigns);

    // As many as may, and never more: so the limit was felt.
    assert_eq!(most_at_once(&executions(&stage.pool, "by-type").await), 3);
    let all = executions(&stage.pool, "by-campaign").await;
    let mut by_campaign: BTreeMap<&str, Vec<&Execution>> = BTreeMap::new();
    for execution in &all {
        by_campaign.entry(&execution.campaign).or_default().push(execution);
    }
    assert_eq!(by_campaign.len(), 4);
    for (campaign, executions) in by_campaign {
        assert_eq!(most_at_once(executions), 2, "{campaign}");
    }
    assert!(most_at_once(&all) > 4, "campaigns run side by side");
    worker.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_takes_its_part_of_the_process_and_critical_jobs_go_on() {
    let _turn = super::turn().await;
    let critical = KindPlan { is_critical: true, ..KindPlan::new("critical") };
    let stage = Stage::new(vec![KindPlan::new("flood"), critical]).await;
    let slots = 8;
    let worker = stage.worker_of(&Plan { slots, ..stage.plan.clone() });
    // Some ten seconds of work for its part of the places.
    let flood = stage.send_all("flood", tasks(1, 120, 500)).await;
    let mut urgent = Vec::new();
    for task in tasks(1, 10, 10) {
        urgent.push(stage.send("critical", task).await);
        // One by one, each in the middle of the flood.
        stage.until_committed("critical", urgent.len(), SOON).await;
    }
    let still_left = stage.left("flood", flood.len()).await;
    assert!(still_left > 0, "the flood was over before the critical jobs were");
    stage.until_committed("flood", flood.len(), SOON).await;
    assert_one_effect_each(&effects(&stage.pool, "flood").await, &flood);
    assert_one_effect_each(&effects(&stage.pool, "critical").await, &urgent);

    let flooding = executions(&stage.pool, "flood").await;
    let hurried = executions(&stage.pool, "critical").await;
    assert_eq!(most_at_once(&flooding), slots - slots / 4, "a quarter is kept");
    assert!(most_at_once(flooding.iter().chain(&hurried)) <= slots);
    for (sent, execution) in urgent.iter().zip(&hurried) {
        let waited_ms = execution.started_ms - sent.receipt.produced_at_ms;
        assert!(waited_ms < 2_000, "a critical job waited {waited_ms} ms");
    }
    worker.terminate().await;
}
