//! Claims: an effect is had once for each scope and message id.

use uuid::Uuid;

use super::{Store, StoreError};

impl Store {
    /// Whether the effect was had.
    pub async fn is_claimed(&self, scope: &str, message_id: Uuid) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT 1 FROM claims WHERE scope = $1 AND message_id = $2")
            .bind(scope)
            .bind(message_id.to_string())
            .fetch_optional(&self.reader)
            .await?;
        Ok(row.is_some())
    }

    /// Claims an effect that is in no database and leaves no row, and so has no transaction to be
    /// claimed in ([`Store::effect`] is for the others). Returns false if somebody has claimed it already.
    pub async fn claim(
        &self,
        scope: &str,
        message_id: Uuid,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO claims (scope, message_id, claimed_at_ms) VALUES ($1, $2, $3)
             ON CONFLICT (scope, message_id) DO NOTHING",
        )
        .bind(scope)
        .bind(message_id.to_string())
        .bind(now_ms)
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected() == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::on_both_databases;

    on_both_databases! { an_effect_is_claimed_once_for_each_scope }

    async fn an_effect_is_claimed_once_for_each_scope(store: Store) {
        let id = Uuid::from_u128(7);
        assert!(!store.is_claimed("email-workers", id).await.unwrap());
        assert!(store.claim("email-workers", id, 1).await.unwrap());
        assert!(!store.claim("email-workers", id, 2).await.unwrap());
        assert!(store.is_claimed("email-workers", id).await.unwrap());
        assert!(!store.is_claimed("a replay", id).await.unwrap());
        assert!(store.claim("a replay", id, 2).await.unwrap());
    }
}
