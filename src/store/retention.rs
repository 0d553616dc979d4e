//! What is thrown away once nothing asks for it any more. Each call takes a bounded number of
//! rows, the caller goes on until none is left.

use super::{Store, StoreError};

/// Rows that one call takes: a fraction of a second.
const ROWS_MAX: i64 = 1_000;

impl Store {
    /// Forgets audit entries from before this time. Returns whether there may be more.
    pub async fn sweep_audit(&self, before_ms: i64) -> Result<bool, StoreError> {
        self.sweep(
            "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at_ms < $1 LIMIT $2)",
            before_ms,
        )
        .await
    }

    /// Forgets what was done with dead letters before this time. Returns whether there may be
    /// more.
    pub async fn sweep_resolutions(&self, before_ms: i64) -> Result<bool, StoreError> {
        self.sweep(
            "DELETE FROM dead_letter_resolutions
             WHERE (dlq_topic, dlq_partition, dlq_offset) IN
                 (SELECT dlq_topic, dlq_partition, dlq_offset FROM dead_letter_resolutions
                  WHERE changed_at_ms < $1 LIMIT $2)",
            before_ms,
        )
        .await
    }

    /// Forgets resets of offsets from before this time. Returns whether there may be more.
    pub async fn sweep_offset_resets(&self, before_ms: i64) -> Result<bool, StoreError> {
        self.sweep(
            "DELETE FROM offset_resets
             WHERE id IN (SELECT id FROM offset_resets WHERE at_ms < $1 LIMIT $2)",
            before_ms,
        )
        .await
    }

    /// Forgets claims from before this time. Returns whether there may be more.
    pub async fn sweep_claims(&self, before_ms: i64) -> Result<bool, StoreError> {
        self.sweep(
            "DELETE FROM claims WHERE (scope, message_id) IN
                 (SELECT scope, message_id FROM claims WHERE claimed_at_ms < $1 LIMIT $2)",
            before_ms,
        )
        .await
    }

    /// Forgets attempts that were noted before this time. Returns whether there may be more.
    pub async fn sweep_attempts(&self, before_ms: i64) -> Result<bool, StoreError> {
        self.sweep(
            "DELETE FROM attempts WHERE (group_name, topic, partition, record_offset) IN
                 (SELECT group_name, topic, partition, record_offset FROM attempts
                  WHERE noted_at_ms < $1 LIMIT $2)",
            before_ms,
        )
        .await
    }

    /// Forgets workers that were last seen before this time. Returns whether there may be more.
    pub async fn sweep_snapshots(&self, before_ms: i64) -> Result<bool, StoreError> {
        self.sweep(
            "DELETE FROM worker_snapshots WHERE instance IN
                 (SELECT instance FROM worker_snapshots WHERE seen_at_ms < $1 LIMIT $2)",
            before_ms,
        )
        .await
    }

    /// Forgets replays that ended before this time: their failures and spans first, so that
    /// what is left is still found. Returns whether there may be more.
    pub async fn sweep_replays(&self, before_ms: i64) -> Result<bool, StoreError> {
        for of_replays in [
            "DELETE FROM replay_failures WHERE (replay_id, partition, record_offset) IN
                 (SELECT f.replay_id, f.partition, f.record_offset
                  FROM replay_failures f JOIN replays r ON r.id = f.replay_id
                  WHERE r.finished_at_ms < $1 LIMIT $2)",
            "DELETE FROM replay_spans WHERE (replay_id, partition) IN
                 (SELECT s.replay_id, s.partition
                  FROM replay_spans s JOIN replays r ON r.id = s.replay_id
                  WHERE r.finished_at_ms < $1 LIMIT $2)",
        ] {
            if self.sweep(of_replays, before_ms).await? {
                return Ok(true);
            }
        }
        self.sweep(
            "DELETE FROM replays
             WHERE id IN (SELECT id FROM replays WHERE finished_at_ms < $1 LIMIT $2)",
            before_ms,
        )
        .await
    }

    /// Forgets rows of the schedule that were sent or cancelled before this time. Returns
    /// whether there may be more.
    pub async fn sweep_schedule(&self, before_ms: i64) -> Result<bool, StoreError> {
        self.sweep(
            "DELETE FROM schedule
             WHERE id IN (SELECT id FROM schedule WHERE ended_at_ms < $1 LIMIT $2)",
            before_ms,
        )
        .await
    }

    /// Forgets attempts at webhooks that were made before this time. Returns whether there may be
    /// more.
    pub async fn sweep_webhook_deliveries(&self, before_ms: i64) -> Result<bool, StoreError> {
        self.sweep(
            "DELETE FROM webhook_deliveries WHERE (webhook_id, message_id, at_ms) IN
                 (SELECT webhook_id, message_id, at_ms FROM webhook_deliveries
                  WHERE at_ms < $1 LIMIT $2)",
            before_ms,
        )
        .await
    }

    /// Forgets keys of requests from before this time. Returns whether there may be more.
    pub async fn sweep_keys(&self, before_ms: i64) -> Result<bool, StoreError> {
        self.sweep(
            "DELETE FROM idempotency_keys WHERE (caller, type_name, idempotency_key) IN
                 (SELECT caller, type_name, idempotency_key FROM idempotency_keys
                  WHERE created_at_ms < $1 LIMIT $2)",
            before_ms,
        )
        .await
    }

