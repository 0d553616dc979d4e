//! Replays, each test on either database.

use std::time::Duration;

use super::*;
use crate::store::tests::on_both_databases;

on_both_databases! {
    a_replay_comes_back_as_it_went_in_and_has_its_group_alone,
    a_replay_is_one_worker_s_and_the_next_goes_on_from_what_was_saved,
    a_cancel_is_seen_by_the_worker_or_is_the_end,
    failures_are_listed_once_and_in_pages,
}

const NOW: i64 = 1_735_689_600_000;
const TERM: Duration = Duration::from_secs(10);

fn replay(number: u128, group: &str) -> ReplayRow {
    ReplayRow {
        id: Uuid::from_u128(number),
        created_at_ms: NOW + i64::try_from(number / 2).unwrap(),
        created_by: "ada".into(),
        reason: Some("why".into()),
        topic: "waitlist.email.welcome".into(),
        handler: "email.welcome".into(),
        group: group.into(),
        effects: Effects::Again,
        key: Some("k".into()),
        rate_per_second: Some(0.5),
        dead_letters: true,
        state: ReplayState::Queued,
        error: None,
        started_at_ms: None,
        finished_at_ms: None,
        counts: Counts::default(),
        per_1000_s: 0,
        waits_for: None,
        holder: None,
        offsets: 15,
        offsets_done: 0,
    }
}

fn spans() -> Vec<ReplaySpan> {
    vec![
        ReplaySpan { partition: 0, from: 5, to: 15, position: 5 },
        ReplaySpan { partition: 3, from: 0, to: 5, position: 0 },
    ]
}

async fn begin(store: &Store, number: u128, group: &str) -> ReplayRow {
    let row = replay(number, group);
    assert!(store.begin_replay(&row, &spans()).await.unwrap());
    row
}

async fn a_replay_comes_back_as_it_went_in_and_has_its_group_alone(store: Store) {
    let first = begin(&store, 1, "g").await;
    assert_eq!(store.replay(first.id).await.unwrap(), Some(first.clone()));
    assert_eq!(store.replay_spans(first.id).await.unwrap(), spans());
    let twin = replay(2, "g");
    assert!(!store.begin_replay(&twin, &spans()).await.unwrap(), "the group is taken");
    assert_eq!(store.replay_spans(twin.id).await.unwrap(), []);

    let mut seen = vec![first.id];
    for number in 3..=6 {
        seen.push(begin(&store, number, &format!("g{number}")).await.id);
    }
    seen.reverse();
    let (mut listed, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.replays(cursor, 2).await.unwrap();
        assert_eq!(page.total, 5);
        listed.extend(page.items.iter().map(|replay| replay.id));
        let Some(next) = page.next else { break };
        cursor = TimeCursor::decode(&next.encode());
    }
    assert_eq!(listed, seen);

    // Once the first has ended its group is free.
    assert!(store.take_replay(first.id, "w", NOW, TERM).await.unwrap().is_some());
    store.end_replay(first.id, "w", ReplayState::Failed, Some("no"), NOW + 1).await.unwrap();
    assert!(store.begin_replay(&twin, &spans()).await.unwrap());
    let ended = store.replay(first.id).await.unwrap().unwrap();
    assert_eq!((ended.state, ended.error.as_deref()), (ReplayState::Failed, Some("no")));
    assert_eq!((ended.finished_at_ms, ended.holder), (Some(NOW + 1), None));
    let open = store.open_replays().await.unwrap();
    assert!(open.iter().all(|replay| replay.id != first.id));
}

