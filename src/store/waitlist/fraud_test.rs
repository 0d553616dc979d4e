//! What the checks for fraud look up and leave behind, each test on either database.

use uuid::Uuid;

use crate::store::tests::on_both_databases;
use crate::store::{
    Effect, EventKind, EventRecord, Near, NewDetection, NewReferral, NewUser, Store, SuspectRow,
};

on_both_databases! {
    a_user_comes_back_as_a_check_sees_one,
    a_finding_is_there_once_and_a_decision_stays,
    a_blocked_user_counts_for_nobody_until_let_in,
    a_referral_of_a_blocked_user_is_invalid_from_the_start,
    only_who_waits_is_blocked_and_only_who_was_blocked_by_a_check_is_let_in,
    partners_are_users_of_a_referral_who_share_something,
    siblings_share_referrer_device_and_network,
    users_of_a_mailbox_are_told_apart_by_their_time,
    the_nearest_of_a_network_are_found_on_either_side,
    confirmed_fraud_of_a_network_is_counted,
    the_later_of_two_is_told,
    a_threshold_that_blocks_everybody_is_refused,
}

const CAMPAIGN: Uuid = Uuid::from_u128(0xca);
const OTHER: Uuid = Uuid::from_u128(0xcb);

fn user(number: u128) -> NewUser {
    NewUser {
        id: Uuid::from_u128(number),
        campaign_id: CAMPAIGN,
        email: format!("U{number}@shop.de"),
        first_name: Some("Ada".into()),
        last_name: None,
        referral_code: format!("c{number}"),
        referred_by_id: None,
        verification_token: "t".into(),
        source: "direct".into(),
        ip_address: None,
        user_agent: None,
        device_fingerprint: None,
        mailbox: format!("u{number}@shop.de"),
        network: None,
        honeypot: false,
        at_ms: i64::try_from(number).unwrap() * 1_000,
    }
}

async fn effect(store: &Store) -> Effect {
    store.effect("workers", Uuid::now_v7(), 1).await.unwrap().unwrap()
}

/// A campaign with these users in it.
async fn with(store: &Store, users: &[NewUser]) -> Effect {
    let mut effect = effect(store).await;
    for user in users {
        effect.campaign(user.campaign_id, 1).await.unwrap();
        effect.sign_up(user).await.unwrap().unwrap();
    }
    effect
}

async fn suspect(effect: &mut Effect, number: u128) -> SuspectRow {
    effect.suspect(Uuid::from_u128(number)).await.unwrap().unwrap()
}

async fn found(effect: &mut Effect, number: u128, kind: &str, confidence: f64) {
    let detection = NewDetection {
        campaign_id: CAMPAIGN,
        user_id: Uuid::from_u128(number),
        detection_type: kind,
        confidence,
        details: "{}",
        at_ms: 7,
    };
    effect.detect(&detection).await.unwrap();
}

async fn decide(effect: &mut Effect, number: u128, status: &str) {
    sqlx::query("UPDATE fraud_detections SET status = $1 WHERE user_id = $2")
        .bind(status)
        .bind(Uuid::from_u128(number).to_string())
        .execute(effect.on())
        .await
        .unwrap();
}

async fn refer(effect: &mut Effect, by: u128, joined: u128) {
    let referral = NewReferral {
        referrer_id: Uuid::from_u128(by),
        referred_id: Uuid::from_u128(joined),
        campaign_id: CAMPAIGN,
        source: None,
        ip_address: None,
        at_ms: 1,
    };
    assert!(effect.refer(&referral).await.unwrap());
}

async fn counts(effect: &mut Effect, number: u128) -> (i64, i64) {
    let counts = effect.count_referrals(Uuid::from_u128(number)).await.unwrap().unwrap();
    (counts.all, counts.verified)
}

async fn a_user_comes_back_as_a_check_sees_one(store: Store) {
    let whole = NewUser {
        ip_address: Some("203.0.113.7".into()),
        network: Some("203.0.113.7".into()),
        user_agent: Some("curl".into()),
        device_fingerprint: Some("d".into()),
        honeypot: true,
        ..user(1)
    };
    let mut effect = with(&store, &[whole, user(2)]).await;
    let seen = suspect(&mut effect, 1).await;
    assert_eq!((seen.email.as_str(), seen.mailbox.as_deref()), ("U1@shop.de", Some("u1@shop.de")));
    assert_eq!(
        (seen.ip_address, seen.network.as_deref()),
        (seen.network.clone(), Some("203.0.113.7"))
    );
    assert_eq!((seen.user_agent.as_deref(), seen.honeypot), (Some("curl"), true));
    assert_eq!(
        (seen.status.as_str(), seen.blocked_by_fraud, seen.at_ms),
        ("pending", false, 1_000)
    );
    let bare = suspect(&mut effect, 2).await;
    assert_eq!((bare.network, bare.device_fingerprint, bare.honeypot), (None, None, false));
    assert_eq!(effect.suspect(Uuid::from_u128(3)).await.unwrap(), None);
    effect.note_identity(Uuid::from_u128(2), "m", Some("n")).await.unwrap();
    let noted = suspect(&mut effect, 2).await;
    assert_eq!((noted.mailbox.as_deref(), noted.network.as_deref()), (Some("m"), Some("n")));
}