    async fn sweep(&self, sql: &'static str, before_ms: i64) -> Result<bool, StoreError> {
        let done = sqlx::query(sql).bind(before_ms).bind(ROWS_MAX).execute(&self.writer).await?;
        Ok(done.rows_affected() >= ROWS_MAX.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::dispatch::PartitionId;
    use crate::domain::receipt::Place;
    use crate::domain::status::OffsetReset;
    use crate::store::tests::on_both_databases;
    use crate::store::{AuditEntry, Claim};

    on_both_databases! {
        each_table_forgets_what_is_older_and_nothing_else,
        a_replay_is_forgotten_with_all_that_is_its_own,
        more_than_fits_in_one_call_is_taken_by_the_next,
    }

    const OLD: i64 = 1_000;
    const YOUNG: i64 = 2_000;

    async fn each_table_forgets_what_is_older_and_nothing_else(store: Store) {
        for (number, at_ms) in [(1, OLD), (2, YOUNG)] {
            let id = Uuid::from_u128(number);
            let entry = AuditEntry {
                id,
                at_ms,
                actor: "ada".into(),
                action: "discard".into(),
                target: "x".into(),
                reason: None,
                detail: serde_json::Value::Null,
                outcome: "done".into(),
            };
            store.begin_audit(&entry).await.unwrap();
            let partition = i32::try_from(number).unwrap();
            let letter = Place { topic: "dlq".into(), partition, offset: 0 };
            store.discard(&letter, id, "a test", at_ms, 0).await.unwrap();
            let reset = OffsetReset { from_offset: 0, to_offset: 1, at_ms };
            let of = PartitionId { topic: "t".into(), partition };
            store.note_resets(id, "g", &[(of, reset)]).await.unwrap();
            store.claim("g", id, at_ms).await.unwrap();
        }
        assert!(!store.sweep_audit(YOUNG).await.unwrap());
        assert!(!store.sweep_resolutions(YOUNG).await.unwrap());
        assert!(!store.sweep_offset_resets(YOUNG).await.unwrap());
        assert!(!store.sweep_claims(YOUNG).await.unwrap());
        let left = store.audit(None, 9).await.unwrap().items;
        assert_eq!(left.iter().map(|entry| entry.at_ms).collect::<Vec<_>>(), [YOUNG]);
        for (number, is_left) in [(1, false), (2, true)] {
            let id = Uuid::from_u128(number);
            let partition = i32::try_from(number).unwrap();
            let letter = Place { topic: "dlq".into(), partition, offset: 0 };
            assert_eq!(store.resolution(&letter, id).await.unwrap().is_some(), is_left);
            let resets = store.resets("g", "t", partition).await.unwrap();
            assert_eq!(!resets.is_empty(), is_left);
            assert_eq!(store.is_claimed("g", id).await.unwrap(), is_left);
            let claim = store.discard(&letter, id, "again", YOUNG, 0).await.unwrap();
            assert_eq!(claim == Claim::Taken, !is_left);
        }
    }

    async fn count(store: &Store, sql: &'static str) -> i64 {
        use sqlx::Row as _;
        sqlx::query(sql).fetch_one(&store.reader).await.unwrap().get(0)
    }

    async fn a_replay_is_forgotten_with_all_that_is_its_own(store: Store) {
        for (id, finished_at_ms) in [("old", Some(OLD)), ("young", Some(YOUNG)), ("open", None)] {
            sqlx::query(
                "INSERT INTO replays (id, created_at_ms, created_by, topic, handler, group_name,
                     effects, dead_letters, state, finished_at_ms, done, already_done, failed,
                     skipped, per_1000_s, lease_expires_at_ms)
                 VALUES ($1, 1, 'ada', 't', 'h', $1, 'once', 0, 'done', $2, 0, 0, 0, 0, 0, 0)",
            )
            .bind(id)
            .bind(finished_at_ms)
            .execute(&store.writer)
            .await
            .unwrap();
            for own in [
                "INSERT INTO replay_spans VALUES ($1, 0, 0, 9, 9)",
                "INSERT INTO replay_failures VALUES ($1, 0, 3, 'm', NULL, 1, 'c', 'm', 1)",
            ] {
                sqlx::query(own).bind(id).execute(&store.writer).await.unwrap();
            }
        }
        assert!(!store.sweep_replays(YOUNG).await.unwrap());
        for (all, old) in [
            ("SELECT COUNT(*) FROM replays", "SELECT COUNT(*) FROM replays WHERE id = 'old'"),
            (
                "SELECT COUNT(*) FROM replay_spans",
                "SELECT COUNT(*) FROM replay_spans WHERE replay_id = 'old'",
            ),
            (
                "SELECT COUNT(*) FROM replay_failures",
                "SELECT COUNT(*) FROM replay_failures WHERE replay_id = 'old'",
            ),
        ] {
            assert_eq!((count(&store, all).await, count(&store, old).await), (2, 0), "{all}");
        }
    }

    async fn more_than_fits_in_one_call_is_taken_by_the_next(store: Store) {
        sqlx::query(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1001)
             INSERT INTO claims SELECT 'g', CAST(i AS TEXT), 1 FROM n",
        )
        .execute(&store.writer)
        .await
        .unwrap();
        assert!(store.sweep_claims(YOUNG).await.unwrap(), "there is more");
        assert_eq!(count(&store, "SELECT COUNT(*) FROM claims").await, 1);
        assert!(!store.sweep_claims(YOUNG).await.unwrap());
        assert_eq!(count(&store, "SELECT COUNT(*) FROM claims").await, 0);
    }
}
