//! The fraud-workers: from the signup over HTTP to what was found and the user who is blocked,
//! and back.

use serde_json::{Value, json};

use hickory_resolver::proto::rr::RecordType;

use super::dns::{Reply, Server as DnsServer};
use super::harness::{Options, uuid};
use super::stage::{Kind, Stage, on_both_databases, referral, signup, verified, with};

on_both_databases! {
    what_speaks_against_a_user_is_written_down_and_enough_of_it_blocks,
    a_domain_that_takes_no_mail_is_a_sign_where_the_dns_is_asked,
}

const AT: &str = "2025-01-01T10:00:00Z";
const LATER: &str = "2025-01-01T10:05:00Z";
/// An address of documentation; nobody has it.
const IP: &str = "203.0.113.7";

/// One process for all, since each has a Kafka of its own: a campaign for each promise.
async fn what_speaks_against_a_user_is_written_down_and_enough_of_it_blocks(kind: Kind) {
    let stage = Stage::start(kind).await;
    tokio::join!(
        a_throw_away_address_blocks_the_user(&stage),
        a_copy_of_the_referrer_counts_for_nobody(&stage),
        a_copy_that_came_first_is_found_when_the_original_comes(&stage),
        a_referral_that_comes_after_the_checks_is_checked(&stage),
        the_first_of_a_burst_are_of_it_and_an_office_is_not_blocked(&stage),
        every_account_of_a_device_is_blocked(&stage),
        programs_are_blocked_and_people_are_not(&stage),
        a_campaign_may_block_nobody(&stage),
    );
    tokio::join!(
        what_somebody_has_decided_stays_and_lets_a_user_in(&stage),
        who_was_let_in_by_hand_is_not_blocked_again(&stage),
        who_waits_no_more_is_left_alone(&stage),
        a_check_that_runs_again_leaves_the_same_rows(&stage),
        a_user_from_before_is_compared_as_well(&stage),
        a_user_who_is_not_there_is_a_dead_letter(&stage),
        what_would_block_everybody_is_refused(&stage),
    );
}

async fn a_domain_that_takes_no_mail_is_a_sign_where_the_dns_is_asked(kind: Kind) {
    let dns = DnsServer::start();
    dns.says("takes.community", RecordType::MX, &[Reply::Mail(vec!["mx.takes.community."])]);
    dns.says("refuses.community", RecordType::MX, &[Reply::Mail(vec!["."])]);
    dns.says("nowhere.community", RecordType::MX, &[Reply::NoSuchName]);
    dns.says("broken.community", RecordType::MX, &[Reply::Fault]);
    let args = ["--fraud-mx", "--dns-server", &dns.address.to_string()].map(str::to_owned);
    let options = Options { args: args.to_vec(), ..Options::default() };
    let stage = Stage::start_with(kind, options).await;
    let campaign = stage.campaign(&[]).await;
    for (domain, signs) in [("takes", 0), ("refuses", 1), ("nowhere", 1), ("broken", 0)] {
        let email = format!("ada.lovelace@{domain}.community");
        let user = join(&stage, &campaign, &email, json!({})).await;
        check(&stage, &campaign, &user).await;
        let found = format!(
            "SELECT COUNT(*) FROM fraud_detections WHERE user_id = '{user}'
             AND detection_type = 'fake_email' AND details LIKE '%no_mail_server%'"
        );
        assert_eq!(stage.number(&found).await, signs, "{domain}");
        until_status(&stage, &user, "pending").await;
    }
}

/// A user who is on the list by now.
async fn join(stage: &Stage, campaign: &str, email: &str, more: Value) -> String {
    join_at(stage, campaign, email, AT, more).await
}

async fn join_at(stage: &Stage, campaign: &str, email: &str, at: &str, more: Value) -> String {
    let user = uuid();
    let payload = with(signup(campaign, &user, email, at), more);
    let event = stage.publish("user.signup", &payload).await;
    until_run(stage, "event-processor", &event).await;
    user
}

async fn until_run(stage: &Stage, scope: &str, id: &str) {
    let claim =
        format!("SELECT COUNT(*) FROM claims WHERE scope = '{scope}' AND message_id = '{id}'");
    stage.until_number(&format!("{id} was run"), &claim, 1).await;
}

