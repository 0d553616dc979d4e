//! The sender's side of the schedule: rows that are due are taken by one instance at a time, with
//! a lease, and are settled or given back.
//!
//! Two rules keep the order of a key and the word that was given to who cancels:
//!
//! - Rows are taken in the order of (due, id), by one instance after the other, and none while
//!   an earlier one of its lane is held: by an instance, or by a wait after a failure.
//! - A row that its holder did not give back itself is doubtful for good: it may be in Kafka.

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use sqlx::Row as _;
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::{bytes, decoded_headers, retry, uuid};
use crate::domain::clock::millis;
use crate::domain::scheduled::ScheduledRecord;
use crate::store::limited::OpenTransaction;
use crate::store::{Store, StoreError};

/// Who takes rows takes this first: one instance after the other sees what the others hold.
const TURN: &str = "schedule-turn";
/// Rows that are looked at in one go for some that nothing holds back: the database need not
/// order, nor compare, all that are due.
const PAGE: i64 = 2_000;
/// How many pages are looked at, where what comes first is held back: by 100,000 rows at most.
const PAGES_MAX: usize = 50;
/// Rows that one statement settles: its text has a place for each, whether it is used or not.
const SETTLED_AT_ONCE: usize = 100;

/// How much may be taken at once, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct ClaimLimits {
    /// Rows at most.
    pub rows: i64,
    /// Bytes of their records at most; one row is taken whatever its size.
    pub bytes: i64,
    /// How long they are this instance's alone, unless it says so again.
    pub term: Duration,
}

/// A row that is this instance's to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueRow {
    /// What to send.
    pub record: ScheduledRecord,
    /// How often that has failed.
    pub failures: i64,
}

/// A row whose record Kafka has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentRow {
    /// The row.
    pub id: Uuid,
    /// The partition of its record.
    pub partition: i32,
    /// The offset of its record.
    pub offset: i64,
}

/// A row that was not sent, or is not known to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenBack {
    /// The row.
    pub id: Uuid,
    /// Nobody takes it before this, milliseconds since the epoch.
    pub not_before_ms: i64,
    /// Whether its record may be in Kafka all the same.
    pub is_doubtful: bool,
    /// Whether this counts as a failure.
    pub has_failed: bool,
}

impl Store {
    /// When the first row is due that nobody holds; it may be past.
    pub async fn next_due(&self, now_ms: i64) -> Result<Option<i64>, StoreError> {
        self.first_due(now_ms, i64::MIN).await
    }

    /// The same of those that are not due yet.
    pub async fn next_due_later(&self, now_ms: i64) -> Result<Option<i64>, StoreError> {
        self.first_due(now_ms, now_ms).await
    }

