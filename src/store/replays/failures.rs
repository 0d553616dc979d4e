//! The records of a replay that failed for good.

use sqlx::Row as _;
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::uuid;
use crate::domain::replay::ReplaySpan;
use crate::store::dead_letters::{partition, storable};
use crate::store::page::{Page, probe};
use crate::store::{Store, StoreError};

/// A record of a replay that failed for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayFailure {
    /// Where the record stands.
    pub partition: i32,
    /// Where the record stands.
    pub offset: i64,
    /// Its id.
    pub message_id: Uuid,
    /// Its key, as far as it is text.
    pub key: Option<String>,
    /// Attempts that were made.
    pub attempts: u32,
    /// The kind of error.
    pub error_class: String,
    /// The error.
    pub error_message: String,
    /// Milliseconds since the epoch.
    pub failed_at_ms: i64,
}

impl Store {
    /// Lists a record that failed for good; again in place of itself.
    pub async fn note_replay_failure(
        &self,
        id: Uuid,
        failure: &ReplayFailure,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO replay_failures (replay_id, partition, record_offset, message_id,
                 record_key, attempts, error_class, error_message, failed_at_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             ON CONFLICT (replay_id, partition, record_offset) DO UPDATE
             SET attempts = excluded.attempts, error_class = excluded.error_class,
                 error_message = excluded.error_message, failed_at_ms = excluded.failed_at_ms",
        )
        .bind(id.to_string())
        .bind(i64::from(failure.partition))
        .bind(failure.offset)
        .bind(failure.message_id.to_string())
        .bind(failure.key.as_deref().map(storable))
        .bind(i64::from(failure.attempts))
        .bind(failure.error_class.as_str())
        .bind(storable(&failure.error_message))
        .bind(failure.failed_at_ms)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Takes records at and behind these positions off the list: they are about to run again.
    pub async fn forget_replay_failures(
        &self,
        id: Uuid,
        spans: &[ReplaySpan],
    ) -> Result<(), StoreError> {
        for span in spans {
            sqlx::query(
                "DELETE FROM replay_failures
                 WHERE replay_id = $1 AND partition = $2 AND record_offset >= $3",
            )
            .bind(id.to_string())
            .bind(i64::from(span.partition))
            .bind(span.position)
            .execute(&self.writer)
            .await?;
        }
        Ok(())
    }

    /// A page of the records that failed, in the order of their places.
    pub async fn replay_failures(
        &self,
        id: Uuid,
        after: Option<(i32, i64)>,
        limit: u16,
    ) -> Result<Page<ReplayFailure, (i32, i64)>, StoreError> {
        let select = sqlx::query(
            "SELECT partition, record_offset, message_id, record_key, attempts, error_class,
                    error_message, failed_at_ms
             FROM replay_failures
             WHERE replay_id = $1 AND (CAST($2 AS BIGINT) IS NULL OR partition > $2
                   OR (partition = $2 AND record_offset > $3))
             ORDER BY partition, record_offset LIMIT $4",
        )
        .bind(id.to_string())
        .bind(after.map(|(partition, _)| i64::from(partition)))
        .bind(after.map(|(_, offset)| offset))
        .bind(probe(limit));
        let count = sqlx::query("SELECT COUNT(*) FROM replay_failures WHERE replay_id = $1")
            .bind(id.to_string());
        self.page(select, count, limit, failure, |last| (last.partition, last.offset)).await
    }
}

fn failure(row: &AnyRow) -> Result<ReplayFailure, StoreError> {
    let attempts: i64 = row.try_get("attempts")?;
    Ok(ReplayFailure {
        partition: partition(row, "partition")?,
        offset: row.try_get("record_offset")?,
        message_id: uuid(row, "message_id")?,
        key: row.try_get("record_key")?,
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        error_class: row.try_get("error_class")?,
        error_message: row.try_get("error_message")?,
        failed_at_ms: row.try_get("failed_at_ms")?,
    })
}
