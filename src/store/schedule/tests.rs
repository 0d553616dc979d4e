//! The schedule, each test on either database.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::future::join_all;

use super::*;
use crate::domain::record::{Record, header};
use crate::store::tests::on_both_databases;

on_both_databases! {
    a_row_comes_back_as_it_went_in,
    a_row_of_an_open_transaction_is_there_once_that_is_committed,
    nothing_is_taken_before_it_is_due,
    each_row_is_taken_by_one_of_many,
    no_more_is_taken_at_once_than_may_be,
    rows_of_a_key_are_taken_in_their_order_and_never_past_an_earlier_one,
    a_key_that_is_held_back_does_not_hold_back_the_others,
    a_row_is_either_cancelled_or_taken,
    what_a_holder_gave_back_can_be_cancelled_and_what_it_left_cannot,
    a_lease_that_is_renewed_while_another_takes_rows_lets_none_past,
    a_row_that_is_given_back_while_another_takes_rows_lets_none_past,
    what_was_sent_is_sent_whoever_holds_it_by_now,
    many_rows_are_settled_at_once,
    a_producer_cancels_its_own_alone,
    a_retry_is_postponed_once,
}

const NOW: i64 = 1_735_689_600_000;
const LIMITS: ClaimLimits =
    ClaimLimits { rows: 500, bytes: 1 << 23, term: Duration::from_secs(10) };

