//! The tables, each test on a real SQLite and on a real PostgreSQL.

use uuid::Uuid;

use super::*;
use crate::domain::receipt::Place;

#[path = "../../tests/harness/postgres.rs"]
pub(super) mod postgres;

/// Makes of each function a test on either database.
macro_rules! on_both_databases {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                let database = crate::store::Database::Sqlite(dir.path().join("t.db"));
                super::$name(database.open().await.unwrap()).await;
            })*
        }
        mod postgresql {
            $(#[tokio::test]
            async fn $name() {
                let database: crate::store::Database =
                    crate::store::tests::postgres::fresh_database().parse().unwrap();
                super::$name(database.open().await.unwrap()).await;
            })*
        }
    };
}

pub(super) use on_both_databases;

on_both_databases! {
    a_letter_comes_back_as_it_went_in,
    no_text_of_another_client_is_an_obstacle,
    pages_neither_repeat_nor_skip_while_new_letters_come,
    filters_and_their_count_agree,
    a_page_and_its_count_are_of_one_moment,
    only_one_indexer_moves_the_index_and_a_rebuild_is_noticed,
    retention_takes_letters_out_of_the_index,
    partitions_that_are_not_there_any_more_are_forgotten,
    a_replay_is_claimed_settled_and_resolved_once,
    a_job_that_is_quicker_than_the_receipt_stays_resolved,
    a_claim_left_by_a_crash_is_taken_over,
    a_discard_keeps_its_reason_and_survives_a_rebuild,
    a_topic_made_anew_does_not_inherit_what_was_done,
    one_holder_at_a_time,
    the_letter_of_a_record_is_that_of_its_group,
}

const DLQ: &str = "waitlist.dlq";
const NOW: i64 = 1_735_689_600_000;

fn letter(partition: i32, offset: i64, failed_at_ms: i64) -> IndexedLetter {
    IndexedLetter {
        place: Place { topic: DLQ.into(), partition, offset },
        message_id: Uuid::from_u128(u128::try_from(offset).unwrap() * 10 + 1),
        type_name: Some("email.welcome".into()),
        group: Some("email-workers".into()),
        original: Place { topic: "waitlist.email.welcome".into(), partition: 3, offset: 7 },
        original_key: Some("k".into()),
        original_time_ms: Some(NOW - 1),
        attempts: 2,
        error_class: "class".into(),
        error_message: "message".into(),
        error_chain: vec!["cause".into(), "its \"cause\"".into()],
        fingerprint: "f00d".into(),
        failed_at_ms,
        state: LetterState::Open,
    }
}

async fn index(store: &Store, letters: &[IndexedLetter]) {
    for partition in 0..3 {
        store.begin_index(DLQ, partition, 0).await.unwrap();
        let of_partition: Vec<_> =
            letters.iter().filter(|l| l.place.partition == partition).cloned().collect();
        let next = of_partition.last().map_or(0, |letter| letter.place.offset + 1);
        store.index_letters(DLQ, partition, 0, next, &of_partition).await.unwrap().unwrap();
    }
}

async fn all(store: &Store, filter: &LetterFilter) -> Vec<IndexedLetter> {
    store.letters(DLQ, filter, None, 1_000).await.unwrap().items
}

fn state_is(state: LetterState) -> LetterFilter {
    LetterFilter { state: Some(state), ..LetterFilter::default() }
}

async fn a_letter_comes_back_as_it_went_in(store: Store) {
    let bare = IndexedLetter {
        type_name: None,
        group: None,
        original_key: None,
        original_time_ms: None,
        error_chain: Vec::new(),
        ..letter(1, 0, NOW + 1)
    };
    index(&store, &[letter(0, 0, NOW), bare.clone()]).await;
    assert_eq!(all(&store, &LetterFilter::default()).await, [bare.clone(), letter(0, 0, NOW)]);
    assert_eq!(store.letter(&bare.place).await.unwrap(), Some(bare));
    let elsewhere = Place { topic: DLQ.into(), partition: 2, offset: 9 };
    assert_eq!(store.letter(&elsewhere).await.unwrap(), None);
}

/// Text that no compression makes small enough for an index of PostgreSQL.
fn noise(length: usize) -> String {
    let mut seed = 7_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'!' + u8::try_from((seed >> 33) % 90).unwrap())
    };
    (0..length).map(|_| next()).collect()
}