/// Checks a user now.
async fn check(stage: &Stage, campaign: &str, user: &str) {
    let payload = json!({
        "campaign_id": campaign, "user_id": user,
        "check_types": ["self_referral", "fake_email", "bot"],
    });
    let id = stage.enqueue("fraud.detection", &payload).await;
    until_run(stage, "fraud-workers", &id).await;
}

async fn until_status(stage: &Stage, user: &str, status: &str) {
    let row =
        format!("SELECT COUNT(*) FROM waitlist_users WHERE id = '{user}' AND status = '{status}'");
    stage.until_number(&format!("{user} is {status}"), &row, 1).await;
}

async fn status(stage: &Stage, user: &str) -> String {
    let rows = stage.rows(&format!("SELECT status FROM waitlist_users WHERE id = '{user}'")).await;
    rows[0][0].clone()
}

/// Waits for what was found of a user; in thousandths, since the rows are read as texts.
async fn until_found(stage: &Stage, user: &str, kind: &str, thousandths: i64) {
    let row = format!(
        "SELECT COUNT(*) FROM fraud_detections
         WHERE user_id = '{user}' AND detection_type = '{kind}'
           AND CAST(ROUND(confidence * 1000) AS BIGINT) = {thousandths}"
    );
    stage.until_number(&format!("{kind} {thousandths} of {user}"), &row, 1).await;
}

async fn found_count(stage: &Stage, user: &str) -> i64 {
    stage.number(&format!("SELECT COUNT(*) FROM fraud_detections WHERE user_id = '{user}'")).await
}

async fn until_counts(stage: &Stage, user: &str, counts: [i64; 2]) {
    let [all, verified] = counts;
    let row = format!(
        "SELECT COUNT(*) FROM waitlist_users
         WHERE id = '{user}' AND referral_count = {all} AND verified_referral_count = {verified}"
    );
    stage.until_number(&format!("{user} has referred {counts:?}"), &row, 1).await;
}

async fn a_throw_away_address_blocks_the_user(stage: &Stage) {
    let campaign = stage.campaign(&[]).await;
    let user = join(stage, &campaign, "ada@x.mailinator.com", json!({})).await;
    until_status(stage, &user, "blocked").await;
    let rows = stage
        .rows(&format!(
            "SELECT campaign_id, detection_type, status, details FROM fraud_detections
             WHERE user_id = '{user}'"
        ))
        .await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0][..3], [&*campaign, "fake_email", "pending"]);
    let details: Value = serde_json::from_str(&rows[0][3]).expect("JSON");
    let sign = &details["signs"][0];
    assert_eq!((&sign["sign"], &sign["confidence"]), (&json!("disposable"), &json!(0.95)));
    let why = sign["why"].as_str().expect("a sentence");
    assert!(why.contains("mailinator.com gives throw-away addresses"), "{why}");
    // The user has no place, whatever has worked one out before.
    let place =
        format!("SELECT COUNT(*) FROM waitlist_users WHERE id = '{user}' AND position = -1");
    stage.until_number("no place", &place, 1).await;
    // Who is blocked stays so when the address is confirmed.
    stage.publish("user.verified", &verified(&campaign, &user, LATER)).await;
    let confirmed = format!(
        "SELECT COUNT(*) FROM waitlist_users
         WHERE id = '{user}' AND email_verified = 1 AND status = 'blocked'"
    );
    stage.until_number("it is known that the address is confirmed", &confirmed, 1).await;
    // An ordinary user of the campaign has nothing to do with it.
    let other = join(stage, &campaign, "grace@gmail.com", json!({})).await;
    check(stage, &campaign, &other).await;
    assert_eq!((found_count(stage, &other).await, &*status(stage, &other).await), (0, "pending"));
}

