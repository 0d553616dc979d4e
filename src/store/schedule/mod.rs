//! The schedule: records that are to be written at a later time, and what became of them.
//!
//! Rows are written here, by themselves or in a transaction that somebody else has open, are
//! looked up, and are cancelled; how they are sent stands in [`sending`].

mod bell;
mod sending;

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use sqlx::any::AnyRow;
use sqlx::{Any, Executor, Row as _};
use thiserror::Error;
use uuid::Uuid;

use super::limited::{OpenTransaction, too_slow};
use super::{Store, StoreError};
use crate::domain::quarantine::Numbered;
use crate::domain::receipt::Place;
use crate::domain::record::{Header, Headers};
use crate::domain::scheduled::{RetryOf, ScheduledRecord, Stage};

pub use bell::Bell;
pub(super) use sending::take_turn;
pub use sending::{ClaimLimits, DueRow, GivenBack, SentRow};

/// How long a row may take until it is about to be committed: a caller waits for it.
const WRITE_MAX: Duration = Duration::from_secs(5);

/// Why a row is not known to be there.
#[derive(Debug, Error)]
pub enum NotScheduled {
    /// It was not written.
    #[error("the row was not written")]
    Refused(#[source] StoreError),
    /// The database did not say what became of it: it may be there.
    #[error("the row may have been written")]
    Unknown(#[source] StoreError),
}

/// A row of the schedule, without what is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledRow {
    /// The `message_id` of its record.
    pub message_id: Uuid,
    /// Its type.
    pub type_name: String,
    /// Who asked for it.
    pub producer: String,
    /// Its topic.
    pub topic: String,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// When it is to be written, milliseconds since the epoch.
    pub due_ms: i64,
    /// When it was asked for.
    pub created_at_ms: i64,
    /// Whether it is of a job that was parked in a quarantine.
    pub is_parking: bool,
    /// How far it is.
    pub stage: Stage,
}

/// What became of a wish to cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cancelled {
    /// It will never be sent.
    Yes(ScheduledRow),
    /// It is too late: this is how far it is.
    TooLate(ScheduledRow),
    /// There is no such row of this producer.
    Unknown,
}

/// Selects what a [`ScheduledRow`] is made of; a literal, since sqlx takes no text that was put
/// together.
macro_rules! select_scheduled {
    ($rest:literal) => {
        concat!(
            "SELECT message_id, type_name, producer, topic, record_key, due_ms, created_at_ms,
                    state, holder, is_doubtful, ended_at_ms, receipt_partition, receipt_offset,
                    quarantine_id
             FROM schedule ",
            $rest
        )
    };
}

impl Store {
    /// Writes a row by itself, and wakes the sender if it is due soon. Only an outcome that the
    /// database did not tell is unknown; after any other error the row is not there. Returns false
    /// if a row of its id was there already, which stays as it is.
    pub async fn schedule(&self, record: &ScheduledRecord) -> Result<bool, NotScheduled> {
        let write = async {
            let mut transaction = self.writer.begin().await?;
            let is_new = insert(&mut transaction, record).await?;
            Ok((transaction, is_new))
        };
        let written = tokio::time::timeout(WRITE_MAX, write).await;
        let written = written.unwrap_or_else(|_| Err(too_slow(WRITE_MAX).into()));
        let (transaction, is_new) = written.map_err(NotScheduled::Refused)?;
        transaction.commit().await.map_err(|error| NotScheduled::Unknown(error.into()))?;
        self.bell.ring(record.due_ms);
        Ok(is_new)
    }

    /// Writes the row of a retry; one that is there already is left as it is.
    pub async fn postpone(&self, record: &ScheduledRecord) -> Result<(), StoreError> {
        write(&self.writer, record).await?;
        self.bell.ring(record.due_ms);
        Ok(())
    }

    /// What wakes the sender of this process. Whoever has committed rows with [`insert`] rings it.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// The row of the job with this id.
    pub async fn scheduled(&self, id: Uuid) -> Result<Option<ScheduledRow>, StoreError> {
        let row = sqlx::query(select_scheduled!("WHERE id = $1 AND retry_group IS NULL"))
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await?;
        row.as_ref().map(scheduled).transpose()
    }

    /// The row of the retry that follows the last attempt which a group made at this record, or
    /// the row that it was parked in.
    pub async fn retry_of(
        &self,
        group: &str,
        place: &Place,
    ) -> Result<Option<ScheduledRow>, StoreError> {
        let row = sqlx::query(select_scheduled!(
            "WHERE topic = $1 AND retry_partition = $2 AND retry_offset = $3 AND retry_group = $4
             ORDER BY retry_attempt DESC, created_at_ms DESC LIMIT 1"
        ))
        .bind(place.topic.as_ref())
        .bind(i64::from(place.partition))
        .bind(place.offset)
        .bind(group)
        .fetch_optional(&self.reader)
        .await?;
        row.as_ref().map(scheduled).transpose()
    }

