//! Resets of groups' offsets: what was passed over, so that a status does not call it done.

use sqlx::Row as _;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::domain::dispatch::PartitionId;
use crate::domain::status::OffsetReset;

/// Resets of one partition that a status looks back on: an operator does not do this often.
const RESETS_MAX: i64 = 1_000;

impl Store {
    /// Notes the resets of one operation, all or none.
    pub async fn note_resets(
        &self,
        operation: Uuid,
        group: &str,
        resets: &[(PartitionId, OffsetReset)],
    ) -> Result<(), StoreError> {
        let mut transaction = self.writer.begin().await?;
        for (id, reset) in resets {
            sqlx::query(
                "INSERT INTO offset_resets
                     (id, group_name, topic, partition, from_offset, to_offset, at_ms)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
            )
            .bind(reset_id(operation, id))
            .bind(group)
            .bind(&*id.topic)
            .bind(i64::from(id.partition))
            .bind(reset.from_offset)
            .bind(reset.to_offset)
            .bind(reset.at_ms)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// The operation did not happen in these partitions after all.
    pub async fn forget_resets(
        &self,
        operation: Uuid,
        partitions: &[PartitionId],
    ) -> Result<(), StoreError> {
        let mut transaction = self.writer.begin().await?;
        for id in partitions {
            sqlx::query("DELETE FROM offset_resets WHERE id = $1")
                .bind(reset_id(operation, id))
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// The resets of a group's offset in one partition, the newest first.
    pub async fn resets(
        &self,
        group: &str,
        topic: &str,
        partition: i32,
    ) -> Result<Vec<OffsetReset>, StoreError> {
        let rows = sqlx::query(
            "SELECT from_offset, to_offset, at_ms FROM offset_resets
             WHERE group_name = $1 AND topic = $2 AND partition = $3
             ORDER BY at_ms DESC, id DESC LIMIT $4",
        )
        .bind(group)
        .bind(topic)
        .bind(i64::from(partition))
        .bind(RESETS_MAX)
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(OffsetReset {
                    from_offset: row.try_get(0)?,
                    to_offset: row.try_get(1)?,
                    at_ms: row.try_get(2)?,
                })
            })
            .collect()
    }
}

fn reset_id(operation: Uuid, id: &PartitionId) -> String {
    format!("{operation}/{}/{}", id.topic, id.partition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::on_both_databases;

    on_both_databases! { resets_come_back_the_newest_first_and_can_be_taken_back }

    async fn resets_come_back_the_newest_first_and_can_be_taken_back(store: Store) {
        let id = |partition| PartitionId { topic: "t".into(), partition };
        let reset = |from_offset, to_offset, at_ms| OffsetReset { from_offset, to_offset, at_ms };
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let both = [(id(0), reset(0, 5, 1_000)), (id(1), reset(3, 9, 1_000))];
        store.note_resets(first, "g", &both).await.unwrap();
        store.note_resets(second, "g", &[(id(0), reset(5, 2, 2_000))]).await.unwrap();
        let newest_first = [reset(5, 2, 2_000), reset(0, 5, 1_000)];
        assert_eq!(store.resets("g", "t", 0).await.unwrap(), newest_first);
        assert_eq!(store.resets("other", "t", 0).await.unwrap(), []);
        store.forget_resets(first, &[id(0)]).await.unwrap();
        assert_eq!(store.resets("g", "t", 0).await.unwrap(), [reset(5, 2, 2_000)]);
        assert_eq!(store.resets("g", "t", 1).await.unwrap(), [reset(3, 9, 1_000)], "as it was");
    }
}