async fn a_copy_of_the_referrer_counts_for_nobody(stage: &Stage) {
    let campaign = stage.campaign(&[]).await;
    let referrer = join(stage, &campaign, "ada.l@gmail.com", json!({})).await;
    let friend = join_at(stage, &campaign, "grace@gmail.com", LATER, json!({})).await;
    for (user, at) in [(&referrer, AT), (&friend, LATER)] {
        stage.publish("user.verified", &verified(&campaign, user, at)).await;
    }
    stage.publish("referral.created", &referral(&campaign, &referrer, &friend, LATER)).await;
    until_counts(stage, &referrer, [1, 1]).await;
    // The same mailbox, by dots, a tag and Gmail's other name.
    let copy = json!({ "referred_by_id": referrer });
    let copy = join_at(stage, &campaign, "a.dal+2@googlemail.com", LATER, copy).await;
    until_status(stage, &copy, "blocked").await;
    until_found(stage, &copy, "self_referral", 980).await;
    stage.publish("user.verified", &verified(&campaign, &copy, LATER)).await;
    let event =
        stage.publish("referral.created", &referral(&campaign, &referrer, &copy, LATER)).await;
    until_run(stage, "event-processor", &event).await;
    let pair = format!(
        "SELECT COUNT(*) FROM referrals
         WHERE referred_id = '{copy}' AND status = 'invalid' AND invalid_by_fraud = 1"
    );
    stage.until_number("the referral is invalid", &pair, 1).await;
    until_counts(stage, &referrer, [1, 1]).await;
    assert_eq!(status(stage, &referrer).await, "verified", "the first one keeps the place");
    assert_eq!((found_count(stage, &referrer).await, found_count(stage, &friend).await), (0, 0));
    // Places are those of the two who are left.
    let places = format!(
        "SELECT COUNT(*) FROM waitlist_users WHERE campaign_id = '{campaign}'
         AND ((id = '{referrer}' AND position = 1) OR (id = '{friend}' AND position = 2)
              OR (id = '{copy}' AND position = -1))"
    );
    stage.until_number("the places", &places, 3).await;
}

async fn a_copy_that_came_first_is_found_when_the_original_comes(stage: &Stage) {
    let campaign = stage.campaign(&[]).await;
    let original = uuid();
    let copy = json!({ "referred_by_id": original });
    let copy = join_at(stage, &campaign, "ada+2@shop.de", LATER, copy).await;
    stage.publish("referral.created", &referral(&campaign, &original, &copy, LATER)).await;
    check(stage, &campaign, &copy).await;
    assert_eq!(status(stage, &copy).await, "pending", "nobody is there to be compared with");
    stage.publish("user.signup", &signup(&campaign, &original, "ada@shop.de", AT)).await;
    until_status(stage, &copy, "blocked").await;
    until_counts(stage, &original, [0, 0]).await;
    assert_eq!(status(stage, &original).await, "pending");
}

async fn a_referral_that_comes_after_the_checks_is_checked(stage: &Stage) {
    let campaign = stage.campaign(&[("verification_required", 0)]).await;
    let same = json!({
        "ip_address": IP, "device_fingerprint": "d", "first_name": "Ada", "last_name": "Byron",
    });
    let one = join(stage, &campaign, "ada@shop.de", same.clone()).await;
    let two = join_at(stage, &campaign, "byron@mail.de", LATER, same).await;
    check(stage, &campaign, &two).await;
    assert_eq!(found_count(stage, &two).await, 0, "two users may share all that");
    stage.publish("referral.created", &referral(&campaign, &one, &two, LATER)).await;
    until_status(stage, &two, "blocked").await;
    until_found(stage, &two, "self_referral", 919).await;
    until_counts(stage, &one, [0, 0]).await;
    assert_eq!(status(stage, &one).await, "pending");
}

async fn the_first_of_a_burst_are_of_it_and_an_office_is_not_blocked(stage: &Stage) {
    let campaign = stage.campaign(&[]).await;
    let mut users = Vec::new();
    for number in 0..10 {
        let at = format!("2025-01-01T10:00:{number:02}Z");
        let more = json!({
            "ip_address": "198.51.100.3", "device_fingerprint": format!("laptop {number}"),
        });
        let email = format!("colleague{number}@office.de");
        users.push(join_at(stage, &campaign, &email, &at, more).await);
    }
    for user in &users {
        until_found(stage, user, "velocity", 300).await;
        assert_eq!(status(stage, user).await, "pending");
    }
    // From the same network an hour later.
    let more = json!({ "ip_address": "198.51.100.3" });
    let late = join_at(stage, &campaign, "late@office.de", "2025-01-01T11:00:00Z", more).await;
    check(stage, &campaign, &late).await;
    assert_eq!(found_count(stage, &late).await, 0);
    // What a person has confirmed makes those who come from there suspicious.
    let confirm =
        format!("UPDATE fraud_detections SET status = 'confirmed' WHERE user_id = '{}'", users[0]);
    stage.execute(confirm).await;
    check(stage, &campaign, &late).await;
    until_found(stage, &late, "suspicious_ip", 300).await;
    assert_eq!(status(stage, &users[1]).await, "pending", "and blocks no neighbour");
    // And is itself certain from the next check on.
    check(stage, &campaign, &users[0]).await;
    assert_eq!(status(stage, &users[0]).await, "blocked");
}

