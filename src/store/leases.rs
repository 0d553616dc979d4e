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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open_sqlite(&dir.path().join("t.db")).await.unwrap();
        let term = Duration::from_secs(10);
        assert!(store.lease("index", "a", 1_000, term).await.unwrap());
        assert!(!store.lease("index", "b", 2_000, term).await.unwrap());
        assert!(store.lease("index", "a", 5_000, term).await.unwrap(), "renewed");
        assert!(!store.lease("index", "b", 15_000, term).await.unwrap());
        assert!(store.lease("index", "b", 15_001, term).await.unwrap(), "it ran out");
        store.release("index", "a").await.unwrap();
        assert!(!store.lease("index", "a", 15_002, term).await.unwrap(), "not a's to release");
        store.release("index", "b").await.unwrap();
        assert!(store.lease("index", "a", 15_003, term).await.unwrap());
    }
}
