//! The event-processor: what each event leaves in the tables, and which jobs it asks for, in
//! whatever order the events come and however often.

use serde_json::json;
use uuid::Uuid;

use super::harness::uuid;
use super::stage::{Kind, Stage, on_both_databases, referral, signup, verified, with};

on_both_databases! { events_become_rows_and_jobs }

const AT: &str = "2025-01-01T10:00:00.250Z";
const AT_MS: i64 = 1_735_725_600_250;

/// One process for all, since each has a Kafka of its own: a campaign for each promise.
async fn events_become_rows_and_jobs(kind: Kind) {
    let stage = Stage::start(kind).await;
    tokio::join!(
        a_signup_puts_the_user_on_the_list(&stage),
        a_campaign_that_nobody_has_set_up_is_there_from_its_first_event(&stage),
        without_verification_a_user_is_welcomed_at_once(&stage),
        a_verified_user_counts_for_the_referrer(&stage),
        the_order_of_the_events_changes_nothing(&stage),
        an_event_that_was_published_again_changes_nothing(&stage),
        a_milestone_is_mailed_once(&stage),
        an_address_or_a_code_that_is_taken_is_a_dead_letter(&stage),
        a_reward_is_written_down(&stage),
        a_user_of_another_campaign_is_a_dead_letter(&stage),
        what_a_rebuild_has_written_down_is_still_to_be_done(&stage),
        a_setting_that_nobody_can_read_is_a_dead_letter_and_no_outage(&stage),
    );
}

/// The jobs that an event has asked for, by type.
async fn jobs_of(stage: &Stage, event: &str, types: &[&str], key: &str) {
    for name in types {
        let key = if *name == "position.recalculation" {
            key.split('_').next().expect("a campaign")
        } else {
            key
        };
        let event = Uuid::parse_str(event).expect("an id");
        let id = Uuid::new_v5(&event, format!("{name}/{key}").as_bytes());
        let row =
            format!("SELECT COUNT(*) FROM schedule WHERE id = '{id}' AND type_name = '{name}'");
        stage.until_number(&format!("{name} of {event}"), &row, 1).await;
        stage
            .until_number(
                &format!("{name} of {event} is in Kafka"),
                &format!("SELECT COUNT(*) FROM schedule WHERE id = '{id}' AND state = 'sent'"),
                1,
            )
            .await;
    }
}

async fn jobs_count(stage: &Stage, campaign: &str, name: &str) -> i64 {
    // A job's key begins with its campaign; the schedule keeps keys as base64.
    let rows =
        stage.rows(&format!("SELECT record_key FROM schedule WHERE type_name = '{name}'")).await;
    let of_campaign = rows.iter().filter(|row| {
        let key = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, &row[0]);
        key.is_ok_and(|key| key.starts_with(campaign.as_bytes()))
    });
    i64::try_from(of_campaign.count()).expect("a count")
}

async fn until_listed(stage: &Stage, user: &str) {
    let row = format!("SELECT COUNT(*) FROM waitlist_users WHERE id = '{user}'");
    stage.until_number("the user is on the list", &row, 1).await;
}

async fn a_signup_puts_the_user_on_the_list(stage: &Stage) {
    let (campaign, user, friend) = (stage.campaign(&[]).await, uuid(), uuid());
    let payload = with(
        signup(&campaign, &user, "Ada+list@Example.com", AT),
        json!({
            "first_name": "Ada", "last_name": "Lovelace", "referral_code": "ADA",
            "referred_by_id": friend, "ip_address": "2001:db8::1", "user_agent": "Firefox",
            "device_fingerprint": "d1", "source": "referral", "metadata": {"colour": "red"},
        }),
    );
    let event = stage.publish("user.signup", &payload).await;
    until_listed(stage, &user).await;
    let row = stage
        .rows(&format!(
            "SELECT campaign_id, email, email_key, first_name, last_name, status, position,
                    referral_code, referred_by_id, referral_count, verified_referral_count,
                    email_verified, source, ip_address, user_agent, device_fingerprint,
                    created_at_ms
             FROM waitlist_users WHERE id = '{user}'"
        ))
        .await;
    let at_ms = AT_MS.to_string();
    let mut row = row[0].clone();
    // The position may be worked out by now.
    assert!(["-1", "1"].contains(&row.remove(6).as_str()));
    assert_eq!(
        row,
        [
            &campaign,
            "Ada+list@Example.com",
            "ada+list@example.com",
            "Ada",
            "Lovelace",
            "pending",
            "ADA",
            &friend,
            "0",
            "0",
            "0",
            "referral",
            "2001:db8::1",
            "Firefox",
            "d1",
            &at_ms,
        ]
    );
    let key = format!("{campaign}_{user}");
    let jobs = ["email.verification", "fraud.detection", "position.recalculation"];
    jobs_of(stage, &event, &jobs, &key).await;
    assert_eq!(jobs_count(stage, &campaign, "email.welcome").await, 0);
    let record = format!(
        "SELECT COUNT(*) FROM event_records WHERE event_type = 'user.signup' AND subject = '{user}'
         AND message_id = '{event}' AND at_ms = {AT_MS} AND hour_ms = {AT_MS} - 250"
    );
    assert_eq!(stage.number(&record).await, 1);
}