async fn every_account_of_a_device_is_blocked(stage: &Stage) {
    let campaign = stage.campaign(&[]).await;
    let joins = (0..10).map(|number| {
        let campaign = &campaign;
        async move {
            let at = format!("2025-01-01T10:{:02}:00Z", number * 6);
            // Within one /64, as one machine has it.
            let more = json!({
                "ip_address": format!("2001:db8:0:1::{number}"), "device_fingerprint": "farm",
            });
            join_at(stage, campaign, &format!("name{number}@shop.de"), &at, more).await
        }
    });
    let users = futures_util::future::join_all(joins).await;
    for user in &users {
        until_found(stage, user, "velocity", 900).await;
        until_status(stage, user, "blocked").await;
    }
}

async fn programs_are_blocked_and_people_are_not(stage: &Stage) {
    let campaign = stage.campaign(&[]).await;
    let table = [
        ("a@shop.de", json!({ "user_agent": "curl/8.5.0" }), 900),
        ("b@shop.de", json!({ "user_agent": "x HeadlessChrome/120 y" }), 950),
        ("c@shop.de", json!({ "metadata": { "honeypot": "http://spam.example" } }), 950),
    ];
    for (email, more, thousandths) in table {
        let user = join(stage, &campaign, email, more).await;
        until_found(stage, &user, "bot", thousandths).await;
        until_status(stage, &user, "blocked").await;
    }
    let library = join(stage, &campaign, "d@shop.de", json!({ "user_agent": "axios/1.6" })).await;
    until_found(stage, &library, "bot", 600).await;
    assert_eq!(status(stage, &library).await, "pending");
    let person = json!({ "user_agent": "Mozilla/5.0", "metadata": { "honeypot": "" } });
    let person = join(stage, &campaign, "e@shop.de", person).await;
    check(stage, &campaign, &person).await;
    assert_eq!(found_count(stage, &person).await, 0);
}

async fn a_campaign_may_block_nobody(stage: &Stage) {
    let campaign = stage.campaign(&[]).await;
    let off = format!("UPDATE campaigns SET fraud_block_threshold = NULL WHERE id = '{campaign}'");
    stage.execute(off).await;
    let user = join(stage, &campaign, "ada@mailinator.com", json!({})).await;
    until_found(stage, &user, "fake_email", 950).await;
    check(stage, &campaign, &user).await;
    assert_eq!(status(stage, &user).await, "pending");
    // With a threshold the next check blocks; without one it lets in again.
    let on = format!("UPDATE campaigns SET fraud_block_threshold = 0.5 WHERE id = '{campaign}'");
    stage.execute(on).await;
    check(stage, &campaign, &user).await;
    assert_eq!(status(stage, &user).await, "blocked");
    let off = format!("UPDATE campaigns SET fraud_block_threshold = NULL WHERE id = '{campaign}'");
    stage.execute(off).await;
    check(stage, &campaign, &user).await;
    assert_eq!(status(stage, &user).await, "pending");
}

