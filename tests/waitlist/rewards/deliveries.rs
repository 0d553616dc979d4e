//! How a reward comes to whoever has earned it, and what stands in its way.

use serde_json::{Value, json};

use super::{
    AT, AT_MS, JOB, claimed, delivery_of, earned, error_of, following, mail_of, mailed_by, put,
    replay, until_claimed, until_status, user,
};
use crate::harness::{until, uuid};
use crate::positions::read_all;
use crate::stage::{SOON, Stage, signup};

pub(super) async fn a_pending_row_that_somebody_put_there_is_delivered(stage: &Stage) {
    let campaign = stage.campaign(&[]).await;
    let reward = stage.reward(&campaign, &[("total_available", "1")]).await;
    let (ada, grace) = (user(stage, &campaign, &[]).await, user(stage, &campaign, &[]).await);
    let (id, too_many) = (uuid(), uuid());
    put(stage, &id, (&ada, &reward, &campaign), "pending").await;
    let job = stage.enqueue(JOB, &json!({"user_reward_id": id})).await;
    until_status(stage, &id, "delivered").await;
    mailed_by(stage, &job, (&campaign, &ada)).await;
    assert_eq!(claimed(stage, &reward).await, 1, "it is one of those that were to be had");
    // Nothing is left for the other one, until there is.
    put(stage, &too_many, (&grace, &reward, &campaign), "pending").await;
    let job = stage.enqueue(JOB, &json!({"user_reward_id": too_many})).await;
    let letter = stage.dead_letter(&job).await;
    assert_eq!(letter["error"]["class"], "sold_out", "{letter}");
    assert!(error_of(stage, &too_many).await.contains("sold_out: nothing is left"));
    let more = format!("UPDATE rewards SET total_available = 2 WHERE id = '{reward}'");
    stage.execute(more).await;
    replay(stage, &letter).await;
    until_status(stage, &too_many, "delivered").await;
    mailed_by(stage, &job, (&campaign, &grace)).await;
    assert_eq!(error_of(stage, &too_many).await, "");
}

pub(super) async fn a_reward_waits_for_the_signup(stage: &Stage) {
    let campaign = stage.campaign(&[]).await;
    let (reward, ada, id) = (stage.reward(&campaign, &[]).await, uuid(), uuid());
    stage.publish("reward.earned", &earned(&campaign, &ada, &reward, &id)).await;
    until(&format!("{id} waits"), SOON, async || {
        let row = format!("SELECT delivery_error FROM user_rewards WHERE id = '{id}'");
        let rows = stage.rows(&row).await;
        rows.first().filter(|row| row[0].starts_with("unknown_user: user")).map(|_| ())
    })
    .await;
    until_status(stage, &id, "earned").await;
    stage.publish("user.signup", &signup(&campaign, &ada, "ada@example.com", AT)).await;
    mail_of(stage, &id, (&campaign, &ada)).await;
    assert_eq!(error_of(stage, &id).await, "");
}

pub(super) async fn a_webhook_is_told(stage: &Stage) {
    let campaign = stage.campaign(&[]).await;
    let webhook = uuid();
    let by_webhook = [
        ("delivery_method", "webhook"),
        ("webhook_id", &*webhook),
        ("type", "discount"),
        ("description", "Ten percent"),
    ];
    let (reward, id) = (stage.reward(&campaign, &by_webhook).await, uuid());
    let ada = user(stage, &campaign, &[("first_name", "Ada"), ("position", "7")]).await;
    stage.publish("reward.earned", &earned(&campaign, &ada, &reward, &id)).await;
    until_status(stage, &id, "delivered").await;
    let delivery = delivery_of(stage, &id).await;
    let call = following(&delivery, &format!("webhook.delivery/{webhook}"));
    let sent = format!("SELECT COUNT(*) FROM schedule WHERE id = '{call}' AND state = 'sent'");
    stage.until_number("the call is in Kafka", &sent, 1).await;
    let brokers = stage.jobgate.brokers();
    let read = move || read_all(&brokers, "waitlist.webhook.delivery", 5);
    let calls = tokio::task::spawn_blocking(read).await.expect("it was read");
    let calls: Vec<&Value> = calls.iter().filter(|call| call["webhook_id"] == webhook).collect();
    let [call] = calls[..] else { panic!("one call: {calls:?}") };
    assert_eq!(call["event_type"], "reward.delivered");
    let payload = &call["payload"];
    let email = format!("{ada}@example.com");
    let expected = json!({
        "user": {
            "id": ada, "email": email, "first_name": "Ada", "last_name": null, "position": 7,
        },
        "reward": {
            "id": reward, "name": "A mug", "description": "Ten percent", "type": "discount",
        },
        "campaign": {"id": campaign, "name": "Example"},
        "user_reward": {
            "id": id, "ordinal": 1, "status": "delivered", "earned_at": "2025-01-01T10:00:00.000Z",
            "delivered_at": payload["user_reward"]["delivered_at"],
        },
    });
    assert_eq!(*payload, expected);
    assert!(payload["user_reward"]["delivered_at"].as_str().is_some_and(|at| at.ends_with('Z')));
    let mails = format!("SELECT COUNT(*) FROM sent_emails WHERE user_id = '{ada}'");
    assert_eq!(stage.number(&mails).await, 0);
}

