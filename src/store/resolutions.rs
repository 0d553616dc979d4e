//! What operators did with dead letters. It outlives the index.
//!
//! A replay is claimed before the record is sent and settled after: between the two the
//! row says `replaying`, so that a crash leaves the letter open and a second click in the
//! meantime is refused.

use sqlx::Row as _;
use uuid::Uuid;

use super::dead_letters::partition;
use super::quarantines::{release_letter, take_quarantine_turn};
use super::{LetterState, Store, StoreError};
use crate::domain::receipt::Place;

/// What was done with a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// What became of the letter.
    pub state: LetterState,
    /// The replay, if it was one.
    pub replay_id: Option<Uuid>,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// When, milliseconds since the epoch.
    pub changed_at_ms: i64,
    /// Where the replayed record went.
    pub receipt: Option<Place>,
}

/// Whether a letter could be claimed for a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It is this replay's.
    Taken,
    /// Another replay of it is under way.
    Busy,
    /// It is not open any more.
    Settled(Resolution),
}

impl Store {
    /// Claims an open letter for a replay. A claim older than `stale_before_ms` was left by
    /// a crash and may be taken over.
    pub async fn claim_replay(
        &self,
        letter: &Place,
        message_id: Uuid,
        replay_id: Uuid,
        now_ms: i64,
        stale_before_ms: i64,
    ) -> Result<Claim, StoreError> {
        let done = sqlx::query(
            "INSERT INTO dead_letter_resolutions
                 (dlq_topic, dlq_partition, dlq_offset, message_id, state, replay_id, changed_at_ms)
             VALUES ($1, $2, $3, $4, 'replaying', $5, $6)
             ON CONFLICT (dlq_topic, dlq_partition, dlq_offset) DO UPDATE
             SET message_id = excluded.message_id, state = excluded.state, reason = NULL,
                 replay_id = excluded.replay_id, changed_at_ms = excluded.changed_at_ms,
                 receipt_topic = NULL, receipt_partition = NULL, receipt_offset = NULL
             WHERE dead_letter_resolutions.message_id <> excluded.message_id
                OR (dead_letter_resolutions.state = 'replaying'
                    AND dead_letter_resolutions.changed_at_ms < $7)",
        )
        .bind(letter.topic.as_ref())
        .bind(i64::from(letter.partition))
        .bind(letter.offset)
        .bind(message_id.to_string())
        .bind(replay_id.to_string())
        .bind(now_ms)
        .bind(stale_before_ms)
        .execute(&self.writer)
        .await?;
        if done.rows_affected() == 1 {
            return Ok(Claim::Taken);
        }
        Ok(self.resolution(letter, message_id).await?.map_or(Claim::Busy, Claim::Settled))
    }