async fn a_campaign_that_nobody_has_set_up_is_there_from_its_first_event(stage: &Stage) {
    let (campaign, user) = (uuid(), uuid());
    stage.publish("user.signup", &signup(&campaign, &user, "ada@example.com", AT)).await;
    until_listed(stage, &user).await;
    let row = format!(
        "SELECT COUNT(*) FROM campaigns
         WHERE id = '{campaign}' AND verification_required = 1 AND status = 'active'"
    );
    assert_eq!(stage.number(&row).await, 1);
}

async fn without_verification_a_user_is_welcomed_at_once(stage: &Stage) {
    let campaign = stage.campaign(&[("verification_required", 0)]).await;
    let user = uuid();
    let event =
        stage.publish("user.signup", &signup(&campaign, &user, "ada@example.com", AT)).await;
    jobs_of(stage, &event, &["email.welcome"], &format!("{campaign}_{user}")).await;
    let confirmed = stage.publish("user.verified", &verified(&campaign, &user, AT)).await;
    jobs_of(stage, &confirmed, &["position.recalculation"], &campaign).await;
    assert_eq!(jobs_count(stage, &campaign, "email.welcome").await, 1, "and not once more");
    assert_eq!(jobs_count(stage, &campaign, "email.verification").await, 0);
}

async fn a_verified_user_counts_for_the_referrer(stage: &Stage) {
    let (campaign, referrer, user) = (stage.campaign(&[]).await, uuid(), uuid());
    stage.publish("user.signup", &signup(&campaign, &referrer, "grace@example.com", AT)).await;
    stage.publish("user.signup", &signup(&campaign, &user, "ada@example.com", AT)).await;
    until_listed(stage, &referrer).await;
    until_listed(stage, &user).await;
    let made = with(
        referral(&campaign, &referrer, &user, AT),
        json!({"source": "twitter", "ip_address": "203.0.113.9"}),
    );
    stage.publish("referral.created", &made).await;
    let counts = |all: i64, confirmed: i64| {
        format!(
            "SELECT COUNT(*) FROM waitlist_users WHERE id = '{referrer}'
             AND referral_count = {all} AND verified_referral_count = {confirmed}"
        )
    };
    stage.until_number("the referral counts", &counts(1, 0), 1).await;
    let pair = format!(
        "SELECT status, source, ip_address, campaign_id FROM referrals
         WHERE referrer_id = '{referrer}' AND referred_id = '{user}'"
    );
    assert_eq!(stage.rows(&pair).await, [["pending", "twitter", "203.0.113.9", &campaign]]);
    let row = format!(
        "SELECT COUNT(*) FROM waitlist_users
         WHERE id = '{user}' AND referred_by_id = '{referrer}' AND status = 'pending'"
    );
    assert_eq!(stage.number(&row).await, 1);
    let event = stage.publish("user.verified", &verified(&campaign, &user, AT)).await;
    stage.until_number("the verified referral counts", &counts(1, 1), 1).await;
    assert_eq!(stage.rows(&pair).await[0][0], "verified");
    let status = format!(
        "SELECT COUNT(*) FROM waitlist_users WHERE id = '{user}' AND status = 'verified'
         AND email_verified = 1 AND verified_at_ms = {AT_MS}"
    );
    assert_eq!(stage.number(&status).await, 1);
    let key = format!("{campaign}_{user}");
    jobs_of(stage, &event, &["email.welcome", "position.recalculation"], &key).await;
}

