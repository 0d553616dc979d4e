//! The reward-workers: from what happens on a list to the mail or the call that a reward is
//! delivered by, for each trigger; what is not to be had; and that nothing is delivered twice.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uuid::Uuid;

use super::harness::uuid;
use super::stage::{Kind, Stage, on_both_databases};

mod afterwards;
mod deliveries;
mod refusals;
mod triggers;

on_both_databases! { rewards_are_earned_and_delivered_once }

const AT: &str = "2025-01-01T10:00:00Z";
const JOB: &str = "reward.delivery";
const AT_MS: &str = "1735725600000";
const IN_2100_MS: &str = "4102444800000";

/// One process for all, since each has a Kafka of its own: a campaign for each promise.
async fn rewards_are_earned_and_delivered_once(kind: Kind) {
    let stage = Stage::start_without_webhooks(kind).await;
    tokio::join!(
        triggers::referrals_earn_one_for_each_so_many(&stage),
        triggers::a_milestone_earns_its_reward_and_the_campaigns_own_earn_theirs(&stage),
        triggers::referrals_that_came_before_the_signup_earn_theirs_with_it(&stage),
        triggers::those_in_front_earn_theirs(&stage),
        triggers::somebody_says_that_it_was_earned(&stage),
        deliveries::a_pending_row_that_somebody_put_there_is_delivered(&stage),
        deliveries::a_reward_waits_for_the_signup(&stage),
        deliveries::a_webhook_is_told(&stage),
        deliveries::a_person_delivers_it(&stage),
    );
    tokio::join!(
        refusals::ten_are_left_and_thirty_want_them(&stage),
        refusals::what_is_not_to_be_had_is_a_dead_letter(&stage),
        refusals::whoever_is_not_known_is_waited_for_and_then_a_dead_letter(&stage),
        deliveries::what_cannot_be_delivered_is_a_dead_letter_and_says_why(&stage),
        deliveries::what_was_revoked_or_has_expired_is_not_delivered(&stage),
        deliveries::who_is_blocked_gets_it_later(&stage),
        triggers::what_is_paused_is_granted_to_nobody(&stage),
    );
    triggers::a_run_grants_so_many_and_asks_for_another(&stage).await;
    afterwards::the_figures_are_those_of_what_was_delivered(&stage).await;
    afterwards::nothing_is_delivered_again(&stage).await;
}

fn earned(campaign: &str, user: &str, reward: &str, id: &str) -> Value {
    json!({
        "campaign_id": campaign, "user_id": user, "reward_id": reward, "user_reward_id": id,
        "timestamp": AT,
    })
}

/// The id of what a trigger grants.
fn granted(user: &str, reward: &str, ordinal: i64) -> String {
    let user = Uuid::parse_str(user).expect("an id");
    Uuid::new_v5(&user, format!("reward/{reward}/{ordinal}").as_bytes()).to_string()
}

/// A user on the list, straight from SQL.
async fn user(stage: &Stage, campaign: &str, columns: &[(&str, &str)]) -> String {
    let id = uuid();
    let email = format!("{id}@example.com");
    let given = [
        ("id", &*id),
        ("campaign_id", campaign),
        ("email", &*email),
        ("email_key", &*email),
        ("status", "verified"),
        ("referral_code", &*id),
        ("verification_token", "t"),
        ("source", "direct"),
        ("created_at_ms", "0"),
    ];
    let mut row: BTreeMap<&str, &str> = given.into_iter().collect();
    row.extend(columns.iter().copied());
    let names: Vec<&str> = row.keys().copied().collect();
    let values: Vec<String> = row.values().map(|value| format!("'{value}'")).collect();
    let (names, values) = (names.join(", "), values.join(", "));
    stage.execute(format!("INSERT INTO waitlist_users ({names}) VALUES ({values})")).await;
    id
}

async fn until_status(stage: &Stage, id: &str, status: &str) {
    let row =
        format!("SELECT COUNT(*) FROM user_rewards WHERE id = '{id}' AND status = '{status}'");
    stage.until_number(&format!("{id} is {status}"), &row, 1).await;
}

async fn error_of(stage: &Stage, id: &str) -> String {
    let row = format!("SELECT delivery_error FROM user_rewards WHERE id = '{id}'");
    stage.rows(&row).await.remove(0).remove(0)
}

async fn claimed(stage: &Stage, reward: &str) -> i64 {
    stage.number(&format!("SELECT total_claimed FROM rewards WHERE id = '{reward}'")).await
}

/// The id of a job that a job asked for.
fn following(cause: &str, name: &str) -> String {
    let cause = Uuid::parse_str(cause).expect("an id");
    Uuid::new_v5(&cause, name.as_bytes()).to_string()
}

/// The id of the job by which the event that earned this delivers it.
async fn delivery_of(stage: &Stage, id: &str) -> String {
    let event = format!(
        "SELECT message_id FROM event_records WHERE event_type = 'reward.earned' AND subject = '{id}'"
    );
    following(&stage.rows(&event).await[0][0], &format!("{JOB}/{id}"))
}

/// Waits until this one is delivered, and for the mail of it, in the outbox.
async fn mail_of(stage: &Stage, id: &str, (campaign, user): (&str, &str)) -> String {
    until_status(stage, id, "delivered").await;
    let delivery = delivery_of(stage, id).await;
    mailed_by(stage, &delivery, (campaign, user)).await
}

async fn mailed_by(stage: &Stage, delivery: &str, (campaign, user): (&str, &str)) -> String {
    let mail = following(delivery, &format!("email.reward-earned/{campaign}_{user}"));
    let mail = stage.jobgate.mail(&mail).await;
    mail_parser::MessageParser::default()
        .parse(&mail)
        .and_then(|mail| mail.body_text(0).map(std::borrow::Cow::into_owned))
        .expect("a mail with a text")
}

async fn ids_of(stage: &Stage, reward: &str) -> Vec<String> {
    let rows = format!("SELECT id FROM user_rewards WHERE reward_id = '{reward}' ORDER BY ordinal");
    stage.rows(&rows).await.into_iter().map(|mut row| row.remove(0)).collect()
}

async fn until_claimed(stage: &Stage, scope: &str, id: &str) {
    let claim =
        format!("SELECT COUNT(*) FROM claims WHERE scope = '{scope}' AND message_id = '{id}'");
    stage.until_number(&format!("{id} has run"), &claim, 1).await;
}

async fn put(stage: &Stage, id: &str, of: (&str, &str, &str), status: &str) {
    let (user, reward, campaign) = of;
    stage
        .execute(format!(
            "INSERT INTO user_rewards (id, user_id, reward_id, campaign_id, status)
             VALUES ('{id}', '{user}', '{reward}', '{campaign}', '{status}')"
        ))
        .await;
}

async fn replay(stage: &Stage, letter: &Value) {
    let path = format!("/admin/dlq/{}/{}/replay", letter["partition"], letter["offset"]);
    let answer = stage.jobgate.post(&path, &json!({})).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
}