/// A job with this number whose key is `key`.
fn job(number: u128, key: &str, due_ms: i64) -> ScheduledRecord {
    let id = Uuid::from_u128(number);
    let mut headers = Headers::new();
    headers.push(header::MESSAGE_ID, id.to_string());
    headers.push_raw("empty", None);
    headers.push("bytes", vec![0xff, 0]);
    ScheduledRecord {
        id,
        message_id: id,
        type_name: "email.welcome".into(),
        producer: "billing".into(),
        topic: "waitlist.email.welcome".into(),
        key: Some(key.into()),
        value: Some(br#"{"a":1}"#.to_vec()),
        headers,
        due_ms,
        created_at_ms: NOW - 5_000,
        retry: None,
    }
}

async fn schedule(store: &Store, jobs: impl IntoIterator<Item = ScheduledRecord>) {
    for job in jobs {
        store.schedule(&job).await.unwrap();
    }
}

async fn take(store: &Store, holder: &str, now_ms: i64) -> Vec<u128> {
    let rows = store.claim_due(holder, now_ms, LIMITS).await.unwrap();
    rows.iter().map(|row| row.record.id.as_u128()).collect()
}

async fn stage(store: &Store, number: u128) -> Stage {
    store.scheduled(Uuid::from_u128(number)).await.unwrap().expect("a row").stage
}

fn given_back(number: u128) -> GivenBack {
    let id = Uuid::from_u128(number);
    GivenBack { id, not_before_ms: 0, is_doubtful: false, has_failed: false }
}

async fn a_row_comes_back_as_it_went_in(store: Store) {
    let bytes = ScheduledRecord {
        key: Some(vec![0xff, 0, b'k']),
        value: Some(vec![0, 0xfe]),
        ..job(1, "", NOW)
    };
    let bare = ScheduledRecord { key: None, value: None, ..job(2, "", NOW) };
    schedule(&store, [bytes.clone(), bare.clone()]).await;
    let rows = store.claim_due("a", NOW, LIMITS).await.unwrap();
    let records: Vec<_> = rows.into_iter().map(|row| row.record).collect();
    assert_eq!(records, [bytes.clone(), bare]);
    let row = store.scheduled(bytes.id).await.unwrap().unwrap();
    assert_eq!((row.key, row.due_ms, row.created_at_ms), (bytes.key, NOW, NOW - 5_000));
    assert_eq!(store.scheduled(Uuid::from_u128(9)).await.unwrap(), None);
}

async fn a_row_of_an_open_transaction_is_there_once_that_is_committed(store: Store) {
    let mut transaction = store.writer.begin().await.unwrap();
    assert!(insert(&mut transaction, &job(1, "k", NOW)).await.unwrap());
    transaction.rollback().await.unwrap();
    assert_eq!(store.next_due(NOW).await.unwrap(), None);
    let mut transaction = store.writer.begin().await.unwrap();
    assert!(insert(&mut transaction, &job(1, "k", NOW)).await.unwrap());
    assert!(!insert(&mut transaction, &job(1, "k", NOW)).await.unwrap(), "it is there");
    transaction.commit().await.unwrap();
    store.bell().ring(NOW);
    store.bell().rung_before(i64::MAX).await;
    assert_eq!(store.next_due(NOW).await.unwrap(), Some(NOW));
}

async fn nothing_is_taken_before_it_is_due(store: Store) {
    schedule(&store, [job(1, "k", NOW + 1)]).await;
    assert_eq!(store.next_due(NOW).await.unwrap(), Some(NOW + 1));
    assert_eq!(take(&store, "a", NOW).await, [0; 0]);
    assert_eq!(take(&store, "a", NOW + 1).await, [1]);
    assert_eq!(store.next_due(NOW + 1).await.unwrap(), None, "it is held");
}

async fn each_row_is_taken_by_one_of_many(store: Store) {
    const ROWS: u128 = 300;
    // A key for every three rows.
    schedule(&store, (0..ROWS).map(|n| job(n, &(n / 3).to_string(), NOW))).await;
    let claimers = (0..6_i32).map(|claimer| {
        let store = store.clone();
        // Each in steps of its own, so that they meet within a key.
        let some = ClaimLimits { rows: i64::from(5 + 4 * claimer), ..LIMITS };
        async move {
            let mut taken = Vec::new();
            loop {
                let rows = store.claim_due(&claimer.to_string(), NOW, some).await.unwrap();
                if rows.is_empty() {
                    return taken;
                }
                taken.extend(rows.iter().map(|row| (row.record.id.as_u128(), claimer)));
            }
        }
    });
    let taken: Vec<(u128, i32)> = join_all(claimers).await.concat();
    let distinct: HashMap<u128, i32> = taken.iter().copied().collect();
    for (number, claimer) in &taken {
        // None has a row whose key another one has, who may still be at an earlier row.
        let earlier = (number / 3 * 3..*number).map(|earlier| distinct.get(&earlier));
        for earlier in earlier {
            assert_eq!(earlier, Some(claimer), "{number} was taken past an earlier one");
        }
    }
    assert_eq!(taken.len(), distinct.len(), "none is taken twice");
    // Nobody settles, so what follows in a key that a batch has cut in two stays.
    let count = u128::try_from(distinct.len()).unwrap();
    assert!((ROWS * 3 / 4..=ROWS).contains(&count), "{count}");
}

async fn no_more_is_taken_at_once_than_may_be(store: Store) {
    let size = i64::try_from(job(1, "1", NOW).size_bytes()).unwrap();
    schedule(&store, (1..=9).map(|n| job(n, &n.to_string(), NOW))).await;
    let count = async |limits| store.claim_due("a", NOW, limits).await.unwrap().len();
    assert_eq!(count(ClaimLimits { rows: 2, ..LIMITS }).await, 2);
    assert_eq!(count(ClaimLimits { bytes: 2 * size + 1, ..LIMITS }).await, 3);
    assert_eq!(count(ClaimLimits { bytes: 1, ..LIMITS }).await, 1, "a large one goes alone");
    assert_eq!(count(LIMITS).await, 3);
}

async fn rows_of_a_key_are_taken_in_their_order_and_never_past_an_earlier_one(store: Store) {
    // Written in another order than they are due in.
    schedule(&store, [job(3, "k", NOW), job(2, "k", NOW), job(5, "k", NOW - 1)]).await;
    schedule(&store, [job(4, "other", NOW)]).await;
    let first = ClaimLimits { rows: 1, ..LIMITS };
    assert_eq!(store.claim_due("a", NOW, first).await.unwrap()[0].record.id.as_u128(), 5);
    assert_eq!(take(&store, "b", NOW).await, [4], "the others wait for the first of their key");
    store.settle_due("a", NOW, &[], &[given_back(5)]).await.unwrap();
    let failed = GivenBack { not_before_ms: NOW + 100, has_failed: true, ..given_back(5) };
    assert_eq!(take(&store, "b", NOW).await, [5, 2, 3]);
    store.settle_due("b", NOW, &[], &[failed, given_back(2), given_back(3)]).await.unwrap();
    assert_eq!(take(&store, "a", NOW + 99).await, [0; 0], "they wait with the one that failed");
    let rows = store.claim_due("a", NOW + 100, LIMITS).await.unwrap();
    let order: Vec<_> = rows.iter().map(|row| (row.record.id.as_u128(), row.failures)).collect();
    assert_eq!(order, [(5, 1), (2, 0), (3, 0)]);
}

async fn a_key_that_is_held_back_does_not_hold_back_the_others(store: Store) {
    schedule(&store, [job(1, "k", NOW)]).await;
    let mut transaction = store.writer.begin().await.unwrap();
    // More than are looked at in one go.
    for number in 2..2_300 {
        assert!(insert(&mut transaction, &job(number, "k", NOW)).await.unwrap());
    }
    assert!(insert(&mut transaction, &job(9_999, "other", NOW)).await.unwrap());
    transaction.commit().await.unwrap();
    let first = ClaimLimits { rows: 1, ..LIMITS };
    assert_eq!(store.claim_due("a", NOW, first).await.unwrap().len(), 1);
    assert_eq!(take(&store, "b", NOW).await, [9_999]);
    assert_eq!(take(&store, "b", NOW).await, [0; 0], "all that is left follows the first");
}

async fn a_row_is_either_cancelled_or_taken(store: Store) {
    const ROWS: u128 = 100;
    schedule(&store, (0..ROWS).map(|n| job(n, &n.to_string(), NOW))).await;
    let some = ClaimLimits { rows: 7, ..LIMITS };
    let taking = async {
        let mut taken = HashSet::new();
        loop {
            let rows = store.claim_due("a", NOW, some).await.unwrap();
            if rows.is_empty() {
                return taken;
            }
            taken.extend(rows.iter().map(|row| row.record.id.as_u128()));
        }
    };
    let cancelling = async {
        // From the other end, so that they meet.
        let all = (0..ROWS).rev().map(|n| store.cancel_scheduled(Uuid::from_u128(n), None, NOW));
        join_all(all).await.into_iter().rev().map(Result::unwrap).collect::<Vec<_>>()
    };
    let (taken, cancelled) = tokio::join!(taking, cancelling);
    for (number, cancelled) in (0..ROWS).zip(cancelled) {
        let is_cancelled = matches!(cancelled, Cancelled::Yes(_));
        assert_ne!(is_cancelled, taken.contains(&number), "{number}: {cancelled:?}");
    }
    assert_eq!(take(&store, "a", NOW + 60_000).await.len(), taken.len(), "cancelled is cancelled");
}

async fn what_a_holder_gave_back_can_be_cancelled_and_what_it_left_cannot(store: Store) {
    schedule(&store, [job(1, "1", NOW), job(2, "2", NOW), job(3, "3", NOW)]).await;
    assert_eq!(take(&store, "crashed", NOW).await, [1, 2, 3]);
    assert_eq!(take(&store, "a", NOW + 9_999).await, [0; 0], "its lease");
    store.hold_due("crashed", NOW + 9_000, LIMITS.term).await.unwrap();
    assert_eq!(take(&store, "a", NOW + 18_999).await, [0; 0], "it said so again");
    let unknown = GivenBack { is_doubtful: true, ..given_back(2) };
    store.settle_due("crashed", NOW, &[], &[given_back(1), unknown]).await.unwrap();
    let cancel = async |number| {
        store.cancel_scheduled(Uuid::from_u128(number), None, NOW + 1).await.unwrap()
    };
    let Cancelled::Yes(row) = cancel(1).await else { panic!("nobody sent it") };
    assert_eq!(row.stage, Stage::Cancelled { at_ms: NOW + 1 });
    assert_eq!(cancel(1).await, Cancelled::Yes(row), "cancelled once more");
    for number in [2, 3] {
        let Cancelled::TooLate(row) = cancel(number).await else { panic!("{number} may be out") };
        assert_eq!(row.stage, Stage::OnItsWay);
    }
    assert_eq!(take(&store, "a", NOW + 19_000).await, [2, 3], "taken over");
    store.settle_due("a", NOW, &[], &[given_back(2), given_back(3)]).await.unwrap();
    for number in [2, 3] {
        let answer = cancel(number).await;
        assert!(matches!(answer, Cancelled::TooLate(_)), "the first holder may have sent it");
    }
}

/// Two rows of a key, of which "slow" has the first, under a lease that is over at this time.
const OVER: i64 = NOW + 10_001;

async fn first_of_two_is_held(store: &Store) {
    schedule(store, [job(1, "k", NOW), job(2, "k", NOW)]).await;
    let one = ClaimLimits { rows: 1, ..LIMITS };
    assert_eq!(store.claim_due("slow", NOW, one).await.unwrap().len(), 1);
}

/// What "other" takes that has begun to before `transaction` is committed.
async fn taken_meanwhile(
    store: &Store,
    transaction: crate::store::limited::Transaction,
) -> Vec<u128> {
    let taking = take(store, "other", OVER);
    tokio::pin!(taking);
    let begun = tokio::time::timeout(Duration::from_millis(300), &mut taking).await;
    assert!(begun.is_err(), "it waits for the one before");
    transaction.commit().await.unwrap();
    taking.await
}

async fn a_lease_that_is_renewed_while_another_takes_rows_lets_none_past(store: Store) {
    first_of_two_is_held(&store).await;
    let mut transaction = store.writer.begin().await.unwrap();
    sending::hold(&mut transaction, "slow", OVER, LIMITS.term).await.unwrap();
    assert_eq!(taken_meanwhile(&store, transaction).await, [0; 0], "the second follows the first");
}

async fn a_row_that_is_given_back_while_another_takes_rows_lets_none_past(store: Store) {
    first_of_two_is_held(&store).await;
    let mut transaction = store.writer.begin().await.unwrap();
    let failed = GivenBack { not_before_ms: OVER + 1_000, has_failed: true, ..given_back(1) };
    sending::settle(&mut transaction, "slow", OVER, &[], &[failed]).await.unwrap();
    assert_eq!(taken_meanwhile(&store, transaction).await, [0; 0], "the second follows the first");
}

async fn what_was_sent_is_sent_whoever_holds_it_by_now(store: Store) {
    schedule(&store, [job(1, "1", NOW), job(2, "2", NOW)]).await;
    assert_eq!(take(&store, "slow", NOW).await, [1, 2]);
    assert_eq!(take(&store, "a", NOW + 10_000).await, [1, 2]);
    let first = SentRow { id: Uuid::from_u128(1), partition: 3, offset: 17 };
    store.settle_due("slow", NOW + 10_001, &[first], &[given_back(2)]).await.unwrap();
    let place = Place { topic: "waitlist.email.welcome".into(), partition: 3, offset: 17 };
    let sent = Stage::Sent { place, at_ms: NOW + 10_001 };
    assert_eq!(stage(&store, 1).await, sent);
    assert_eq!(stage(&store, 2).await, Stage::OnItsWay, "not the slow one's to give back");
    let again = SentRow { offset: 18, ..first };
    store.settle_due("a", NOW + 10_002, &[again], &[]).await.unwrap();
    assert_eq!(stage(&store, 1).await, sent, "the first receipt stays");
    let cancelled = store.cancel_scheduled(first.id, None, NOW).await.unwrap();
    assert!(matches!(cancelled, Cancelled::TooLate(row) if row.stage == sent));
}

async fn many_rows_are_settled_at_once(store: Store) {
    // Written one by one, and so many that PostgreSQL, which has not counted them yet, once took
    // longer to take them than a statement may.
    schedule(&store, (0..250).map(|n| job(n, &n.to_string(), NOW))).await;
    assert_eq!(take(&store, "a", NOW).await.len(), 250);
    let sent: Vec<SentRow> = (0..150_u128)
        .map(|n| SentRow {
            id: Uuid::from_u128(n),
            partition: 1,
            offset: i64::try_from(n).unwrap() + 5_000_000_000,
        })
        .collect();
    let back: Vec<GivenBack> = (150..250).map(given_back).collect();
    store.settle_due("a", NOW, &sent, &back).await.unwrap();
    let Stage::Sent { place, .. } = stage(&store, 149).await else { panic!("sent") };
    assert_eq!((place.partition, place.offset), (1, 5_000_000_149));
    assert_eq!(take(&store, "b", NOW).await, (150..250).collect::<Vec<_>>());
    assert!(!store.sweep_schedule(NOW).await.unwrap());
    assert!(store.scheduled(Uuid::from_u128(0)).await.unwrap().is_some(), "not older");
    store.sweep_schedule(NOW + 1).await.unwrap();
    assert_eq!(store.scheduled(Uuid::from_u128(0)).await.unwrap(), None);
    assert_eq!(stage(&store, 150).await, Stage::OnItsWay, "what has not ended stays");
}

async fn a_producer_cancels_its_own_alone(store: Store) {
    schedule(&store, [job(1, "k", NOW)]).await;
    let id = Uuid::from_u128(1);
    let cancel = async |producer| store.cancel_scheduled(id, Some(producer), NOW).await.unwrap();
    assert_eq!(cancel("another").await, Cancelled::Unknown);
    assert_eq!(stage(&store, 1).await, Stage::Waiting);
    assert!(matches!(cancel("billing").await, Cancelled::Yes(_)));
    assert_eq!(cancel("another").await, Cancelled::Unknown, "cancelled or not");
}

async fn a_retry_is_postponed_once(store: Store) {
    let place = Place { topic: "waitlist.email.welcome".into(), partition: 3, offset: 17 };
    let record = Record {
        place: place.clone(),
        key: Some(vec![0xff]),
        value: Some(b"v".to_vec()),
        headers: Headers::new(),
        broken_headers: None,
        timestamp_ms: None,
    };
    let retry = |group: &str, attempts, due_ms| {
        ScheduledRecord::retry(&record, "email.welcome", group, attempts, NOW, due_ms)
    };
    store.postpone(&retry("workers", 1, NOW)).await.unwrap();
    store.postpone(&retry("workers", 1, NOW + 500)).await.unwrap();
    store.postpone(&retry("others", 1, NOW)).await.unwrap();
    store.postpone(&retry("workers", 2, NOW)).await.unwrap();
    let rows = store.claim_due("a", NOW + 1_000, LIMITS).await.unwrap();
    assert_eq!(rows.len(), 3, "one for each group and attempt");
    assert!(rows.iter().any(|row| row.record == retry("workers", 1, NOW)), "the first one's time");
    let last = store.retry_of("workers", &place).await.unwrap().unwrap();
    assert_eq!((last.message_id, last.stage), (record.message_id(), Stage::OnItsWay));
    assert_eq!(store.retry_of("third", &place).await.unwrap(), None);
    assert_eq!(store.scheduled(record.message_id()).await.unwrap(), None, "it is no delayed job");
}
