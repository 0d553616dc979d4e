//! Attempts that a restart must not forget.

use sqlx::Row as _;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::domain::dispatch::PartitionId;

/// Rows of one partition that are read: as many jobs of it as are watched, and some more.
const ROWS_MAX: i64 = 6_000;

const FORGET_ONE: &str = "DELETE FROM attempts
     WHERE group_name = $1 AND topic = $2 AND partition = $3 AND record_offset = $4";

/// What is noted of a job's attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    /// The offset of its record.
    pub offset: i64,
    /// Its id.
    pub message_id: Uuid,
    /// Attempts that count; the one that runs is among them if no other ran beside it.
    pub attempts: u32,
    /// Whether one runs, or ran when its worker went.
    pub is_open: bool,
    /// The next one starts no sooner, milliseconds since the epoch.
    pub not_before_ms: Option<i64>,
}

impl Store {
    /// Notes attempts of jobs of one group, all or none.
    pub async fn note_attempts(
        &self,
        group: &str,
        rows: &[(PartitionId, AttemptRow)],
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let mut transaction = self.writer.begin().await?;
        for (id, row) in rows {
            sqlx::query(
                "INSERT INTO attempts (group_name, topic, partition, record_offset, message_id,
                     attempts, is_open, not_before_ms, noted_at_ms)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
                 ON CONFLICT (group_name, topic, partition, record_offset) DO UPDATE
                 SET message_id = excluded.message_id, attempts = excluded.attempts,
                     is_open = excluded.is_open, not_before_ms = excluded.not_before_ms,
                     noted_at_ms = excluded.noted_at_ms",
            )
            .bind(group)
            .bind(&*id.topic)
            .bind(i64::from(id.partition))
            .bind(row.offset)
            .bind(row.message_id.to_string())
            .bind(i64::from(row.attempts))
            .bind(i64::from(row.is_open))
            .bind(row.not_before_ms)
            .bind(now_ms)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// What is noted of one partition.
    pub async fn attempts(
        &self,
        group: &str,
        id: &PartitionId,
    ) -> Result<Vec<AttemptRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT record_offset, message_id, attempts, is_open, not_before_ms FROM attempts
             WHERE group_name = $1 AND topic = $2 AND partition = $3
             ORDER BY record_offset LIMIT $4",
        )
        .bind(group)
        .bind(&*id.topic)
        .bind(i64::from(id.partition))
        .bind(ROWS_MAX)
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                let id: String = row.try_get(1)?;
                let corrupt = StoreError::Corrupt { what: "id of a job" };
                Ok(AttemptRow {
                    offset: row.try_get(0)?,
                    message_id: Uuid::parse_str(&id).map_err(|_| corrupt)?,
                    attempts: u32::try_from(row.try_get::<i64, _>(2)?).unwrap_or(u32::MAX),
                    is_open: row.try_get::<i64, _>(3)? != 0,
                    not_before_ms: row.try_get(4)?,
                })
            })
            .collect()
    }

    /// The job has come to its end.
    pub async fn forget_attempts(
        &self,
        group: &str,
        id: &PartitionId,
        offset: i64,
    ) -> Result<(), StoreError> {
        self.delete_attempts(FORGET_ONE, (group, id, offset)).await
    }

    /// These jobs have come to their end.
    pub async fn forget_ended_attempts(
        &self,
        group: &str,
        id: &PartitionId,
        offsets: &[i64],
    ) -> Result<(), StoreError> {
        let mut transaction = self.writer.begin().await?;
        for offset in offsets {
            sqlx::query(FORGET_ONE)
                .bind(group)
                .bind(&*id.topic)
                .bind(i64::from(id.partition))
                .bind(offset)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Every job below this offset has come to its end.
    pub async fn forget_attempts_below(
        &self,
        group: &str,
        id: &PartitionId,
        offset: i64,
    ) -> Result<(), StoreError> {
        self.delete_attempts(
            "DELETE FROM attempts
             WHERE group_name = $1 AND topic = $2 AND partition = $3 AND record_offset < $4",
            (group, id, offset),
        )
        .await
    }

    async fn delete_attempts(
        &self,
        sql: &'static str,
        (group, id, offset): (&str, &PartitionId, i64),
    ) -> Result<(), StoreError> {
        sqlx::query(sql)
            .bind(group)
            .bind(&*id.topic)
            .bind(i64::from(id.partition))
            .bind(offset)
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::on_both_databases;

    on_both_databases! { attempts_are_kept_for_each_group_until_the_job_has_ended }

    fn row(offset: i64, attempts: u32, is_open: bool) -> AttemptRow {
        let message_id = Uuid::from_u128(u128::from(offset.unsigned_abs()));
        let not_before_ms = (!is_open).then_some(i64::MAX);
        AttemptRow { offset, message_id, attempts, is_open, not_before_ms }
    }

    async fn attempts_are_kept_for_each_group_until_the_job_has_ended(store: Store) {
        let id = PartitionId { topic: "t".into(), partition: 3 };
        let other = PartitionId { topic: "t".into(), partition: 4 };
        let rows = [5, 6, 7].map(|offset| (id.clone(), row(offset, 1, true)));
        store.note_attempts("g", &rows, 1).await.unwrap();
        store.note_attempts("g", &[(id.clone(), row(6, 2, false))], 2).await.unwrap();
        store.note_attempts("h", &[(id.clone(), row(5, 9, true))], 2).await.unwrap();
        let known = store.attempts("g", &id).await.unwrap();
        assert_eq!(known, [row(5, 1, true), row(6, 2, false), row(7, 1, true)]);
        assert_eq!(store.attempts("g", &other).await.unwrap(), []);

        store.forget_attempts("g", &id, 7).await.unwrap();
        store.forget_attempts_below("g", &id, 6).await.unwrap();
        assert_eq!(store.attempts("g", &id).await.unwrap(), [row(6, 2, false)]);
        assert_eq!(store.attempts("h", &id).await.unwrap(), [row(5, 9, true)]);
        store.forget_ended_attempts("g", &id, &[6, 7]).await.unwrap();
        assert_eq!(store.attempts("g", &id).await.unwrap(), []);
        assert!(!store.sweep_attempts(3).await.unwrap());
        assert_eq!(store.attempts("h", &id).await.unwrap(), []);
    }
}
