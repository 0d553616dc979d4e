use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;

use super::*;
use crate::domain::calendar::CalendarSpan;
use crate::store::Store;
use crate::store::tests::on_both_databases;

on_both_databases! {
    fifty_who_want_ten_get_ten,
    many_at_once_and_one_by_one_take_from_the_same_ten,
    nobody_gets_more_than_the_limit_however_often_it_is_granted,
    what_is_not_to_be_had_now_is_not_granted,
    a_row_that_somebody_put_there_is_counted_once,
    those_in_front_who_do_not_have_it_are_found,
    rules_are_those_that_a_users_referrals_may_still_earn,
    a_reward_is_earned_and_delivered_once,
    what_was_revoked_is_not_delivered,
    a_failed_attempt_leaves_its_reason,
    what_was_delivered_counts_in_the_hour_of_it_whatever_becomes_of_it,
}

const CAMPAIGN: Uuid = Uuid::from_u128(0xca);
const REWARD: Uuid = Uuid::from_u128(0xee);
const NOW: i64 = 1_000_000;

async fn run(store: &Store, text: String) {
    sqlx::query(sqlx::AssertSqlSafe(text)).execute(&store.writer).await.unwrap();
}

async fn number(store: &Store, text: &str) -> i64 {
    let row = sqlx::query(sqlx::AssertSqlSafe(text.to_owned()));
    row.fetch_one(&store.reader).await.unwrap().try_get(0).unwrap()
}

/// The campaign, and its reward with these columns set.
async fn offer(store: &Store, columns: &[(&str, &str)]) {
    run(
        store,
        format!(
            "INSERT INTO campaigns (id, name, slug, created_at_ms)
             VALUES ('{CAMPAIGN}', 'c', 'c', 1) ON CONFLICT DO NOTHING"
        ),
    )
    .await;
    also_offer(store, REWARD, columns).await;
}

async fn also_offer(store: &Store, id: Uuid, columns: &[(&str, &str)]) {
    let id = format!("'{id}'");
    let given = [("id", &*id), ("trigger_type", "'manual'"), ("created_at_ms", "1")];
    let mut row: BTreeMap<&str, &str> = given.into_iter().collect();
    row.extend(columns.iter().copied());
    let (names, values): (Vec<&str>, Vec<&str>) = row.into_iter().unzip();
    let (names, values) = (names.join(", "), values.join(", "));
    run(
        store,
        format!(
            "INSERT INTO rewards (campaign_id, name, {names})
             VALUES ('{CAMPAIGN}', 'Mug', {values})"
        ),
    )
    .await;
}

async fn user(store: &Store, id: u128, columns: &str) {
    let id = Uuid::from_u128(id);
    run(
        store,
        format!(
            "INSERT INTO waitlist_users (id, campaign_id, email, email_key, status, referral_code,
                 verification_token, source, created_at_ms)
             VALUES ('{id}', '{CAMPAIGN}', '{id}', '{id}', 'pending', '{id}', 't', 'direct', 1)"
        ),
    )
    .await;
    run(store, format!("UPDATE waitlist_users SET {columns} WHERE id = '{id}'")).await;
}

fn new(user: u128, ordinal: i64) -> NewUserReward {
    let user_id = Uuid::from_u128(user);
    NewUserReward {
        id: Uuid::new_v5(&user_id, ordinal.to_string().as_bytes()),
        user_id,
        reward_id: REWARD,
        campaign_id: CAMPAIGN,
        ordinal,
    }
}

/// Commits something under a fresh id.
async fn commit<T>(store: &Store, act: impl AsyncFnOnce(&mut Effect) -> T) -> T {
    let mut effect = store.effect("test", Uuid::now_v7(), 1).await.unwrap().unwrap();
    let result = act(&mut effect).await;
    effect.commit().await.unwrap();
    result
}

async fn grant(store: &Store, user: u128, ordinal: i64) -> Granted {
    commit(store, async |effect| effect.grant(&new(user, ordinal), NOW).await.unwrap()).await
}

async fn claimed(store: &Store) -> [i64; 2] {
    let claimed = format!("SELECT total_claimed FROM rewards WHERE id = '{REWARD}'");
    let rows = format!("SELECT COUNT(*) FROM user_rewards WHERE reward_id = '{REWARD}'");
    [number(store, &claimed).await, number(store, &rows).await]
}