async fn a_finding_is_there_once_and_a_decision_stays(store: Store) {
    let mut effect = with(&store, &[user(1)]).await;
    let id = Uuid::from_u128(1);
    found(&mut effect, 1, "bot", 0.5).await;
    found(&mut effect, 1, "bot", 0.75).await;
    found(&mut effect, 1, "velocity", 0.3).await;
    let rows = effect.detections_of(id).await.unwrap();
    let shown: Vec<(&str, f64, &str)> = rows
        .iter()
        .map(|row| (row.detection_type.as_str(), row.confidence, row.status.as_str()))
        .collect();
    assert_eq!(shown, [("bot", 0.75, "pending"), ("velocity", 0.3, "pending")]);
    for status in ["confirmed", "false_positive", "resolved"] {
        decide(&mut effect, 1, status).await;
        found(&mut effect, 1, "bot", 0.9).await;
        let rows = effect.detections_of(id).await.unwrap();
        assert_eq!((rows[0].confidence, rows[0].status.as_str()), (0.75, status));
    }
    assert!(effect.detections_of(Uuid::from_u128(2)).await.unwrap().is_empty());
}

async fn a_blocked_user_counts_for_nobody_until_let_in(store: Store) {
    let mut effect = with(&store, &[user(1), user(2), user(3)]).await;
    let id = Uuid::from_u128(2);
    refer(&mut effect, 1, 2).await;
    refer(&mut effect, 1, 3).await;
    refer(&mut effect, 2, 3).await;
    assert_eq!(counts(&mut effect, 1).await, (2, 0));
    assert!(effect.block_user(id).await.unwrap());
    assert!(effect.invalidate_referrals_of(id).await.unwrap());
    assert!(!effect.invalidate_referrals_of(id).await.unwrap(), "it is so already");
    assert_eq!(counts(&mut effect, 1).await, (1, 0));
    assert_eq!(counts(&mut effect, 2).await, (1, 0), "whom the user has referred may be a person");
    // The address is confirmed meanwhile.
    let event = EventRecord {
        kind: EventKind::Verified,
        subject: id.to_string(),
        message_id: id,
        campaign_id: CAMPAIGN,
        user_id: id,
        email_key: None,
        at_ms: 5,
    };
    assert!(effect.record(&event).await.unwrap());
    assert!(effect.verify_user(id, 5).await.unwrap());
    assert!(!effect.verify_referrals_of(id).await.unwrap(), "what is invalid stays so");
    assert_eq!(counts(&mut effect, 1).await, (1, 0));
    assert!(effect.let_in_again(id).await.unwrap());
    assert!(effect.restore_referrals_of(id).await.unwrap());
    assert!(!effect.restore_referrals_of(id).await.unwrap());
    assert_eq!(counts(&mut effect, 1).await, (2, 1));
    let seen = suspect(&mut effect, 2).await;
    assert_eq!((seen.status.as_str(), seen.blocked_by_fraud), ("verified", false));
}

async fn a_referral_of_a_blocked_user_is_invalid_from_the_start(store: Store) {
    let mut effect = with(&store, &[user(1), user(2), user(3)]).await;
    effect.block_user(Uuid::from_u128(2)).await.unwrap();
    refer(&mut effect, 1, 2).await;
    assert_eq!(counts(&mut effect, 1).await, (0, 0));
    effect.let_in_again(Uuid::from_u128(2)).await.unwrap();
    assert!(effect.restore_referrals_of(Uuid::from_u128(2)).await.unwrap());
    assert_eq!(counts(&mut effect, 1).await, (1, 0));
    // Somebody whom a person has blocked is that person's matter.
    sqlx::query("UPDATE waitlist_users SET status = 'blocked' WHERE id = $1")
        .bind(Uuid::from_u128(3).to_string())
        .execute(effect.on())
        .await
        .unwrap();
    refer(&mut effect, 1, 3).await;
    assert_eq!(counts(&mut effect, 1).await, (2, 0));
}

