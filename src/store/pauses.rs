//! Which types an operator has paused.

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{Store, StoreError};
use crate::domain::pause::TypePause;

impl Store {
    /// Pauses a type. One that is paused stays as it is. Returns whether it was not.
    pub async fn pause_type(&self, pause: &TypePause) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO type_pauses (type_name, paused_at_ms, paused_by, reason)
             VALUES ($1, $2, $3, $4) ON CONFLICT (type_name) DO NOTHING",
        )
        .bind(pause.type_name.as_str())
        .bind(pause.paused_at_ms)
        .bind(pause.paused_by.as_str())
        .bind(pause.reason.as_deref())
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Ends a pause. Returns whether there was one.
    pub async fn resume_type(&self, type_name: &str) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM type_pauses WHERE type_name = $1")
            .bind(type_name)
            .execute(&self.writer)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Every pause; there are never more than types.
    pub async fn type_pauses(&self) -> Result<Vec<TypePause>, StoreError> {
        let rows = sqlx::query(
            "SELECT type_name, paused_at_ms, paused_by, reason FROM type_pauses
             ORDER BY type_name",
        )
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(read).collect()
    }
}

fn read(row: &AnyRow) -> Result<TypePause, StoreError> {
    Ok(TypePause {
        type_name: row.try_get("type_name")?,
        paused_at_ms: row.try_get("paused_at_ms")?,
        paused_by: row.try_get("paused_by")?,
        reason: row.try_get("reason")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::on_both_databases;

    on_both_databases! { the_first_pause_stands_until_it_is_ended }

    async fn the_first_pause_stands_until_it_is_ended(store: Store) {
        let pause = |name: &str, at_ms, reason: Option<&str>| TypePause {
            type_name: name.into(),
            paused_at_ms: at_ms,
            paused_by: "ada".into(),
            reason: reason.map(str::to_owned),
        };
        assert!(store.pause_type(&pause("b", 1, Some("why"))).await.unwrap());
        assert!(store.pause_type(&pause("a", 2, None)).await.unwrap());
        assert!(!store.pause_type(&pause("b", 3, None)).await.unwrap());
        let expected = [pause("a", 2, None), pause("b", 1, Some("why"))];
        assert_eq!(store.type_pauses().await.unwrap(), expected);
        assert!(store.resume_type("b").await.unwrap());
        assert!(!store.resume_type("b").await.unwrap());
        assert_eq!(store.type_pauses().await.unwrap(), [pause("a", 2, None)]);
    }
}
