//! The index of the dead-letter topic: what can be listed and counted. It is made from the
//! topic alone, so throwing it away loses nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::page::{Page, probe};
use super::{Store, StoreError};
use crate::domain::receipt::Place;

/// What may be known of a dead letter without reading the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedLetter {
    /// Its own place in the dead-letter topic.
    pub place: Place,
    /// The id of the record that failed.
    pub message_id: Uuid,
    /// The type, where the original topic is one of the catalog.
    pub type_name: Option<String>,
    /// The group that failed.
    pub group: Option<String>,
    /// Where the record stood.
    pub original: Place,
    /// Its key, where that is text.
    pub original_key: Option<String>,
    /// Its timestamp, milliseconds since the epoch.
    pub original_time_ms: Option<i64>,
    /// Attempts that were made.
    pub attempts: i64,
    /// The kind of error.
    pub error_class: String,
    /// The error, a sentence.
    pub error_message: String,
    /// The causes beneath it.
    pub error_chain: Vec<String>,
    /// The same for errors of one kind.
    pub fingerprint: String,
    /// Milliseconds since the epoch.
    pub failed_at_ms: i64,
    /// What became of it.
    pub state: LetterState,
}

/// What became of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetterState {
    /// Nobody has dealt with it.
    Open,
    /// It was sent again.
    Replayed,
    /// It was sent again and has succeeded.
    Resolved,
    /// An operator has put it aside.
    Discarded,
}

impl LetterState {
    /// The word on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Replayed => "replayed",
            Self::Resolved => "resolved",
            Self::Discarded => "discarded",
        }
    }

    /// The reverse of [`LetterState::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Open, Self::Replayed, Self::Resolved, Self::Discarded]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// Which dead letters to list; what is none filters nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LetterFilter {
    /// What became of it.
    pub state: Option<LetterState>,
    /// The type.
    pub type_name: Option<String>,
    /// The original topic.
    pub topic: Option<String>,
}

/// A place in the list, from which the next page starts. Letters are listed from the
/// newest to the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    failed_at_ms: i64,
    partition: i64,
    offset: i64,
}

impl Cursor {
    /// The cursor behind this letter.
    pub fn after(letter: &IndexedLetter) -> Self {
        Self {
            failed_at_ms: letter.failed_at_ms,
            partition: letter.place.partition.into(),
            offset: letter.place.offset,
        }
    }

    /// As it goes to a client, who need not understand it.
    pub fn encode(&self) -> String {
        let text = format!("{}.{}.{}", self.failed_at_ms, self.partition, self.offset);
        URL_SAFE_NO_PAD.encode(text)
    }

    /// The reverse of [`Cursor::encode`].
    pub fn decode(text: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let mut parts = text.split('.').map(str::parse);
        let mut next = || parts.next()?.ok();
        let cursor = Self { failed_at_ms: next()?, partition: next()?, offset: next()? };
        parts.next().is_none().then_some(cursor)
    }
}

/// How far a partition of the dead-letter topic is indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexProgress {
    /// The partition.
    pub partition: i32,
    /// The offset that comes next.
    pub next_offset: i64,
    /// How often the index was thrown away: what was read between two looks that agree on it
    /// was read from one index.
    pub rebuilds: i64,
}

/// Somebody else has moved the index on: start again from what it says now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexMoved;

/// The name of a topic has at most so many characters; a letter of another client may claim
/// a longer one, which PostgreSQL could not index.
const TOPIC_NAME_MAX: usize = 249;

/// What became of a letter `d`, by what was done with it `r`.
macro_rules! state {
    () => {
        "CASE WHEN r.state IS NULL OR r.state = 'replaying' THEN 'open' ELSE r.state END"
    };
}

/// Selects from the letters of the dead-letter topic `$1`. Literals, since sqlx takes no text
/// that was put together.
macro_rules! letters {
    ($select:expr, $rest:expr) => {
        concat!(
            "SELECT ",
            $select,
            " FROM dead_letters d LEFT JOIN dead_letter_resolutions r
                ON r.dlq_topic = d.dlq_topic AND r.dlq_partition = d.dlq_partition
                   AND r.dlq_offset = d.dlq_offset AND r.message_id = d.message_id
              WHERE d.dlq_topic = $1 ",
            $rest
        )
    };
}