    /// Cancels a job, of this producer if one is named: only what nobody has taken, and what
    /// is known not to have been sent by those who had.
    pub async fn cancel_scheduled(
        &self,
        id: Uuid,
        producer: Option<&str>,
        now_ms: i64,
    ) -> Result<Cancelled, StoreError> {
        let done = sqlx::query(
            "UPDATE schedule
             SET state = 'cancelled', ended_at_ms = $1, record_value = NULL, headers = '[]'
             WHERE id = $2 AND (CAST($3 AS TEXT) IS NULL OR producer = $3)
               AND retry_group IS NULL
               AND state = 'waiting' AND holder IS NULL AND is_doubtful = 0",
        )
        .bind(now_ms)
        .bind(id.to_string())
        .bind(producer)
        .execute(&self.writer)
        .await?;
        let row = self.scheduled(id).await?;
        let row = row.filter(|row| producer.is_none_or(|producer| row.producer == producer));
        Ok(match row {
            None => Cancelled::Unknown,
            Some(row) if matches!(row.stage, Stage::Cancelled { .. }) => Cancelled::Yes(row),
            // Given back between the two statements: whoever asks again will have it.
            Some(row) if done.rows_affected() == 0 => Cancelled::TooLate(row),
            Some(_) => return Err(StoreError::Corrupt { what: "cancelled job" }),
        })
    }
}

/// Writes a row in a transaction that the caller commits, and then rings [`Store::bell`] with
/// the time it is due. Returns false if a row of its id is there already, which stays as it is.
pub(super) async fn insert(
    transaction: &mut OpenTransaction,
    record: &ScheduledRecord,
) -> Result<bool, StoreError> {
    write(transaction, record).await
}

/// The same for a record that is parked: it waits for the release of its quarantine, or, where
/// that is under way, for its time.
pub(super) async fn insert_parked(
    transaction: &mut OpenTransaction,
    record: &ScheduledRecord,
    numbered: Numbered,
    is_released: bool,
) -> Result<bool, StoreError> {
    let state = if is_released { "waiting" } else { "parked" };
    write_as(transaction, record, state, Some(numbered)).await
}

/// Which of these rows nobody has taken, and nobody can have sent.
pub(super) async fn unsent(
    transaction: &mut OpenTransaction,
    [first, second, third, fourth]: [Uuid; 4],
) -> Result<Vec<Uuid>, StoreError> {
    let rows = sqlx::query(
        "SELECT id FROM schedule WHERE id IN ($1, $2, $3, $4)
           AND state = 'waiting' AND holder IS NULL AND is_doubtful = 0",
    )
    .bind(first.to_string())
    .bind(second.to_string())
    .bind(third.to_string())
    .bind(fourth.to_string())
    .fetch_all(transaction)
    .await?;
    rows.iter().map(|row| uuid(row, "id")).collect()
}

async fn write<'e>(
    executor: impl Executor<'e, Database = Any>,
    record: &ScheduledRecord,
) -> Result<bool, StoreError> {
    write_as(executor, record, "waiting", None).await
}

async fn write_as<'e>(
    executor: impl Executor<'e, Database = Any>,
    record: &ScheduledRecord,
    state: &str,
    parked: Option<Numbered>,
) -> Result<bool, StoreError> {
    let retry = record.retry.as_ref();
    let done = sqlx::query(
        "INSERT INTO schedule (id, message_id, type_name, producer, topic, record_key,
             record_value, headers, size_bytes, lane, due_ms, created_at_ms, state,
             held_until_ms, is_doubtful, failures, retry_group, retry_partition, retry_offset,
             retry_attempt, quarantine_id, quarantine_number)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0, 0, 0,
             $14, $15, $16, $17, $18, $19)
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(record.id.to_string())
    .bind(record.message_id.to_string())
    .bind(record.type_name.as_str())
    .bind(storable(&record.producer))
    .bind(record.topic.as_str())
    .bind(record.key.as_deref().map(encoded))
    .bind(record.value.as_deref().map(encoded))
    .bind(encoded_headers(&record.headers))
    .bind(i64::try_from(record.size_bytes()).unwrap_or(i64::MAX))
    .bind(record.lane().to_string())
    .bind(record.due_ms)
    .bind(record.created_at_ms)
    .bind(state)
    .bind(retry.map(|retry| retry.group.as_str()))
    .bind(retry.map(|retry| i64::from(retry.partition)))
    .bind(retry.map(|retry| retry.offset))
    .bind(retry.map(|retry| i64::from(retry.attempt)))
    .bind(parked.map(|parked| parked.quarantine.to_string()))
    .bind(parked.map(|parked| parked.number))
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// PostgreSQL's text has no NUL, which a header of another client may have.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

