//! Who did what, when and why. An entry is written before the deed, so that none is missing.

use serde_json::Value;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::cursor::TimeCursor;
use super::page::{Page, probe};
use super::{Store, StoreError};

/// An admin's write.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// Names the entry.
    pub id: Uuid,
    /// Milliseconds since the epoch.
    pub at_ms: i64,
    /// Who.
    pub actor: String,
    /// What was done, a stable word.
    pub action: String,
    /// To what.
    pub target: String,
    /// Why, in the caller's words.
    pub reason: Option<String>,
    /// What else was asked for.
    pub detail: Value,
    /// `begun`, `done`, or the error.
    pub outcome: String,
}

impl AuditEntry {
    /// The cursor behind this entry.
    pub fn cursor(&self) -> TimeCursor {
        TimeCursor { at_ms: self.at_ms, id: self.id }
    }
}

impl Store {
    /// Writes an entry.
    pub async fn begin_audit(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO audit (id, at_ms, actor, action, target, reason, detail, outcome)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(entry.id.to_string())
        .bind(entry.at_ms)
        .bind(entry.actor.as_str())
        .bind(entry.action.as_str())
        .bind(entry.target.as_str())
        .bind(entry.reason.as_deref())
        .bind(entry.detail.to_string())
        .bind(entry.outcome.as_str())
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Notes how it ended.
    pub async fn end_audit(&self, id: Uuid, outcome: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE audit SET outcome = $1 WHERE id = $2")
            .bind(outcome)
            .bind(id.to_string())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// A page of entries, the newest first.
    pub async fn audit(
        &self,
        after: Option<TimeCursor>,
        limit: u16,
    ) -> Result<Page<AuditEntry, TimeCursor>, StoreError> {
        let select = sqlx::query(
            "SELECT id, at_ms, actor, action, target, reason, detail, outcome FROM audit
             WHERE CAST($1 AS BIGINT) IS NULL OR at_ms < $1 OR (at_ms = $1 AND id < $2)
             ORDER BY at_ms DESC, id DESC LIMIT $3",
        )
        .bind(after.map(|cursor| cursor.at_ms))
        .bind(after.map(|cursor| cursor.id.to_string()))
        .bind(probe(limit));
        let count = sqlx::query("SELECT COUNT(*) FROM audit");
        self.page(select, count, limit, entry, AuditEntry::cursor).await
    }
}

fn entry(row: &AnyRow) -> Result<AuditEntry, StoreError> {
    let (id, detail): (String, String) = (row.try_get("id")?, row.try_get("detail")?);
    Ok(AuditEntry {
        id: Uuid::parse_str(&id).map_err(|_| StoreError::Corrupt { what: "audit id" })?,
        at_ms: row.try_get("at_ms")?,
        actor: row.try_get("actor")?,
        action: row.try_get("action")?,
        target: row.try_get("target")?,
        reason: row.try_get("reason")?,
        detail: serde_json::from_str(&detail)
            .map_err(|_| StoreError::Corrupt { what: "audit detail" })?,
        outcome: row.try_get("outcome")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::on_both_databases;

    on_both_databases! { entries_are_listed_from_the_newest_in_pages }

    async fn entries_are_listed_from_the_newest_in_pages(store: Store) {
        let entry = |number: u128| AuditEntry {
            id: Uuid::from_u128(number),
            at_ms: 1_000 + i64::try_from(number / 2).unwrap(),
            actor: "ada".into(),
            action: "discard".into(),
            target: "waitlist.dlq/0/1".into(),
            reason: (number == 1).then(|| "why".into()),
            detail: serde_json::json!({ "n": 1 }),
            outcome: "begun".into(),
        };
        for number in 1..=5 {
            store.begin_audit(&entry(number)).await.unwrap();
        }
        store.end_audit(Uuid::from_u128(5), "done").await.unwrap();
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let page = store.audit(cursor, 2).await.unwrap();
            assert_eq!(page.total, 5);
            seen.extend(page.items);
            let Some(next) = page.next else { break };
            cursor = TimeCursor::decode(&next.encode());
            assert!(cursor.is_some());
        }
        let mut expected: Vec<AuditEntry> = (1..=5).rev().map(entry).collect();
        expected[0].outcome = "done".into();
        assert_eq!(seen, expected);
    }
}
