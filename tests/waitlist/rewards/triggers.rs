//! What earns a reward: each trigger, and an event that says so.

use serde_json::json;

use super::{
    AT, AT_MS, JOB, claimed, earned, following, granted, ids_of, mail_of, until_claimed, user,
};
use crate::harness::uuid;
use crate::stage::{Stage, referral, signup, verified};

/// Four friends who do not confirm, where that is not asked for.
pub(super) async fn referrals_earn_one_for_each_so_many(stage: &Stage) {
    let campaign = stage.campaign(&[("verification_required", 0)]).await;
    let trigger = [
        ("trigger_type", "referral_count"),
        ("trigger_value", "2"),
        ("user_limit", "2"),
        ("name", "Two friends"),
        ("description", "Fifty days of it."),
    ];
    let reward = stage.reward(&campaign, &trigger).await;
    let ada = uuid();
    stage.publish("user.signup", &signup(&campaign, &ada, "ada@example.com", AT)).await;
    for _ in 0..7 {
        stage.publish("referral.created", &referral(&campaign, &ada, &uuid(), AT)).await;
    }
    for ordinal in [1, 2] {
        let text = mail_of(stage, &granted(&ada, &reward, ordinal), (&campaign, &ada)).await;
        assert!(text.contains("Two friends") && text.contains("Fifty days of it."), "{text}");
    }
    let all =
        format!("SELECT COUNT(*) FROM waitlist_users WHERE id = '{ada}' AND referral_count = 7");
    stage.until_number("all are counted", &all, 1).await;
    assert_eq!((ids_of(stage, &reward).await.len(), claimed(stage, &reward).await), (2, 2));
}

/// One friend who confirms, where that is asked for, and one who does not.
pub(super) async fn a_milestone_earns_its_reward_and_the_campaigns_own_earn_theirs(stage: &Stage) {
    let campaign = stage.campaign(&[]).await;
    let of_one = [("trigger_type", "milestone"), ("trigger_value", "1")];
    let (one, two) = (stage.reward(&campaign, &of_one).await, {
        let of_two = [("trigger_type", "milestone"), ("trigger_value", "2")];
        stage.reward(&campaign, &of_two).await
    });
    // Each of the campaign's milestones: 1, 5 and so on.
    let each = [("trigger_type", "milestone"), ("user_limit", "9")];
    let each = stage.reward(&campaign, &each).await;
    let (ada, friend) = (uuid(), uuid());
    stage.publish("user.signup", &signup(&campaign, &ada, "ada@example.com", AT)).await;
    stage.publish("referral.created", &referral(&campaign, &ada, &friend, AT)).await;
    stage.publish("referral.created", &referral(&campaign, &ada, &uuid(), AT)).await;
    let counted =
        format!("SELECT COUNT(*) FROM waitlist_users WHERE id = '{ada}' AND referral_count = 2");
    stage.until_number("two are referred", &counted, 1).await;
    assert!(ids_of(stage, &one).await.is_empty(), "nobody has confirmed");
    stage.publish("user.verified", &verified(&campaign, &friend, AT)).await;
    for reward in [&one, &each] {
        mail_of(stage, &granted(&ada, reward, 1), (&campaign, &ada)).await;
        assert_eq!(ids_of(stage, reward).await.len(), 1);
    }
    assert!(ids_of(stage, &two).await.is_empty());
}

pub(super) async fn referrals_that_came_before_the_signup_earn_theirs_with_it(stage: &Stage) {
    let campaign = stage.campaign(&[("verification_required", 0)]).await;
    let trigger = [("trigger_type", "referral_count"), ("trigger_value", "1")];
    let reward = stage.reward(&campaign, &trigger).await;
    let (ada, friend) = (uuid(), uuid());
    stage.publish("referral.created", &referral(&campaign, &ada, &friend, AT)).await;
    let pair = format!("SELECT COUNT(*) FROM referrals WHERE referrer_id = '{ada}'");
    stage.until_number("the pair is there", &pair, 1).await;
    assert!(ids_of(stage, &reward).await.is_empty());
    stage.publish("user.signup", &signup(&campaign, &ada, "ada@example.com", AT)).await;
    mail_of(stage, &granted(&ada, &reward, 1), (&campaign, &ada)).await;
}

