//! What each instance has counted. An instance writes its own row; the sum is over all,
//! also over those that are gone.

use std::time::Duration;

use sqlx::Row as _;

use super::{Store, StoreError};

/// The row that holds what long-gone instances have counted together.
pub const PAST: &str = "past";

/// The counters of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceRow {
    /// Its name.
    pub instance: String,
    /// Milliseconds since the epoch.
    pub started_at_ms: i64,
    /// When it last wrote them.
    pub seen_at_ms: i64,
    /// As JSON.
    pub counters: String,
}

impl Store {
    /// Writes an instance's counters in place of its former ones.
    pub async fn put_counters(&self, row: &InstanceRow) -> Result<(), StoreError> {
        put(row).execute(&self.writer).await?;
        Ok(())
    }

    /// The counters of every instance, the one seen last first.
    pub async fn counters(&self) -> Result<Vec<InstanceRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT instance, started_at_ms, seen_at_ms, counters FROM instance_counters
             ORDER BY seen_at_ms DESC, instance",
        )
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(read).collect()
    }

    /// Joins the rows of instances that were not seen for this long into one, so that the
    /// table does not grow with every start. `sum` adds counters up.
    pub async fn fold_counters(
        &self,
        now_ms: i64,
        unseen: Duration,
        sum: impl FnOnce(Vec<String>) -> String + Send,
    ) -> Result<(), StoreError> {
        let unseen_ms = i64::try_from(unseen.as_millis()).unwrap_or(i64::MAX / 2);
        let mut transaction = self.writer.begin().await?;
        let rows = sqlx::query(
            "DELETE FROM instance_counters WHERE instance = $1 OR seen_at_ms < $2
             RETURNING instance, started_at_ms, seen_at_ms, counters",
        )
        .bind(PAST)
        .bind(now_ms - unseen_ms)
        .fetch_all(&mut *transaction)
        .await?;
        let rows: Vec<InstanceRow> = rows.iter().map(read).collect::<Result<_, _>>()?;
        if rows.iter().any(|row| row.instance != PAST) {
            let started_at_ms = rows.iter().map(|row| row.started_at_ms).min().unwrap_or(now_ms);
            let seen_at_ms = rows.iter().map(|row| row.seen_at_ms).max().unwrap_or(now_ms);
            let counters = sum(rows.into_iter().map(|row| row.counters).collect());
            let past = InstanceRow { instance: PAST.into(), started_at_ms, seen_at_ms, counters };
            put(&past).execute(&mut *transaction).await?;
            transaction.commit().await?;
        } else {
            transaction.rollback().await?;
        }
        Ok(())
    }
}

fn put<'q>(row: &InstanceRow) -> sqlx::query::Query<'q, sqlx::Any, sqlx::any::AnyArguments> {
    sqlx::query(
        "INSERT INTO instance_counters (instance, started_at_ms, seen_at_ms, counters)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (instance) DO UPDATE
         SET seen_at_ms = excluded.seen_at_ms, counters = excluded.counters",
    )
    .bind(row.instance.clone())
    .bind(row.started_at_ms)
    .bind(row.seen_at_ms)
    .bind(row.counters.clone())
}

fn read(row: &sqlx::any::AnyRow) -> Result<InstanceRow, StoreError> {
    Ok(InstanceRow {
        instance: row.try_get("instance")?,
        started_at_ms: row.try_get("started_at_ms")?,
        seen_at_ms: row.try_get("seen_at_ms")?,
        counters: row.try_get("counters")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::on_both_databases;

    on_both_databases! { rows_of_the_long_gone_become_one_and_lose_nothing }

    async fn rows_of_the_long_gone_become_one_and_lose_nothing(store: Store) {
        let row = |instance: &str, seen_at_ms, counters: &str| InstanceRow {
            instance: instance.into(),
            started_at_ms: 1,
            seen_at_ms,
            counters: counters.into(),
        };
        let day = Duration::from_hours(24);
        let now_ms = 100_000_000;
        for (name, seen, counters) in
            [("a", 1_000, "1"), ("b", 2_000, "2"), ("c", now_ms, "4"), ("c", now_ms + 1, "8")]
        {
            store.put_counters(&row(name, seen, counters)).await.unwrap();
        }
        let join = |parts: Vec<String>| {
            let mut parts = parts;
            parts.sort();
            parts.join("+")
        };
        store.fold_counters(now_ms, day, join).await.unwrap();
        let expected = [row("c", now_ms + 1, "8"), row(PAST, 2_000, "1+2")];
        assert_eq!(store.counters().await.unwrap(), expected);
        store.fold_counters(now_ms, day, join).await.unwrap();
        assert_eq!(store.counters().await.unwrap(), expected, "nothing more to fold");
        store.fold_counters(now_ms + 2 * 86_400_000, day, join).await.unwrap();
        assert_eq!(store.counters().await.unwrap(), [row(PAST, now_ms + 1, "1+2+8")]);
    }
}
