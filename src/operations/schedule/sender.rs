//! Send what is due: every instance looks, and each row is taken by one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::batch::{Batch, Ended};
use crate::domain::clock::{SharedClock, millis};
use crate::domain::counters::Counters;
use crate::kafka::Producer;
use crate::store::{ClaimLimits, DueRow, Store, StoreError};

/// How often it is looked at least: rows that other instances write are found by that.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What an instance takes at once: few enough that another one has its share, and that little
/// is in doubt after a crash; enough for [`ROWS_PER_SECOND_MAX`].
const LIMITS: ClaimLimits = ClaimLimits {
    rows: 500,
    // An eighth of the queue towards Kafka, which requests need too.
    bytes: 8 << 20,
    term: LEASE_TERM,
};
/// How long rows are an instance's own: after a crash another one takes them over after this.
pub(super) const LEASE_TERM: Duration = Duration::from_secs(10);
/// The most rows that an instance sends in a second: 100,000 that are due at once are gone in
/// half a minute, and requests, of which a gateway takes several times as many, have their share
/// of Kafka, the database and the processor.
const ROWS_PER_SECOND_MAX: u32 = 4_000;
/// The wait after a failure, doubled up to [`WAIT_LONGEST`].
const WAIT_FIRST: Duration = Duration::from_millis(500);
/// Once Kafka or the database is back, sending goes on after at most this.
const WAIT_LONGEST: Duration = Duration::from_secs(5);
/// The wait before what became of rows is written down again. Shorter than any wait before
/// rows are taken: another instance had better see that they were sent.
const SETTLE_AGAIN: Duration = Duration::from_millis(200);

/// Sends rows of the schedule when they are due.
pub struct Sender {
    pub(super) store: Store,
    pub(super) producer: Producer,
    pub(super) clock: SharedClock,
    pub(super) counters: Arc<Counters>,
    /// Names this instance among all.
    instance: String,
    batches: AtomicU64,
}

/// What came of a look.
enum Look {
    /// Rows were sent; there may be more.
    More,
    /// Nothing is to be done before this time, milliseconds since the epoch.
    Until(i64),
    /// Kafka did not take everything.
    Trouble,
}

impl Sender {
    /// A sender that holds rows under this instance's name.
    pub fn new(
        store: Store,
        producer: Producer,
        clock: SharedClock,
        counters: Arc<Counters>,
        instance: &str,
    ) -> Self {
        let (instance, batches) = (instance.to_owned(), AtomicU64::new(0));
        Self { store, producer, clock, counters, instance, batches }
    }