async fn fifty_who_want_ten_get_ten(store: Store) {
    offer(&store, &[("total_available", "10")]).await;
    let ends = join_all((1..=50).map(|user| grant(&store, user, 1))).await;
    let granted = ends.iter().filter(|end| **end == Granted::Yes).count();
    let late = ends.iter().filter(|end| **end == Granted::NotNow).count();
    assert_eq!((granted, late), (10, 40));
    assert_eq!(claimed(&store).await, [10, 10]);
}

async fn many_at_once_and_one_by_one_take_from_the_same_ten(store: Store) {
    offer(&store, &[("total_available", "10")]).await;
    let many = |first: u128| {
        let users: Vec<(Uuid, Uuid)> =
            (first..first + 7).map(|user| (new(user, 1).user_id, new(user, 1).id)).collect();
        let store = store.clone();
        async move {
            commit(&store, async |effect| {
                let grants = Grants { reward_id: REWARD, campaign_id: CAMPAIGN, users: &users };
                effect.grant_many(grants, NOW).await.unwrap().len()
            })
            .await
        }
    };
    // Some users are in two of them.
    let runs = join_all([1, 4, 100, 200].map(many));
    let (runs, ends) = tokio::join!(runs, join_all((1..=12).map(|user| grant(&store, user, 1))));
    let alone = ends.iter().filter(|end| **end == Granted::Yes).count();
    assert_eq!(runs.iter().sum::<usize>() + alone, 10, "{runs:?} {ends:?}");
    assert_eq!(claimed(&store).await, [10, 10]);
}

async fn nobody_gets_more_than_the_limit_however_often_it_is_granted(store: Store) {
    offer(&store, &[("total_available", "100"), ("user_limit", "2")]).await;
    let ends = join_all((0..50).map(|n| grant(&store, 7, 1 + n % 2))).await;
    assert_eq!(ends.iter().filter(|end| **end == Granted::Yes).count(), 2);
    assert_eq!(ends.iter().filter(|end| **end == Granted::Known).count(), 48);
    assert_eq!(claimed(&store).await, [2, 2], "who has it takes none from the others");
    let had =
        commit(&store, async |effect| effect.ordinals(Uuid::from_u128(7), REWARD).await.unwrap());
    assert_eq!(had.await, BTreeSet::from([1, 2]));
}

async fn what_is_not_to_be_had_now_is_not_granted(store: Store) {
    offer(&store, &[]).await;
    let id = format!("WHERE id = '{REWARD}'");
    for (user, (columns, is_to_be_had)) in (1..).zip([
        ("status = 'paused'", false),
        ("status = 'ended'", false),
        ("status = 'active', starts_at_ms = 1000001", false),
        ("starts_at_ms = 1000000, expires_at_ms = 1000000", false),
        ("expires_at_ms = 1000001", true),
        ("total_available = 1", false),
        ("total_available = 0", false),
        ("total_available = NULL", true),
    ]) {
        run(&store, format!("UPDATE rewards SET {columns} {id}")).await;
        let expected = if is_to_be_had { Granted::Yes } else { Granted::NotNow };
        assert_eq!(grant(&store, user, 1).await, expected, "{columns}");
        let users = [(Uuid::from_u128(user + 100), Uuid::from_u128(user + 200))];
        if !is_to_be_had {
            let grants = Grants { reward_id: REWARD, campaign_id: CAMPAIGN, users: &users };
            let many = commit(&store, async |effect| effect.grant_many(grants, NOW).await);
            assert!(many.await.unwrap().is_empty(), "{columns}");
        }
    }
    assert_eq!(claimed(&store).await, [2, 2]);
}

async fn a_row_that_somebody_put_there_is_counted_once(store: Store) {
    offer(&store, &[("total_available", "1")]).await;
    for user in [1, 2] {
        let NewUserReward { id, user_id, .. } = new(user, 1);
        run(
            &store,
            format!(
                "INSERT INTO user_rewards (id, user_id, reward_id, campaign_id)
                 VALUES ('{id}', '{user_id}', '{REWARD}', '{CAMPAIGN}')"
            ),
        )
        .await;
    }
    let count = async |user| {
        commit(&store, async |effect| {
            effect.count_user_reward((new(user, 1).id, REWARD), NOW).await.unwrap()
        })
        .await
    };
    assert!(count(1).await);
    assert!(!count(2).await, "nothing is left");
    run(&store, format!("UPDATE rewards SET total_available = 9 WHERE id = '{REWARD}'")).await;
    assert!(count(1).await, "it is counted already");
    assert_eq!(claimed(&store).await, [1, 2]);
    assert!(count(2).await);
    assert_eq!(claimed(&store).await, [2, 2]);
}

