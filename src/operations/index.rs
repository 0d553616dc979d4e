//! Keep the index of the dead-letter topic up to date. The topic is the truth; of many
//! instances the one with the lease indexes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::domain::catalog::Catalog;
use crate::domain::clock::{SharedClock, parse_rfc3339};
use crate::domain::dead_letter::{Bytes, DeadLetter};
use crate::domain::receipt::Place;
use crate::domain::record::Record;
use crate::kafka::{Bounds, KafkaFault, Reader, Tail, Tailed};
use crate::store::{IndexedLetter, LetterState, Store, StoreError};

/// The lease of the one instance that indexes.
const LEASE: &str = "dead-letter-index";
/// How long the lease is good for: another instance takes over after at most this.
const LEASE_TERM: Duration = Duration::from_secs(10);
/// How often it is renewed, and how often an instance without it asks.
const LEASE_RENEW: Duration = Duration::from_secs(3);
/// How long one look at the topic waits for a letter.
const POLL: Duration = Duration::from_millis(250);
/// Letters in one transaction.
const BATCH_MAX: usize = 500;
/// The wait after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Follows the dead-letter topic into the index.
pub struct Indexer {
    catalog: Arc<Catalog>,
    store: Store,
    reader: Reader,
    clock: SharedClock,
    /// Names this instance among all.
    instance: String,
}

/// Why following the topic has ended.
enum End {
    /// Another instance has the lease.
    NotLeased,
    /// Start again from what the index says.
    Moved,
}

