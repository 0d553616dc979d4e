//! Replays of topics: what was asked, and where it stands.

mod failures;
mod progress;

use sqlx::Row as _;
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::cursor::TimeCursor;
use super::dead_letters::partition;
use super::page::{Page, probe};
use super::{Store, StoreError};
use crate::domain::replay::{Counts, Effects, ReplaySpan, ReplayState};

pub use failures::ReplayFailure;
pub use progress::ReplayProgress;

/// A replay.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayRow {
    /// Names it.
    pub id: Uuid,
    /// Milliseconds since the epoch.
    pub created_at_ms: i64,
    /// Who asked for it.
    pub created_by: String,
    /// Why, in their words.
    pub reason: Option<String>,
    /// The topic.
    pub topic: String,
    /// The name of what runs its records.
    pub handler: String,
    /// The consumer group that it runs under.
    pub group: String,
    /// What becomes of effects that are there.
    pub effects: Effects,
    /// Only records with this key.
    pub key: Option<String>,
    /// The most attempts in a second.
    pub rate_per_second: Option<f64>,
    /// Whether its failures become dead letters too.
    pub dead_letters: bool,
    /// Where it stands.
    pub state: ReplayState,
    /// Why it could not go on.
    pub error: Option<String>,
    /// When a worker first took it.
    pub started_at_ms: Option<i64>,
    /// When it ended.
    pub finished_at_ms: Option<i64>,
    /// What became of the records below the positions.
    pub counts: Counts,
    /// Records that came to their end in 1,000 s, at the pace of the last few seconds.
    pub per_1000_s: i64,
    /// The outage that it waits for.
    pub waits_for: Option<String>,
    /// Which worker runs it.
    pub holder: Option<String>,
    /// How many offsets it covers.
    pub offsets: i64,
    /// How many of them lie below the positions.
    pub offsets_done: i64,
}

impl ReplayRow {
    /// The cursor behind this replay.
    pub fn cursor(&self) -> TimeCursor {
        TimeCursor { at_ms: self.created_at_ms, id: self.id }
    }
}

/// Selects whole replays; a literal, since sqlx takes no text that was put together.
macro_rules! select_replays {
    ($rest:literal) => {
        concat!(
            "SELECT id, created_at_ms, created_by, reason, topic, handler, group_name, effects,
                    record_key, rate_per_second, dead_letters, state, error, started_at_ms,
                    finished_at_ms, done, already_done, failed, skipped, per_1000_s, waits_for,
                    holder,
                    CAST((SELECT SUM(s.to_offset - s.from_offset) FROM replay_spans s
                          WHERE s.replay_id = replays.id) AS BIGINT) AS offsets,
                    CAST((SELECT SUM(s.position - s.from_offset) FROM replay_spans s
                          WHERE s.replay_id = replays.id) AS BIGINT) AS offsets_done
             FROM replays ",
            $rest
        )
    };
}

