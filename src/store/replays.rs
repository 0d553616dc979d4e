//! Replays of topics: what was asked, how far it is, and which worker runs it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::dead_letters::{partition, storable};
use super::{Store, StoreError};
use crate::domain::replay::{Counts, Effects, ReplaySpan, ReplayState};

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

/// How far a worker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayProgress {
    /// The positions.
    pub spans: Vec<ReplaySpan>,
    /// What belongs to them.
    pub counts: Counts,
    /// The pace.
    pub per_1000_s: i64,
    /// The outage.
    pub waits_for: Option<String>,
}

/// A record of a replay that failed for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayFailure {
    /// Where the record stands.
    pub partition: i32,
    /// Where the record stands.
    pub offset: i64,
    /// Its id.
    pub message_id: Uuid,
    /// Its key, as far as it is text.
    pub key: Option<String>,
    /// Attempts that were made.
    pub attempts: u32,
    /// The kind of error.
    pub error_class: String,
    /// The error.
    pub error_message: String,
    /// Milliseconds since the epoch.
    pub failed_at_ms: i64,
}

/// Behind a replay; lists go from the newest to the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayCursor {
    created_at_ms: i64,
    id: Uuid,
}

impl ReplayCursor {
    /// The cursor behind this replay.
    pub fn after(replay: &ReplayRow) -> Self {
        Self { created_at_ms: replay.created_at_ms, id: replay.id }
    }

