//! Throw away what nothing asks for any more: of many instances the one with the lease does
//! it, once an hour.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::workers::LISTED_FOR;
use crate::domain::clock::SharedClock;
use crate::store::{Store, StoreError};

const DAY: Duration = Duration::from_hours(24);
/// A year, so that one can look back at the same month, and a little.
const AUDIT: Duration = DAY.saturating_mul(400);
/// Longer than any topic of the built-in catalog keeps the records that were passed over.
const OFFSET_RESETS: Duration = DAY.saturating_mul(400);
/// What was done with a letter is kept for longer than the letter, by this much.
const RESOLUTIONS_MARGIN: Duration = DAY.saturating_mul(30);
/// Replays that have ended, with the records that failed in them.
const REPLAYS: Duration = DAY.saturating_mul(90);
/// Longer than any wait between two attempts, and than any outage that a job may sit out.
const ATTEMPTS: Duration = DAY.saturating_mul(400);
/// An effect must not be had again by what can come back: a record of a year ago that became a
/// dead letter, which is kept for another year.
const CLAIMS: Duration = DAY.saturating_mul(800);

/// Rows of the schedule that have come to their end: a job is found by them for as long as any
/// topic of jobs of the built-in catalog keeps its record, and a little.
const SCHEDULE: Duration = DAY.saturating_mul(40);

/// Attempts at webhooks: long enough to look into what a customer asks about.
const WEBHOOK_DELIVERIES: Duration = DAY.saturating_mul(30);

/// How often it is looked.
const EVERY: Duration = Duration::from_hours(1);
const LEASE: &str = "retention";
/// The lease is renewed before each step, and each step takes a moment: another instance takes
/// over after at most this.
const LEASE_TERM: Duration = Duration::from_mins(5);

/// Throws old rows away.
pub struct Sweeper {
    store: Store,
    clock: SharedClock,
    /// Names this instance among all.
    instance: String,
    /// How long what was done with dead letters is kept.
    resolutions: Duration,
    /// How long keys of requests are known.
    keys: Duration,
}

impl Sweeper {
    /// A sweeper that holds the lease under this instance's name; dead letters, and keys of
    /// requests, are kept for so long.
    pub fn new(
        store: Store,
        clock: SharedClock,
        instance: &str,
        letters: Duration,
        keys: Duration,
    ) -> Self {
        let resolutions = letters.saturating_add(RESOLUTIONS_MARGIN);
        Self { store, clock, instance: instance.to_owned(), resolutions, keys }
    }