pub(super) fn encoded(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

pub(super) fn decoded(text: &str) -> Result<Vec<u8>, StoreError> {
    BASE64_STANDARD.decode(text).map_err(|_| StoreError::Corrupt { what: "base64" })
}

/// `[[name, value], ..]`, both base64, the value null where there is none.
fn encoded_headers(headers: &Headers) -> String {
    let pairs: Vec<(String, Option<String>)> = headers
        .iter()
        .map(|Header { name, value }| (encoded(name.as_bytes()), value.as_deref().map(encoded)))
        .collect();
    serde_json::json!(pairs).to_string()
}

fn decoded_headers(text: &str) -> Result<Headers, StoreError> {
    let corrupt = || StoreError::Corrupt { what: "header" };
    let pairs: Vec<(String, Option<String>)> = serde_json::from_str(text).map_err(|_| corrupt())?;
    let mut headers = Headers::new();
    for (name, value) in pairs {
        let name = String::from_utf8(decoded(&name)?).map_err(|_| corrupt())?;
        headers.push_raw(name, value.as_deref().map(decoded).transpose()?);
    }
    Ok(headers)
}

pub(super) fn uuid(row: &AnyRow, column: &str) -> Result<Uuid, StoreError> {
    let text: String = row.try_get(column)?;
    Uuid::parse_str(&text).map_err(|_| StoreError::Corrupt { what: "id" })
}

fn bytes(row: &AnyRow, column: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let text: Option<String> = row.try_get(column)?;
    text.as_deref().map(decoded).transpose()
}

pub(super) fn small(number: Option<i64>) -> Result<i32, StoreError> {
    let small = number.and_then(|number| i32::try_from(number).ok());
    small.ok_or(StoreError::Corrupt { what: "partition" })
}

fn scheduled(row: &AnyRow) -> Result<ScheduledRow, StoreError> {
    let corrupt = || StoreError::Corrupt { what: "row of the schedule" };
    let topic: String = row.try_get("topic")?;
    let word: String = row.try_get("state")?;
    let holder: Option<String> = row.try_get("holder")?;
    let is_doubtful: i64 = row.try_get("is_doubtful")?;
    let ended_at_ms: Option<i64> = row.try_get("ended_at_ms")?;
    let quarantine: Option<String> = row.try_get("quarantine_id")?;
    let stage = match (word.as_str(), ended_at_ms) {
        // Released or not, it waits for those before it.
        ("parked" | "waiting", _) if quarantine.is_some() => Stage::Parked,
        ("waiting", _) if holder.is_some() || is_doubtful != 0 => Stage::OnItsWay,
        ("waiting", _) => Stage::Waiting,
        ("sent", Some(at_ms)) => {
            let partition = small(row.try_get("receipt_partition")?)?;
            let offset: Option<i64> = row.try_get("receipt_offset")?;
            let offset = offset.ok_or_else(corrupt)?;
            Stage::Sent { place: Place { topic: topic.as_str().into(), partition, offset }, at_ms }
        }
        ("cancelled", Some(at_ms)) => Stage::Cancelled { at_ms },
        _ => return Err(corrupt()),
    };
    Ok(ScheduledRow {
        message_id: uuid(row, "message_id")?,
        type_name: row.try_get("type_name")?,
        producer: row.try_get("producer")?,
        topic,
        key: bytes(row, "record_key")?,
        due_ms: row.try_get("due_ms")?,
        created_at_ms: row.try_get("created_at_ms")?,
        is_parking: quarantine.is_some(),
        stage,
    })
}

/// What a row says of the attempt it follows.
fn retry(row: &AnyRow) -> Result<Option<RetryOf>, StoreError> {
    let Some(group) = row.try_get("retry_group")? else { return Ok(None) };
    let corrupt = || StoreError::Corrupt { what: "retry" };
    let offset: Option<i64> = row.try_get("retry_offset")?;
    let attempt: Option<i64> = row.try_get("retry_attempt")?;
    Ok(Some(RetryOf {
        group,
        partition: small(row.try_get("retry_partition")?)?,
        offset: offset.ok_or_else(corrupt)?,
        attempt: attempt.and_then(|attempt| u32::try_from(attempt).ok()).ok_or_else(corrupt)?,
    }))
}

#[cfg(test)]
mod tests;
