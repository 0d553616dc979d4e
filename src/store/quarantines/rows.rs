//! The statements on single rows of the quarantines, each within somebody's transaction.

use sqlx::Row as _;
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::{Changed, QuarantineRow};
use crate::domain::id;
use crate::domain::quarantine::{Quarantine, QuarantineState};
use crate::domain::receipt::Place;
use crate::domain::record::Record;
use crate::store::StoreError;
use crate::store::limited::OpenTransaction;
use crate::store::schedule::{decoded, encoded, small, uuid};

/// Selects what a [`QuarantineRow`] is made of; a literal, since sqlx takes no text that was put
/// together.
macro_rules! with_columns {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            " id, group_name, topic, record_key, message_id, letter_topic, letter_partition,
              letter_offset, since_ms, state, last_number, ended_number, base_ms,
              from_partition, from_offset ",
            $after
        )
    };
}

pub(super) use with_columns;

/// The quarantine of a key, which nobody else changes until the end of the transaction.
pub(super) async fn lock_key(
    transaction: &mut OpenTransaction,
    group: &str,
    topic: &str,
    key: &[u8],
) -> Result<Option<QuarantineRow>, StoreError> {
    let row = sqlx::query(with_columns!(
        "UPDATE quarantines SET state = state WHERE group_name = $1 AND lane = $2 RETURNING",
        ""
    ))
    .bind(group)
    .bind(id::of_lane(topic, key).to_string())
    .fetch_optional(transaction)
    .await?;
    row.as_ref().map(read).transpose()
}

/// A job whose replay had another key, and has failed: what it held before waits for the new
/// letter.
pub(super) async fn follow_message(
    transaction: &mut OpenTransaction,
    group: &str,
    message_id: Uuid,
    letter: &Place,
) -> Result<Vec<Changed>, StoreError> {
    let rows = sqlx::query(with_columns!(
        "UPDATE quarantines SET letter_topic = $1, letter_partition = $2, letter_offset = $3
         WHERE group_name = $4 AND message_id = $5 AND state = 'held' RETURNING",
        ""
    ))
    .bind(letter.topic.as_ref())
    .bind(i64::from(letter.partition))
    .bind(letter.offset)
    .bind(group)
    .bind(message_id.to_string())
    .fetch_all(transaction)
    .await?;
    let changed = |row| Ok(Changed { row: read(row)?, is_lifted: false });
    rows.iter().map(changed).collect()
}

/// What was released and is not on its way yet waits again.
pub(super) async fn call_back(
    transaction: &mut OpenTransaction,
    machine: &Quarantine,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE schedule SET state = 'parked'
         WHERE quarantine_id = $1 AND quarantine_number > $2 AND state = 'waiting'
           AND holder IS NULL",
    )
    .bind(machine.id.to_string())
    .bind(machine.ended)
    .execute(transaction)
    .await?;
    Ok(())
}

pub(super) async fn is_discarded(
    transaction: &mut OpenTransaction,
    letter: &Place,
    message_id: Uuid,
) -> Result<bool, StoreError> {
    let row = sqlx::query(
        "SELECT 1 FROM dead_letter_resolutions
         WHERE dlq_topic = $1 AND dlq_partition = $2 AND dlq_offset = $3
           AND message_id = $4 AND state = 'discarded'",
    )
    .bind(letter.topic.as_ref())
    .bind(i64::from(letter.partition))
    .bind(letter.offset)
    .bind(message_id.to_string())
    .fetch_optional(transaction)
    .await?;
    Ok(row.is_some())
}

pub(super) async fn has_unsent(
    transaction: &mut OpenTransaction,
    machine: &Quarantine,
) -> Result<bool, StoreError> {
    let row = sqlx::query(
        "SELECT 1 FROM schedule WHERE quarantine_id = $1 AND state IN ('parked', 'waiting') LIMIT 1",
    )
    .bind(machine.id.to_string())
    .fetch_optional(transaction)
    .await?;
    Ok(row.is_some())
}