async fn only_who_waits_is_blocked_and_only_who_was_blocked_by_a_check_is_let_in(store: Store) {
    let mut effect = with(&store, &[user(1)]).await;
    let id = Uuid::from_u128(1);
    for (status, is_blocked) in
        [("converted", false), ("removed", false), ("blocked", false), ("verified", true)]
    {
        sqlx::query("UPDATE waitlist_users SET status = $1")
            .bind(status)
            .execute(effect.on())
            .await
            .unwrap();
        assert!(!effect.let_in_again(id).await.unwrap(), "{status}");
        assert_eq!(effect.block_user(id).await.unwrap(), is_blocked, "{status}");
    }
    assert!(effect.let_in_again(id).await.unwrap());
    assert_eq!(suspect(&mut effect, 1).await.status, "pending", "the address is not confirmed");
}

async fn partners_are_users_of_a_referral_who_share_something(store: Store) {
    let some = |number, network: &str, device: &str| NewUser {
        network: Some(network.into()),
        device_fingerprint: Some(device.into()),
        ..user(number)
    };
    let referred =
        |user: NewUser, by: u128| NewUser { referred_by_id: Some(Uuid::from_u128(by)), ..user };
    let users = [
        some(1, "n", "d"),
        // By the signup, by the event, by both; and nothing in common, or no referral.
        referred(some(2, "n", "e"), 1),
        some(3, "m", "d"),
        referred(NewUser { mailbox: "u1@shop.de".into(), ..some(4, "m", "e") }, 1),
        referred(some(5, "m", "e"), 1),
        some(6, "n", "d"),
        NewUser { campaign_id: OTHER, ..referred(some(7, "n", "d"), 1) },
    ];
    let mut effect = with(&store, &users).await;
    refer(&mut effect, 1, 3).await;
    refer(&mut effect, 1, 4).await;
    found(&mut effect, 3, "self_referral", 0.25).await;
    found(&mut effect, 4, "self_referral", 0.5).await;
    decide(&mut effect, 4, "resolved").await;
    let one = suspect(&mut effect, 1).await;
    let partners = effect.partners(&one, 10).await.unwrap();
    let shown: Vec<(u128, bool, f64)> = partners
        .iter()
        .map(|partner| (partner.user.id.as_u128(), partner.has_referred, partner.noted))
        .collect();
    assert_eq!(shown, [(2, false, 0.0), (3, false, 0.25), (4, false, 1.0)]);
    assert_eq!(effect.partners(&one, 2).await.unwrap().len(), 2);
    let four = suspect(&mut effect, 4).await;
    let partners = effect.partners(&four, 10).await.unwrap();
    assert_eq!(partners.len(), 1);
    assert!(partners[0].has_referred && partners[0].user.id == one.id);
}

async fn siblings_share_referrer_device_and_network(store: Store) {
    let some = |number, by: u128, network: &str, device: &str| NewUser {
        network: Some(network.into()),
        device_fingerprint: Some(device.into()),
        referred_by_id: Some(Uuid::from_u128(by)),
        ..user(number)
    };
    let users = [
        some(1, 100, "n", "d"),
        some(2, 100, "n", "d"),
        some(3, 100, "n", "e"),
        some(4, 100, "m", "d"),
        some(5, 101, "n", "d"),
    ];
    let mut effect = with(&store, &users).await;
    found(&mut effect, 2, "self_referral", 0.5).await;
    let one = suspect(&mut effect, 1).await;
    let siblings = effect.siblings(&one, 10).await.unwrap();
    assert_eq!(siblings, [(Uuid::from_u128(2), 0.5)]);
}

async fn users_of_a_mailbox_are_told_apart_by_their_time(store: Store) {
    let of_mailbox = |number| NewUser { mailbox: "m".into(), ..user(number) };
    let other = NewUser { campaign_id: OTHER, ..of_mailbox(9) };
    let users = [1, 2, 3, 4, 5].map(of_mailbox);
    let mut effect = with(&store, &users).await;
    effect.campaign(OTHER, 1).await.unwrap();
    effect.sign_up(&other).await.unwrap().unwrap();
    found(&mut effect, 4, "fake_email", 0.95).await;
    found(&mut effect, 5, "fake_email", 0.5).await;
    let three = suspect(&mut effect, 3).await;
    let ids = |numbers: &[u128]| numbers.iter().map(|n| Uuid::from_u128(*n)).collect::<Vec<_>>();
    assert_eq!(effect.same_mailbox(&three, (9, 9), 0.9).await.unwrap(), (2, ids(&[5])));
    let two = suspect(&mut effect, 2).await;
    assert_eq!(effect.same_mailbox(&two, (9, 1), 0.9).await.unwrap(), (1, ids(&[3])));
    decide(&mut effect, 5, "resolved").await;
    assert_eq!(effect.same_mailbox(&three, (1, 9), 0.9).await.unwrap(), (1, ids(&[])));
}