pub(super) async fn a_person_delivers_it(stage: &Stage) {
    let campaign = stage.campaign(&[]).await;
    let reward = stage.reward(&campaign, &[("delivery_method", "manual")]).await;
    let (ada, id) = (uuid(), uuid());
    stage.publish("reward.earned", &earned(&campaign, &ada, &reward, &id)).await;
    until("it waits for a person", SOON, async || {
        let row =
            format!("SELECT COALESCE(delivery_error, '') FROM user_rewards WHERE id = '{id}'");
        let rows = stage.rows(&row).await;
        rows.first().filter(|row| row[0].starts_with("it waits for a person")).map(|_| ())
    })
    .await;
    until_claimed(stage, "reward-workers", &delivery_of(stage, &id).await).await;
    until_status(stage, &id, "earned").await;
}

pub(super) async fn what_cannot_be_delivered_is_a_dead_letter_and_says_why(stage: &Stage) {
    let campaign = stage.campaign(&[]).await;
    let reward = stage.reward(&campaign, &[("delivery_method", "webhook")]).await;
    let (ada, id) = (user(stage, &campaign, &[]).await, uuid());
    stage.publish("reward.earned", &earned(&campaign, &ada, &reward, &id)).await;
    until_status(stage, &id, "earned").await;
    let letter = stage.dead_letter(&delivery_of(stage, &id).await).await;
    assert_eq!(letter["error"]["class"], "no_webhook", "{letter}");
    let row = format!("SELECT status, delivery_attempts FROM user_rewards WHERE id = '{id}'");
    assert_eq!(stage.rows(&row).await, [["earned", "1"]]);
    assert!(error_of(stage, &id).await.starts_with("no_webhook: reward "));
    let named = format!("UPDATE rewards SET webhook_id = '{}' WHERE id = '{reward}'", uuid());
    stage.execute(named).await;
    replay(stage, &letter).await;
    until_status(stage, &id, "delivered").await;
    assert_eq!(stage.rows(&row).await, [["delivered", "2"]]);
}

pub(super) async fn what_was_revoked_or_has_expired_is_not_delivered(stage: &Stage) {
    let campaign = stage.campaign(&[]).await;
    let ada = user(stage, &campaign, &[]).await;
    let reward = stage.reward(&campaign, &[("user_limit", "9")]).await;
    let over = stage.reward(&campaign, &[("expires_at_ms", AT_MS)]).await;
    let (revoked, late) = (uuid(), uuid());
    put(stage, &revoked, (&ada, &reward, &campaign), "revoked").await;
    put(stage, &late, (&ada, &over, &campaign), "earned").await;
    for (id, status, why) in [
        (&revoked, "revoked", "it was revoked before it was delivered"),
        (
            &late,
            "expired",
            "the reward expired at 2025-01-01T10:00:00.000Z, before it was delivered",
        ),
    ] {
        for _ in 0..2 {
            let job = stage.enqueue(JOB, &json!({"user_reward_id": id})).await;
            until_claimed(stage, "reward-workers", &job).await;
        }
        until_status(stage, id, status).await;
        assert_eq!(error_of(stage, id).await, why);
    }
    let mails = format!("SELECT COUNT(*) FROM sent_emails WHERE user_id = '{ada}'");
    assert_eq!(stage.number(&mails).await, 0);
}

pub(super) async fn who_is_blocked_gets_it_later(stage: &Stage) {
    let campaign = stage.campaign(&[]).await;
    let (reward, id) = (stage.reward(&campaign, &[]).await, uuid());
    let ada = user(stage, &campaign, &[("status", "blocked")]).await;
    put(stage, &id, (&ada, &reward, &campaign), "earned").await;
    let job = stage.enqueue(JOB, &json!({"user_reward_id": id})).await;
    until_claimed(stage, "reward-workers", &job).await;
    until_status(stage, &id, "earned").await;
    let why = "the user is blocked: it is delivered to nobody meanwhile";
    assert_eq!(error_of(stage, &id).await, why);
    stage
        .execute(format!("UPDATE waitlist_users SET status = 'verified' WHERE id = '{ada}'"))
        .await;
    let job = stage.enqueue(JOB, &json!({"user_reward_id": id})).await;
    until_status(stage, &id, "delivered").await;
    mailed_by(stage, &job, (&campaign, &ada)).await;
}