    /// Sends until stopped. Rows that are under way then have a moment; the others are given
    /// back.
    pub async fn run(self, stop: CancellationToken) {
        let mut wait = WAIT_FIRST;
        while !stop.is_cancelled() {
            self.store.bell().listen();
            let until_ms = match self.look_at(self.clock.now_ms(), &stop).await {
                Ok(Look::More) => {
                    wait = WAIT_FIRST;
                    continue;
                }
                Ok(Look::Until(at_ms)) => {
                    wait = WAIT_FIRST;
                    at_ms
                }
                failed => {
                    if let Err(error) = failed {
                        tracing::warn!(%error, "jobs that are due wait for the database");
                    }
                    // No row that comes meanwhile is a reason to try again sooner.
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(wait) => {}
                    }
                    wait = (wait * 2).min(WAIT_LONGEST);
                    continue;
                }
            };
            let pause_ms = until_ms.saturating_sub(self.clock.now_ms()).max(0).unsigned_abs();
            // A clock that is set back does not make it wait for longer.
            let pause = Duration::from_millis(pause_ms).min(LOOK_EVERY);
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
                () = self.store.bell().rung_before(until_ms) => {}
            }
        }
    }

    async fn look_at(&self, now_ms: i64, stop: &CancellationToken) -> Result<Look, StoreError> {
        let next_look_ms = now_ms.saturating_add(millis(LOOK_EVERY));
        // What nobody has taken can still be cancelled.
        if self.producer.is_away() {
            return Ok(Look::Until(next_look_ms));
        }
        match self.store.next_due(now_ms).await? {
            None => return Ok(Look::Until(next_look_ms)),
            Some(due_ms) if due_ms > now_ms => return Ok(Look::Until(next_look_ms.min(due_ms))),
            Some(_) => {}
        }
        let begun = Instant::now();
        let holder = self.next_holder();
        let rows = self.store.claim_due(&holder, now_ms, LIMITS).await?;
        if rows.is_empty() {
            // Others hold what comes before. That is no reason for the rest to be late.
            let later_ms = self.store.next_due_later(now_ms).await?;
            return Ok(Look::Until(later_ms.map_or(next_look_ms, |at_ms| at_ms.min(next_look_ms))));
        }
        Ok(self.send(&holder, rows, begun, stop).await)
    }

    /// Each batch has a name of its own. Rows that were taken although the database did not say
    /// so are nobody's, and no later batch keeps them for itself.
    fn next_holder(&self) -> String {
        format!("{}/{}", self.instance, self.batches.fetch_add(1, Ordering::Relaxed))
    }

    async fn send(
        &self,
        holder: &str,
        rows: Vec<DueRow>,
        begun: Instant,
        stop: &CancellationToken,
    ) -> Look {
        let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let ended = Batch::new(self, holder, rows).send(stop).await;
        tracing::debug!(
            sent = ended.sent.len(),
            given_back = ended.given_back.len(),
            "jobs that were due"
        );
        self.settle(holder, &ended, stop).await;
        if ended.is_kafka_in_trouble {
            return Look::Trouble;
        }
        let due_time = Duration::from_secs(1) * count / ROWS_PER_SECOND_MAX;
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep_until(begun + due_time) => {}
        }
        Look::More
    }

    /// Writes down what became of the rows, and tries until the database has it or the stop
    /// comes: then they are sent once more when their lease is over.
    async fn settle(&self, holder: &str, ended: &Ended, stop: &CancellationToken) {
        let Ended { sent, given_back, .. } = ended;
        loop {
            let now_ms = self.clock.now_ms();
            match self.store.settle_due(holder, now_ms, sent, given_back).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(
                    %error,
                    sent = sent.len(),
                    "what became of jobs that were due is not written down yet"
                ),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SETTLE_AGAIN) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::clock::SystemClock;
    use crate::domain::record::Headers;
    use crate::domain::scheduled::{ScheduledRecord, Stage};
    use crate::kafka::KafkaSettings;
    use crate::store::{Cancelled, Database};

    fn due(number: u128) -> ScheduledRecord {
        let id = Uuid::from_u128(number);
        ScheduledRecord {
            id,
            message_id: id,
            type_name: "email.welcome".into(),
            producer: "billing".into(),
            topic: "waitlist.email.welcome".into(),
            key: Some(b"one key".to_vec()),
            value: None,
            headers: Headers::new(),
            due_ms: 0,
            created_at_ms: 0,
            retry: None,
        }
    }

    /// A sender to a Kafka that takes the connection and says nothing, so that it is not known to
    /// be away.
    async fn sender(dir: &std::path::Path, silent: &std::net::TcpListener) -> Sender {
        let store = Database::Sqlite(dir.join("t.db")).open().await.unwrap();
        let brokers = silent.local_addr().unwrap().to_string();
        let clock: SharedClock = Arc::new(SystemClock);
        let settings = KafkaSettings { brokers, properties: Vec::new() };
        let producer = Producer::new(settings, Arc::clone(&clock)).unwrap();
        Sender::new(store, producer, clock, Arc::new(Counters::new([])), "a")
    }

    #[tokio::test]
    async fn a_batch_that_takes_its_time_keeps_its_own_rows_alone() {
        let dir = tempfile::tempdir().unwrap();
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let sender = sender(dir.path(), &silent).await;
        let (store, one) = (sender.store.clone(), ClaimLimits { rows: 1, ..LIMITS });
        for number in [1, 2] {
            store.schedule(&ScheduledRecord { key: None, ..due(number) }).await.unwrap();
        }
        // Of the first one nobody here knows: the answer of the database was lost.
        let long_ago_ms = sender.clock.now_ms() - millis(LEASE_TERM);
        store.claim_due(&sender.next_holder(), long_ago_ms, one).await.unwrap();
        let holder = sender.next_holder();
        let rows = store.claim_due(&holder, long_ago_ms, LIMITS).await.unwrap();
        Batch::new(&sender, &holder, rows).hold().await;
        let taken = store.claim_due("b", sender.clock.now_ms(), LIMITS).await.unwrap();
        let ids: Vec<u128> = taken.iter().map(|row| row.record.id.as_u128()).collect();
        assert_eq!(ids, [1], "its time is over");
    }

    #[tokio::test]
    async fn a_key_that_is_held_back_makes_no_other_late() {
        let dir = tempfile::tempdir().unwrap();
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let sender = sender(dir.path(), &silent).await;
        let (store, one) = (sender.store.clone(), ClaimLimits { rows: 1, ..LIMITS });
        let now_ms = sender.clock.now_ms();
        for number in [1, 2] {
            store.schedule(&due(number)).await.unwrap();
        }
        store.claim_due("b", now_ms, one).await.unwrap();
        // Further away than anybody sleeps, and then nearer.
        for (number, due_ms) in [(3, now_ms + 60_000), (4, now_ms + 500)] {
            let other = ScheduledRecord { key: None, due_ms, ..due(number) };
            store.schedule(&other).await.unwrap();
        }
        let look = sender.look_at(now_ms, &CancellationToken::new()).await.unwrap();
        assert!(matches!(look, Look::Until(at_ms) if at_ms == now_ms + 500));
    }

    #[tokio::test]
    async fn a_stop_gives_back_what_was_not_sent() {
        let dir = tempfile::tempdir().unwrap();
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let sender = sender(dir.path(), &silent).await;
        let (store, clock) = (sender.store.clone(), Arc::clone(&sender.clock));
        for number in [1, 2] {
            store.schedule(&due(number)).await.unwrap();
        }
        let stop = CancellationToken::new();
        let held = async {
            while store.next_due(clock.now_ms()).await.unwrap().is_some() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            stop.cancel();
        };
        tokio::join!(sender.run(stop.clone()), held);
        let cancel =
            async |number| store.cancel_scheduled(Uuid::from_u128(number), None, 1).await.unwrap();
        let Cancelled::TooLate(first) = cancel(1).await else { panic!("it may have been sent") };
        assert_eq!(first.stage, Stage::OnItsWay);
        assert!(matches!(cancel(2).await, Cancelled::Yes(_)), "its turn had not come");
        assert!(store.next_due(clock.now_ms()).await.unwrap().is_some(), "nobody holds the first");
    }
}