async fn a_replay_is_one_worker_s_and_the_next_goes_on_from_what_was_saved(store: Store) {
    let id = begin(&store, 1, "g").await.id;
    let queued = Some(ReplayState::Queued);
    assert_eq!(store.take_replay(id, "one", NOW, TERM).await.unwrap(), queued);
    assert_eq!(store.take_replay(id, "two", NOW + 9_000, TERM).await.unwrap(), None);
    store.run_replay(id, "one", NOW + 5).await.unwrap();
    store.run_replay(id, "two", NOW + 6).await.unwrap();
    let counts = Counts { done: 4, already_done: 3, failed: 2, skipped: 1 };
    let mut progress = ReplayProgress {
        spans: spans(),
        counts,
        per_1000_s: 7_500,
        waits_for: Some("the mail server".into()),
    };
    progress.spans[0].position = 15;
    let running = Some(ReplayState::Running);
    assert_eq!(store.save_replay(id, "one", &progress, NOW, TERM).await.unwrap(), running);
    let row = store.replay(id).await.unwrap().unwrap();
    assert_eq!((row.counts, row.offsets_done, row.per_1000_s), (counts, 10, 7_500));
    assert_eq!(
        (row.started_at_ms, row.waits_for.as_deref()),
        (Some(NOW + 5), Some("the mail server"))
    );

    // Silent for too long: the next one has it, and what the first still says is refused.
    let later = NOW + 10_001;
    assert_eq!(store.take_replay(id, "two", later, TERM).await.unwrap(), running);
    let mut stale = progress.clone();
    stale.spans[1].position = 5;
    assert_eq!(store.save_replay(id, "one", &stale, later, TERM).await.unwrap(), None);
    store.end_replay(id, "one", ReplayState::Completed, None, later).await.unwrap();
    assert_eq!(store.replay_spans(id).await.unwrap(), progress.spans);
    assert!(store.replay(id).await.unwrap().unwrap().state.is_open());
    // One that stops gives it back at once.
    store.release_replay(id, "two").await.unwrap();
    assert_eq!(store.take_replay(id, "three", later, TERM).await.unwrap(), running);
}

async fn a_cancel_is_seen_by_the_worker_or_is_the_end(store: Store) {
    let id = begin(&store, 1, "g").await.id;
    store.take_replay(id, "one", NOW, TERM).await.unwrap();
    let cancelling = Some(ReplayState::Cancelling);
    assert_eq!(store.cancel_replay(id, NOW).await.unwrap(), cancelling);
    let progress = ReplayProgress {
        spans: spans(),
        counts: Counts::default(),
        per_1000_s: 0,
        waits_for: None,
    };
    assert_eq!(store.save_replay(id, "one", &progress, NOW, TERM).await.unwrap(), cancelling);
    // Its worker has gone silent: there is nobody to wait for.
    let cancelled = Some(ReplayState::Cancelled);
    assert_eq!(store.cancel_replay(id, NOW + 10_001).await.unwrap(), cancelled);
    assert_eq!(store.cancel_replay(id, NOW + 10_002).await.unwrap(), None, "it has ended");
    let unheld = begin(&store, 2, "h").await.id;
    assert_eq!(store.cancel_replay(unheld, NOW).await.unwrap(), cancelled);
    assert_eq!(store.replay(unheld).await.unwrap().unwrap().finished_at_ms, Some(NOW));
    assert_eq!(store.cancel_replay(Uuid::from_u128(9), NOW).await.unwrap(), None);
}

async fn failures_are_listed_once_and_in_pages(store: Store) {
    let id = begin(&store, 1, "g").await.id;
    let failure = |partition: i32, offset: i64, message: &str| ReplayFailure {
        partition,
        offset,
        message_id: Uuid::from_u128(5),
        key: Some("k\0".into()),
        attempts: 5,
        error_class: "class".into(),
        error_message: message.into(),
        failed_at_ms: NOW,
    };
    for (partition, offset) in [(3, 1), (0, 9), (0, 7), (0, 7)] {
        store.note_replay_failure(id, &failure(partition, offset, "first")).await.unwrap();
    }
    store.note_replay_failure(id, &failure(0, 9, "a\0b")).await.unwrap();
    let page = store.replay_failures(id, None, 2).await.unwrap();
    assert_eq!((page.total, page.next), (3, Some((0, 9))));
    assert_eq!(page.items.iter().map(|f| f.offset).collect::<Vec<_>>(), [7, 9]);
    assert_eq!(page.items[1].error_message, "a\u{fffd}b");
    let next = store.replay_failures(id, Some((0, 9)), 2).await.unwrap();
    let expected = ReplayFailure { key: Some("k\u{fffd}".into()), ..failure(3, 1, "first") };
    assert_eq!((next.items, next.next), (vec![expected], None));
    // Those that run again are listed no longer.
    let mut spans = spans();
    spans[0].position = 8;
    spans[1].position = 2;
    store.forget_replay_failures(id, &spans).await.unwrap();
    let left = store.replay_failures(id, None, 10).await.unwrap().items;
    assert_eq!(left.iter().map(|f| (f.partition, f.offset)).collect::<Vec<_>>(), [(0, 7), (3, 1)]);
}
