//! When all has been delivered: the figures, and that nothing is delivered again.

use serde_json::{Value, json};

use super::JOB;
use crate::harness::until;
use crate::stage::{SOON, Stage, with};

pub(super) async fn the_figures_are_those_of_what_was_delivered(stage: &Stage) {
    stage.until_quiet(2_000).await;
    let delivered = stage
        .rows(
            "SELECT campaign_id, COUNT(*) FROM user_rewards WHERE delivered_at_ms IS NOT NULL
             GROUP BY campaign_id ORDER BY campaign_id",
        )
        .await;
    assert!(delivered.len() > 5, "{delivered:?}");
    for granularity in ["hour", "day", "week", "month"] {
        let counted = format!(
            "SELECT campaign_id, CAST(SUM(rewards_delivered) AS BIGINT),
                    MAX(total_rewards_delivered)
             FROM campaign_analytics WHERE granularity = '{granularity}'
             GROUP BY campaign_id HAVING SUM(rewards_delivered) > 0 ORDER BY campaign_id"
        );
        let counted = stage.rows(&counted).await;
        let expected: Vec<Vec<String>> = delivered
            .iter()
            .map(|row| vec![row[0].clone(), row[1].clone(), row[1].clone()])
            .collect();
        assert_eq!(counted, expected, "by {granularity}");
    }
    // The rebuild counts them from the same rows, and the events that were refused nowhere; a
    // campaign that has no event is not told of.
    let figures = "SELECT campaign_id, granularity, time_ms, rewards_earned, rewards_delivered,
            total_rewards_earned, total_rewards_delivered
        FROM campaign_analytics
        WHERE rewards_earned + rewards_delivered > 0 AND total_rewards_earned > 0 ORDER BY 1, 2, 3";
    let before = stage.rows(figures).await;
    stage.execute("DELETE FROM campaign_analytics".to_owned()).await;
    stage.execute("DELETE FROM event_records WHERE event_type = 'reward.earned'".to_owned()).await;
    let rebuild = json!({
        "topic": "waitlist.events.reward.earned", "from": "earliest",
        "handler": "analytics-rebuild",
    });
    run_replay(stage, &rebuild).await;
    stage.until_quiet(2_000).await;
    let after = stage.rows(figures).await;
    let gone: Vec<_> = before.iter().filter(|row| !after.contains(row)).collect();
    let new: Vec<_> = after.iter().filter(|row| !before.contains(row)).collect();
    assert!(gone.is_empty() && new.is_empty(), "gone: {gone:?}, new: {new:?}");
}

async fn run_replay(stage: &Stage, request: &Value) {
    let answer = stage.jobgate.post("/admin/replays", request).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let path = format!("/admin/replays/{}", answer.json()["id"].as_str().expect("an id"));
    until("the replay is over", SOON * 2, async || {
        let replay = stage.jobgate.get(&path).await.json();
        (replay["state"] == "completed").then_some(())
    })
    .await;
}

/// Neither by a new job for each, nor by the topic that runs once more with all its effects.
pub(super) async fn nothing_is_delivered_again(stage: &Stage) {
    let delivered = "SELECT id, delivered_at_ms, delivery_attempts FROM user_rewards
        WHERE status = 'delivered' ORDER BY id";
    let mails = "SELECT COUNT(*) FROM schedule
        WHERE type_name IN ('email.reward-earned', 'webhook.delivery')";
    let redeemed = "UPDATE user_rewards SET status = 'redeemed' WHERE id =
        (SELECT MIN(id) FROM user_rewards WHERE status = 'delivered')";
    stage.execute(redeemed.to_owned()).await;
    let before = (stage.rows(delivered).await, stage.number(mails).await);
    let all = "SELECT id FROM user_rewards WHERE status IN ('delivered', 'redeemed')";
    let mut jobs = Vec::new();
    for row in stage.rows(all).await {
        let payload = with(json!({"retry_attempt": 1}), json!({"user_reward_id": row[0]}));
        jobs.push(stage.enqueue(JOB, &payload).await);
    }
    stage.until_quiet(jobs.len()).await;
    let again = json!({"topic": JOB, "from": "earliest", "effects": "again"});
    run_replay(stage, &again).await;
    stage.until_quiet(jobs.len()).await;
    assert_eq!((stage.rows(delivered).await, stage.number(mails).await), before);
    let path = format!("/admin/dlq?type={JOB}&state=open");
    let letters = stage.jobgate.get(&path).await.json();
    let letters = letters["items"].as_array().expect("items").clone();
    // Those of users and rewards that nobody knows.
    for letter in letters {
        let class = letter["error"]["class"].as_str().expect("a class");
        assert!(["unknown_user_reward", "unknown_user"].contains(&class), "{letter}");
    }
}