async fn the_nearest_of_a_network_are_found_on_either_side(store: Store) {
    let of_network = |number| NewUser {
        network: Some("n".into()),
        device_fingerprint: Some(if number % 2 == 0 { "even" } else { "odd" }.into()),
        ..user(number)
    };
    let mut users: Vec<NewUser> = (1..=9).map(of_network).collect();
    users.push(NewUser { network: Some("m".into()), ..of_network(20) });
    let mut effect = with(&store, &users).await;
    found(&mut effect, 4, "velocity", 0.3).await;
    let five = suspect(&mut effect, 5).await;
    let mut near = async |near, window_ms, most| {
        let rows = effect.near(&five, near, window_ms, most).await.unwrap();
        let mut shown: Vec<(u128, f64)> =
            rows.iter().map(|row| (row.id.as_u128(), row.noted)).collect();
        shown.sort_by_key(|(id, _)| *id);
        shown
    };
    assert_eq!(near(Near::Network, 2_000, 9).await, [(3, 0.0), (4, 0.3), (6, 0.0), (7, 0.0)]);
    assert_eq!(near(Near::Network, 9_000, 1).await, [(4, 0.3), (6, 0.0)]);
    assert_eq!(near(Near::Device, 2_000, 9).await, [(3, 0.0), (7, 0.0)]);
    let bare = SuspectRow { network: None, ..five.clone() };
    assert!(effect.near(&bare, Near::Network, 9_000, 9).await.unwrap().is_empty());
}

async fn confirmed_fraud_of_a_network_is_counted(store: Store) {
    let of_network = |number| NewUser { network: Some("n".into()), ..user(number) };
    let users = [1, 2, 3, 4].map(of_network);
    let mut effect = with(&store, &users).await;
    for number in [1, 2, 3] {
        found(&mut effect, number, "bot", 0.9).await;
        found(&mut effect, number, "velocity", 0.9).await;
    }
    let four = suspect(&mut effect, 4).await;
    assert_eq!(effect.confirmed_nearby(&four, 9).await.unwrap(), 0, "nobody has decided");
    decide(&mut effect, 1, "confirmed").await;
    decide(&mut effect, 2, "confirmed").await;
    assert_eq!(effect.confirmed_nearby(&four, 9).await.unwrap(), 2);
    assert_eq!(effect.confirmed_nearby(&four, 1).await.unwrap(), 1);
    let one = suspect(&mut effect, 1).await;
    assert_eq!(effect.confirmed_nearby(&one, 9).await.unwrap(), 1, "others");
}

async fn the_later_of_two_is_told(store: Store) {
    let at_once = NewUser { at_ms: 2_000, ..user(3) };
    let mut effect = with(&store, &[user(1), user(2), at_once]).await;
    let mut later = async |by, joined| {
        let (by, joined) = (Uuid::from_u128(by), Uuid::from_u128(joined));
        effect.later_of(by, joined).await.unwrap().map(|id| id.as_u128())
    };
    assert_eq!(later(1, 2).await, Some(2));
    assert_eq!(later(2, 1).await, Some(2));
    assert_eq!(later(3, 2).await, Some(2), "of two at once the referred one");
    assert_eq!(later(2, 3).await, Some(3));
    assert_eq!(later(1, 9).await, None);
}

async fn a_threshold_that_blocks_everybody_is_refused(store: Store) {
    let mut effect = with(&store, &[user(1)]).await;
    assert_eq!(effect.block_threshold(CAMPAIGN).await.unwrap(), Some(0.9));
    assert_eq!(effect.block_threshold(OTHER).await.unwrap(), None);
    for (threshold, expected) in [("1", Some(1.0)), ("NULL", None), ("0.5", Some(0.5))] {
        let set = format!("UPDATE campaigns SET fraud_block_threshold = {threshold}");
        sqlx::query(sqlx::AssertSqlSafe(set)).execute(effect.on()).await.unwrap();
        assert_eq!(effect.block_threshold(CAMPAIGN).await.unwrap(), expected);
    }
    let all = "UPDATE campaigns SET fraud_block_threshold = 0";
    assert!(sqlx::query(all).execute(effect.on()).await.is_err());
}
