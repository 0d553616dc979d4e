//! The worker's side of a replay: the lease, and how far it is.

use std::time::Duration;

use uuid::Uuid;

use super::state;
use crate::domain::replay::{Counts, ReplaySpan, ReplayState};
use crate::store::{Store, StoreError};

/// How far a worker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayProgress {
    /// The positions.
    pub spans: Vec<ReplaySpan>,
    /// What belongs to them.
    pub counts: Counts,
    /// The pace.
    pub per_1000_s: i64,
    /// The outage.
    pub waits_for: Option<String>,
}

impl Store {
    /// Takes an open replay that no worker holds, or whose worker has gone silent. Returns its
    /// state, or none if it is not to be had.
    pub async fn take_replay(
        &self,
        id: Uuid,
        holder: &str,
        now_ms: i64,
        term: Duration,
    ) -> Result<Option<ReplayState>, StoreError> {
        let row = sqlx::query(
            "UPDATE replays SET holder = $1, lease_expires_at_ms = $2
             WHERE id = $3 AND state IN ('queued', 'running', 'cancelling')
               AND (holder IS NULL OR holder = $1 OR lease_expires_at_ms < $4)
             RETURNING state",
        )
        .bind(holder)
        .bind(until(now_ms, term))
        .bind(id.to_string())
        .bind(now_ms)
        .fetch_optional(&self.writer)
        .await?;
        row.as_ref().map(state).transpose()
    }

    /// A worker runs the replay now.
    pub async fn run_replay(&self, id: Uuid, holder: &str, now_ms: i64) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE replays SET state = 'running', started_at_ms = COALESCE(started_at_ms, $1)
             WHERE id = $2 AND holder = $3 AND state = 'queued'",
        )
        .bind(now_ms)
        .bind(id.to_string())
        .bind(holder)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Writes down how far its worker is, and renews the lease. Returns the replay's state;
    /// none, and nothing is written, if another worker has it.
    pub async fn save_replay(
        &self,
        id: Uuid,
        holder: &str,
        progress: &ReplayProgress,
        now_ms: i64,
        term: Duration,
    ) -> Result<Option<ReplayState>, StoreError> {
        let mut transaction = self.writer.begin().await?;
        let ReplayProgress { spans, counts, per_1000_s, waits_for } = progress;
        let row = sqlx::query(
            "UPDATE replays SET done = $1, already_done = $2, failed = $3, skipped = $4,
                 per_1000_s = $5, waits_for = $6, lease_expires_at_ms = $7
             WHERE id = $8 AND holder = $9 RETURNING state",
        )
        .bind(counts.done)
        .bind(counts.already_done)
        .bind(counts.failed)
        .bind(counts.skipped)
        .bind(*per_1000_s)
        .bind(waits_for.as_deref())
        .bind(until(now_ms, term))
        .bind(id.to_string())
        .bind(holder)
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(row) = row else {
            transaction.rollback().await?;
            return Ok(None);
        };
        for span in spans {
            sqlx::query(
                "UPDATE replay_spans SET position = $1
                 WHERE replay_id = $2 AND partition = $3 AND position <> $1",
            )
            .bind(span.position)
            .bind(id.to_string())
            .bind(i64::from(span.partition))
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(Some(state(&row)?))
    }

    /// A replay has ended; its worker lets it go.
    pub async fn end_replay(
        &self,
        id: Uuid,
        holder: &str,
        end: ReplayState,
        error: Option<&str>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE replays SET state = $1, error = $2, finished_at_ms = $3, holder = NULL,
                 waits_for = NULL, per_1000_s = 0
             WHERE id = $4 AND holder = $5",
        )
        .bind(end.as_str())
        .bind(error)
        .bind(now_ms)
        .bind(id.to_string())
        .bind(holder)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Its worker stops; another one may take it at once.
    pub async fn release_replay(&self, id: Uuid, holder: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE replays SET holder = NULL WHERE id = $1 AND holder = $2")
            .bind(id.to_string())
            .bind(holder)
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}

fn until(now_ms: i64, term: Duration) -> i64 {
    now_ms.saturating_add(i64::try_from(term.as_millis()).unwrap_or(i64::MAX))
}
