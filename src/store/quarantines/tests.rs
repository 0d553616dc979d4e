//! Quarantines, each test on either database.

use std::time::Duration;

use futures_util::future::join_all;

use super::*;
use crate::domain::record::{Headers, OutgoingRecord, header};
use crate::domain::scheduled::Stage;
use crate::store::tests::on_both_databases;
use crate::store::{Claim, ClaimLimits, GivenBack, SentRow};

on_both_databases! {
    parked_jobs_come_back_in_their_order_and_the_last_one_lifts_it,
    parked_twice_is_parked_once,
    nothing_parked_is_lifted_at_once,
    what_comes_during_a_release_goes_behind_and_is_waited_for,
    a_released_one_that_dies_holds_the_key_again,
    one_that_is_on_its_way_waits_for_those_that_were_parked_again,
    one_whose_predecessors_are_gone_runs,
    a_letter_that_is_discarded_releases_its_key_and_no_other,
    a_letter_that_was_discarded_first_holds_nothing,
    whoever_parks_during_a_release_is_sent_or_runs,
    the_last_end_and_a_new_job_do_not_miss_each_other,
    a_replay_with_another_key_moves_the_letter_of_both,
    an_operator_ends_what_nobody_will_end,
    a_long_key_and_a_key_of_any_bytes_can_be_quarantined,
    parked_jobs_are_not_swept,
    no_more_are_parked_than_may_be,
    a_reader_knows_of_each_change,
}

const NOW: i64 = 1_735_689_600_000;
const GROUP: &str = "workers";
const TOPIC: &str = "t";
const KEY: &[u8] = b"k";
const LIMITS: ClaimLimits =
    ClaimLimits { rows: 500, bytes: 1 << 23, term: Duration::from_secs(10) };

fn id(number: i64) -> Uuid {
    Uuid::from_u128(u128::try_from(number).unwrap())
}

/// The job at this offset; its id follows from it.
fn job(offset: i64) -> Record {
    let mut headers = Headers::new();
    headers.push(header::MESSAGE_ID, id(offset + 1_000).to_string());
    Record {
        place: Place { topic: TOPIC.into(), partition: 0, offset },
        key: Some(KEY.to_vec()),
        value: Some(b"v".to_vec()),
        headers,
        broken_headers: None,
        timestamp_ms: None,
    }
}

/// What was sent, as it arrives at this offset.
fn arrived(sent: OutgoingRecord, offset: i64) -> Record {
    let OutgoingRecord { key, value, headers, .. } = sent;
    Record { key, value, headers, ..job(offset) }
}

fn letter(offset: i64) -> Place {
    Place { topic: "dlq".into(), partition: 1, offset }
}

async fn hold(store: &Store, record: &Record, at: i64) -> Vec<Changed> {
    let (quarantine, letter) = (id(at + 1), letter(at));
    let key = record.key.as_deref().unwrap();
    let by = HeldBy { id: quarantine, group: GROUP, record, key, letter: &letter };
    store.hold(by, NOW).await.unwrap()
}

async fn park(store: &Store, record: &Record) -> ParkEnd {
    let key = record.key.as_deref().unwrap();
    store.park(ParkedBy { group: GROUP, type_name: "a", record, key }, NOW).await.unwrap()
}

/// Sends what is due; the records arrive from this offset on.
async fn send(store: &Store, first: i64) -> Vec<Record> {
    let rows = store.claim_due("sender", NOW + 60_000, LIMITS).await.unwrap();
    let mut sent = Vec::new();
    let mut records = Vec::new();
    for (row, offset) in rows.into_iter().zip(first..) {
        sent.push(SentRow { id: row.record.id, partition: 0, offset });
        records.push(arrived(row.record.into_record(NOW), offset));
    }
    store.settle_due("sender", NOW, &sent, &[]).await.unwrap();
    records
}

fn numbers(records: &[Record]) -> Vec<i64> {
    records.iter().map(|record| Numbered::of(record).unwrap().number).collect()
}

async fn end(store: &Store, record: &Record) -> Option<bool> {
    let numbered = Numbered::of(record).unwrap();
    store.released_ended(numbered).await.unwrap().map(|changed| changed.is_lifted)
}

async fn the_row(store: &Store) -> Option<QuarantineRow> {
    let page = store.quarantines(None, 10).await.unwrap();
    assert!(page.items.len() <= 1, "{page:?}");
    assert_eq!(page.total, i64::try_from(page.items.len()).unwrap());
    page.items.into_iter().next()
}

