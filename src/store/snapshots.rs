//! What each worker does now: one row for each, written over and over by the worker itself.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::page::{Page, probe};
use super::{Store, StoreError};

/// What one worker wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRow {
    /// The worker.
    pub instance: String,
    /// When it started, milliseconds since the epoch.
    pub started_at_ms: i64,
    /// When it wrote this.
    pub seen_at_ms: i64,
    /// As JSON.
    pub snapshot: String,
}

impl SnapshotRow {
    /// The cursor behind this row.
    pub fn cursor(&self) -> WorkerCursor {
        WorkerCursor { started_at_ms: self.started_at_ms, instance: self.instance.clone() }
    }
}

/// Where the next page of workers starts: behind the one that started then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerCursor {
    /// Milliseconds since the epoch.
    pub started_at_ms: i64,
    /// Tells workers of one millisecond apart.
    pub instance: String,
}

impl WorkerCursor {
    /// As it goes to a client, who need not understand it.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}.{}", self.started_at_ms, self.instance))
    }

    /// The reverse of [`WorkerCursor::encode`].
    pub fn decode(text: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (started_at_ms, instance) = text.split_once('.')?;
        // PostgreSQL takes no NUL.
        let is_name = !instance.is_empty() && !instance.contains('\0');
        let started_at_ms = started_at_ms.parse().ok().filter(|_| is_name)?;
        Some(Self { started_at_ms, instance: instance.to_owned() })
    }
}

impl Store {
    /// Writes what a worker does in place of what it did.
    pub async fn put_snapshot(&self, row: &SnapshotRow) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO worker_snapshots (instance, started_at_ms, seen_at_ms, snapshot)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (instance) DO UPDATE
             SET seen_at_ms = excluded.seen_at_ms, snapshot = excluded.snapshot",
        )
        .bind(row.instance.as_str())
        .bind(row.started_at_ms)
        .bind(row.seen_at_ms)
        .bind(row.snapshot.as_str())
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// A worker has ended.
    pub async fn remove_snapshot(&self, instance: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM worker_snapshots WHERE instance = $1")
            .bind(instance)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// A page of the workers that were seen since this time, the one that started last first.
    pub async fn snapshots(
        &self,
        seen_since_ms: i64,
        after: Option<&WorkerCursor>,
        limit: u16,
    ) -> Result<Page<SnapshotRow, WorkerCursor>, StoreError> {
        let select = sqlx::query(
            "SELECT instance, started_at_ms, seen_at_ms, snapshot FROM worker_snapshots
             WHERE seen_at_ms >= $1 AND (CAST($2 AS BIGINT) IS NULL
                 OR started_at_ms < $2 OR (started_at_ms = $2 AND instance < $3))
             ORDER BY started_at_ms DESC, instance DESC LIMIT $4",
        )
        .bind(seen_since_ms)
        .bind(after.map(|cursor| cursor.started_at_ms))
        .bind(after.map(|cursor| cursor.instance.clone()))
        .bind(probe(limit));
        let count = sqlx::query("SELECT COUNT(*) FROM worker_snapshots WHERE seen_at_ms >= $1")
            .bind(seen_since_ms);
        self.page(select, count, limit, read, SnapshotRow::cursor).await
    }
}

fn read(row: &AnyRow) -> Result<SnapshotRow, StoreError> {
    Ok(SnapshotRow {
        instance: row.try_get("instance")?,
        started_at_ms: row.try_get("started_at_ms")?,
        seen_at_ms: row.try_get("seen_at_ms")?,
        snapshot: row.try_get("snapshot")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::on_both_databases;

    on_both_databases! {
        a_worker_has_one_row_until_it_ends,
        workers_are_listed_in_pages_while_rows_are_written,
    }

    fn row(instance: &str, started_at_ms: i64, seen_at_ms: i64) -> SnapshotRow {
        SnapshotRow {
            instance: instance.into(),
            started_at_ms,
            seen_at_ms,
            snapshot: format!("{{\"n\":\"\\u0000{seen_at_ms}\"}}"),
        }
    }

    async fn a_worker_has_one_row_until_it_ends(store: Store) {
        for seen_at_ms in [10, 20] {
            store.put_snapshot(&row("a", 1, seen_at_ms)).await.unwrap();
        }
        store.put_snapshot(&row("b", 2, 5)).await.unwrap();
        let since = async |seen_ms| store.snapshots(seen_ms, None, 9).await.unwrap();
        assert_eq!(since(20).await.items, [row("a", 1, 20)]);
        assert_eq!(since(21).await.items, []);
        assert_eq!(since(5).await.total, 2);
        store.remove_snapshot("a").await.unwrap();
        assert_eq!(since(0).await.items, [row("b", 2, 5)]);
        assert!(!store.sweep_snapshots(5).await.unwrap());
        assert_eq!(since(0).await.total, 1, "it was seen at that time");
        assert!(!store.sweep_snapshots(6).await.unwrap());
        assert_eq!(since(0).await.total, 0);
    }

    async fn workers_are_listed_in_pages_while_rows_are_written(store: Store) {
        let rows = [row("e", 30, 9), row("d", 20, 9), row("c", 20, 9), row("b", 20, 9)];
        for row in &rows {
            store.put_snapshot(row).await.unwrap();
        }
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = store.snapshots(0, cursor.as_ref(), 2).await.unwrap();
            seen.extend(page.items.into_iter().map(|row| row.instance));
            let Some(next) = page.next else { break };
            cursor = WorkerCursor::decode(&next.encode());
            assert!(cursor.is_some());
            // Each writes again, and one more starts: no page is another one for it.
            for row in &rows {
                store.put_snapshot(&SnapshotRow { seen_at_ms: 10, ..row.clone() }).await.unwrap();
            }
            store.put_snapshot(&row("f", 40, 9)).await.unwrap();
        }
        assert_eq!(seen, ["e", "d", "c", "b"]);
    }

    #[test]
    fn a_cursor_of_somebody_else_is_none() {
        for text in ["", "?", &URL_SAFE_NO_PAD.encode("1."), &URL_SAFE_NO_PAD.encode("1.a\0")] {
            assert_eq!(WorkerCursor::decode(text), None, "{text}");
        }
    }
}