/// Events of two users, and of two topics, have no order.
async fn the_order_of_the_events_changes_nothing(stage: &Stage) {
    let (campaign, referrer, user) = (stage.campaign(&[]).await, uuid(), uuid());
    let of_kind = |kind: &str, subject: &str| {
        format!(
            "SELECT COUNT(*) FROM event_records
             WHERE event_type = '{kind}' AND subject = '{subject}'"
        )
    };
    stage.publish("user.verified", &verified(&campaign, &user, AT)).await;
    stage.until_number("it is on record", &of_kind("user.verified", &user), 1).await;
    stage.publish("referral.created", &referral(&campaign, &referrer, &user, AT)).await;
    let pair = format!("{referrer}:{user}");
    stage.until_number("it is on record", &of_kind("referral.created", &pair), 1).await;
    let event = stage.publish("user.signup", &signup(&campaign, &user, "a@example.com", AT)).await;
    stage.publish("user.signup", &signup(&campaign, &referrer, "g@example.com", AT)).await;
    until_listed(stage, &user).await;
    until_listed(stage, &referrer).await;
    let rows = stage
        .rows(&format!(
            "SELECT status, email_verified, verified_at_ms, referral_count,
                    verified_referral_count, COALESCE(referred_by_id, '')
             FROM waitlist_users WHERE campaign_id = '{campaign}' ORDER BY email"
        ))
        .await;
    let at_ms = AT_MS.to_string();
    let ada = ["verified", "1", &at_ms, "0", "0", &referrer];
    assert_eq!(rows[0], ada);
    assert_eq!(rows[1][..2], ["pending", "0"]);
    assert_eq!(rows[1][3..], ["1", "1", ""]);
    jobs_of(stage, &event, &["email.welcome"], &format!("{campaign}_{user}")).await;
    let asked = Uuid::new_v5(
        &Uuid::parse_str(&event).expect("an id"),
        format!("email.verification/{campaign}_{user}").as_bytes(),
    );
    let none = format!("SELECT COUNT(*) FROM schedule WHERE id = '{asked}'");
    assert_eq!(stage.number(&none).await, 0, "the address is confirmed");
}

async fn an_event_that_was_published_again_changes_nothing(stage: &Stage) {
    let (campaign, referrer, user) = (stage.campaign(&[]).await, uuid(), uuid());
    let events = [
        ("user.signup", signup(&campaign, &referrer, "grace@example.com", AT)),
        ("user.signup", signup(&campaign, &user, "ada@example.com", AT)),
        ("referral.created", referral(&campaign, &referrer, &user, AT)),
        ("user.verified", verified(&campaign, &user, AT)),
    ];
    let tables = async || {
        let users = format!(
            "SELECT id, status, referral_count, verified_referral_count, milestone, created_at_ms
             FROM waitlist_users WHERE campaign_id = '{campaign}' ORDER BY id"
        );
        let records = format!(
            "SELECT event_type, subject, message_id, at_ms FROM event_records
             WHERE campaign_id = '{campaign}' ORDER BY event_type, subject"
        );
        (stage.rows(&users).await, stage.rows(&records).await)
    };
    for (name, payload) in &events {
        stage.publish(name, payload).await;
    }
    let all = format!("SELECT COUNT(*) FROM event_records WHERE campaign_id = '{campaign}'");
    stage.until_number("all are on record", &all, 4).await;
    let mails = async || {
        let mut count = 0;
        for name in ["email.verification", "email.welcome", "email.milestone", "fraud.detection"] {
            count += jobs_count(stage, &campaign, name).await;
        }
        count
    };
    let (before, mails_before) = (tables().await, mails().await);
    let mut again = Vec::new();
    for (name, payload) in &events {
        again.push(stage.publish(name, payload).await);
    }
    for id in again {
        let claim = format!(
            "SELECT COUNT(*) FROM claims WHERE scope = 'event-processor' AND message_id = '{id}'"
        );
        stage.until_number("it was run", &claim, 1).await;
    }
    assert_eq!(tables().await, before);
    assert_eq!(mails().await, mails_before);
}

async fn a_milestone_is_mailed_once(stage: &Stage) {
    let campaign = stage.campaign(&[("verification_required", 0)]).await;
    stage
        .execute(format!("UPDATE campaigns SET milestones = '[2,3]' WHERE id = '{campaign}'"))
        .await;
    let referrer = uuid();
    stage.publish("user.signup", &signup(&campaign, &referrer, "grace@example.com", AT)).await;
    until_listed(stage, &referrer).await;
    let counted = |count: i64| {
        format!(
            "SELECT COUNT(*) FROM waitlist_users
             WHERE id = '{referrer}' AND referral_count = {count}"
        )
    };
    for (count, mails) in [(1, 0), (2, 1), (3, 2), (4, 2)] {
        let made = referral(&campaign, &referrer, &uuid(), AT);
        let event = stage.publish("referral.created", &made).await;
        stage.until_number("it counts", &counted(count), 1).await;
        jobs_of(stage, &event, &["position.recalculation"], &campaign).await;
        assert_eq!(jobs_count(stage, &campaign, "email.milestone").await, mails, "{count}");
    }
}