async fn parked_jobs_come_back_in_their_order_and_the_last_one_lifts_it(store: Store) {
    assert_eq!(park(&store, &job(4)).await, ParkEnd::Runs, "nobody holds the key");
    let held = hold(&store, &job(3), 0).await;
    assert_eq!((held.len(), held[0].is_lifted), (1, false));
    for offset in 4..9 {
        assert_eq!(park(&store, &job(offset)).await, ParkEnd::Parked);
    }
    assert_eq!(park(&store, &job(3)).await, ParkEnd::Runs, "the job of the letter itself");
    assert_eq!(park(&store, &job(2)).await, ParkEnd::Runs, "it had ended before");
    let row = the_row(&store).await.unwrap();
    assert_eq!((row.machine.parked(), row.letter.clone()), (5, letter(0)));
    assert_eq!(store.quarantine_of(&letter(0), id(1_003)).await.unwrap(), Some(row));
    assert_eq!(store.next_due(NOW * 2).await.unwrap(), None, "nothing is sent");
    let parked = store.retry_of(GROUP, &job(5).place).await.unwrap().unwrap();
    assert_eq!((parked.stage, parked.message_id), (Stage::Parked, id(1_005)));

    let released = store.release_message(GROUP, id(1_003), NOW).await.unwrap();
    assert_eq!((released.len(), released[0].is_lifted), (1, false));
    let sent = send(&store, 20).await;
    assert_eq!(numbers(&sent), [1, 2, 3, 4, 5]);
    let ids: Vec<Uuid> = sent.iter().map(Record::message_id).collect();
    assert_eq!(ids, [1_004, 1_005, 1_006, 1_007, 1_008].map(id));
    assert!(sent.iter().all(|record| record.is_for(GROUP) && !record.is_for("another")));
    for record in &sent[..4] {
        assert_eq!(end(&store, record).await, Some(false));
    }
    assert_eq!(end(&store, &sent[4]).await, Some(true));
    assert_eq!(the_row(&store).await, None);
    assert_eq!(end(&store, &sent[4]).await, None, "once more after a crash");
    assert_eq!(park(&store, &job(30)).await, ParkEnd::Runs);
}

async fn parked_twice_is_parked_once(store: Store) {
    hold(&store, &job(3), 0).await;
    for offset in [4, 4, 5, 4] {
        assert_eq!(park(&store, &job(offset)).await, ParkEnd::Parked);
    }
    assert_eq!(the_row(&store).await.unwrap().machine.parked(), 2);
    store.release_message(GROUP, id(1_003), NOW).await.unwrap();
    assert_eq!(park(&store, &job(5)).await, ParkEnd::Parked, "after a crash, during the release");
    let sent = send(&store, 20).await;
    assert_eq!(numbers(&sent), [1, 2]);
}

async fn nothing_parked_is_lifted_at_once(store: Store) {
    hold(&store, &job(3), 0).await;
    let released = store.release_message(GROUP, id(1_003), NOW).await.unwrap();
    assert!(released[0].is_lifted);
    assert_eq!(the_row(&store).await, None);
    assert_eq!(store.release_message(GROUP, id(1_003), NOW).await.unwrap(), []);
    assert_eq!(store.release_key(GROUP, TOPIC, KEY, NOW).await.unwrap(), None);
}

async fn what_comes_during_a_release_goes_behind_and_is_waited_for(store: Store) {
    hold(&store, &job(3), 0).await;
    park(&store, &job(4)).await;
    store.release_message(GROUP, id(1_003), NOW).await.unwrap();
    for offset in 5..8 {
        assert_eq!(park(&store, &job(offset)).await, ParkEnd::Parked);
    }
    let sent = send(&store, 20).await;
    assert_eq!(numbers(&sent), [1, 2, 3, 4]);
    assert_eq!(park(&store, &sent[0]).await, ParkEnd::Runs, "it is released");
    assert_eq!(end(&store, &sent[2]).await, Some(false));
    assert_eq!(end(&store, &sent[3]).await, Some(true));
}