/// Every column of a letter.
macro_rules! whole {
    () => {
        concat!("d.*, ", state!(), " AS state")
    };
}

/// A filter: `$2` to `$4`.
macro_rules! filter {
    () => {
        concat!(
            "AND (CAST($2 AS TEXT) IS NULL OR ",
            state!(),
            " = $2)
             AND (CAST($3 AS TEXT) IS NULL OR d.type_name = $3)
             AND (CAST($4 AS TEXT) IS NULL OR d.original_topic = $4) "
        )
    };
}

/// The letter at a place.
const AT_PLACE: &str = letters!(whole!(), "AND d.dlq_partition = $2 AND d.dlq_offset = $3");
/// The last letter of a record. Sorted by an expression, so that no database walks through
/// the index by time instead of the one by place.
const OF_RECORD: &str = letters!(
    whole!(),
    "AND d.original_topic = $2 AND d.original_partition = $3 AND d.original_offset = $4
     AND (d.group_name IS NULL OR d.group_name = $5)
     ORDER BY +d.failed_at_ms DESC, d.dlq_partition DESC, d.dlq_offset DESC LIMIT 1"
);
/// The letters of a message, the newest first.
const OF_MESSAGE: &str = letters!(
    whole!(),
    "AND d.message_id = $2
     ORDER BY +d.failed_at_ms DESC, d.dlq_partition DESC, d.dlq_offset DESC LIMIT $3"
);