async fn what_somebody_has_decided_stays_and_lets_a_user_in(stage: &Stage) {
    let campaign = stage.campaign(&[]).await;
    let referrer = join(stage, &campaign, "ada@shop.de", json!({})).await;
    let more = json!({ "referred_by_id": referrer });
    let user = join_at(stage, &campaign, "grace@mailinator.com", LATER, more).await;
    until_status(stage, &user, "blocked").await;
    stage.publish("referral.created", &referral(&campaign, &referrer, &user, LATER)).await;
    stage.publish("user.verified", &verified(&campaign, &user, LATER)).await;
    let confirmed =
        format!("SELECT COUNT(*) FROM waitlist_users WHERE id = '{user}' AND email_verified = 1");
    stage.until_number("the address is confirmed", &confirmed, 1).await;
    let pair = format!(
        "SELECT COUNT(*) FROM referrals WHERE referred_id = '{user}' AND status = 'invalid'"
    );
    stage.until_number("the referral is invalid", &pair, 1).await;
    until_counts(stage, &referrer, [0, 0]).await;
    // An operator looks at it: one decision, one check.
    let decision = format!(
        "UPDATE fraud_detections SET status = 'false_positive', updated_at_ms = 7
         WHERE user_id = '{user}'"
    );
    stage.execute(decision).await;
    check(stage, &campaign, &user).await;
    until_status(stage, &user, "verified").await;
    until_counts(stage, &referrer, [1, 1]).await;
    let place = format!("SELECT COUNT(*) FROM waitlist_users WHERE id = '{user}' AND position > 0");
    stage.until_number("a place again", &place, 1).await;
    // The next checks change neither.
    check(stage, &campaign, &user).await;
    assert_eq!(status(stage, &user).await, "verified");
    let row = format!(
        "SELECT COUNT(*) FROM fraud_detections
         WHERE user_id = '{user}' AND status = 'false_positive' AND updated_at_ms = 7"
    );
    assert_eq!(stage.number(&row).await, 1);
    // It was the address that was decided about: something else counts.
    stage.execute(format!("UPDATE waitlist_users SET honeypot = 1 WHERE id = '{user}'")).await;
    check(stage, &campaign, &user).await;
    assert_eq!(status(stage, &user).await, "blocked");
    until_counts(stage, &referrer, [0, 0]).await;
}

async fn who_was_let_in_by_hand_is_not_blocked_again(stage: &Stage) {
    let campaign = stage.campaign(&[("verification_required", 0)]).await;
    let referrer = join(stage, &campaign, "ada@shop.de", json!({})).await;
    let user = join_at(stage, &campaign, "grace@mailinator.com", LATER, json!({})).await;
    until_status(stage, &user, "blocked").await;
    stage.publish("referral.created", &referral(&campaign, &referrer, &user, LATER)).await;
    let pair = format!(
        "SELECT COUNT(*) FROM referrals WHERE referred_id = '{user}' AND status = 'invalid'"
    );
    stage.until_number("the referral is invalid", &pair, 1).await;
    stage
        .execute(format!("UPDATE waitlist_users SET status = 'verified' WHERE id = '{user}'"))
        .await;
    check(stage, &campaign, &user).await;
    assert_eq!(status(stage, &user).await, "verified");
    until_counts(stage, &referrer, [1, 0]).await;
    // And somebody whom a person has blocked is not let in.
    let blocked = format!("UPDATE waitlist_users SET status = 'blocked' WHERE id = '{referrer}'");
    stage.execute(blocked).await;
    check(stage, &campaign, &referrer).await;
    assert_eq!(status(stage, &referrer).await, "blocked");
}

async fn who_waits_no_more_is_left_alone(stage: &Stage) {
    let campaign = stage.campaign(&[]).await;
    for end in ["converted", "removed"] {
        let user = join(stage, &campaign, &format!("{end}@shop.de"), json!({})).await;
        let changed =
            format!("UPDATE waitlist_users SET status = '{end}', honeypot = 1 WHERE id = '{user}'");
        stage.execute(changed).await;
        check(stage, &campaign, &user).await;
        until_found(stage, &user, "bot", 950).await;
        assert_eq!(status(stage, &user).await, end);
    }
}

async fn a_check_that_runs_again_leaves_the_same_rows(stage: &Stage) {
    let campaign = stage.campaign(&[]).await;
    let more = json!({
        "ip_address": IP, "device_fingerprint": "d", "user_agent": "curl/8",
        "metadata": { "honeypot": "x" },
    });
    let original = join(stage, &campaign, "ada@mailinator.com", more.clone()).await;
    let copy = with(more, json!({ "referred_by_id": original }));
    let copy = join_at(stage, &campaign, "ada+2@mailinator.com", LATER, copy).await;
    until_status(stage, &copy, "blocked").await;
    check(stage, &campaign, &copy).await;
    check(stage, &campaign, &original).await;
    let all = async || {
        let detections =
            format!("SELECT * FROM fraud_detections WHERE campaign_id = '{campaign}' ORDER BY id");
        let users = format!(
            "SELECT id, status, blocked_by_fraud, mailbox, network, referral_count
             FROM waitlist_users WHERE campaign_id = '{campaign}' ORDER BY id"
        );
        (stage.rows(&detections).await, stage.rows(&users).await)
    };
    let before = all().await;
    let kinds = found_count(stage, &copy).await;
    assert_eq!(kinds, 3, "self_referral, fake_email and bot: {before:?}");
    check(stage, &campaign, &copy).await;
    check(stage, &campaign, &original).await;
    assert_eq!(all().await, before);
    // Details that somebody has written are replaced by what a check finds.
    let edited = format!(
        "UPDATE fraud_detections SET details = 'seen' WHERE user_id = '{copy}'
         AND detection_type = 'bot'"
    );
    stage.execute(edited).await;
    check(stage, &campaign, &copy).await;
    assert_eq!(status(stage, &copy).await, "blocked");
    let seen = format!(
        "SELECT COUNT(*) FROM fraud_detections WHERE user_id = '{copy}' AND details = 'seen'"
    );
    assert_eq!(stage.number(&seen).await, 0);
}