#[derive(Debug, Error)]
enum IndexError {
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Indexer {
    /// An indexer that holds the lease under this instance's name.
    pub fn new(
        catalog: Arc<Catalog>,
        store: Store,
        reader: Reader,
        clock: SharedClock,
        instance: String,
    ) -> Self {
        Self { catalog, store, reader, clock, instance }
    }

    /// Indexes until stopped.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let pause = match self.follow(&stop).await {
                Ok(End::Moved) => continue,
                Ok(End::NotLeased) => LEASE_RENEW,
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, cause, "the dead-letter index waits");
                    RETRY
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        if let Err(error) = self.store.release(LEASE, &self.instance).await {
            tracing::debug!(%error, "the index's lease runs out by itself");
        }
    }

    async fn has_lease(&self) -> Result<bool, StoreError> {
        self.store.lease(LEASE, &self.instance, self.clock.now_ms(), LEASE_TERM).await
    }

    /// Follows the topic until the lease is lost, the index is not where this instance left
    /// it, or the stop comes.
    async fn follow(&self, stop: &CancellationToken) -> Result<End, IndexError> {
        if !self.has_lease().await? {
            return Ok(End::NotLeased);
        }
        let topic = &self.catalog.dead_letters().name;
        let (mut positions, mut bounds) = self.start().await?;
        let tail = self.reader.follow(topic, positions.clone()).await?;
        let mut renewed_ms = self.clock.now_ms();
        let renew_ms = i64::try_from(LEASE_RENEW.as_millis()).unwrap_or(i64::MAX);
        while !stop.is_cancelled() {
            if self.clock.now_ms() - renewed_ms >= renew_ms {
                if !self.has_lease().await? {
                    return Ok(End::NotLeased);
                }
                let now = self.reader.bounds(topic).await?;
                if now.len() != positions.len() || is_made_anew(&positions, &now) {
                    return Ok(End::Moved);
                }
                self.forget_expired(topic, &bounds, &now).await?;
                bounds = now;
                renewed_ms = self.clock.now_ms();
            }
            if !self.index_next(topic, &tail, &mut positions).await? {
                return Ok(End::Moved);
            }
        }
        Ok(End::Moved)
    }

    /// Where to go on: behind what is indexed, or where retention has left the topic. And the
    /// bounds by which this was found.
    async fn start(&self) -> Result<(Vec<i64>, Vec<Bounds>), IndexError> {
        let topic = &self.catalog.dead_letters().name;
        let bounds = self.reader.bounds(topic).await?;
        let progress = self.store.index_progress(topic).await?;
        let next: Vec<i64> = progress.iter().map(|progress| progress.next_offset).collect();
        if progress.len() > bounds.len() || is_made_anew(&next, &bounds) {
            self.rebuild(topic).await?;
            let count = i32::try_from(bounds.len()).unwrap_or(i32::MAX);
            self.store.forget_partitions_from(topic, count).await?;
        }
        for (partition, bounds) in (0_i32..).zip(&bounds) {
            self.store.begin_index(topic, partition, bounds.low).await?;
            self.store.forget_letters_below(topic, partition, bounds.low).await?;
        }
        let mut positions = Vec::with_capacity(bounds.len());
        for (progress, bounds) in self.store.index_progress(topic).await?.iter().zip(&bounds) {
            let (partition, next) = (progress.partition, progress.next_offset);
            let from = next.max(bounds.low);
            if from != next {
                let _ = self.store.index_letters(topic, partition, next, from, &[]).await?;
            }
            positions.push(from);
        }
        Ok((positions, bounds))
    }

    async fn rebuild(&self, topic: &str) -> Result<(), StoreError> {
        tracing::warn!(topic, "the dead-letter topic was made anew; its index is rebuilt");
        self.store.clear_index(topic).await
    }

    /// Forgets what retention has taken between two looks.
    async fn forget_expired(
        &self,
        topic: &str,
        before: &[Bounds],
        now: &[Bounds],
    ) -> Result<(), StoreError> {
        for (partition, (before, now)) in (0_i32..).zip(before.iter().zip(now)) {
            if before.low != now.low {
                self.store.forget_letters_below(topic, partition, now.low).await?;
            }
        }
        Ok(())
    }

    /// Indexes what comes next. False when the index is not where this instance left it.
    async fn index_next(
        &self,
        topic: &str,
        tail: &Tail,
        positions: &mut [i64],
    ) -> Result<bool, IndexError> {
        let Tailed { records, is_at_an_end } = tail.next(POLL, BATCH_MAX).await?;
        if records.is_empty() && !is_at_an_end {
            // Somebody may have asked for a rebuild.
            let progress = self.store.index_progress(topic).await?;
            return Ok(progress.iter().map(|p| p.next_offset).eq(positions.iter().copied()));
        }
        let mut by_partition: BTreeMap<i32, Vec<IndexedLetter>> = BTreeMap::new();
        for record in records {
            let letter = read(&self.catalog, &record);
            by_partition.entry(record.place.partition).or_default().push(letter);
        }
        for (partition, letters) in by_partition {
            let position = usize::try_from(partition).ok().and_then(|p| positions.get_mut(p));
            let (Some(position), Some(first), Some(last)) =
                (position, letters.first(), letters.last())
            else {
                continue;
            };
            if first.place.offset < *position {
                // Kafka began again: what is indexed was in another topic of this name.
                self.rebuild(topic).await?;
                return Ok(false);
            }
            let next = last.place.offset + 1;
            if !self.move_on(topic, partition, position, next, &letters).await? {
                return Ok(false);
            }
        }
        if is_at_an_end {
            return self.pass_ends_of_transactions(topic, positions).await;
        }
        Ok(true)
    }

    /// Behind the last letter of a partition there may stand the ends of transactions, which
    /// no client is shown: the index has reached the end all the same.
    async fn pass_ends_of_transactions(
        &self,
        topic: &str,
        positions: &mut [i64],
    ) -> Result<bool, IndexError> {
        let bounds = self.reader.bounds(topic).await?;
        let behind: Vec<(i32, i64)> = (0_i32..)
            .zip(positions.iter().zip(&bounds))
            .filter(|(_, (position, bounds))| **position < bounds.high)
            .map(|(partition, (position, _))| (partition, *position))
            .collect();
        if behind.is_empty() {
            return Ok(true);
        }
        for (partition, first) in self.reader.first_records(topic, behind).await? {
            let at = usize::try_from(partition).unwrap_or(usize::MAX);
            let (Some(position), Some(bounds)) = (positions.get_mut(at), bounds.get(at)) else {
                continue;
            };
            let is_moved = first.is_none()
                && !self.move_on(topic, partition, position, bounds.high, &[]).await?;
            if is_moved {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes letters with the new position. False when somebody else has moved the index.
    async fn move_on(
        &self,
        topic: &str,
        partition: i32,
        position: &mut i64,
        next: i64,
        letters: &[IndexedLetter],
    ) -> Result<bool, StoreError> {
        let moved = self.store.index_letters(topic, partition, *position, next, letters).await?;
        *position = next;
        Ok(moved.is_ok())
    }
}

/// Whether the topic ends before what was read of it.
fn is_made_anew(positions: &[i64], bounds: &[Bounds]) -> bool {
    positions.iter().zip(bounds).any(|(next, bounds)| *next > bounds.high)
}

/// What the index keeps of a record of the dead-letter topic. One that is no dead letter is
/// listed as what it is: somebody must look at it.
pub(super) fn read(catalog: &Catalog, record: &Record) -> IndexedLetter {
    match serde_json::from_slice::<DeadLetter>(record.value.as_deref().unwrap_or_default()) {
        Ok(letter) => of_letter(catalog, record, &letter),
        Err(error) => unreadable(record, &error.to_string()),
    }
}

fn of_letter(catalog: &Catalog, record: &Record, letter: &DeadLetter) -> IndexedLetter {
    let original = Place {
        topic: letter.original_topic.as_str().into(),
        partition: letter.original_partition,
        offset: letter.original_offset,
    };
    let failed_at_ms = letter.failed_at_ms().or(record.timestamp_ms).unwrap_or_default();
    IndexedLetter {
        place: record.place.clone(),
        message_id: letter.message_id.unwrap_or_else(|| {
            let original = original.clone();
            Record { place: original, headers: letter.headers(), ..empty_record() }.message_id()
        }),
        type_name: catalog.by_topic(&original.topic).map(|found| found.name.clone()),
        group: letter.group.clone(),
        original_key: match &letter.original_key {
            Some(Bytes::Text(text)) => Some(text.clone()),
            _ => None,
        },
        original_time_ms: letter.original_timestamp.as_deref().and_then(parse_rfc3339),
        original,
        attempts: letter.attempts.into(),
        error_class: letter.error_class.clone(),
        error_message: letter.error.clone(),
        error_chain: letter.error_chain.clone(),
        fingerprint: letter.fingerprint(),
        failed_at_ms,
        state: LetterState::Open,
    }
}

fn unreadable(record: &Record, error: &str) -> IndexedLetter {
    let letter = DeadLetter {
        original_topic: String::new(),
        original_partition: 0,
        original_offset: 0,
        original_key: None,
        original_value: None,
        original_headers: serde_json::Map::new(),
        original_timestamp: None,
        error: format!("this record of the dead-letter topic is no dead letter: {error}"),
        error_class: "unreadable_dead_letter".to_owned(),
        error_chain: Vec::new(),
        attempts: 0,
        group: None,
        message_id: Some(record.message_id()),
        failed_at: String::new(),
    };
    IndexedLetter {
        place: record.place.clone(),
        message_id: record.message_id(),
        type_name: None,
        group: None,
        original: Place { topic: "".into(), partition: 0, offset: 0 },
        original_key: None,
        original_time_ms: None,
        attempts: 0,
        fingerprint: letter.fingerprint(),
        error_class: letter.error_class,
        error_message: letter.error,
        error_chain: Vec::new(),
        failed_at_ms: record.timestamp_ms.unwrap_or_default(),
        state: LetterState::Open,
    }
}

fn empty_record() -> Record {
    Record {
        place: Place { topic: "".into(), partition: 0, offset: 0 },
        key: None,
        value: None,
        headers: crate::domain::record::Headers::new(),
        broken_headers: None,
        timestamp_ms: None,
    }
}
