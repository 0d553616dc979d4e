//! Remember attempts over a restart: of jobs that wait long, and of jobs that may have ended the
//! process that ran them.
//!
//! A help and no promise: while the database is away nothing is remembered, and jobs go on.

use std::collections::HashMap;
use std::time::Duration;

use crate::domain::clock::SharedClock;
use crate::domain::dispatch::{PartitionId, Past, Suspicion};
use crate::domain::offset_map::DoneRanges;
use crate::domain::record::Record;
use crate::store::{AttemptRow, Store, StoreError};

/// How long a job, or a rebalance, waits for the database: short beside the 10 s within which
/// another worker has taken over.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is remembered of the jobs of one partition.
#[derive(Debug, Default)]
pub struct Remembered(HashMap<i64, AttemptRow>);

impl Remembered {
    /// What is remembered of this record.
    pub fn take(&mut self, record: &Record) -> Option<Past> {
        if self.0.is_empty() {
            return None;
        }
        let row = self.0.remove(&record.place.offset)?;
        (row.message_id == record.message_id()).then_some(Past {
            attempts: row.attempts,
            not_before_ms: row.not_before_ms,
            suspicion: if row.is_open { Suspicion::Alone } else { Suspicion::None },
        })
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes out the jobs that have ended: those below the commit, and those done above it.
    pub fn take_ended(&mut self, committed: i64, done_above: &DoneRanges) -> Vec<i64> {
        let has_ended = |offset: i64| offset < committed || done_above.contains(offset);
        self.0.extract_if(|offset, _| has_ended(*offset)).map(|(offset, _)| offset).collect()
    }

    /// Nothing is remembered of this offset and those behind it.
    pub fn end(&self) -> i64 {
        self.0.keys().max().map_or(0, |offset| offset + 1)
    }
}

/// What is noted of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// An attempt starts; so many count, should it end the process.
    Starts(u32),
    /// So many were made, and the next one starts at this time (milliseconds since the epoch).
    Waits(u32, i64),
    /// The job goes on waiting, after so many attempts.
    Rests(u32),
}

/// The memory of a group. Cheap to clone.
#[derive(Clone)]
pub struct AttemptLog {
    store: Store,
    clock: SharedClock,
}

impl AttemptLog {
    /// A memory in this database.
    pub fn new(store: Store, clock: SharedClock) -> Self {
        Self { store, clock }
    }

    /// What is remembered of these partitions.
    pub async fn of(
        &self,
        group: &str,
        partitions: &[PartitionId],
    ) -> HashMap<PartitionId, Remembered> {
        let ask = async {
            let mut all = HashMap::new();
            for id in partitions {
                let rows = self.store.attempts(group, id).await?;
                let by_offset = rows.into_iter().map(|row| (row.offset, row)).collect();
                all.insert(id.clone(), Remembered(by_offset));
            }
            Ok(all)
        };
        patiently(ask).await.unwrap_or_default()
    }

    /// Notes attempts of a group's jobs.
    pub async fn note(&self, group: &str, jobs: &[(&Record, Noted)]) {
        let rows: Vec<(PartitionId, AttemptRow)> =
            jobs.iter().map(|(r, n)| row_of(r, *n)).collect();
        patiently(self.store.note_attempts(group, &rows, self.clock.now_ms())).await;
    }

    /// The job has come to its end, or will come back as another record.
    pub async fn forget(&self, group: &str, record: &Record) {
        let id = partition_of(record);
        patiently(self.store.forget_attempts(group, &id, record.place.offset)).await;
    }

    /// These jobs have come to their end.
    pub async fn forget_ended(&self, group: &str, id: &PartitionId, offsets: &[i64]) {
        patiently(self.store.forget_ended_attempts(group, id, offsets)).await;
    }

    /// Everything below this offset has come to its end.
    pub async fn forget_below(&self, group: &str, id: &PartitionId, offset: i64) {
        patiently(self.store.forget_attempts_below(group, id, offset)).await;
    }
}

fn row_of(record: &Record, noted: Noted) -> (PartitionId, AttemptRow) {
    let (attempts, is_open, not_before_ms) = match noted {
        Noted::Starts(attempts) => (attempts, true, None),
        Noted::Waits(attempts, at_ms) => (attempts, false, Some(at_ms)),
        Noted::Rests(attempts) => (attempts, false, None),
    };
    let (offset, message_id) = (record.place.offset, record.message_id());
    (partition_of(record), AttemptRow { offset, message_id, attempts, is_open, not_before_ms })
}

fn partition_of(record: &Record) -> PartitionId {
    PartitionId { topic: record.place.topic.clone(), partition: record.place.partition }
}

async fn patiently<T>(work: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(done)) => Some(done),
        Ok(Err(error)) => {
            tracing::warn!(%error, "attempts are not remembered over a restart");
            None
        }
        Err(_) => {
            tracing::warn!("attempts are not remembered over a restart: the database is slow");
            None
        }
    }
}