/// Rows from before there were checks, and rows of others, lack what is compared.
async fn a_user_from_before_is_compared_as_well(stage: &Stage) {
    let campaign = stage.campaign(&[]).await;
    let more = json!({ "ip_address": IP });
    let original = join(stage, &campaign, "A.Da@gmail.com", more.clone()).await;
    let copy = with(more, json!({ "referred_by_id": original }));
    let copy = join_at(stage, &campaign, "ada@gmail.com", LATER, copy).await;
    until_status(stage, &copy, "blocked").await;
    let forgotten = format!(
        "UPDATE waitlist_users SET mailbox = NULL, network = NULL, status = 'pending',
             blocked_by_fraud = 0, ip_address = CASE WHEN id = '{copy}' THEN 'no address'
                                                     ELSE ip_address END
         WHERE campaign_id = '{campaign}'"
    );
    stage.execute(forgotten).await;
    stage.execute(format!("DELETE FROM fraud_detections WHERE user_id = '{copy}'")).await;
    check(stage, &campaign, &copy).await;
    assert_eq!(status(stage, &copy).await, "pending", "the original was not worked out yet");
    check(stage, &campaign, &original).await;
    until_status(stage, &copy, "blocked").await;
    let rows = stage
        .rows(&format!(
            "SELECT mailbox, network FROM waitlist_users WHERE campaign_id = '{campaign}'
             ORDER BY created_at_ms"
        ))
        .await;
    assert_eq!(rows, [["ada@gmail.com", IP], ["ada@gmail.com", ""]]);
}

async fn a_user_who_is_not_there_is_a_dead_letter(stage: &Stage) {
    let (campaign, other) = (stage.campaign(&[]).await, stage.campaign(&[]).await);
    let checked = |campaign: &str, user: &str| json!({ "campaign_id": campaign, "user_id": user, "check_types": ["bot"] });
    let stranger = uuid();
    let unknown = stage.enqueue("fraud.detection", &checked(&campaign, &stranger)).await;
    let user = join(stage, &campaign, "ada@shop.de", json!({})).await;
    let elsewhere = stage.enqueue("fraud.detection", &checked(&other, &user)).await;
    let letter = stage.dead_letter(&elsewhere).await;
    assert_eq!(
        (&letter["error"]["class"], &letter["attempts"]),
        (&json!("user_of_another_campaign"), &json!(1))
    );
    // The signup may still come: it is waited for.
    let letter = stage.dead_letter(&unknown).await;
    assert_eq!(
        (&letter["error"]["class"], &letter["attempts"]),
        (&json!("unknown_user"), &json!(5)),
        "{letter}"
    );
    let message = letter["error"]["message"].as_str().expect("a message");
    assert!(message.contains("publish user.signup first"), "{message}");
}

async fn what_would_block_everybody_is_refused(stage: &Stage) {
    let campaign = stage.campaign(&[]).await;
    let user = join(stage, &campaign, "ada@mailinator.com", json!({})).await;
    until_status(stage, &user, "blocked").await;
    let wrong = format!("UPDATE fraud_detections SET status = 'maybe' WHERE user_id = '{user}'");
    let refused = sqlx::query(sqlx::AssertSqlSafe(wrong)).execute(&stage.database).await;
    assert!(refused.is_err(), "the table takes no such decision");
    let wrong = format!("UPDATE campaigns SET fraud_block_threshold = 0 WHERE id = '{campaign}'");
    let refused = sqlx::query(sqlx::AssertSqlSafe(wrong)).execute(&stage.database).await;
    assert!(refused.is_err(), "nor a threshold that would block everybody");
}
