//! Jobs for later: what is to be written to Kafka at a later time is a row of the database until
//! then. Accepting, cancelling and postponing stand here; what is due is sent by the [`Sender`].

mod batch;
mod sender;

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::enqueue::Marks;
use super::insist::insist_until;
use crate::domain::catalog::{Accepted, Catalog, RecordType};
use crate::domain::clock::{SharedClock, millis};
use crate::domain::id::IdSource;
use crate::domain::receipt::Place;
use crate::domain::record::Record;
use crate::domain::scheduled::{ScheduledRecord, Stage};
use crate::store::{Cancelled, NotScheduled, ScheduledRow, Store, StoreError};

pub use sender::Sender;

/// The longest time that a job may be put off: a year. What is further away than that is a plan
/// of the caller's own, and a mistaken unit is noticed.
pub const DELAY_LONGEST: Duration = Duration::from_hours(365 * 24);

/// When a job is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// After so long.
    After(Duration),
    /// At this time, milliseconds since the epoch; one that is past means now.
    At(i64),
}

/// Why a job was not put off, or is not cancelled.
#[derive(Debug, Error)]
pub enum ScheduleError {
    /// It would be due at once.
    #[error("a delay is 1ms or more; leave it out to send the job at once")]
    NoDelay,
    /// It would be due too late.
    #[error("a job may be put off for {} days at most", DELAY_LONGEST.as_secs() / 86_400)]
    TooFar,
    /// The row is not there: nothing was accepted.
    #[error("the database did not take the job")]
    NotTaken(#[source] StoreError),
    /// The row may be there.
    #[error("the outcome is unknown")]
    OutcomeUnknown {
        /// The id it has if it is.
        id: Uuid,
    },
    /// There is no delayed job of this id, or it is another caller's.
    #[error("there is no delayed job with the id {0}")]
    Unknown(Uuid),
    /// It is being sent, or may have been.
    #[error("the job {0} is on its way")]
    OnItsWay(Uuid),
    /// It is in Kafka.
    #[error("the job was sent")]
    Sent {
        /// Its type.
        type_name: String,
        /// Where it is.
        place: Place,
    },
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ScheduleError {
    /// Whether a job that was to be put off may be there all the same.
    pub fn may_be_accepted(&self) -> bool {
        matches!(self, Self::OutcomeUnknown { .. } | Self::Store(_) | Self::Unknown(_))
    }
}

/// A job that the database has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledReceipt {
    /// The `message_id` that its record will have.
    pub id: Uuid,
    /// Its type.
    pub type_name: String,
    /// When it will be sent, milliseconds since the epoch.
    pub due_ms: i64,
}

/// Puts jobs off. Cheap to clone.
#[derive(Clone)]
pub struct Schedule {
    catalog: Arc<Catalog>,
    store: Store,
    ids: Arc<IdSource>,
    clock: SharedClock,
    /// The `producer` header of callers that have no name of their own.
    producer_name: Arc<str>,
}

impl Schedule {
    /// The use case, on these parts.
    pub fn new(
        catalog: Arc<Catalog>,
        store: Store,
        ids: Arc<IdSource>,
        clock: SharedClock,
        producer_name: &str,
    ) -> Self {
        Self { catalog, store, ids, clock, producer_name: producer_name.into() }
    }

    /// Accepts a job for later. A receipt means that the database has committed it. Asked for
    /// twice under one id, it is there once, for the time that was asked for first.
    pub async fn accept(
        &self,
        record_type: &RecordType,
        accepted: Accepted,
        when: When,
        marks: Marks<'_>,
    ) -> Result<ScheduledReceipt, ScheduleError> {
        let now_ms = self.clock.now_ms();
        let due_ms = due_ms(when, now_ms)?;
        let id = marks.id.unwrap_or_else(|| self.ids.next(now_ms));
        let producer = marks.producer.unwrap_or(&self.producer_name);
        let mut record = ScheduledRecord::job(id, record_type, accepted, producer, now_ms, due_ms);
        if let Some(trace) = marks.trace {
            record.headers.push_trace(trace);
        }
        match self.store.schedule(&record).await {
            Ok(true) => Ok(ScheduledReceipt { id, type_name: record.type_name, due_ms }),
            Ok(false) => {
                let due_ms = self.get(id).await?.due_ms;
                Ok(ScheduledReceipt { id, type_name: record.type_name, due_ms })
            }
            Err(NotScheduled::Refused(error)) => Err(ScheduleError::NotTaken(error)),
            Err(NotScheduled::Unknown(error)) => {
                tracing::warn!(job.id = %id, %error, "the outcome of a delayed job is unknown");
                Err(ScheduleError::OutcomeUnknown { id })
            }
        }
    }