async fn a_released_one_that_dies_holds_the_key_again(store: Store) {
    hold(&store, &job(3), 0).await;
    for offset in 4..9 {
        park(&store, &job(offset)).await;
    }
    store.release_message(GROUP, id(1_003), NOW).await.unwrap();
    // Three are sent, two are not yet.
    let three = ClaimLimits { rows: 3, ..LIMITS };
    let rows = store.claim_due("sender", NOW + 60_000, three).await.unwrap();
    let sent: Vec<_> = rows
        .iter()
        .zip(20..)
        .map(|(row, offset)| SentRow { id: row.record.id, partition: 0, offset })
        .collect();
    store.settle_due("sender", NOW, &sent, &[]).await.unwrap();
    let sent: Vec<Record> = rows
        .into_iter()
        .zip(20..)
        .map(|(row, at)| arrived(row.record.into_record(NOW), at))
        .collect();
    assert_eq!(end(&store, &sent[0]).await, Some(false));

    let held = hold(&store, &sent[1], 7).await;
    let row = &held[0].row;
    assert_eq!((row.machine.state, row.machine.message_id), (QuarantineState::Held, id(1_005)));
    assert_eq!((row.machine.parked(), &row.letter), (3, &letter(7)));
    assert_eq!(store.next_due(NOW * 2).await.unwrap(), None, "those that were not sent wait again");
    assert_eq!(park(&store, &sent[2]).await, ParkEnd::Parked, "the one on its way too");
    assert_eq!(park(&store, &sent[2]).await, ParkEnd::Parked);
    assert_eq!(park(&store, &sent[0]).await, ParkEnd::Parked, "it has ended, and came twice");
    assert_eq!(park(&store, &job(40)).await, ParkEnd::Parked);

    store.discard(&letter(7), id(1_005), "over", NOW, 0).await.unwrap();
    let again = send(&store, 50).await;
    assert_eq!(numbers(&again), [3, 4, 5, 6], "in the first order");
    assert_eq!(again[0].message_id(), id(1_006));
    for record in &again[..3] {
        assert_eq!(end(&store, record).await, Some(false));
    }
    assert_eq!(end(&store, &again[3]).await, Some(true));
}

async fn one_that_is_on_its_way_waits_for_those_that_were_parked_again(store: Store) {
    hold(&store, &job(3), 0).await;
    for offset in 4..9 {
        park(&store, &job(offset)).await;
    }
    store.release_message(GROUP, id(1_003), NOW).await.unwrap();
    let sent = send(&store, 20).await;
    assert_eq!(end(&store, &sent[0]).await, Some(false));
    hold(&store, &sent[1], 7).await;
    assert_eq!(park(&store, &sent[2]).await, ParkEnd::Parked);
    // Somebody decides before the worker is at the next one.
    store.discard(&letter(7), id(1_005), "over", NOW, 0).await.unwrap();
    let again = send(&store, 30).await;
    assert_eq!(numbers(&again), [3]);
    assert_eq!(park(&store, &sent[3]).await, ParkEnd::Parked, "the third one comes behind it");
    assert_eq!(park(&store, &sent[4]).await, ParkEnd::Parked);
    assert_eq!(park(&store, &again[0]).await, ParkEnd::Runs);
    assert_eq!(end(&store, &again[0]).await, Some(false));
    let last = send(&store, 40).await;
    assert_eq!(numbers(&last), [4, 5]);
    assert_eq!(park(&store, &last[0]).await, ParkEnd::Runs);
    assert_eq!(end(&store, &last[0]).await, Some(false));
    assert_eq!(end(&store, &last[1]).await, Some(true));
}

async fn one_whose_predecessors_are_gone_runs(store: Store) {
    hold(&store, &job(3), 0).await;
    for offset in 4..7 {
        park(&store, &job(offset)).await;
    }
    store.release_message(GROUP, id(1_003), NOW).await.unwrap();
    let sent = send(&store, 20).await;
    // A reset of the offset went over the first two.
    assert_eq!(park(&store, &sent[2]).await, ParkEnd::Runs);
    assert_eq!(end(&store, &sent[2]).await, Some(true));
    assert_eq!(the_row(&store).await, None);
}

async fn a_letter_that_is_discarded_releases_its_key_and_no_other(store: Store) {
    let other = Record { key: Some(b"other".to_vec()), ..job(11) };
    hold(&store, &job(3), 0).await;
    hold(&store, &other, 1).await;
    park(&store, &job(4)).await;
    store.discard(&letter(0), id(9), "another message", NOW, 0).await.unwrap();
    assert_eq!(store.next_due(NOW * 2).await.unwrap(), None);
    let done = store.discard(&letter(0), id(1_003), "over", NOW, 0).await.unwrap();
    assert_eq!(done, Claim::Taken);
    assert!(store.next_due(NOW * 2).await.unwrap().is_some());
    let again = store.discard(&letter(0), id(1_003), "over", NOW, 0).await.unwrap();
    assert!(matches!(again, Claim::Settled(_)));
    let rows = store.quarantines(None, 9).await.unwrap().items;
    let states: Vec<_> = rows.iter().map(|row| (row.key.as_slice(), row.machine.state)).collect();
    assert!(states.contains(&(b"other".as_slice(), QuarantineState::Held)), "{states:?}");
    assert!(states.contains(&(KEY, QuarantineState::Releasing)), "{states:?}");
}

