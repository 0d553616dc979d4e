//! A worker that is killed in the middle of rewards, again and again: each that was earned is
//! delivered once, and none is lost.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use super::harness::{until, uuid};
use super::stage::{Kind, SOON, Stage, on_both_databases, referral, signup};

on_both_databases! { each_reward_is_delivered_once_whatever_is_killed }

/// Users who refer, and friends of each.
const USERS: usize = 100;
const FRIENDS: usize = 3;
/// Rewards that somebody says were earned.
const TOLD: usize = 60;
/// How many of those can be had.
const STOCK: usize = 40;
/// Times that the process is killed while it works.
const KILLS: usize = 4;
/// How long it waits for the right moment.
const PATIENCE: Duration = Duration::from_secs(15);
/// Events that are on their way at the same time.
const SENDERS: usize = 16;
const AT: &str = "2025-01-01T10:00:00Z";

async fn each_reward_is_delivered_once_whatever_is_killed(kind: Kind) {
    let mut stage = Stage::start_without_webhooks(kind).await;
    let campaign = stage.campaign(&[("verification_required", 0)]).await;
    let each = [("trigger_type", "referral_count"), ("trigger_value", "1"), ("user_limit", "2")];
    let each = stage.reward(&campaign, &each).await;
    let in_front =
        [("trigger_type", "position"), ("trigger_value", "50"), ("total_available", "45")];
    let in_front = stage.reward(&campaign, &in_front).await;
    let webhook = uuid();
    let told =
        [("total_available", "40"), ("delivery_method", "webhook"), ("webhook_id", &*webhook)];
    let told = stage.reward(&campaign, &told).await;
    let events = events(&campaign, &told);
    let accepted = Mutex::new(BTreeSet::new());
    let mut between = 0;
    for round in 1..=KILLS {
        let most = events.len() * round / (KILLS + 1);
        let publishing = async {
            publish(&stage, &events[..most], &accepted).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = publishing => {}
            // Where the test was too slow to see some, it kills an idle worker.
            _ = tokio::time::timeout(PATIENCE, until_some_are_on_their_way(&stage)) => {}
        }
        stage.jobgate.kill().await;
        between += i64::from(stage.number(UNDELIVERED).await > 0);
        stage.jobgate.start_again().await;
    }
    assert!(between > 0, "no kill came between the steps");
    publish(&stage, &events, &accepted).await;
    stage.until_quiet(events.len()).await;

    let count = async |reward: &str, status: &str| {
        let rows = format!(
            "SELECT COUNT(*) FROM user_rewards
             WHERE reward_id = '{reward}' AND status = '{status}' AND delivery_error IS NULL"
        );
        usize::try_from(stage.number(&rows).await).expect("a count")
    };
    assert_eq!(count(&each, "delivered").await, USERS * 2);
    assert_eq!(count(&told, "delivered").await, STOCK);
    assert_eq!(count(&in_front, "delivered").await, 45);
    let all = USERS * 2 + STOCK + 45;
    let rows = "SELECT COUNT(*) FROM user_rewards";
    assert_eq!(stage.number(rows).await, i64::try_from(all).expect("a count"));
    let claimed = "SELECT CAST(SUM(total_claimed) AS BIGINT) FROM rewards";
    assert_eq!(stage.number(claimed).await, i64::try_from(all).expect("a count"));
    once(&stage, all - STOCK).await;
    println!(
        "[rewards {kind:?}] events {} | killed {KILLS} times, {between} of them with rewards on their \
         way | {all} rewards, each delivered once",
        events.len()
    );
}