async fn an_address_or_a_code_that_is_taken_is_a_dead_letter(stage: &Stage) {
    let (campaign, other, user) = (stage.campaign(&[]).await, stage.campaign(&[]).await, uuid());
    let coded = |campaign: &str, user: &str, email: &str, code: &str| {
        with(signup(campaign, user, email, AT), json!({"referral_code": code}))
    };
    stage.publish("user.signup", &coded(&campaign, &user, "Ada@example.com", "ADA")).await;
    until_listed(stage, &user).await;
    let table = [
        (coded(&campaign, &uuid(), "ada@EXAMPLE.com", "B"), "email_taken"),
        (coded(&campaign, &uuid(), "b@example.com", "ADA"), "referral_code_taken"),
        (coded(&other, &user, "c@example.com", "C"), "user_of_another_campaign"),
    ];
    for (payload, class) in table {
        let id = stage.publish("user.signup", &payload).await;
        let letter = stage.dead_letter(&id).await;
        assert_eq!(letter["error"]["class"], class, "{letter}");
        assert_eq!(letter["attempts"], 1, "trying again cannot help");
    }
    // In another campaign the address is free.
    let elsewhere = uuid();
    stage.publish("user.signup", &coded(&other, &elsewhere, "ada@example.com", "ADA")).await;
    until_listed(stage, &elsewhere).await;
    let records = format!("SELECT COUNT(*) FROM event_records WHERE campaign_id = '{campaign}'");
    assert_eq!(stage.number(&records).await, 1, "what failed is not on record");
}

async fn a_reward_is_written_down(stage: &Stage) {
    let (campaign, user, reward) = (stage.campaign(&[]).await, uuid(), uuid());
    let offered = stage.reward(&campaign, &[]).await;
    let earned = json!({
        "campaign_id": campaign, "user_id": user, "reward_id": offered, "user_reward_id": reward,
        "timestamp": AT,
    });
    stage.publish("reward.earned", &earned).await;
    let record = format!(
        "SELECT COUNT(*) FROM event_records
         WHERE event_type = 'reward.earned' AND subject = '{reward}' AND user_id = '{user}'"
    );
    stage.until_number("it is on record", &record, 1).await;
}

async fn a_user_of_another_campaign_is_a_dead_letter(stage: &Stage) {
    let (campaign, other, user) = (stage.campaign(&[]).await, stage.campaign(&[]).await, uuid());
    stage.publish("user.signup", &signup(&campaign, &user, "ada@example.com", AT)).await;
    until_listed(stage, &user).await;
    let events = [
        ("user.verified", verified(&other, &user, AT)),
        ("referral.created", referral(&other, &user, &uuid(), AT)),
        ("referral.created", referral(&other, &uuid(), &user, AT)),
    ];
    for (name, payload) in events {
        let id = stage.publish(name, &payload).await;
        let letter = stage.dead_letter(&id).await;
        assert_eq!(letter["error"]["class"], "user_of_another_campaign", "{letter}");
    }
    stage.publish("user.verified", &verified(&campaign, &user, AT)).await;
    let row =
        format!("SELECT COUNT(*) FROM waitlist_users WHERE id = '{user}' AND status = 'verified'");
    stage.until_number("the right event is not lost by it", &row, 1).await;
}

/// A rebuild of the analytics may come across an event before the event-processor does.
async fn what_a_rebuild_has_written_down_is_still_to_be_done(stage: &Stage) {
    let (campaign, user) = (stage.campaign(&[]).await, uuid());
    stage.publish("user.signup", &signup(&campaign, &user, "ada@example.com", AT)).await;
    until_listed(stage, &user).await;
    let record = format!(
        "INSERT INTO event_records
             (event_type, subject, message_id, campaign_id, user_id, at_ms, hour_ms)
         VALUES ('user.verified', '{user}', '{user}', '{campaign}', '{user}', {AT_MS}, {AT_MS})"
    );
    stage.execute(record).await;
    let event = stage.publish("user.verified", &verified(&campaign, &user, AT)).await;
    let key = format!("{campaign}_{user}");
    jobs_of(stage, &event, &["email.welcome", "position.recalculation"], &key).await;
}

async fn a_setting_that_nobody_can_read_is_a_dead_letter_and_no_outage(stage: &Stage) {
    let (campaign, user) = (stage.campaign(&[]).await, uuid());
    stage.execute(format!("UPDATE campaigns SET milestones = '1,5' WHERE id = '{campaign}'")).await;
    let payload = signup(&campaign, &user, "ada@example.com", AT);
    let id = stage.publish("user.signup", &payload).await;
    let letter = stage.dead_letter(&id).await;
    assert_eq!(
        (&letter["error"]["class"], &letter["attempts"]),
        (&json!("invalid_row"), &json!(1))
    );
}