async fn no_text_of_another_client_is_an_obstacle(store: Store) {
    let with = |offset, text: &str| IndexedLetter {
        type_name: Some(text.into()),
        group: Some(text.into()),
        original: Place { topic: text.into(), partition: 3, offset: 7 },
        original_key: Some(text.into()),
        error_class: text.into(),
        error_message: text.into(),
        error_chain: vec![text.into()],
        ..letter(0, offset, NOW + offset)
    };
    let long = noise(20_000);
    index(&store, &[with(0, "a\0b"), with(1, &long)]).await;
    let read = all(&store, &LetterFilter::default()).await;
    let shown = "a\u{fffd}b";
    assert_eq!(read.len(), 2, "both are there");
    assert_eq!(&*read[0].original.topic, &long[..249], "as long as a topic's name can be");
    assert_eq!(read[0], IndexedLetter { original: read[0].original.clone(), ..with(1, &long) });
    let chain = vec!["a\0b".to_owned()];
    assert_eq!(read[1], IndexedLetter { error_chain: chain, ..with(0, shown) });
    let by_topic = LetterFilter { topic: Some("a\0b".into()), ..LetterFilter::default() };
    assert_eq!(all(&store, &by_topic).await.len(), 1, "a question may have it too");
    let group = store.letter_of(DLQ, &read[1].original, "a\0b").await.unwrap();
    assert_eq!(group, Some(read[1].clone()));
}

async fn pages_neither_repeat_nor_skip_while_new_letters_come(store: Store) {
    // Ten letters, several of the same millisecond, over three partitions.
    let letters: Vec<_> =
        (0..10_i32).map(|n| letter(n % 3, i64::from(n / 3), NOW + i64::from(n / 4))).collect();
    index(&store, &letters).await;
    let mut seen: Vec<Place> = Vec::new();
    let mut cursor = None;
    let filter = LetterFilter::default();
    loop {
        let page = store.letters(DLQ, &filter, cursor, 3).await.unwrap();
        seen.extend(page.items.iter().map(|letter| letter.place.clone()));
        let Some(next) = page.next else { break };
        cursor = Cursor::decode(&next.encode());
        assert!(cursor.is_some());
        // A newer one comes between the pages.
        let newer = letter(2, 50 + i64::try_from(seen.len()).unwrap(), NOW + 100);
        let from = store.index_progress(DLQ).await.unwrap()[2].next_offset;
        let next = newer.place.offset + 1;
        store.index_letters(DLQ, 2, from, next, &[newer]).await.unwrap().unwrap();
    }
    let mut expected: Vec<_> = letters.iter().map(|letter| letter.place.clone()).collect();
    expected.sort();
    let mut sorted = seen.clone();
    sorted.sort();
    assert_eq!(sorted, expected);
}

async fn filters_and_their_count_agree(store: Store) {
    let other = IndexedLetter {
        type_name: Some("email.milestone".into()),
        original: Place { topic: "waitlist.email.milestone".into(), partition: 0, offset: 0 },
        ..letter(1, 0, NOW)
    };
    index(&store, &[letter(0, 0, NOW), letter(0, 1, NOW), other]).await;
    let by_type =
        LetterFilter { type_name: Some("email.milestone".into()), ..LetterFilter::default() };
    let by_topic =
        LetterFilter { topic: Some("waitlist.email.welcome".into()), ..LetterFilter::default() };
    for (filter, count) in [
        (LetterFilter::default(), 3),
        (by_type, 1),
        (by_topic, 2),
        (state_is(LetterState::Open), 3),
        (state_is(LetterState::Discarded), 0),
    ] {
        let page = store.letters(DLQ, &filter, None, 9).await.unwrap();
        assert_eq!(
            (page.items.len(), page.total),
            (count, i64::try_from(count).unwrap()),
            "{filter:?}"
        );
    }
    let of_another = store.letters("another.dlq", &LetterFilter::default(), None, 9).await.unwrap();
    assert_eq!((of_another.items, of_another.total), (Vec::new(), 0));
}

async fn a_page_and_its_count_are_of_one_moment(store: Store) {
    const LETTERS: u16 = 200;
    index(&store, &[]).await;
    let writing = async {
        for offset in 0..i64::from(LETTERS) {
            let next = letter(0, offset, NOW);
            store.index_letters(DLQ, 0, offset, offset + 1, &[next]).await.unwrap().unwrap();
        }
    };
    let reading = async {
        loop {
            let page = store.letters(DLQ, &LetterFilter::default(), None, LETTERS).await.unwrap();
            assert_eq!(i64::try_from(page.items.len()).unwrap(), page.total);
            if page.total == i64::from(LETTERS) {
                break;
            }
        }
    };
    tokio::join!(writing, reading);
}