/// Each has one job that delivers it, and one mail or call that it is delivered by.
async fn once(stage: &Stage, mails: usize) {
    let count = async |sql: &str| usize::try_from(stage.number(sql).await).expect("a count");
    let asked = |name: &str| format!("SELECT COUNT(*) FROM schedule WHERE type_name = '{name}'");
    assert_eq!(count(&asked("reward.delivery")).await, mails + STOCK);
    assert_eq!(count(&asked("email.reward-earned")).await, mails);
    assert_eq!(count(&asked("webhook.delivery")).await, STOCK);
    let counted = "SELECT COUNT(*) FROM event_records WHERE event_type = 'reward.earned'";
    assert_eq!(count(counted).await, mails + STOCK);
    let sent = "SELECT COUNT(*) FROM sent_emails WHERE kind = 'reward-earned' AND outcome = 'sent'";
    assert_eq!(count(sent).await, mails);
    let attempts = "SELECT COUNT(*) FROM user_rewards WHERE delivery_attempts < 1";
    assert_eq!(count(attempts).await, 0);
    // What was written down as sent is in the outbox.
    let ids = stage.rows("SELECT message_id FROM sent_emails WHERE kind = 'reward-earned'").await;
    let ids: BTreeSet<String> = ids.into_iter().map(|mut row| row.remove(0)).collect();
    assert_eq!(ids.len(), mails);
    assert!(ids.iter().all(|id| stage.jobgate.mail_path(id).exists()));
    let figures = "SELECT CAST(SUM(rewards_delivered) AS BIGINT) FROM campaign_analytics
        WHERE granularity = 'hour'";
    assert_eq!(count(figures).await, mails + STOCK);
}

fn events(campaign: &str, told: &str) -> Vec<(&'static str, Value)> {
    let mut events = Vec::new();
    let users: Vec<String> = (0..USERS).map(|_| uuid()).collect();
    for (number, user) in users.iter().enumerate() {
        let email = format!("u{number}@example.com");
        events.push((number * 4, "user.signup", signup(campaign, user, &email, AT)));
        for friend in 0..FRIENDS {
            let payload = referral(campaign, user, &uuid(), AT);
            events.push((number * 4 + friend, "referral.created", payload));
        }
    }
    for number in 0..TOLD {
        let user = &users[number % USERS];
        let payload = json!({
            "campaign_id": campaign, "user_id": user, "reward_id": told,
            "user_reward_id": uuid(), "timestamp": AT,
        });
        events.push((number * 4 + 1, "reward.earned", payload));
    }
    events.sort_by_key(|(at, kind, _)| (*at, *kind));
    events.into_iter().map(|(_, kind, payload)| (kind, payload)).collect()
}

/// Publishes those that were not accepted yet.
async fn publish(
    stage: &Stage,
    events: &[(&'static str, Value)],
    accepted: &Mutex<BTreeSet<usize>>,
) {
    use futures_util::StreamExt as _;
    let open: Vec<usize> = {
        let accepted = accepted.lock().expect("whoever had it is well");
        (0..events.len()).filter(|number| !accepted.contains(number)).collect()
    };
    futures_util::stream::iter(open)
        .for_each_concurrent(SENDERS, |number| async move {
            let (kind, payload) = &events[number];
            // As a client does: an outcome that is unknown is sent once more, and happens once.
            until("the event is accepted", SOON, async || {
                let answer = stage.jobgate.try_post(&format!("/events/{kind}"), payload).await?;
                assert!([201, 503, 504].contains(&answer.status.as_u16()), "{}", answer.text);
                (answer.status == 201).then_some(())
            })
            .await;
            accepted.lock().expect("whoever had it is well").insert(number);
        })
        .await;
}

const UNDELIVERED: &str = "SELECT COUNT(*) FROM user_rewards WHERE status IN ('pending', 'earned')";

/// Some more are delivered, and others are granted and not delivered.
async fn until_some_are_on_their_way(stage: &Stage) {
    let delivered = "SELECT COUNT(*) FROM user_rewards WHERE status = 'delivered'";
    let before = stage.number(delivered).await;
    until("rewards are on their way", SOON, async || {
        let is_going_on = stage.number(delivered).await > before + 5;
        (is_going_on && stage.number(UNDELIVERED).await > 0).then_some(())
    })
    .await;
}