async fn those_in_front_who_do_not_have_it_are_found(store: Store) {
    offer(&store, &[("trigger_type", "'position'"), ("trigger_value", "3")]).await;
    for place in 1..=5 {
        user(&store, place, &format!("position = {}", 6 - place)).await;
    }
    user(&store, 9, "position = -1").await;
    let found = async |most| {
        commit(&store, async |effect| {
            let rules = effect.position_rules(CAMPAIGN, NOW).await.unwrap();
            let [rule] = rules[..] else { panic!("one rule: {rules:?}") };
            assert_eq!(rule, PositionRule { reward_id: REWARD, value: 3 });
            let users = effect.users_in_front(CAMPAIGN, rule, most).await.unwrap();
            users.iter().map(Uuid::as_u128).collect::<Vec<_>>()
        })
        .await
    };
    assert_eq!(found(9).await, [5, 4, 3]);
    assert_eq!(found(2).await, [5, 4]);
    assert_eq!(grant(&store, 4, 1).await, Granted::Yes);
    assert_eq!(found(9).await, [5, 3]);
    run(&store, format!("UPDATE rewards SET total_available = 1 WHERE id = '{REWARD}'")).await;
    let rules = commit(&store, async |effect| effect.position_rules(CAMPAIGN, NOW).await);
    assert!(rules.await.unwrap().is_empty(), "it is sold out");
}

async fn rules_are_those_that_a_users_referrals_may_still_earn(store: Store) {
    let by_count = [("trigger_type", "'referral_count'"), ("trigger_value", "2")];
    offer(&store, &by_count).await;
    let (milestone, each) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let of_milestone = [("trigger_type", "'milestone'"), ("trigger_value", "5")];
    also_offer(&store, milestone, &of_milestone).await;
    also_offer(&store, each, &[("trigger_type", "'milestone'"), ("user_limit", "9")]).await;
    let of_position = [("trigger_type", "'position'"), ("trigger_value", "5")];
    also_offer(&store, Uuid::from_u128(3), &of_position).await;
    also_offer(&store, Uuid::from_u128(4), &[]).await;
    let paused = [by_count.as_slice(), &[("status", "'paused'")]].concat();
    also_offer(&store, Uuid::from_u128(5), &paused).await;
    user(&store, 7, "referral_count = 6, verified_referral_count = 4").await;
    user(&store, 8, "referral_count = 0").await;
    user(&store, 9, "referral_count = 6, status = 'blocked'").await;
    let rules = async |user| {
        commit(&store, async |effect| {
            effect.referral_rules(Uuid::from_u128(user), NOW).await.unwrap()
        })
        .await
    };
    let found = rules(7).await;
    let ids: Vec<Uuid> = found.iter().map(|rule| rule.reward_id).collect();
    assert_eq!(ids, [milestone, each, REWARD], "in the order of their ids");
    let [first, second, third] = found[..] else { panic!("three") };
    assert_eq!((first.is_milestone, first.value, first.user_limit), (true, Some(5), 1));
    assert_eq!((second.is_milestone, second.value, second.user_limit), (true, None, 9));
    assert_eq!((third.is_milestone, third.value), (false, Some(2)));
    assert_eq!((third.counts.all, third.counts.verified), (6, 4));
    assert_eq!(grant(&store, 7, 1).await, Granted::Yes);
    assert_eq!(rules(7).await.len(), 2, "the user has the other one");
    for user in [8, 9, 10] {
        assert!(rules(user).await.is_empty(), "{user}");
    }
}

async fn status(store: &Store, user: u128) -> (String, Option<i64>, Option<i64>, i64) {
    let row = sqlx::query(
        "SELECT status, earned_at_ms, delivered_at_ms, delivery_attempts FROM user_rewards
         WHERE id = $1",
    )
    .bind(new(user, 1).id.to_string())
    .fetch_one(&store.reader)
    .await
    .unwrap();
    (
        row.try_get(0).unwrap(),
        row.try_get(1).unwrap(),
        row.try_get(2).unwrap(),
        row.try_get(3).unwrap(),
    )
}