async fn a_letter_that_was_discarded_first_holds_nothing(store: Store) {
    store.discard(&letter(0), id(1_003), "at once", NOW, 0).await.unwrap();
    let changed = hold(&store, &job(3), 0).await;
    assert!(changed[0].is_lifted);
    assert_eq!(the_row(&store).await, None);
    // At the same time: whoever comes second sees the first.
    for round in 1..20 {
        let record = Record { key: Some(vec![1]), ..job(100 + round) };
        let place = letter(round);
        let discard = store.discard(&place, record.message_id(), "at once", NOW, 0);
        let (discarded, _) = tokio::join!(discard, hold(&store, &record, round));
        assert_eq!(discarded.unwrap(), Claim::Taken);
        assert_eq!(the_row(&store).await, None, "{round}");
    }
}

async fn whoever_parks_during_a_release_is_sent_or_runs(store: Store) {
    hold(&store, &job(3), 0).await;
    let parking = join_all((4..44).map(|offset| {
        let store = store.clone();
        async move { park(&store, &job(offset)).await }
    }));
    let (ends, released) =
        tokio::join!(parking, async { store.release_key(GROUP, TOPIC, KEY, NOW).await.unwrap() });
    let parked = ends.iter().filter(|end| **end == ParkEnd::Parked).count();
    let sent = send(&store, 100).await;
    assert_eq!(sent.len(), parked, "none is left behind: {released:?}");
    let mut ordered = numbers(&sent);
    ordered.sort_unstable();
    assert_eq!(ordered, numbers(&sent), "in their order");
    if let Some((last, others)) = sent.split_last() {
        for record in others {
            assert_eq!(end(&store, record).await, Some(false));
        }
        assert_eq!(end(&store, last).await, Some(true));
    }
    assert_eq!(the_row(&store).await, None);
}

