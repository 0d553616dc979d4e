//! What is not to be had: dead letters that say why, and no reward.

use std::time::Duration;

use serde_json::json;

use super::{
    AT_MS, IN_2100_MS, JOB, claimed, delivery_of, earned, mail_of, put, until_status, user,
};
use crate::harness::{until, uuid};
use crate::stage::{SOON, Stage};

pub(super) async fn ten_are_left_and_thirty_want_them(stage: &Stage) {
    let campaign = stage.campaign(&[]).await;
    let reward = stage.reward(&campaign, &[("total_available", "10")]).await;
    let mut events = Vec::new();
    for _ in 0..30 {
        let user = user(stage, &campaign, &[]).await;
        events.push(("reward.earned", earned(&campaign, &user, &reward, &uuid())));
    }
    let ids = futures_util::future::join_all(
        events.iter().map(|(event, payload)| stage.publish(event, payload)),
    )
    .await;
    let letters = until("twenty dead letters", SOON, async || {
        let path = "/admin/dlq?type=reward.earned&limit=500";
        let letters = stage.jobgate.get(path).await.json();
        let mut letters = letters["items"].as_array().expect("items").clone();
        letters.retain(|letter| ids.iter().any(|id| letter["message_id"] == **id));
        (letters.len() == 20).then_some(letters)
    })
    .await;
    for letter in letters {
        assert_eq!(letter["error"]["class"], "sold_out", "{letter}");
        assert_eq!(letter["attempts"], 1, "{letter}");
    }
    let delivered = format!(
        "SELECT COUNT(*) FROM user_rewards WHERE reward_id = '{reward}' AND status = 'delivered'"
    );
    stage.until_number("ten are delivered", &delivered, 10).await;
    assert_eq!(claimed(stage, &reward).await, 10);
    let counted = format!(
        "SELECT COUNT(*) FROM event_records
         WHERE campaign_id = '{campaign}' AND event_type = 'reward.earned'"
    );
    assert_eq!(stage.number(&counted).await, 10, "what was refused counts nowhere");
}

pub(super) async fn what_is_not_to_be_had_is_a_dead_letter(stage: &Stage) {
    let campaign = stage.campaign(&[]).await;
    let (other, ada) = (stage.campaign(&[]).await, user(stage, &campaign, &[]).await);
    let columns: [(&str, &[(&str, &str)]); 5] = [
        ("reward_not_active", &[("status", "paused")]),
        ("reward_not_active", &[("status", "ended")]),
        ("reward_not_started", &[("starts_at_ms", IN_2100_MS)]),
        ("reward_expired", &[("expires_at_ms", AT_MS)]),
        ("sold_out", &[("total_available", "3"), ("total_claimed", "3")]),
    ];
    let mut cases = Vec::new();
    for (class, columns) in columns {
        let reward = stage.reward(&campaign, columns).await;
        cases.push((class, earned(&campaign, &ada, &reward, &uuid())));
    }
    let reward = stage.reward(&campaign, &[]).await;
    let of_other = stage.reward(&other, &[]).await;
    cases.push(("reward_of_another_campaign", earned(&campaign, &ada, &of_other, &uuid())));
    cases.push(("user_of_another_campaign", earned(&other, &ada, &of_other, &uuid())));
    let id = uuid();
    stage.publish("reward.earned", &earned(&campaign, &ada, &reward, &id)).await;
    until_status(stage, &id, "delivered").await;
    let (grace, of_grace) = (uuid(), uuid());
    put(stage, &of_grace, (&grace, &reward, &campaign), "pending").await;
    cases.push(("reward_of_another_campaign", earned(&other, &grace, &reward, &of_grace)));
    cases.push(("user_limit_reached", earned(&campaign, &ada, &reward, &uuid())));
    cases.push(("user_reward_taken", earned(&campaign, &uuid(), &reward, &id)));
    for (class, payload) in cases {
        let event = stage.publish("reward.earned", &payload).await;
        let letter = stage.dead_letter(&event).await;
        assert_eq!((&letter["error"]["class"], &letter["attempts"]), (&json!(class), &json!(1)));
        let counted = format!("SELECT COUNT(*) FROM event_records WHERE message_id = '{event}'");
        assert_eq!(stage.number(&counted).await, 0, "{class}");
    }
    assert_eq!(claimed(stage, &reward).await, 1);
}

/// These take as long as the attempts: side by side.
pub(super) async fn whoever_is_not_known_is_waited_for_and_then_a_dead_letter(stage: &Stage) {
    let campaign = stage.campaign(&[]).await;
    let (reward, later, ada) =
        (stage.reward(&campaign, &[]).await, uuid(), user(stage, &campaign, &[]).await);
    let (id, of_later) = (uuid(), uuid());
    let no_reward =
        stage.publish("reward.earned", &earned(&campaign, &uuid(), &uuid(), &uuid())).await;
    let on_its_way = earned(&campaign, &ada, &later, &of_later);
    stage.publish("reward.earned", &on_its_way).await;
    stage.publish("reward.earned", &earned(&campaign, &uuid(), &reward, &id)).await;
    let nothing = stage.enqueue(JOB, &json!({"user_reward_id": uuid()})).await;
    let first_attempt = Duration::from_millis(500);
    tokio::time::sleep(first_attempt).await;
    stage.reward(&campaign, &[("id", &later)]).await;
    mail_of(stage, &of_later, (&campaign, &ada)).await;
    for (job, class) in [(&no_reward, "unknown_reward"), (&nothing, "unknown_user_reward")] {
        let letter = stage.dead_letter(job).await;
        assert_eq!((&letter["error"]["class"], &letter["attempts"]), (&json!(class), &json!(5)));
    }
    let letter = stage.dead_letter(&delivery_of(stage, &id).await).await;
    assert_eq!(letter["error"]["class"], "unknown_user", "{letter}");
    let row = format!("SELECT status, delivery_attempts FROM user_rewards WHERE id = '{id}'");
    assert_eq!(stage.rows(&row).await, [["earned", "5"]], "it is not said to be delivered");
}