/// Whether a job with a lower number may still come, and has not ended: it is to be sent, or was
/// sent and does not stand before this record.
pub(super) async fn has_one_before(
    transaction: &mut OpenTransaction,
    machine: &Quarantine,
    number: i64,
    record: &Record,
) -> Result<bool, StoreError> {
    let row = sqlx::query(
        "SELECT 1 FROM schedule
         WHERE quarantine_id = $1 AND quarantine_number > $2 AND quarantine_number < $3
           AND (state IN ('parked', 'waiting')
                OR (state = 'sent' AND (receipt_partition <> $4 OR receipt_offset > $5)))
         LIMIT 1",
    )
    .bind(machine.id.to_string())
    .bind(machine.ended)
    .bind(number)
    .bind(i64::from(record.place.partition))
    .bind(record.place.offset)
    .fetch_optional(transaction)
    .await?;
    Ok(row.is_some())
}

pub(super) async fn insert(
    transaction: &mut OpenTransaction,
    row: &QuarantineRow,
) -> Result<(), StoreError> {
    let machine = &row.machine;
    sqlx::query(
        "INSERT INTO quarantines (group_name, lane, id, topic, record_key, message_id,
             letter_topic, letter_partition, letter_offset, since_ms, state, last_number,
             ended_number, base_ms, from_partition, from_offset)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
    )
    .bind(row.group.as_str())
    .bind(id::of_lane(&row.topic, &row.key).to_string())
    .bind(machine.id.to_string())
    .bind(row.topic.as_str())
    .bind(encoded(&row.key))
    .bind(machine.message_id.to_string())
    .bind(row.letter.topic.as_ref())
    .bind(i64::from(row.letter.partition))
    .bind(row.letter.offset)
    .bind(row.since_ms)
    .bind(machine.state.as_str())
    .bind(machine.last)
    .bind(machine.ended)
    .bind(machine.base_ms)
    .bind(i64::from(machine.partition))
    .bind(machine.offset)
    .execute(transaction)
    .await?;
    Ok(())
}

pub(super) async fn update(
    transaction: &mut OpenTransaction,
    row: &QuarantineRow,
) -> Result<(), StoreError> {
    let machine = &row.machine;
    sqlx::query(
        "UPDATE quarantines
         SET message_id = $1, letter_topic = $2, letter_partition = $3, letter_offset = $4,
             since_ms = $5, state = $6, last_number = $7, ended_number = $8, base_ms = $9
         WHERE id = $10",
    )
    .bind(machine.message_id.to_string())
    .bind(row.letter.topic.as_ref())
    .bind(i64::from(row.letter.partition))
    .bind(row.letter.offset)
    .bind(row.since_ms)
    .bind(machine.state.as_str())
    .bind(machine.last)
    .bind(machine.ended)
    .bind(machine.base_ms)
    .bind(machine.id.to_string())
    .execute(transaction)
    .await?;
    Ok(())
}

pub(super) async fn delete(
    transaction: &mut OpenTransaction,
    machine: &Quarantine,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM quarantines WHERE id = $1")
        .bind(machine.id.to_string())
        .execute(transaction)
        .await?;
    Ok(())
}

pub(super) async fn count_change(transaction: &mut OpenTransaction) -> Result<(), StoreError> {
    sqlx::query("UPDATE quarantine_changes SET number = number + 1 WHERE id = 1")
        .execute(transaction)
        .await?;
    Ok(())
}

pub(super) fn read(row: &AnyRow) -> Result<QuarantineRow, StoreError> {
    let state: String = row.try_get("state")?;
    let topic: String = row.try_get("letter_topic")?;
    let key: String = row.try_get("record_key")?;
    Ok(QuarantineRow {
        machine: Quarantine {
            id: uuid(row, "id")?,
            message_id: uuid(row, "message_id")?,
            partition: small(row.try_get("from_partition")?)?,
            offset: row.try_get("from_offset")?,
            state: QuarantineState::parse(&state).ok_or(StoreError::Corrupt { what: "state" })?,
            last: row.try_get("last_number")?,
            ended: row.try_get("ended_number")?,
            base_ms: row.try_get("base_ms")?,
        },
        group: row.try_get("group_name")?,
        topic: row.try_get("topic")?,
        key: decoded(&key)?,
        letter: Place {
            topic: topic.into(),
            partition: small(row.try_get("letter_partition")?)?,
            offset: row.try_get("letter_offset")?,
        },
        since_ms: row.try_get("since_ms")?,
    })
}