impl Store {
    /// How far each partition of the dead-letter topic is indexed. Sorted by partition.
    pub async fn index_progress(&self, dlq_topic: &str) -> Result<Vec<IndexProgress>, StoreError> {
        let rows = sqlx::query(
            "SELECT dlq_partition, next_offset, rebuilds FROM dead_letter_progress
             WHERE dlq_topic = $1 ORDER BY dlq_partition",
        )
        .bind(dlq_topic)
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(IndexProgress {
                    partition: partition(row, 0)?,
                    next_offset: row.try_get(1)?,
                    rebuilds: row.try_get(2)?,
                })
            })
            .collect()
    }

    /// Adds letters of one partition and moves its progress, in one transaction, provided
    /// that nobody else has moved it in the meantime.
    pub async fn index_letters(
        &self,
        dlq_topic: &str,
        dlq_partition: i32,
        from_offset: i64,
        next_offset: i64,
        letters: &[IndexedLetter],
    ) -> Result<Result<(), IndexMoved>, StoreError> {
        let mut transaction = self.writer.begin().await?;
        let moved = sqlx::query(
            "UPDATE dead_letter_progress SET next_offset = $3
             WHERE dlq_topic = $1 AND dlq_partition = $2 AND next_offset = $4",
        )
        .bind(dlq_topic)
        .bind(i64::from(dlq_partition))
        .bind(next_offset)
        .bind(from_offset)
        .execute(&mut *transaction)
        .await?;
        if moved.rows_affected() == 0 {
            transaction.rollback().await?;
            return Ok(Err(IndexMoved));
        }
        for letter in letters {
            insert(dlq_topic, letter).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(Ok(()))
    }

    /// Begins the index of a partition at this offset, unless it has been begun.
    pub async fn begin_index(
        &self,
        dlq_topic: &str,
        dlq_partition: i32,
        offset: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO dead_letter_progress (dlq_topic, dlq_partition, next_offset)
             VALUES ($1, $2, $3) ON CONFLICT (dlq_topic, dlq_partition) DO NOTHING",
        )
        .bind(dlq_topic)
        .bind(i64::from(dlq_partition))
        .bind(offset)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Throws the index of a dead-letter topic away; what operators did stays. Its progress
    /// goes back to 0 rather than away, so that an indexer at work notices.
    pub async fn clear_index(&self, dlq_topic: &str) -> Result<(), StoreError> {
        let mut transaction = self.writer.begin().await?;
        for statement in [
            "DELETE FROM dead_letters WHERE dlq_topic = $1",
            "UPDATE dead_letter_progress SET next_offset = 0, rebuilds = rebuilds + 1
             WHERE dlq_topic = $1",
        ] {
            sqlx::query(statement).bind(dlq_topic).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Forgets the partitions from this one on: the topic was made anew with fewer.
    pub async fn forget_partitions_from(
        &self,
        dlq_topic: &str,
        dlq_partition: i32,
    ) -> Result<(), StoreError> {
        let mut transaction = self.writer.begin().await?;
        for statement in [
            "DELETE FROM dead_letters WHERE dlq_topic = $1 AND dlq_partition >= $2",
            "DELETE FROM dead_letter_progress WHERE dlq_topic = $1 AND dlq_partition >= $2",
        ] {
            sqlx::query(statement)
                .bind(dlq_topic)
                .bind(i64::from(dlq_partition))
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Forgets letters that retention has taken from the topic.
    pub async fn forget_letters_below(
        &self,
        dlq_topic: &str,
        dlq_partition: i32,
        offset: i64,
    ) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "DELETE FROM dead_letters
             WHERE dlq_topic = $1 AND dlq_partition = $2 AND dlq_offset < $3",
        )
        .bind(dlq_topic)
        .bind(i64::from(dlq_partition))
        .bind(offset)
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected())
    }

    /// A page of the letters that the filter matches, the newest first.
    pub async fn letters(
        &self,
        dlq_topic: &str,
        filter: &LetterFilter,
        after: Option<Cursor>,
        limit: u16,
    ) -> Result<Page<IndexedLetter, Cursor>, StoreError> {
        let select = letters!(
            whole!(),
            concat!(
                filter!(),
                "AND (CAST($5 AS BIGINT) IS NULL
                  OR d.failed_at_ms < $5
                  OR (d.failed_at_ms = $5 AND (d.dlq_partition < $6
                      OR (d.dlq_partition = $6 AND d.dlq_offset < $7))))
             ORDER BY d.failed_at_ms DESC, d.dlq_partition DESC, d.dlq_offset DESC
             LIMIT $8"
            )
        );
        let select = filtered(select, dlq_topic, filter)
            .bind(after.map(|cursor| cursor.failed_at_ms))
            .bind(after.map(|cursor| cursor.partition))
            .bind(after.map(|cursor| cursor.offset))
            .bind(probe(limit));
        let count = filtered(letters!("COUNT(*)", filter!()), dlq_topic, filter);
        self.page(select, count, limit, letter, Cursor::after).await
    }

    /// The letter at this place of the dead-letter topic.
    pub async fn letter(&self, place: &Place) -> Result<Option<IndexedLetter>, StoreError> {
        let row = sqlx::query(AT_PLACE)
            .bind(place.topic.as_ref())
            .bind(i64::from(place.partition))
            .bind(place.offset)
            .fetch_optional(&self.reader)
            .await?;
        row.as_ref().map(letter).transpose()
    }

    /// The last dead letter of the record at this place, as this group wrote it. Letters of
    /// other systems name no group.
    pub async fn letter_of(
        &self,
        dlq_topic: &str,
        original: &Place,
        group: &str,
    ) -> Result<Option<IndexedLetter>, StoreError> {
        let row = sqlx::query(OF_RECORD)
            .bind(dlq_topic)
            .bind(topic_name(&original.topic))
            .bind(i64::from(original.partition))
            .bind(original.offset)
            .bind(storable(group))
            .fetch_optional(&self.reader)
            .await?;
        row.as_ref().map(letter).transpose()
    }

    /// The dead letters of a message, the newest first.
    pub async fn letters_of_message(
        &self,
        dlq_topic: &str,
        message_id: Uuid,
        limit: i64,
    ) -> Result<Vec<IndexedLetter>, StoreError> {
        let rows = sqlx::query(OF_MESSAGE)
            .bind(dlq_topic)
            .bind(message_id.to_string())
            .bind(limit)
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(letter).collect()
    }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Any, sqlx::any::AnyArguments>;

fn filtered<'q>(sql: &'static str, dlq_topic: &str, filter: &LetterFilter) -> Query<'q> {
    sqlx::query(sql)
        .bind(dlq_topic.to_owned())
        .bind(filter.state.map(LetterState::as_str))
        .bind(filter.type_name.as_deref().map(storable))
        .bind(filter.topic.as_deref().map(topic_name))
}