async fn only_one_indexer_moves_the_index_and_a_rebuild_is_noticed(store: Store) {
    index(&store, &[letter(0, 0, NOW)]).await;
    let late = store.index_letters(DLQ, 0, 0, 1, &[letter(0, 0, NOW)]).await.unwrap();
    assert_eq!(late, Err(IndexMoved), "somebody else was there first");
    store.clear_index(DLQ).await.unwrap();
    assert!(all(&store, &LetterFilter::default()).await.is_empty());
    let blind = store.index_letters(DLQ, 0, 1, 2, &[letter(0, 1, NOW)]).await.unwrap();
    assert_eq!(blind, Err(IndexMoved), "an indexer at work notices the rebuild");
    let progress = |partition| IndexProgress { partition, next_offset: 0, rebuilds: 1 };
    let expected = [progress(0), progress(1), progress(2)];
    assert_eq!(store.index_progress(DLQ).await.unwrap(), expected, "it says so itself");
}

async fn retention_takes_letters_out_of_the_index(store: Store) {
    index(&store, &[letter(0, 0, NOW), letter(0, 1, NOW), letter(1, 0, NOW)]).await;
    assert_eq!(store.forget_letters_below(DLQ, 0, 1).await.unwrap(), 1);
    assert_eq!(all(&store, &LetterFilter::default()).await.len(), 2);
}

async fn partitions_that_are_not_there_any_more_are_forgotten(store: Store) {
    index(&store, &[letter(0, 0, NOW), letter(1, 0, NOW), letter(2, 0, NOW)]).await;
    store.forget_partitions_from(DLQ, 1).await.unwrap();
    let left = [IndexProgress { partition: 0, next_offset: 1, rebuilds: 0 }];
    assert_eq!(store.index_progress(DLQ).await.unwrap(), left);
    assert_eq!(all(&store, &LetterFilter::default()).await, [letter(0, 0, NOW)]);
}

async fn a_replay_is_claimed_settled_and_resolved_once(store: Store) {
    let letter = letter(0, 0, NOW);
    index(&store, std::slice::from_ref(&letter)).await;
    let (place, id) = (&letter.place, letter.message_id);
    let (first, second) = (Uuid::from_u128(100), Uuid::from_u128(200));
    let claim = |replay, now_ms| store.claim_replay(place, id, replay, now_ms, now_ms - 60_000);
    assert_eq!(claim(first, NOW).await.unwrap(), Claim::Taken);
    assert_eq!(claim(second, NOW + 1).await.unwrap(), Claim::Busy);
    assert_eq!(all(&store, &state_is(LetterState::Open)).await.len(), 1, "open until it is sent");

    let receipt = Place { topic: "waitlist.email.welcome".into(), partition: 1, offset: 5 };
    store.settle_replay(place, first, &receipt, NOW + 2).await.unwrap();
    let Claim::Settled(done) = claim(second, NOW + 3).await.unwrap() else { panic!("settled") };
    assert_eq!((done.state, done.receipt), (LetterState::Replayed, Some(receipt)));
    assert_eq!(all(&store, &state_is(LetterState::Replayed)).await.len(), 1);

    store.resolve_replay(second, id, NOW + 4).await.unwrap();
    assert_eq!(all(&store, &state_is(LetterState::Resolved)).await.len(), 0, "not its replay");
    store.resolve_replay(first, id, NOW + 5).await.unwrap();
    assert_eq!(all(&store, &state_is(LetterState::Resolved)).await.len(), 1);
}

async fn a_job_that_is_quicker_than_the_receipt_stays_resolved(store: Store) {
    let letter = letter(0, 0, NOW);
    index(&store, std::slice::from_ref(&letter)).await;
    let (place, id, replay) = (&letter.place, letter.message_id, Uuid::from_u128(100));
    store.claim_replay(place, id, replay, NOW, 0).await.unwrap();
    store.resolve_replay(replay, id, NOW + 1).await.unwrap();
    let receipt = Place { topic: "t".into(), partition: 1, offset: 5 };
    store.settle_replay(place, replay, &receipt, NOW + 2).await.unwrap();
    let done = store.resolution(place, id).await.unwrap().unwrap();
    assert_eq!((done.state, done.receipt), (LetterState::Resolved, Some(receipt)));
}

