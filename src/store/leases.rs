//! Leases: work that one instance does for all.

use std::time::Duration;

use super::{Store, StoreError};

impl Store {
    /// Takes or renews a lease. Returns whether this holder has it until `now_ms + term`.
    pub async fn lease(
        &self,
        name: &str,
        holder: &str,
        now_ms: i64,
        term: Duration,
    ) -> Result<bool, StoreError> {
        let term_ms = i64::try_from(term.as_millis()).unwrap_or(i64::MAX / 2);
        let done = sqlx::query(
            "INSERT INTO leases (name, holder, expires_at_ms) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE
             SET holder = excluded.holder, expires_at_ms = excluded.expires_at_ms
             WHERE leases.holder = excluded.holder OR leases.expires_at_ms < $4",
        )
        .bind(name)
        .bind(holder)
        .bind(now_ms + term_ms)
        .bind(now_ms)
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Gives a lease back, so that another instance need not wait for its end.
    pub async fn release(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM leases WHERE name = $1 AND holder = $2")
            .bind(name)
            .bind(holder)
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}