    async fn first_due(&self, now_ms: i64, after_ms: i64) -> Result<Option<i64>, StoreError> {
        let row = sqlx::query(
            "SELECT due_ms FROM schedule
             WHERE state = 'waiting' AND held_until_ms <= $1 AND due_ms > $2
             ORDER BY due_ms, id LIMIT 1",
        )
        .bind(now_ms)
        .bind(after_ms)
        .fetch_optional(&self.reader)
        .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Takes rows that are due, in their order. A row that its last holder has left is taken
    /// over, and is doubtful from then on.
    pub async fn claim_due(
        &self,
        holder: &str,
        now_ms: i64,
        limits: ClaimLimits,
    ) -> Result<Vec<DueRow>, StoreError> {
        let mut transaction = self.writer.begin().await?;
        take_turn(&mut transaction, holder, now_ms).await?;
        let mut rows = Vec::new();
        let mut behind = Some((i64::MIN, String::new()));
        for _ in 0..PAGES_MAX {
            let Some(after) = behind else { break };
            rows = sqlx::query(CLAIM)
                .bind(holder)
                .bind(now_ms.saturating_add(millis(limits.term)))
                .bind(now_ms)
                .bind(after.0)
                .bind(after.1.as_str())
                .bind(PAGE)
                .bind(limits.rows)
                .bind(limits.bytes)
                .fetch_all(&mut *transaction)
                .await?;
            if !rows.is_empty() {
                break;
            }
            let last = sqlx::query(LAST_OF_PAGE)
                .bind(now_ms)
                .bind(after.0)
                .bind(after.1)
                .bind(PAGE - 1)
                .fetch_optional(&mut *transaction)
                .await?;
            behind = match last {
                Some(row) => Some((row.try_get("due_ms")?, row.try_get("id")?)),
                None => None,
            };
        }
        transaction.commit().await?;
        let mut due: Vec<DueRow> = rows.iter().filter_map(readable).collect();
        due.sort_by_key(|row| (row.record.due_ms, row.record.id));
        Ok(due)
    }

    /// Keeps what this instance holds for so long from now on.
    pub async fn hold_due(
        &self,
        holder: &str,
        now_ms: i64,
        term: Duration,
    ) -> Result<(), StoreError> {
        let mut transaction = self.writer.begin().await?;
        hold(&mut transaction, holder, now_ms, term).await?;
        Ok(transaction.commit().await?)
    }

    /// Writes down what became of rows that this instance held. What was sent is sent, whoever
    /// holds the row by now; what was not is given back only by its holder.
    pub async fn settle_due(
        &self,
        holder: &str,
        now_ms: i64,
        sent: &[SentRow],
        given_back: &[GivenBack],
    ) -> Result<(), StoreError> {
        let mut transaction = self.writer.begin().await?;
        settle(&mut transaction, holder, now_ms, sent, given_back).await?;
        Ok(transaction.commit().await?)
    }
}

/// Waits for those who take rows, who change who holds some, or who park and release many at once,
/// and keeps others waiting until the transaction ends. On PostgreSQL a statement that selects rows
/// sees what was there when it began, and those that it then changes as they are by then: a row
/// whose lease was renewed between the two would be left out, and the one behind it would be taken
/// past it.
pub(in crate::store) async fn take_turn(
    transaction: &mut OpenTransaction,
    holder: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO leases (name, holder, expires_at_ms) VALUES ($1, $2, $3)
         ON CONFLICT (name) DO UPDATE
         SET holder = excluded.holder, expires_at_ms = excluded.expires_at_ms",
    )
    .bind(TURN)
    .bind(holder)
    .bind(now_ms)
    .execute(transaction)
    .await?;
    Ok(())
}

pub(super) async fn hold(
    transaction: &mut OpenTransaction,
    holder: &str,
    now_ms: i64,
    term: Duration,
) -> Result<(), StoreError> {
    take_turn(transaction, holder, now_ms).await?;
    sqlx::query("UPDATE schedule SET held_until_ms = $1 WHERE holder = $2 AND state = 'waiting'")
        .bind(now_ms.saturating_add(millis(term)))
        .bind(holder)
        .execute(transaction)
        .await?;
    Ok(())
}

pub(super) async fn settle(
    transaction: &mut OpenTransaction,
    holder: &str,
    now_ms: i64,
    sent: &[SentRow],
    given_back: &[GivenBack],
) -> Result<(), StoreError> {
    if !given_back.is_empty() {
        take_turn(transaction, holder, now_ms).await?;
    }
    for some in sent.chunks(SETTLED_AT_ONCE) {
        let mut query = sqlx::query(SENT.as_str()).bind(now_ms);
        for index in 0..SETTLED_AT_ONCE {
            let row = some.get(index);
            query = query
                .bind(row.map(|row| row.id.to_string()))
                .bind(row.map_or(0, |row| i64::from(row.partition)))
                .bind(row.map_or(0, |row| row.offset));
        }
        query.execute(&mut *transaction).await?;
    }
    for some in given_back.chunks(SETTLED_AT_ONCE) {
        let mut query = sqlx::query(GIVEN_BACK.as_str()).bind(holder);
        for index in 0..SETTLED_AT_ONCE {
            let row = some.get(index);
            query = query
                .bind(row.map(|row| row.id.to_string()))
                .bind(row.map_or(0, |row| row.not_before_ms))
                .bind(row.map_or(0, |row| i64::from(row.is_doubtful)))
                .bind(row.map_or(0, |row| i64::from(row.has_failed)));
        }
        query.execute(&mut *transaction).await?;
    }
    Ok(())
}