    /// As it goes to a client, who need not understand it.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}.{}", self.created_at_ms, self.id))
    }

    /// The reverse of [`ReplayCursor::encode`].
    pub fn decode(text: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (created_at_ms, id) = text.split_once('.')?;
        Some(Self { created_at_ms: created_at_ms.parse().ok()?, id: Uuid::parse_str(id).ok()? })
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
        after: Option<ReplayCursor>,
        limit: i64,
    ) -> Result<Vec<ReplayRow>, StoreError> {
        let rows = sqlx::query(select_replays!(
            "WHERE CAST($1 AS BIGINT) IS NULL OR created_at_ms < $1
                OR (created_at_ms = $1 AND id < $2)
             ORDER BY created_at_ms DESC, id DESC LIMIT $3"
        ))
        .bind(after.map(|cursor| cursor.created_at_ms))
        .bind(after.map(|cursor| cursor.id.to_string()))
        .bind(limit)
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(replay).collect()
    }

    /// How many replays there are.
    pub async fn count_replays(&self) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT COUNT(*) FROM replays").fetch_one(&self.reader).await?;
        Ok(row.try_get(0)?)
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

    /// Takes an open replay that no worker holds, or whose worker has gone silent. Returns its
    /// state, or none if it is not to be had.
    pub async fn take_replay(
        &self,
        id: Uuid,
        holder: &str,
        now_ms: i64,
        term: Duration,
    ) -> Result<Option<ReplayState>, StoreError> {
        let row = sqlx::query(
            "UPDATE replays SET holder = $1, lease_expires_at_ms = $2
             WHERE id = $3 AND state IN ('queued', 'running', 'cancelling')
               AND (holder IS NULL OR holder = $1 OR lease_expires_at_ms < $4)
             RETURNING state",
        )
        .bind(holder)
        .bind(until(now_ms, term))
        .bind(id.to_string())
        .bind(now_ms)
        .fetch_optional(&self.writer)
        .await?;
        row.as_ref().map(state).transpose()
    }

    /// A worker runs the replay now.
    pub async fn run_replay(&self, id: Uuid, holder: &str, now_ms: i64) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE replays SET state = 'running', started_at_ms = COALESCE(started_at_ms, $1)
             WHERE id = $2 AND holder = $3 AND state = 'queued'",
        )
        .bind(now_ms)
        .bind(id.to_string())
        .bind(holder)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Writes down how far its worker is, and renews the lease. Returns the replay's state;
    /// none, and nothing is written, if another worker has it.
    pub async fn save_replay(
        &self,
        id: Uuid,
        holder: &str,
        progress: &ReplayProgress,
        now_ms: i64,
        term: Duration,
    ) -> Result<Option<ReplayState>, StoreError> {
        let mut transaction = self.writer.begin().await?;
        let ReplayProgress { spans, counts, per_1000_s, waits_for } = progress;
        let row = sqlx::query(
            "UPDATE replays SET done = $1, already_done = $2, failed = $3, skipped = $4,
                 per_1000_s = $5, waits_for = $6, lease_expires_at_ms = $7
             WHERE id = $8 AND holder = $9 RETURNING state",
        )
        .bind(counts.done)
        .bind(counts.already_done)
        .bind(counts.failed)
        .bind(counts.skipped)
        .bind(*per_1000_s)
        .bind(waits_for.as_deref())
        .bind(until(now_ms, term))
        .bind(id.to_string())
        .bind(holder)
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(row) = row else {
            transaction.rollback().await?;
            return Ok(None);
        };
        for span in spans {
            sqlx::query(
                "UPDATE replay_spans SET position = $1
                 WHERE replay_id = $2 AND partition = $3 AND position <> $1",
            )
            .bind(span.position)
            .bind(id.to_string())
            .bind(i64::from(span.partition))
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(Some(state(&row)?))
    }

    /// A replay has ended; its worker lets it go.
    pub async fn end_replay(
        &self,
        id: Uuid,
        holder: &str,
        end: ReplayState,
        error: Option<&str>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE replays SET state = $1, error = $2, finished_at_ms = $3, holder = NULL,
                 waits_for = NULL, per_1000_s = 0
             WHERE id = $4 AND holder = $5",
        )
        .bind(end.as_str())
        .bind(error)
        .bind(now_ms)
        .bind(id.to_string())
        .bind(holder)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Its worker stops; another one may take it at once.
    pub async fn release_replay(&self, id: Uuid, holder: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE replays SET holder = NULL WHERE id = $1 AND holder = $2")
            .bind(id.to_string())
            .bind(holder)
            .execute(&self.writer)
            .await?;
        Ok(())
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

    /// Lists a record that failed for good; again in place of itself.
    pub async fn note_replay_failure(
        &self,
        id: Uuid,
        failure: &ReplayFailure,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO replay_failures (replay_id, partition, record_offset, message_id,
                 record_key, attempts, error_class, error_message, failed_at_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             ON CONFLICT (replay_id, partition, record_offset) DO UPDATE
             SET attempts = excluded.attempts, error_class = excluded.error_class,
                 error_message = excluded.error_message, failed_at_ms = excluded.failed_at_ms",
        )
        .bind(id.to_string())
        .bind(i64::from(failure.partition))
        .bind(failure.offset)
        .bind(failure.message_id.to_string())
        .bind(failure.key.as_deref().map(storable))
        .bind(i64::from(failure.attempts))
        .bind(failure.error_class.as_str())
        .bind(storable(&failure.error_message))
        .bind(failure.failed_at_ms)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Takes records at and behind these positions off the list: they are about to run again.
    pub async fn forget_replay_failures(
        &self,
        id: Uuid,
        spans: &[ReplaySpan],
    ) -> Result<(), StoreError> {
        for span in spans {
            sqlx::query(
                "DELETE FROM replay_failures
                 WHERE replay_id = $1 AND partition = $2 AND record_offset >= $3",
            )
            .bind(id.to_string())
            .bind(i64::from(span.partition))
            .bind(span.position)
            .execute(&self.writer)
            .await?;
        }
        Ok(())
    }

    /// A page of the records that failed, in the order of their places.
    pub async fn replay_failures(
        &self,
        id: Uuid,
        after: Option<(i32, i64)>,
        limit: i64,
    ) -> Result<Vec<ReplayFailure>, StoreError> {
        let rows = sqlx::query(
            "SELECT partition, record_offset, message_id, record_key, attempts, error_class,
                    error_message, failed_at_ms
             FROM replay_failures
             WHERE replay_id = $1 AND (CAST($2 AS BIGINT) IS NULL OR partition > $2
                   OR (partition = $2 AND record_offset > $3))
             ORDER BY partition, record_offset LIMIT $4",
        )
        .bind(id.to_string())
        .bind(after.map(|(partition, _)| i64::from(partition)))
        .bind(after.map(|(_, offset)| offset))
        .bind(limit)
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(failure).collect()
    }

    /// How many records failed for good.
    pub async fn count_replay_failures(&self, id: Uuid) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT COUNT(*) FROM replay_failures WHERE replay_id = $1")
            .bind(id.to_string())
            .fetch_one(&self.reader)
            .await?;
        Ok(row.try_get(0)?)
    }
}

fn until(now_ms: i64, term: Duration) -> i64 {
    now_ms.saturating_add(i64::try_from(term.as_millis()).unwrap_or(i64::MAX))
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

fn failure(row: &AnyRow) -> Result<ReplayFailure, StoreError> {
    let attempts: i64 = row.try_get("attempts")?;
    Ok(ReplayFailure {
        partition: partition(row, "partition")?,
        offset: row.try_get("record_offset")?,
        message_id: uuid(row, "message_id")?,
        key: row.try_get("record_key")?,
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        error_class: row.try_get("error_class")?,
        error_message: row.try_get("error_message")?,
        failed_at_ms: row.try_get("failed_at_ms")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::on_both_databases;

    on_both_databases! {
        a_replay_comes_back_as_it_went_in_and_has_its_group_alone,
        a_replay_is_one_worker_s_and_the_next_goes_on_from_what_was_saved,
        a_cancel_is_seen_by_the_worker_or_is_the_end,
        failures_are_listed_once_and_in_pages,
    }

    const NOW: i64 = 1_735_689_600_000;
    const TERM: Duration = Duration::from_secs(10);

    fn replay(number: u128, group: &str) -> ReplayRow {
        ReplayRow {
            id: Uuid::from_u128(number),
            created_at_ms: NOW + i64::try_from(number / 2).unwrap(),
            created_by: "ada".into(),
            reason: Some("why".into()),
            topic: "waitlist.email.welcome".into(),
            handler: "email.welcome".into(),
            group: group.into(),
            effects: Effects::Again,
            key: Some("k".into()),
            rate_per_second: Some(0.5),
            dead_letters: true,
            state: ReplayState::Queued,
            error: None,
            started_at_ms: None,
            finished_at_ms: None,
            counts: Counts::default(),
            per_1000_s: 0,
            waits_for: None,
            holder: None,
            offsets: 15,
            offsets_done: 0,
        }
    }

    fn spans() -> Vec<ReplaySpan> {
        vec![
            ReplaySpan { partition: 0, from: 5, to: 15, position: 5 },
            ReplaySpan { partition: 3, from: 0, to: 5, position: 0 },
        ]
    }

    async fn begin(store: &Store, number: u128, group: &str) -> ReplayRow {
        let row = replay(number, group);
        assert!(store.begin_replay(&row, &spans()).await.unwrap());
        row
    }

    async fn a_replay_comes_back_as_it_went_in_and_has_its_group_alone(store: Store) {
        let first = begin(&store, 1, "g").await;
        assert_eq!(store.replay(first.id).await.unwrap(), Some(first.clone()));
        assert_eq!(store.replay_spans(first.id).await.unwrap(), spans());
        let twin = replay(2, "g");
        assert!(!store.begin_replay(&twin, &spans()).await.unwrap(), "the group is taken");
        assert_eq!(store.replay_spans(twin.id).await.unwrap(), []);

        let mut seen = vec![first.id];
        for number in 3..=6 {
            seen.push(begin(&store, number, &format!("g{number}")).await.id);
        }
        seen.reverse();
        let (mut listed, mut cursor) = (Vec::new(), None);
        loop {
            let page = store.replays(cursor, 2).await.unwrap();
            let Some(last) = page.last() else { break };
            cursor = ReplayCursor::decode(&ReplayCursor::after(last).encode());
            listed.extend(page.iter().map(|replay| replay.id));
        }
        assert_eq!(listed, seen);
        assert_eq!(store.count_replays().await.unwrap(), 5);

        // Once the first has ended its group is free.
        assert!(store.take_replay(first.id, "w", NOW, TERM).await.unwrap().is_some());
        store.end_replay(first.id, "w", ReplayState::Failed, Some("no"), NOW + 1).await.unwrap();
        assert!(store.begin_replay(&twin, &spans()).await.unwrap());
        let ended = store.replay(first.id).await.unwrap().unwrap();
        assert_eq!((ended.state, ended.error.as_deref()), (ReplayState::Failed, Some("no")));
        assert_eq!((ended.finished_at_ms, ended.holder), (Some(NOW + 1), None));
        let open = store.open_replays().await.unwrap();
        assert!(open.iter().all(|replay| replay.id != first.id));
    }

    async fn a_replay_is_one_worker_s_and_the_next_goes_on_from_what_was_saved(store: Store) {
        let id = begin(&store, 1, "g").await.id;
        let queued = Some(ReplayState::Queued);
        assert_eq!(store.take_replay(id, "one", NOW, TERM).await.unwrap(), queued);
        assert_eq!(store.take_replay(id, "two", NOW + 9_000, TERM).await.unwrap(), None);
        store.run_replay(id, "one", NOW + 5).await.unwrap();
        store.run_replay(id, "two", NOW + 6).await.unwrap();
        let counts = Counts { done: 4, already_done: 3, failed: 2, skipped: 1 };
        let mut progress = ReplayProgress {
            spans: spans(),
            counts,
            per_1000_s: 7_500,
            waits_for: Some("the mail server".into()),
        };
        progress.spans[0].position = 15;
        let running = Some(ReplayState::Running);
        assert_eq!(store.save_replay(id, "one", &progress, NOW, TERM).await.unwrap(), running);
        let row = store.replay(id).await.unwrap().unwrap();
        assert_eq!((row.counts, row.offsets_done, row.per_1000_s), (counts, 10, 7_500));
        assert_eq!(
            (row.started_at_ms, row.waits_for.as_deref()),
            (Some(NOW + 5), Some("the mail server"))
        );

        // Silent for too long: the next one has it, and what the first still says is refused.
        let later = NOW + 10_001;
        assert_eq!(store.take_replay(id, "two", later, TERM).await.unwrap(), running);
        let mut stale = progress.clone();
        stale.spans[1].position = 5;
        assert_eq!(store.save_replay(id, "one", &stale, later, TERM).await.unwrap(), None);
        store.end_replay(id, "one", ReplayState::Completed, None, later).await.unwrap();
        assert_eq!(store.replay_spans(id).await.unwrap(), progress.spans);
        assert!(store.replay(id).await.unwrap().unwrap().state.is_open());
        // One that stops gives it back at once.
        store.release_replay(id, "two").await.unwrap();
        assert_eq!(store.take_replay(id, "three", later, TERM).await.unwrap(), running);
    }

    async fn a_cancel_is_seen_by_the_worker_or_is_the_end(store: Store) {
        let id = begin(&store, 1, "g").await.id;
        store.take_replay(id, "one", NOW, TERM).await.unwrap();
        let cancelling = Some(ReplayState::Cancelling);
        assert_eq!(store.cancel_replay(id, NOW).await.unwrap(), cancelling);
        let progress = ReplayProgress {
            spans: spans(),
            counts: Counts::default(),
            per_1000_s: 0,
            waits_for: None,
        };
        assert_eq!(store.save_replay(id, "one", &progress, NOW, TERM).await.unwrap(), cancelling);
        // Its worker has gone silent: there is nobody to wait for.
        let cancelled = Some(ReplayState::Cancelled);
        assert_eq!(store.cancel_replay(id, NOW + 10_001).await.unwrap(), cancelled);
        assert_eq!(store.cancel_replay(id, NOW + 10_002).await.unwrap(), None, "it has ended");
        let unheld = begin(&store, 2, "h").await.id;
        assert_eq!(store.cancel_replay(unheld, NOW).await.unwrap(), cancelled);
        assert_eq!(store.replay(unheld).await.unwrap().unwrap().finished_at_ms, Some(NOW));
        assert_eq!(store.cancel_replay(Uuid::from_u128(9), NOW).await.unwrap(), None);
    }

    async fn failures_are_listed_once_and_in_pages(store: Store) {
        let id = begin(&store, 1, "g").await.id;
        let failure = |partition: i32, offset: i64, message: &str| ReplayFailure {
            partition,
            offset,
            message_id: Uuid::from_u128(5),
            key: Some("k\0".into()),
            attempts: 5,
            error_class: "class".into(),
            error_message: message.into(),
            failed_at_ms: NOW,
        };
        for (partition, offset) in [(3, 1), (0, 9), (0, 7), (0, 7)] {
            store.note_replay_failure(id, &failure(partition, offset, "first")).await.unwrap();
        }
        store.note_replay_failure(id, &failure(0, 9, "a\0b")).await.unwrap();
        assert_eq!(store.count_replay_failures(id).await.unwrap(), 3);
        let page = store.replay_failures(id, None, 2).await.unwrap();
        assert_eq!(page.iter().map(|f| f.offset).collect::<Vec<_>>(), [7, 9]);
        assert_eq!(page[1].error_message, "a\u{fffd}b");
        let next = store.replay_failures(id, Some((0, 9)), 2).await.unwrap();
        let expected = ReplayFailure { key: Some("k\u{fffd}".into()), ..failure(3, 1, "first") };
        assert_eq!(next, [expected]);
        // Those that run again are listed no longer.
        let mut spans = spans();
        spans[0].position = 8;
        spans[1].position = 2;
        store.forget_replay_failures(id, &spans).await.unwrap();
        let left = store.replay_failures(id, None, 10).await.unwrap();
        assert_eq!(
            left.iter().map(|f| (f.partition, f.offset)).collect::<Vec<_>>(),
            [(0, 7), (3, 1)]
        );
    }
}