    /// The replayed record is durable at this place.
    pub async fn settle_replay(
        &self,
        letter: &Place,
        replay_id: Uuid,
        receipt: &Place,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE dead_letter_resolutions
             SET state = CASE WHEN state = 'replaying' THEN 'replayed' ELSE state END,
                 receipt_topic = $1, receipt_partition = $2, receipt_offset = $3,
                 changed_at_ms = $4
             WHERE dlq_topic = $5 AND dlq_partition = $6 AND dlq_offset = $7 AND replay_id = $8",
        )
        .bind(receipt.topic.as_ref())
        .bind(i64::from(receipt.partition))
        .bind(receipt.offset)
        .bind(now_ms)
        .bind(letter.topic.as_ref())
        .bind(i64::from(letter.partition))
        .bind(letter.offset)
        .bind(replay_id.to_string())
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// The replay was not written: the letter is open again.
    pub async fn abandon_replay(&self, letter: &Place, replay_id: Uuid) -> Result<(), StoreError> {
        sqlx::query(
            "DELETE FROM dead_letter_resolutions
             WHERE dlq_topic = $1 AND dlq_partition = $2 AND dlq_offset = $3
               AND replay_id = $4 AND state = 'replaying'",
        )
        .bind(letter.topic.as_ref())
        .bind(i64::from(letter.partition))
        .bind(letter.offset)
        .bind(replay_id.to_string())
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// A replayed record has succeeded: whatever letter it came from is resolved.
    pub async fn resolve_replay(
        &self,
        replay_id: Uuid,
        message_id: Uuid,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE dead_letter_resolutions SET state = 'resolved', changed_at_ms = $1
             WHERE replay_id = $2 AND message_id = $3 AND state IN ('replaying', 'replayed')",
        )
        .bind(now_ms)
        .bind(replay_id.to_string())
        .bind(message_id.to_string())
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Puts an open letter aside, and releases the key that it holds. Returns what was done with
    /// it before, if it is not open. A claim older than `stale_before_ms` was left by a crash and
    /// is no obstacle.
    pub async fn discard(
        &self,
        letter: &Place,
        message_id: Uuid,
        reason: &str,
        now_ms: i64,
        stale_before_ms: i64,
    ) -> Result<Claim, StoreError> {
        let mut transaction = self.writer.begin().await?;
        take_quarantine_turn(&mut transaction, now_ms).await?;
        let done = sqlx::query(
            "INSERT INTO dead_letter_resolutions
                 (dlq_topic, dlq_partition, dlq_offset, message_id, state, reason, changed_at_ms)
             VALUES ($1, $2, $3, $4, 'discarded', $5, $6)
             ON CONFLICT (dlq_topic, dlq_partition, dlq_offset) DO UPDATE
             SET message_id = excluded.message_id, state = excluded.state,
                 reason = excluded.reason, replay_id = NULL,
                 changed_at_ms = excluded.changed_at_ms,
                 receipt_topic = NULL, receipt_partition = NULL, receipt_offset = NULL
             WHERE dead_letter_resolutions.message_id <> excluded.message_id
                OR (dead_letter_resolutions.state = 'replaying'
                    AND dead_letter_resolutions.changed_at_ms < $7)",
        )
        .bind(letter.topic.as_ref())
        .bind(i64::from(letter.partition))
        .bind(letter.offset)
        .bind(message_id.to_string())
        .bind(reason)
        .bind(now_ms)
        .bind(stale_before_ms)
        .execute(&mut *transaction)
        .await?;
        if done.rows_affected() == 1 {
            let due_ms = release_letter(&mut transaction, letter, message_id, now_ms).await?;
            transaction.commit().await?;
            self.ring(due_ms);
            return Ok(Claim::Taken);
        }
        transaction.rollback().await?;
        Ok(self.resolution(letter, message_id).await?.map_or(Claim::Busy, Claim::Settled))
    }

    /// What was done with a letter; none while it is open.
    pub async fn resolution(
        &self,
        letter: &Place,
        message_id: Uuid,
    ) -> Result<Option<Resolution>, StoreError> {
        let row = sqlx::query(
            "SELECT state, replay_id, reason, changed_at_ms,
                    receipt_topic, receipt_partition, receipt_offset
             FROM dead_letter_resolutions
             WHERE dlq_topic = $1 AND dlq_partition = $2 AND dlq_offset = $3
               AND message_id = $4 AND state <> 'replaying'",
        )
        .bind(letter.topic.as_ref())
        .bind(i64::from(letter.partition))
        .bind(letter.offset)
        .bind(message_id.to_string())
        .fetch_optional(&self.reader)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let state: String = row.try_get("state")?;
        let replay_id: Option<String> = row.try_get("replay_id")?;
        let topic: Option<String> = row.try_get("receipt_topic")?;
        let receipt = match topic {
            None => None,
            Some(topic) => Some(Place {
                topic: topic.into(),
                partition: partition(&row, "receipt_partition")?,
                offset: row.try_get("receipt_offset")?,
            }),
        };
        Ok(Some(Resolution {
            state: LetterState::parse(&state).ok_or(StoreError::Corrupt { what: "state" })?,
            replay_id: replay_id.and_then(|id| Uuid::parse_str(&id).ok()),
            reason: row.try_get("reason")?,
            changed_at_ms: row.try_get("changed_at_ms")?,
            receipt,
        }))
    }
}
