//! A record is found by its id: every topic is read from the time inside the id on.

use std::time::Duration;

use uuid::Uuid;

use super::{StatusError, Statuses};
use crate::domain::clock::millis;
use crate::domain::dispatch::PartitionId;
use crate::domain::id::time_of;
use crate::domain::record::Record;
use crate::kafka::{Searched, Span, Step};

/// How many records of each partition are read in search of an id: those of a minute at 160 a
/// second.
pub const SEARCH_RECORDS_MAX: usize = 10_000;
/// How long they are read.
const SEARCH_TIME: Duration = Duration::from_secs(2);
/// A record may bear a time that is a little before that of its id, made by another clock.
const SEARCH_BEFORE_MS: i64 = 1_000;
/// Behind a record that is this much younger than the id, the id is not to be expected: twice as
/// long as the producer tries, and this at the least.
const SEARCH_BEHIND_MS: i64 = 60_000;
/// What a record may need beside the time that the producer tries: until it is handed over, and
/// until it can be read.
const SETTLED_WITHIN: Duration = Duration::from_secs(1);

impl Statuses {
    /// What is to be said of an id that no record has: it may come yet, while the producer tries.
    pub fn not_there(&self, id: Uuid) -> StatusError {
        let Some(time_ms) = time_of(id) else { return StatusError::UnknownId(id) };
        if self.gives_up_after == Duration::MAX {
            return StatusError::NotYet(id, None);
        }
        let within = self.gives_up_after.saturating_add(SETTLED_WITHIN);
        let until_ms = time_ms.saturating_add(millis(within));
        let now_ms = self.clock.now_ms();
        // An id of the future is nobody's.
        if (time_ms - SEARCH_BEHIND_MS..until_ms).contains(&now_ms) {
            StatusError::NotYet(id, Some(until_ms))
        } else {
            StatusError::UnknownId(id)
        }
    }

    /// Looks for an id in every topic, from the time inside it on.
    pub(super) async fn search(&self, id: Uuid) -> Result<Record, StatusError> {
        let time_ms = time_of(id).filter(|_| id.get_version_num() == 7);
        let time_ms = time_ms.ok_or(StatusError::NoTime(id))?;
        let behind_ms = millis(self.gives_up_after.saturating_mul(2)).max(SEARCH_BEHIND_MS);
        if time_ms > self.clock.now_ms() + SEARCH_BEHIND_MS {
            return Err(StatusError::UnknownId(id));
        }
        let topics: Vec<&str> = self.catalog.iter().map(|t| t.topic.name.as_str()).collect();
        let partitions = self.reader.partitions(&topics).await?;
        let since_ms = time_ms - SEARCH_BEFORE_MS;
        let starts = self.reader.offsets_since(&partitions, since_ms).await?;
        let starts: Vec<(PartitionId, i64)> =
            starts.into_iter().filter_map(|(id, offset)| Some((id, offset?))).collect();
        let ends = self.reader.bounds_of(starts.iter().map(|(id, _)| id.clone()).collect()).await?;
        let spans: Vec<Span> = starts
            .into_iter()
            .filter_map(|(id, from)| {
                let end = ends.get(&id)?.high;
                Some((id, from, end))
            })
            .collect();
        let look = move |record: &Record| {
            if record.message_id() == id {
                Step::Found
            } else if record.timestamp_ms.is_some_and(|at| at.saturating_sub(time_ms) > behind_ms) {
                Step::Enough
            } else {
                Step::Next
            }
        };
        match self.reader.search(spans, SEARCH_RECORDS_MAX, SEARCH_TIME, look).await? {
            Searched::Found(record) => Ok(*record),
            Searched::Nothing => Err(self.not_there(id)),
            Searched::Cut => Err(StatusError::SearchCut(id)),
            Searched::TimedOut => Err(StatusError::TimedOut),
        }
    }
}