impl Store {
    /// Writes down a new replay with its spans. Returns false, and writes nothing, if an open
    /// replay has its group.
    pub async fn begin_replay(
        &self,
        replay: &ReplayRow,
        spans: &[ReplaySpan],
    ) -> Result<bool, StoreError> {
        let mut transaction = self.writer.begin().await?;
        let done = sqlx::query(
            "INSERT INTO replays (id, created_at_ms, created_by, reason, topic, handler,
                 group_name, effects, record_key, rate_per_second, dead_letters, state,
                 done, already_done, failed, skipped, per_1000_s, lease_expires_at_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0, 0, 0, 0, 0, 0)
             ON CONFLICT DO NOTHING",
        )
        .bind(replay.id.to_string())
        .bind(replay.created_at_ms)
        .bind(replay.created_by.as_str())
        .bind(replay.reason.as_deref())
        .bind(replay.topic.as_str())
        .bind(replay.handler.as_str())
        .bind(replay.group.as_str())
        .bind(replay.effects.as_str())
        .bind(replay.key.as_deref())
        .bind(replay.rate_per_second.map(|rate| rate.to_string()))
        .bind(i64::from(replay.dead_letters))
        .bind(replay.state.as_str())
        .execute(&mut *transaction)
        .await?;
        if done.rows_affected() == 0 {
            transaction.rollback().await?;
            return Ok(false);
        }
        for span in spans {
            sqlx::query(
                "INSERT INTO replay_spans (replay_id, partition, from_offset, to_offset, position)
                 VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(replay.id.to_string())
            .bind(i64::from(span.partition))
            .bind(span.from)
            .bind(span.to)
            .bind(span.position)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// A page of replays, the newest first.
    pub async fn replays(
        &self,
        after: Option<TimeCursor>,
        limit: u16,
    ) -> Result<Page<ReplayRow, TimeCursor>, StoreError> {
        let select = sqlx::query(select_replays!(
            "WHERE CAST($1 AS BIGINT) IS NULL OR created_at_ms < $1
                OR (created_at_ms = $1 AND id < $2)
             ORDER BY created_at_ms DESC, id DESC LIMIT $3"
        ))
        .bind(after.map(|cursor| cursor.at_ms))
        .bind(after.map(|cursor| cursor.id.to_string()))
        .bind(probe(limit));
        let count = sqlx::query("SELECT COUNT(*) FROM replays");
        self.page(select, count, limit, replay, ReplayRow::cursor).await
    }

    /// The replays that have not ended, the oldest first.
    pub async fn open_replays(&self) -> Result<Vec<ReplayRow>, StoreError> {
        let rows = sqlx::query(select_replays!(
            "WHERE state IN ('queued', 'running', 'cancelling') ORDER BY created_at_ms, id"
        ))
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(replay).collect()
    }

    /// One replay.
    pub async fn replay(&self, id: Uuid) -> Result<Option<ReplayRow>, StoreError> {
        let row = sqlx::query(select_replays!("WHERE id = $1"))
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await?;
        row.as_ref().map(replay).transpose()
    }

    /// The partitions of a replay, in their order.
    pub async fn replay_spans(&self, id: Uuid) -> Result<Vec<ReplaySpan>, StoreError> {
        let rows = sqlx::query(
            "SELECT partition, from_offset, to_offset, position FROM replay_spans
             WHERE replay_id = $1 ORDER BY partition",
        )
        .bind(id.to_string())
        .fetch_all(&self.reader)
        .await?;
        let span = |row: &AnyRow| {
            Ok(ReplaySpan {
                partition: partition(row, "partition")?,
                from: row.try_get("from_offset")?,
                to: row.try_get("to_offset")?,
                position: row.try_get("position")?,
            })
        };
        rows.iter().map(span).collect()
    }

    /// Stops a replay: at once if no worker holds it, else as soon as that one sees it. Returns
    /// the state that follows; none if it is not open.
    pub async fn cancel_replay(
        &self,
        id: Uuid,
        now_ms: i64,
    ) -> Result<Option<ReplayState>, StoreError> {
        let row = sqlx::query(
            "UPDATE replays
             SET state = CASE WHEN holder IS NULL OR lease_expires_at_ms < $1
                              THEN 'cancelled' ELSE 'cancelling' END,
                 finished_at_ms = CASE WHEN holder IS NULL OR lease_expires_at_ms < $1
                                       THEN $1 ELSE finished_at_ms END
             WHERE id = $2 AND state IN ('queued', 'running', 'cancelling')
             RETURNING state",
        )
        .bind(now_ms)
        .bind(id.to_string())
        .fetch_optional(&self.writer)
        .await?;
        row.as_ref().map(state).transpose()
    }
}

fn uuid(row: &AnyRow, column: &str) -> Result<Uuid, StoreError> {
    let text: String = row.try_get(column)?;
    Uuid::parse_str(&text).map_err(|_| StoreError::Corrupt { what: "id" })
}

fn state(row: &AnyRow) -> Result<ReplayState, StoreError> {
    let text: String = row.try_get("state")?;
    ReplayState::parse(&text).ok_or(StoreError::Corrupt { what: "state of a replay" })
}

fn replay(row: &AnyRow) -> Result<ReplayRow, StoreError> {
    let effects: String = row.try_get("effects")?;
    let rate: Option<String> = row.try_get("rate_per_second")?;
    let flag: i64 = row.try_get("dead_letters")?;
    let corrupt = |what| StoreError::Corrupt { what };
    Ok(ReplayRow {
        id: uuid(row, "id")?,
        created_at_ms: row.try_get("created_at_ms")?,
        created_by: row.try_get("created_by")?,
        reason: row.try_get("reason")?,
        topic: row.try_get("topic")?,
        handler: row.try_get("handler")?,
        group: row.try_get("group_name")?,
        effects: Effects::parse(&effects).ok_or_else(|| corrupt("word for effects"))?,
        key: row.try_get("record_key")?,
        rate_per_second: rate.map(|rate| rate.parse().map_err(|_| corrupt("rate"))).transpose()?,
        dead_letters: flag != 0,
        state: state(row)?,
        error: row.try_get("error")?,
        started_at_ms: row.try_get("started_at_ms")?,
        finished_at_ms: row.try_get("finished_at_ms")?,
        counts: Counts {
            done: row.try_get("done")?,
            already_done: row.try_get("already_done")?,
            failed: row.try_get("failed")?,
            skipped: row.try_get("skipped")?,
        },
        per_1000_s: row.try_get("per_1000_s")?,
        waits_for: row.try_get("waits_for")?,
        holder: row.try_get("holder")?,
        offsets: row.try_get::<Option<i64>, _>("offsets")?.unwrap_or(0),
        offsets_done: row.try_get::<Option<i64>, _>("offsets_done")?.unwrap_or(0),
    })
}

#[cfg(test)]
mod tests;
