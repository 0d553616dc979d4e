//! The reward-workers: from what happens on a list to the mail or the call that a reward is
//! delivered by, for each trigger; what is not to be had; and that nothing is delivered twice.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::harness::{until, uuid};
use super::positions::read_all;
use super::stage::{Kind, SOON, Stage, on_both_databases, referral, signup, verified, with};

on_both_databases! { rewards_are_earned_and_delivered_once }

const AT: &str = "2025-01-01T10:00:00Z";
const JOB: &str = "reward.delivery";
const AT_MS: &str = "1735725600000";
const IN_2100_MS: &str = "4102444800000";

/// One process for all, since each has a Kafka of its own: a campaign for each promise.
async fn rewards_are_earned_and_delivered_once(kind: Kind) {
    let stage = Stage::start_without_webhooks(kind).await;
    tokio::join!(
        referrals_earn_one_for_each_so_many(&stage),
        a_milestone_earns_its_reward_and_the_campaigns_own_earn_theirs(&stage),
        referrals_that_came_before_the_signup_earn_theirs_with_it(&stage),
        those_in_front_earn_theirs(&stage),
        somebody_says_that_it_was_earned(&stage),
        a_pending_row_that_somebody_put_there_is_delivered(&stage),
        a_reward_waits_for_the_signup(&stage),
        a_webhook_is_told(&stage),
        a_person_delivers_it(&stage),
    );
    tokio::join!(
        ten_are_left_and_thirty_want_them(&stage),
        what_is_not_to_be_had_is_a_dead_letter(&stage),
        whoever_is_not_known_is_waited_for_and_then_a_dead_letter(&stage),
        what_cannot_be_delivered_is_a_dead_letter_and_says_why(&stage),
        what_was_revoked_or_has_expired_is_not_delivered(&stage),
        who_is_blocked_gets_it_later(&stage),
        what_is_paused_is_granted_to_nobody(&stage),
    );
    a_run_grants_so_many_and_asks_for_another(&stage).await;
    the_figures_are_those_of_what_was_delivered(&stage).await;
    nothing_is_delivered_again(&stage).await;
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

/// Four friends who do not confirm, where that is not asked for.
async fn referrals_earn_one_for_each_so_many(stage: &Stage) {
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
async fn a_milestone_earns_its_reward_and_the_campaigns_own_earn_theirs(stage: &Stage) {
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

async fn referrals_that_came_before_the_signup_earn_theirs_with_it(stage: &Stage) {
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

async fn those_in_front_earn_theirs(stage: &Stage) {
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

async fn somebody_says_that_it_was_earned(stage: &Stage) {
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

async fn until_claimed(stage: &Stage, scope: &str, id: &str) {
    let claim =
        format!("SELECT COUNT(*) FROM claims WHERE scope = '{scope}' AND message_id = '{id}'");
    stage.until_number(&format!("{id} has run"), &claim, 1).await;
}

async fn a_pending_row_that_somebody_put_there_is_delivered(stage: &Stage) {
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

async fn a_reward_waits_for_the_signup(stage: &Stage) {
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

async fn a_webhook_is_told(stage: &Stage) {
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

async fn a_person_delivers_it(stage: &Stage) {
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

async fn ten_are_left_and_thirty_want_them(stage: &Stage) {
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

async fn what_is_not_to_be_had_is_a_dead_letter(stage: &Stage) {
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
async fn whoever_is_not_known_is_waited_for_and_then_a_dead_letter(stage: &Stage) {
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

async fn what_cannot_be_delivered_is_a_dead_letter_and_says_why(stage: &Stage) {
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

async fn what_was_revoked_or_has_expired_is_not_delivered(stage: &Stage) {
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

async fn who_is_blocked_gets_it_later(stage: &Stage) {
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

/// Until it is active: then the next thing that happens grants it.
async fn what_is_paused_is_granted_to_nobody(stage: &Stage) {
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

async fn a_run_grants_so_many_and_asks_for_another(stage: &Stage) {
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

async fn the_figures_are_those_of_what_was_delivered(stage: &Stage) {
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
async fn nothing_is_delivered_again(stage: &Stage) {
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