    /// A job that was put off.
    pub async fn get(&self, id: Uuid) -> Result<ScheduledRow, ScheduleError> {
        self.store.scheduled(id).await?.ok_or(ScheduleError::Unknown(id))
    }

    /// Cancels a job of this producer, or of anybody's where callers have no names. It will
    /// never be sent.
    pub async fn cancel(
        &self,
        id: Uuid,
        producer: Option<&str>,
    ) -> Result<ScheduledRow, ScheduleError> {
        let now_ms = self.clock.now_ms();
        match self.store.cancel_scheduled(id, producer, now_ms).await? {
            Cancelled::Yes(row) => Ok(row),
            Cancelled::TooLate(row) => Err(match row.stage {
                Stage::Sent { place, .. } => {
                    ScheduleError::Sent { type_name: row.type_name, place }
                }
                _ => ScheduleError::OnItsWay(id),
            }),
            Cancelled::Unknown => Err(ScheduleError::Unknown(id)),
        }
    }

    /// Puts the next attempt at a record off until this time: it is sent to its own topic once
    /// more, for this group alone, after `attempts` were made. Once this has returned, the
    /// record's offset may be committed; asked for twice, it is sent once.
    pub async fn postpone(
        &self,
        record: &Record,
        group: &str,
        attempts: u32,
        due_ms: i64,
    ) -> Result<(), StoreError> {
        let of_topic = self.catalog.by_topic(&record.place.topic);
        let type_name = of_topic.map_or("", |found| found.name.as_str());
        let now_ms = self.clock.now_ms();
        let retry = ScheduledRecord::retry(record, type_name, group, attempts, now_ms, due_ms);
        self.store.postpone(&retry).await
    }

    /// The same, until the database has the row. Returns false if the stop came first.
    pub async fn postpone_until(
        &self,
        record: &Record,
        (group, attempts): (&str, u32),
        due_ms: i64,
        stop: &CancellationToken,
    ) -> bool {
        let postpone = || self.postpone(record, group, attempts, due_ms);
        let failed = |error: &StoreError| {
            tracing::warn!(job.id = %record.message_id(), %error, "a retry waits for the database");
        };
        insist_until(stop, postpone, failed).await.is_some()
    }
}

fn due_ms(when: When, now_ms: i64) -> Result<i64, ScheduleError> {
    let due_ms = match when {
        When::After(delay) if millis(delay) == 0 => return Err(ScheduleError::NoDelay),
        When::After(delay) => now_ms.saturating_add(millis(delay)),
        When::At(at_ms) => at_ms.max(now_ms),
    };
    if due_ms > now_ms.saturating_add(millis(DELAY_LONGEST)) {
        return Err(ScheduleError::TooFar);
    }
    Ok(due_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_735_689_600_007;

    #[test]
    fn a_time_that_is_past_means_now_and_a_year_is_the_end() {
        let at = |by_ms| due_ms(When::At(NOW_MS + by_ms), NOW_MS).map(|due| due - NOW_MS);
        assert_eq!((at(-1).unwrap(), at(0).unwrap(), at(1).unwrap()), (0, 0, 1));
        let year_ms = millis(DELAY_LONGEST);
        assert_eq!(at(year_ms).unwrap(), year_ms);
        assert!(matches!(at(year_ms + 1), Err(ScheduleError::TooFar)));
    }

    #[test]
    fn a_delay_is_a_millisecond_or_more() {
        let after = |delay| due_ms(When::After(delay), NOW_MS).map(|due| due - NOW_MS);
        assert!(matches!(after(Duration::from_micros(999)), Err(ScheduleError::NoDelay)));
        assert_eq!(after(Duration::from_millis(1)).unwrap(), 1);
        assert!(matches!(after(Duration::MAX), Err(ScheduleError::TooFar)));
    }
}