async fn a_claim_left_by_a_crash_is_taken_over(store: Store) {
    let letter = letter(0, 0, NOW);
    let (place, id) = (&letter.place, letter.message_id);
    let (crashed, next) = (Uuid::from_u128(100), Uuid::from_u128(200));
    assert_eq!(store.claim_replay(place, id, crashed, NOW, 0).await.unwrap(), Claim::Taken);
    let taken = store.claim_replay(place, id, next, NOW + 60_001, NOW + 1).await.unwrap();
    assert_eq!(taken, Claim::Taken);
    store.abandon_replay(place, crashed).await.unwrap();
    let again = store.claim_replay(place, id, crashed, NOW + 60_002, NOW + 2).await.unwrap();
    assert_eq!(again, Claim::Busy, "the crashed one cannot give away what is not its own");
    store.abandon_replay(place, next).await.unwrap();
    let free = store.claim_replay(place, id, crashed, NOW + 60_003, NOW + 3).await.unwrap();
    assert_eq!(free, Claim::Taken);
    let busy = store.discard(place, id, "no use", NOW + 60_004, NOW + 4).await.unwrap();
    assert_eq!(busy, Claim::Busy, "its replay may be on its way");
    let late = store.discard(place, id, "no use", NOW + 120_004, NOW + 60_004).await.unwrap();
    assert_eq!(late, Claim::Taken, "a crash has left it");
}

async fn a_discard_keeps_its_reason_and_survives_a_rebuild(store: Store) {
    let letter = letter(0, 0, NOW);
    index(&store, std::slice::from_ref(&letter)).await;
    let (place, id) = (&letter.place, letter.message_id);
    assert_eq!(store.discard(place, id, "a test", NOW, 0).await.unwrap(), Claim::Taken);
    store.clear_index(DLQ).await.unwrap();
    store.index_letters(DLQ, 0, 0, 1, std::slice::from_ref(&letter)).await.unwrap().unwrap();
    let listed = all(&store, &state_is(LetterState::Discarded)).await;
    assert_eq!(listed, [IndexedLetter { state: LetterState::Discarded, ..letter.clone() }]);
    let Claim::Settled(done) = store.discard(place, id, "again", NOW, 0).await.unwrap() else {
        panic!("settled")
    };
    assert_eq!(done.reason.as_deref(), Some("a test"));
}

async fn a_topic_made_anew_does_not_inherit_what_was_done(store: Store) {
    let old = letter(0, 0, NOW);
    store.discard(&old.place, old.message_id, "old", NOW, 0).await.unwrap();
    let new = IndexedLetter { message_id: Uuid::from_u128(999), ..old.clone() };
    index(&store, std::slice::from_ref(&new)).await;
    assert_eq!(all(&store, &state_is(LetterState::Open)).await.len(), 1);
    let replay = Uuid::from_u128(100);
    let claim = store.claim_replay(&new.place, new.message_id, replay, NOW, 0).await.unwrap();
    assert_eq!(claim, Claim::Taken);
}

async fn one_holder_at_a_time(store: Store) {
    let term = std::time::Duration::from_secs(10);
    let lease = |holder, now_ms| store.lease("index", holder, now_ms, term);
    assert!(lease("a", 1_000).await.unwrap());
    assert!(!lease("b", 2_000).await.unwrap());
    assert!(lease("a", 5_000).await.unwrap(), "renewed");
    assert!(!lease("b", 15_000).await.unwrap());
    assert!(lease("b", 15_001).await.unwrap(), "it ran out");
    store.release("index", "a").await.unwrap();
    assert!(!lease("a", 15_002).await.unwrap(), "not a's to release");
    store.release("index", "b").await.unwrap();
    assert!(lease("a", 15_003).await.unwrap());
}

#[tokio::test]
async fn a_database_is_made_once_and_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let sqlite = Database::Sqlite(dir.path().join("jobgate.db"));
    for database in [sqlite, postgres::fresh_database().parse().unwrap()] {
        database.open().await.unwrap().close().await;
        database.open().await.unwrap().audit(None, 1).await.unwrap();
    }
}

#[tokio::test]
async fn several_instances_migrate_at_once() {
    let database: Database = postgres::fresh_database().parse().unwrap();
    let opened = futures_util::future::join_all((0..6).map(|_| database.open())).await;
    for store in opened {
        store.unwrap().audit(None, 1).await.unwrap();
    }
}

async fn the_letter_of_a_record_is_that_of_its_group(store: Store) {
    let mut old = letter(0, 0, NOW);
    old.group = None;
    let again = letter(1, 3, NOW + 5);
    let other = IndexedLetter { group: Some("others".into()), ..letter(2, 4, NOW + 9) };
    index(&store, &[old.clone(), again.clone(), other]).await;
    let found = store.letter_of(DLQ, &again.original, "email-workers").await.unwrap();
    assert_eq!(found, Some(again.clone()), "the last one of the group");
    let found = store.letter_of(DLQ, &again.original, "third").await.unwrap();
    assert_eq!(found, Some(old), "one that names no group may be anybody's");
    let elsewhere = Place { offset: 8, ..again.original };
    assert_eq!(store.letter_of(DLQ, &elsewhere, "email-workers").await.unwrap(), None);
}