async fn a_reward_is_earned_and_delivered_once(store: Store) {
    offer(&store, &[]).await;
    grant(&store, 1, 1).await;
    assert_eq!(status(&store, 1).await, ("pending".to_owned(), None, None, 0));
    let id = new(1, 1).id;
    for is_first in [true, false] {
        let earned = commit(&store, async |effect| effect.earn_reward(id, NOW + 1).await);
        assert_eq!(earned.await.unwrap(), is_first);
    }
    let ends = join_all((0..10).map(|n| {
        let store = store.clone();
        async move {
            commit(&store, async |effect| effect.deliver_reward(id, NOW + 2 + n).await)
                .await
                .unwrap()
        }
    }))
    .await;
    assert_eq!(ends.iter().filter(|is_delivered| **is_delivered).count(), 1);
    let (word, earned_at, delivered_at, attempts) = status(&store, 1).await;
    assert_eq!((word.as_str(), earned_at, attempts), ("delivered", Some(NOW + 1), 1));
    assert!(delivered_at.is_some_and(|at| at >= NOW + 2));
}

async fn what_was_revoked_is_not_delivered(store: Store) {
    offer(&store, &[]).await;
    grant(&store, 1, 1).await;
    let id = new(1, 1).id;
    run(&store, format!("UPDATE user_rewards SET status = 'revoked' WHERE id = '{id}'")).await;
    commit(&store, async |effect| {
        assert!(!effect.deliver_reward(id, NOW).await.unwrap());
        effect.keep_reward(id, "waits", NOW).await.unwrap();
        effect.expire_reward(id, "late").await.unwrap();
        effect.refuse_reward(id, "it was revoked").await.unwrap();
        effect.refuse_reward(id, "once more").await.unwrap();
    })
    .await;
    assert_eq!(status(&store, 1).await, ("revoked".to_owned(), None, None, 0));
    let why = "SELECT COUNT(*) FROM user_rewards WHERE delivery_error = 'it was revoked'";
    assert_eq!(number(&store, why).await, 1);
}

async fn a_failed_attempt_leaves_its_reason(store: Store) {
    offer(&store, &[]).await;
    grant(&store, 1, 1).await;
    let id = new(1, 1).id;
    for _ in 0..2 {
        store.note_failed_delivery(id, "no_webhook").await.unwrap();
    }
    assert_eq!(status(&store, 1).await, ("pending".to_owned(), None, None, 2));
    commit(&store, async |effect| effect.deliver_reward(id, NOW).await).await.unwrap();
    store.note_failed_delivery(id, "too late").await.unwrap();
    assert_eq!(status(&store, 1).await, ("delivered".to_owned(), Some(NOW), Some(NOW), 3));
    let why = "SELECT COUNT(*) FROM user_rewards WHERE delivery_error IS NULL";
    assert_eq!(number(&store, why).await, 1);
}

async fn what_was_delivered_counts_in_the_hour_of_it_whatever_becomes_of_it(store: Store) {
    const HOUR_MS: i64 = 3_600_000;
    offer(&store, &[]).await;
    for (user, at_ms) in [(1, 0), (2, HOUR_MS - 1), (3, HOUR_MS), (4, 30 * HOUR_MS)] {
        grant(&store, user, 1).await;
        let id = new(user, 1).id;
        commit(&store, async |effect| effect.deliver_reward(id, at_ms).await).await.unwrap();
    }
    grant(&store, 5, 1).await;
    for (user, status) in [(1, "redeemed"), (2, "revoked")] {
        let id = new(user, 1).id;
        run(&store, format!("UPDATE user_rewards SET status = '{status}' WHERE id = '{id}'")).await;
    }
    for span in [CalendarSpan::Hour, CalendarSpan::Day] {
        let summed_up =
            commit(&store, async |effect| effect.sum_up(CAMPAIGN, span, 0..40 * HOUR_MS).await);
        assert_eq!(summed_up.await.unwrap(), None);
    }
    let rows = sqlx::query(
        "SELECT time_ms, rewards_delivered, total_rewards_delivered FROM campaign_analytics
         ORDER BY granularity DESC, time_ms",
    )
    .fetch_all(&store.reader)
    .await
    .unwrap();
    let rows: Vec<[i64; 3]> =
        rows.iter().map(|row| [0, 1, 2].map(|column| row.try_get(column).unwrap())).collect();
    let by_hour = [[0, 2, 2], [HOUR_MS, 1, 3], [30 * HOUR_MS, 1, 4]];
    assert_eq!(rows, [by_hour.as_slice(), &[[0, 3, 3], [24 * HOUR_MS, 1, 4]]].concat());
}