    /// Sweeps now and then once an hour, until stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            let swept = tokio::select! {
                () = stop.cancelled() => break,
                swept = self.sweep() => swept,
            };
            if let Err(error) = swept {
                tracing::warn!(%error, "old rows stay for another hour");
            }
        }
        if let Err(error) = self.store.release(LEASE, &self.instance).await {
            tracing::debug!(%error, "the sweeper's lease runs out by itself");
        }
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        let (store, resolutions) = (&self.store, self.resolutions);
        self.exhaust(AUDIT, |before_ms| store.sweep_audit(before_ms)).await?;
        self.exhaust(resolutions, |before_ms| store.sweep_resolutions(before_ms)).await?;
        self.exhaust(OFFSET_RESETS, |before_ms| store.sweep_offset_resets(before_ms)).await?;
        self.exhaust(ATTEMPTS, |before_ms| store.sweep_attempts(before_ms)).await?;
        self.exhaust(REPLAYS, |before_ms| store.sweep_replays(before_ms)).await?;
        self.exhaust(LISTED_FOR, |before_ms| store.sweep_snapshots(before_ms)).await?;
        self.exhaust(SCHEDULE, |before_ms| store.sweep_schedule(before_ms)).await?;
        let deliveries = |before_ms| store.sweep_webhook_deliveries(before_ms);
        self.exhaust(WEBHOOK_DELIVERIES, deliveries).await?;
        self.exhaust(self.keys, |before_ms| store.sweep_keys(before_ms)).await?;
        self.exhaust(CLAIMS, |before_ms| store.sweep_claims(before_ms)).await
    }

    /// Goes on while there is more and this instance has the lease.
    async fn exhaust<F: Future<Output = Result<bool, StoreError>>>(
        &self,
        kept: Duration,
        step: impl Fn(i64) -> F,
    ) -> Result<(), StoreError> {
        loop {
            let now_ms = self.clock.now_ms();
            let has_lease = self.store.lease(LEASE, &self.instance, now_ms, LEASE_TERM).await?;
            let kept_ms = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
            if !has_lease || !step(now_ms.saturating_sub(kept_ms)).await? {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use uuid::Uuid;

    use super::*;
    use crate::domain::clock::ManualClock;
    use crate::domain::id::IdSource;
    use crate::domain::receipt::Place;
    use crate::domain::record::Headers;
    use crate::domain::scheduled::ScheduledRecord;
    use crate::store::{Database, KeyScope, KeyTimes, Reservation, Reserved};

    #[tokio::test]
    async fn each_kind_is_kept_for_as_long_as_it_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let store = Database::Sqlite(dir.path().join("t.db")).open().await.unwrap();
        let clock = Arc::new(ManualClock::at_ms(0));
        let sweeper = Sweeper::new(store.clone(), clock.clone(), "a", DAY * 365, DAY);
        let id = Uuid::from_u128(1);
        let letter = Place { topic: "waitlist.dlq".into(), partition: 0, offset: 0 };
        store.discard(&letter, id, "a test", 0, 0).await.unwrap();
        store.claim("g", id, 0).await.unwrap();
        store.schedule(&waiting(id)).await.unwrap();
        store.cancel_scheduled(id, None, 0).await.unwrap();
        store.schedule(&waiting(Uuid::from_u128(2))).await.unwrap();
        for (days, has_row, has_resolution, has_claim) in [
            (40, true, true, true),
            (1, false, true, true),
            (365 + 30 - 41, false, true, true),
            (1, false, false, true),
            (404, false, false, true),
            (1, false, false, false),
        ] {
            clock.advance_ms(days * 86_400_000);
            sweeper.sweep().await.unwrap();
            let resolution = store.resolution(&letter, id).await.unwrap();
            assert_eq!(resolution.is_some(), has_resolution, "{days} days on");
            assert_eq!(store.is_claimed("g", id).await.unwrap(), has_claim, "{days} days on");
            let row = store.scheduled(id).await.unwrap();
            assert_eq!(row.is_some(), has_row, "{days} days on");
        }
        let waits = store.scheduled(Uuid::from_u128(2)).await.unwrap();
        assert!(waits.is_some(), "what has not come to its end is never swept");
    }

    fn waiting(id: Uuid) -> ScheduledRecord {
        ScheduledRecord {
            id,
            message_id: id,
            type_name: "email.welcome".into(),
            producer: "billing".into(),
            topic: "waitlist.email.welcome".into(),
            key: None,
            value: None,
            headers: Headers::new(),
            due_ms: 0,
            created_at_ms: 0,
            retry: None,
        }
    }

    #[tokio::test]
    async fn only_the_one_with_the_lease_sweeps() {
        let dir = tempfile::tempdir().unwrap();
        let store = Database::Sqlite(dir.path().join("t.db")).open().await.unwrap();
        let clock = Arc::new(ManualClock::at_ms(1_000 * 86_400_000));
        let now_ms = 1_000 * 86_400_000;
        let sweeper = Sweeper::new(store.clone(), clock, "a", DAY * 365, DAY);
        assert!(store.lease(LEASE, "b", now_ms, LEASE_TERM).await.unwrap());
        store.claim("g", Uuid::from_u128(1), 0).await.unwrap();
        sweeper.sweep().await.unwrap();
        assert!(store.is_claimed("g", Uuid::from_u128(1)).await.unwrap(), "b's work");
        store.release(LEASE, "b").await.unwrap();
        sweeper.sweep().await.unwrap();
        assert!(!store.is_claimed("g", Uuid::from_u128(1)).await.unwrap());
    }

    #[tokio::test]
    async fn keys_of_requests_are_kept_for_as_long_as_is_set() {
        let dir = tempfile::tempdir().unwrap();
        let store = Database::Sqlite(dir.path().join("t.db")).open().await.unwrap();
        let attempt = IdSource::new().next(0);
        let scope = KeyScope { caller: "a".into(), type_name: "t".into(), key: "k".into() };
        let wish = [Reservation { scope, fingerprint: "f".into(), attempt }];
        let times = KeyTimes { now_ms: 0, held_until_ms: i64::MAX, forgotten_ms: -1 };
        let reserve = async || store.reserve_keys(&wish, times).await.unwrap().remove(0);
        assert_eq!(reserve().await, Reserved::Yours(attempt));
        let clock = Arc::new(ManualClock::at_ms(86_400_000));
        let sweeper = Sweeper::new(store.clone(), clock.clone(), "a", DAY * 365, DAY);
        sweeper.sweep().await.unwrap();
        assert_eq!(reserve().await, Reserved::InFlight);
        clock.advance_ms(1);
        sweeper.sweep().await.unwrap();
        assert_eq!(reserve().await, Reserved::Yours(attempt));
    }
}