async fn the_last_end_and_a_new_job_do_not_miss_each_other(store: Store) {
    for round in 0..20 {
        let poison = job(round * 100);
        hold(&store, &poison, round).await;
        park(&store, &job(round * 100 + 1)).await;
        store.release_message(GROUP, poison.message_id(), NOW).await.unwrap();
        let sent = send(&store, round * 100 + 50).await;
        let newcomer = job(round * 100 + 2);
        let (lifted, parked) = tokio::join!(end(&store, &sent[0]), park(&store, &newcomer));
        match (lifted, parked) {
            (Some(true), ParkEnd::Runs) => {}
            (Some(false), ParkEnd::Parked) => {
                let behind = send(&store, round * 100 + 60).await;
                assert_eq!(numbers(&behind), [2]);
                assert_eq!(end(&store, &behind[0]).await, Some(true));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(the_row(&store).await, None);
    }
}

async fn a_replay_with_another_key_moves_the_letter_of_both(store: Store) {
    hold(&store, &job(3), 0).await;
    park(&store, &job(4)).await;
    let replay = Record { key: Some(b"other".to_vec()), headers: job(3).headers, ..job(9) };
    let changed = hold(&store, &replay, 5).await;
    assert_eq!(changed.len(), 2, "{changed:?}");
    assert!(changed.iter().all(|changed| changed.row.letter == letter(5)));
    let released = store.release_message(GROUP, id(1_003), NOW).await.unwrap();
    assert_eq!(released.len(), 2);
    assert_eq!(send(&store, 20).await.len(), 1);
}

async fn an_operator_ends_what_nobody_will_end(store: Store) {
    hold(&store, &job(3), 0).await;
    park(&store, &job(4)).await;
    let release = async || store.release_key(GROUP, TOPIC, KEY, NOW).await.unwrap().unwrap();
    let released = release().await;
    assert_eq!(
        (released.is_lifted, released.row.machine.state),
        (false, QuarantineState::Releasing)
    );
    assert!(!release().await.is_lifted, "one is to be sent");
    // It is sent, and retention takes it before it is run.
    assert_eq!(send(&store, 20).await.len(), 1);
    assert!(release().await.is_lifted);
    assert_eq!(store.release_key(GROUP, TOPIC, KEY, NOW).await.unwrap(), None);
    assert_eq!(store.release_key("another", TOPIC, KEY, NOW).await.unwrap(), None);
}

async fn a_long_key_and_a_key_of_any_bytes_can_be_quarantined(store: Store) {
    let mut seed = 7_u32;
    let noise = (0..20_000).map(|_| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed.to_be_bytes()[0]
    });
    let record = Record { key: Some(noise.collect()), ..job(3) };
    hold(&store, &record, 0).await;
    assert_eq!(the_row(&store).await.map(|row| row.key), record.key);
    let later = Record { key: record.key.clone(), ..job(4) };
    assert_eq!(park(&store, &later).await, ParkEnd::Parked);
}

async fn parked_jobs_are_not_swept(store: Store) {
    hold(&store, &job(3), 0).await;
    park(&store, &job(4)).await;
    park(&store, &job(5)).await;
    store.sweep_schedule(i64::MAX).await.unwrap();
    store.clear_index("dlq").await.unwrap();
    assert_eq!(the_row(&store).await.unwrap().machine.parked(), 2, "it outlives the index");
    store.release_key(GROUP, TOPIC, KEY, NOW).await.unwrap();
    let sent = send(&store, 20).await;
    assert_eq!(end(&store, &sent[0]).await, Some(false));
    store.sweep_schedule(i64::MAX).await.unwrap();
    assert_eq!(end(&store, &sent[1]).await, Some(true), "the end needs none of the rows");
}

async fn no_more_are_parked_than_may_be(store: Store) {
    hold(&store, &job(3), 0).await;
    park(&store, &job(4)).await;
    let full = crate::domain::quarantine::PARKED_MAX;
    sqlx::query("UPDATE quarantines SET last_number = $1")
        .bind(full)
        .execute(&store.writer)
        .await
        .unwrap();
    assert_eq!(park(&store, &job(5)).await, ParkEnd::Full);
    assert_eq!(park(&store, &job(4)).await, ParkEnd::Parked, "it is there already");
    assert_eq!(the_row(&store).await.unwrap().machine.parked(), full);
}

async fn a_reader_knows_of_each_change(store: Store) {
    let mut before = store.quarantine_changes().await.unwrap();
    let mut grew = async |what: &str| {
        let now = store.quarantine_changes().await.unwrap();
        assert!(now > before, "{what}");
        before = now;
    };
    hold(&store, &job(3), 0).await;
    grew("held").await;
    park(&store, &job(4)).await;
    store.release_message(GROUP, id(1_003), NOW).await.unwrap();
    grew("released").await;
    let sent = send(&store, 20).await;
    hold(&store, &sent[0], 2).await;
    grew("held again").await;
    store.discard(&letter(2), id(1_004), "over", NOW, 0).await.unwrap();
    grew("discarded").await;
    assert_eq!(the_row(&store).await, None);
}

#[tokio::test]
async fn a_row_that_its_sender_gave_back_can_be_called_back() {
    let dir = tempfile::tempdir().unwrap();
    let database = crate::store::Database::Sqlite(dir.path().join("t.db"));
    let store = database.open().await.unwrap();
    hold(&store, &job(3), 0).await;
    park(&store, &job(4)).await;
    park(&store, &job(5)).await;
    store.release_message(GROUP, id(1_003), NOW).await.unwrap();
    let rows = store.claim_due("sender", NOW + 60_000, LIMITS).await.unwrap();
    let first = SentRow { id: rows[0].record.id, partition: 0, offset: 20 };
    let second = GivenBack {
        id: rows[1].record.id,
        not_before_ms: NOW,
        is_doubtful: false,
        has_failed: false,
    };
    store.settle_due("sender", NOW, &[first], &[]).await.unwrap();
    let died = arrived(rows[0].record.clone().into_record(NOW), 20);
    hold(&store, &died, 1).await;
    // Its sender has it still: it may come, and is parked then.
    store.settle_due("sender", NOW, &[], &[second]).await.unwrap();
    let sent = send(&store, 30).await;
    assert_eq!(numbers(&sent), [2]);
    assert_eq!(park(&store, &sent[0]).await, ParkEnd::Parked);
    store.release_message(GROUP, died.message_id(), NOW).await.unwrap();
    let again = send(&store, 40).await;
    assert_eq!(numbers(&again), [2]);
    assert_eq!(end(&store, &again[0]).await, Some(true));
}