/// Takes rows of one page, behind a row and in the order of (due, id).
///
/// Written so that no guess of PostgreSQL's can spoil it. Where many rows have come since it last
/// counted them, it takes it that one waits: it would work out what is free anew for each, and look
/// at every row for each of its key. So the parts are materialised; `OFFSET 0` keeps the look at
/// the earlier ones of a key a look into the index; and a `CASE` hides from it that only rows that
/// wait are wanted, so that it finds them by their id.
const CLAIM: &str = "
    WITH free AS MATERIALIZED (
        SELECT d.id, d.due_ms, d.size_bytes
        FROM (
            SELECT id, lane, due_ms, size_bytes FROM schedule
            WHERE state = 'waiting' AND due_ms <= $3 AND held_until_ms <= $3
              AND (due_ms > $4 OR (due_ms = $4 AND id > $5))
            ORDER BY due_ms, id LIMIT $6) AS d
        WHERE NOT EXISTS (
            SELECT 1 FROM schedule e
            WHERE e.state = 'waiting' AND e.lane = d.lane AND e.held_until_ms > $3
              AND (e.due_ms < d.due_ms OR (e.due_ms = d.due_ms AND e.id < d.id))
            LIMIT 1 OFFSET 0)
        ORDER BY d.due_ms, d.id LIMIT $7),
    taken AS MATERIALIZED (
        SELECT id, SUM(size_bytes) OVER (ORDER BY due_ms, id) - size_bytes AS before FROM free)
    UPDATE schedule
    SET holder = $1, held_until_ms = $2,
        is_doubtful = CASE WHEN holder IS NULL THEN is_doubtful ELSE 1 END
    WHERE id IN (SELECT id FROM taken WHERE before < $8)
      AND CASE WHEN state = 'waiting' AND held_until_ms <= $3 THEN 1 ELSE 0 END = 1
    RETURNING id, message_id, type_name, producer, topic, record_key, record_value, headers,
        due_ms, created_at_ms, failures, retry_group, retry_partition, retry_offset,
        retry_attempt";

const LAST_OF_PAGE: &str = "
    SELECT due_ms, id FROM schedule
    WHERE state = 'waiting' AND due_ms <= $1 AND held_until_ms <= $1
      AND (due_ms > $2 OR (due_ms = $2 AND id > $3))
    ORDER BY due_ms, id LIMIT 1 OFFSET $4";

static SENT: LazyLock<String> = LazyLock::new(|| {
    with_rows(
        "UPDATE schedule
         SET state = 'sent', ended_at_ms = $1, receipt_partition = v.column2,
             receipt_offset = v.column3, holder = NULL, held_until_ms = 0, is_doubtful = 0,
             record_value = NULL, headers = '[]'",
        &["TEXT", "BIGINT", "BIGINT"],
        "schedule.id = v.column1 AND CASE WHEN schedule.state = 'waiting' THEN 1 ELSE 0 END = 1",
    )
});

static GIVEN_BACK: LazyLock<String> = LazyLock::new(|| {
    with_rows(
        "UPDATE schedule
         SET holder = NULL, held_until_ms = v.column2,
             is_doubtful = CASE WHEN v.column3 = 1 THEN 1 ELSE is_doubtful END,
             failures = failures + v.column4",
        &["TEXT", "BIGINT", "BIGINT", "BIGINT"],
        "schedule.id = v.column1 AND schedule.state = 'waiting' AND schedule.holder = $1",
    )
});

/// A statement over rows that come as parameters, from `$2` on. Both databases call the columns
/// of such rows column1, column2 and so on.
fn with_rows(update: &str, types: &[&str], condition: &str) -> String {
    let mut text = format!("{update} FROM (VALUES ");
    let mut number = 1;
    for row in 0..SETTLED_AT_ONCE {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for (column, name) in types.iter().enumerate() {
            number += 1;
            let comma = if column == 0 { "" } else { ", " };
            // Writing to a string does not fail.
            let _ = write!(text, "{comma}CAST(${number} AS {name})");
        }
        text.push(')');
    }
    text + ") AS v WHERE " + condition
}

/// A row that cannot be read must not keep the others from being sent.
fn readable(row: &AnyRow) -> Option<DueRow> {
    due_row(row)
        .inspect_err(|error| tracing::error!(%error, "a row of the schedule is left as it is"))
        .ok()
}

fn due_row(row: &AnyRow) -> Result<DueRow, StoreError> {
    let headers: String = row.try_get("headers")?;
    Ok(DueRow {
        record: ScheduledRecord {
            id: uuid(row, "id")?,
            message_id: uuid(row, "message_id")?,
            type_name: row.try_get("type_name")?,
            producer: row.try_get("producer")?,
            topic: row.try_get("topic")?,
            key: bytes(row, "record_key")?,
            value: bytes(row, "record_value")?,
            headers: decoded_headers(&headers)?,
            due_ms: row.try_get("due_ms")?,
            created_at_ms: row.try_get("created_at_ms")?,
            retry: retry(row)?,
        },
        failures: row.try_get("failures")?,
    })
}