fn insert<'q>(dlq_topic: &str, letter: &IndexedLetter) -> Query<'q> {
    sqlx::query(
        "INSERT INTO dead_letters (dlq_topic, dlq_partition, dlq_offset, message_id, type_name,
             group_name, original_topic, original_partition, original_offset, original_key,
             original_time_ms, attempts, error_class, error_message, error_chain, fingerprint,
             failed_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
         ON CONFLICT (dlq_topic, dlq_partition, dlq_offset) DO NOTHING",
    )
    .bind(dlq_topic.to_owned())
    .bind(i64::from(letter.place.partition))
    .bind(letter.place.offset)
    .bind(letter.message_id.to_string())
    .bind(letter.type_name.as_deref().map(storable))
    .bind(letter.group.as_deref().map(storable))
    .bind(topic_name(&letter.original.topic))
    .bind(i64::from(letter.original.partition))
    .bind(letter.original.offset)
    .bind(letter.original_key.as_deref().map(storable))
    .bind(letter.original_time_ms)
    .bind(letter.attempts)
    .bind(storable(&letter.error_class))
    .bind(storable(&letter.error_message))
    .bind(serde_json::Value::from(letter.error_chain.clone()).to_string())
    .bind(letter.fingerprint.clone())
    .bind(letter.failed_at_ms)
}

/// PostgreSQL's text has no NUL; a letter of another client may.
pub(super) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// A topic's name as the index has it.
fn topic_name(name: &str) -> String {
    storable(name).chars().take(TOPIC_NAME_MAX).collect()
}

fn letter(row: &AnyRow) -> Result<IndexedLetter, StoreError> {
    let corrupt = |what| StoreError::Corrupt { what };
    let id: String = row.try_get("message_id")?;
    let state: String = row.try_get("state")?;
    let chain: String = row.try_get("error_chain")?;
    Ok(IndexedLetter {
        place: Place {
            topic: row.try_get("dlq_topic")?,
            partition: partition(row, "dlq_partition")?,
            offset: row.try_get("dlq_offset")?,
        },
        message_id: Uuid::parse_str(&id).map_err(|_| corrupt("message_id"))?,
        type_name: row.try_get("type_name")?,
        group: row.try_get("group_name")?,
        original: Place {
            topic: row.try_get("original_topic")?,
            partition: partition(row, "original_partition")?,
            offset: row.try_get("original_offset")?,
        },
        original_key: row.try_get("original_key")?,
        original_time_ms: row.try_get("original_time_ms")?,
        attempts: row.try_get("attempts")?,
        error_class: row.try_get("error_class")?,
        error_message: row.try_get("error_message")?,
        error_chain: serde_json::from_str(&chain).map_err(|_| corrupt("error chain"))?,
        fingerprint: row.try_get("fingerprint")?,
        failed_at_ms: row.try_get("failed_at_ms")?,
        state: LetterState::parse(&state).ok_or_else(|| corrupt("state"))?,
    })
}

/// A partition number, which Kafka has as 32 bits and the database as 64.
pub(super) fn partition(
    row: &AnyRow,
    column: impl sqlx::ColumnIndex<AnyRow>,
) -> Result<i32, StoreError> {
    let number: i64 = row.try_get(column)?;
    i32::try_from(number).map_err(|_| StoreError::Corrupt { what: "partition" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Database;

    /// At 200,000 letters a scan costs a quarter of a second for every status.
    #[tokio::test]
    async fn the_letters_of_a_record_and_of_a_message_are_found_by_their_indexes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Database::Sqlite(dir.path().join("t.db")).open().await.unwrap();
        for (sql, index) in
            [(OF_RECORD, "dead_letters_by_original"), (OF_MESSAGE, "dead_letters_by_message")]
        {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
            let rows = sqlx::query(explain).fetch_all(&store.reader).await.unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
            let using = format!("USING INDEX {index}");
            assert!(plan.iter().any(|line| line.contains(&using)), "{index}: {plan:?}");
            assert!(!plan.iter().any(|line| line.starts_with("SCAN")), "{index}: {plan:?}");
        }
    }
}