pub(super) async fn those_in_front_earn_theirs(stage: &Stage) {
    let campaign = stage.campaign(&[]).await;
    let trigger = [("trigger_type", "position"), ("trigger_value", "2")];
    let reward = stage.reward(&campaign, &trigger).await;
    let mut users = Vec::new();
    for second in ["1", "2", "3"] {
        users.push(user(stage, &campaign, &[("created_at_ms", second)]).await);
    }
    let late = uuid();
    let signup = signup(&campaign, &late, "late@example.com", AT);
    stage.publish("user.signup", &signup).await;
    for user in &users[..2] {
        mail_of(stage, &granted(user, &reward, 1), (&campaign, user)).await;
    }
    assert_eq!(ids_of(stage, &reward).await.len(), 2);
    // Whoever comes to the front later gets one too.
    let in_front =
        format!("UPDATE waitlist_users SET verified_referral_count = 9 WHERE id = '{late}'");
    stage.execute(in_front).await;
    stage.enqueue("position.recalculation", &json!({"campaign_id": campaign})).await;
    mail_of(stage, &granted(&late, &reward, 1), (&campaign, &late)).await;
    assert_eq!((ids_of(stage, &reward).await.len(), claimed(stage, &reward).await), (3, 3));
}

pub(super) async fn somebody_says_that_it_was_earned(stage: &Stage) {
    let campaign = stage.campaign(&[]).await;
    let (reward, id) = (stage.reward(&campaign, &[]).await, uuid());
    let ada = user(stage, &campaign, &[]).await;
    let event = stage.publish("reward.earned", &earned(&campaign, &ada, &reward, &id)).await;
    let text = mail_of(stage, &id, (&campaign, &ada)).await;
    assert!(text.contains("A mug"), "{text}");
    let row = format!(
        "SELECT user_id, reward_id, campaign_id, ordinal, is_counted, earned_at_ms,
                delivery_attempts, COALESCE(delivery_error, 'none')
         FROM user_rewards WHERE id = '{id}'"
    );
    let row = stage.rows(&row).await.remove(0);
    let expected = [&*ada, &*reward, &*campaign, "1", "1", AT_MS, "1", "none"];
    assert_eq!(row, expected);
    // The same under an id of its own: it was earned, and is delivered, once.
    let again = stage.publish("reward.earned", &earned(&campaign, &ada, &reward, &id)).await;
    until_claimed(stage, "event-processor", &again).await;
    for (cause, count) in [(&event, 1), (&again, 0)] {
        let delivery = following(cause, &format!("{JOB}/{id}"));
        let asked = format!("SELECT COUNT(*) FROM schedule WHERE id = '{delivery}'");
        assert_eq!(stage.number(&asked).await, count);
    }
    assert_eq!(claimed(stage, &reward).await, 1);
}

/// Until it is active: then the next thing that happens grants it.
pub(super) async fn what_is_paused_is_granted_to_nobody(stage: &Stage) {
    let campaign = stage.campaign(&[("verification_required", 0)]).await;
    let trigger =
        [("trigger_type", "referral_count"), ("trigger_value", "1"), ("status", "paused")];
    let reward = stage.reward(&campaign, &trigger).await;
    let ada = user(stage, &campaign, &[]).await;
    let refer = async || {
        let event =
            stage.publish("referral.created", &referral(&campaign, &ada, &uuid(), AT)).await;
        until_claimed(stage, "event-processor", &event).await;
    };
    refer().await;
    assert!(ids_of(stage, &reward).await.is_empty());
    stage.execute(format!("UPDATE rewards SET status = 'active' WHERE id = '{reward}'")).await;
    refer().await;
    mail_of(stage, &granted(&ada, &reward, 1), (&campaign, &ada)).await;
}

pub(super) async fn a_run_grants_so_many_and_asks_for_another(stage: &Stage) {
    const USERS: usize = 1_300;
    let campaign = stage.campaign(&[]).await;
    let trigger = [
        ("trigger_type", "position"),
        ("trigger_value", "1200"),
        ("delivery_method", "manual"),
        ("total_available", "1100"),
    ];
    let reward = stage.reward(&campaign, &trigger).await;
    stage.fill_list(&campaign, USERS).await;
    stage.enqueue("position.recalculation", &json!({"campaign_id": campaign})).await;
    let waiting = format!(
        "SELECT COUNT(*) FROM user_rewards WHERE reward_id = '{reward}' AND status = 'earned'
         AND delivery_attempts = 1"
    );
    stage.until_number("those in front have earned it", &waiting, 1_100).await;
    let in_front = format!(
        "SELECT COUNT(*) FROM user_rewards JOIN waitlist_users ON waitlist_users.id = user_id
         WHERE reward_id = '{reward}' AND position <= 1100"
    );
    assert_eq!((stage.number(&in_front).await, claimed(stage, &reward).await), (1_100, 1_100));
}
