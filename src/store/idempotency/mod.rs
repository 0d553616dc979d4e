//! Keys under which requests were sent, and what they were answered.
//!
//! A row is reserved before anything is done for its request, and the insert alone decides whose
//! it is. Many requests share a statement: what they cost is a commit, not a row. Rows of one
//! statement come in the order of their scopes, so that two instances wait for each other in one
//! direction only.

use std::collections::HashMap;

use sqlx::Row as _;
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::domain::id::time_of;

/// What a key is one of: the same key of another caller, or for another type, is another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyScope {
    /// The caller; empty where callers have no names.
    pub caller: String,
    /// The type of the job or event.
    pub type_name: String,
    /// The key.
    pub key: String,
}

/// A wish to be the one that does what a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The key.
    pub scope: KeyScope,
    /// Tells the request from others.
    pub fingerprint: String,
    /// Names the attempt, and becomes the id of the message unless the row has one already.
    pub attempt: Uuid,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// It is this attempt's to do, under this id. Where that is not its own, an earlier attempt
    /// may have done it.
    Yours(Uuid),
    /// It was answered.
    Answered(KeptAnswer),
    /// Another attempt is at it.
    InFlight,
    /// The key was used for another request.
    OtherRequest,
}

/// An answer that is given again to whoever repeats its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The status of the answer.
    pub status: u16,
    /// Where to ask what became of it.
    pub location: String,
    /// The body.
    pub body: String,
    /// Partition and offset of the record, if it was sent at once.
    pub place: Option<(i32, i64)>,
}

/// A request that has its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsweredRequest {
    /// As it was reserved.
    pub reservation: Reservation,
    /// The id of its message.
    pub message_id: Uuid,
    /// Its answer.
    pub answer: KeptAnswer,
}

impl AnsweredRequest {
    /// What a wish for its key is told.
    pub fn told(&self, wish: &Reservation) -> Reserved {
        told(&self.reservation.fingerprint, Some(&self.answer), wish)
    }
}

/// The moments that decide about a row, milliseconds since the epoch.
#[derive(Debug, Clone, Copy)]
pub struct KeyTimes {
    /// Now.
    pub now_ms: i64,
    /// Up to when the attempts of this call hold their rows.
    pub held_until_ms: i64,
    /// Rows of this time and of before are as good as none.
    pub forgotten_ms: i64,
}

/// A statement as either database takes it, whose `$1` is a JSON array of rows, each an array of
/// what the statement calls `value ->> 0` and so on.
macro_rules! of_rows {
    ($before:literal, $after:literal) => {
        (
            concat!($before, " FROM json_each($1) AS r ", $after),
            concat!($before, " FROM json_array_elements(CAST($1 AS json)) AS r (value) ", $after),
        )
    };
}

const RESERVE: (&str, &str) = of_rows!(
    "INSERT INTO idempotency_keys AS k (caller, type_name, idempotency_key, fingerprint,
         message_id, attempt, created_at_ms, held_until_ms)
     SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 4,
         CAST(value ->> 5 AS BIGINT), CAST($2 AS BIGINT)",
    "WHERE true
     ON CONFLICT (caller, type_name, idempotency_key) DO UPDATE
     SET fingerprint = excluded.fingerprint, attempt = excluded.attempt,
         held_until_ms = excluded.held_until_ms,
         message_id = CASE WHEN k.created_at_ms <= $3 THEN excluded.message_id
             ELSE k.message_id END,
         created_at_ms = CASE WHEN k.created_at_ms <= $3 THEN excluded.created_at_ms
             ELSE k.created_at_ms END,
         answer_status = NULL, answer_location = NULL, answer_body = NULL,
         receipt_partition = NULL, receipt_offset = NULL
     WHERE k.created_at_ms <= $3
        OR (k.answer_status IS NULL AND k.held_until_ms <= $4
            AND k.fingerprint = excluded.fingerprint)
     RETURNING caller, type_name, idempotency_key, message_id"
);

const LOOK: (&str, &str) = of_rows!(
    "SELECT k.caller, k.type_name, k.idempotency_key, k.fingerprint, k.answer_status,
         k.answer_location, k.answer_body, k.receipt_partition, k.receipt_offset",
    "JOIN idempotency_keys k ON k.caller = value ->> 0 AND k.type_name = value ->> 1
         AND k.idempotency_key = value ->> 2"
);

/// Inserts as well: in the order of the rows, which an update would not keep.
const ANSWER: (&str, &str) = of_rows!(
    "INSERT INTO idempotency_keys AS k (caller, type_name, idempotency_key, fingerprint,
         message_id, attempt, created_at_ms, held_until_ms, answer_status, answer_location,
         answer_body, receipt_partition, receipt_offset)
     SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
         CAST(value ->> 6 AS BIGINT), 0, CAST(value ->> 7 AS BIGINT), value ->> 8, value ->> 9,
         CAST(value ->> 10 AS BIGINT), CAST(value ->> 11 AS BIGINT)",
    "WHERE true
     ON CONFLICT (caller, type_name, idempotency_key) DO UPDATE
     SET answer_status = excluded.answer_status, answer_location = excluded.answer_location,
         answer_body = excluded.answer_body, receipt_partition = excluded.receipt_partition,
         receipt_offset = excluded.receipt_offset
     WHERE k.message_id = excluded.message_id AND k.answer_status IS NULL"
);

impl Store {
    /// Reserves rows, in one commit. What became of each comes in their order.
    pub async fn reserve_keys(
        &self,
        reservations: &[Reservation],
        times: KeyTimes,
    ) -> Result<Vec<Reserved>, StoreError> {
        let (wished, scopes) = reservation_rows(reservations);
        if scopes.is_empty() {
            return Ok(Vec::new());
        }
        let mine = sqlx::query(self.of_rows(RESERVE))
            .bind(wished)
            .bind(times.held_until_ms)
            .bind(times.forgotten_ms)
            .bind(times.now_ms)
            .fetch_all(&self.writer)
            .await?;
        let mut ids = HashMap::with_capacity(mine.len());
        for row in &mine {
            ids.insert(scope(row)?, uuid(&row.try_get::<String, _>(3)?)?);
        }
        let others: Vec<&KeyScope> =
            scopes.into_iter().filter(|scope| !ids.contains_key(*scope)).collect();
        let others = self.look(&others).await?;
        Ok(outcomes(reservations, ids, &others))
    }

    /// Writes answers down, the first of each request, in one commit.
    pub async fn keep_answers<'a>(
        &self,
        answers: impl IntoIterator<Item = &'a AnsweredRequest>,
    ) -> Result<(), StoreError> {
        let rows = answer_rows(answers);
        sqlx::query(self.of_rows(ANSWER)).bind(rows).execute(&self.writer).await?;
        Ok(())
    }

    /// The rows of others.
    async fn look(&self, scopes: &[&KeyScope]) -> Result<HashMap<KeyScope, Known>, StoreError> {
        if scopes.is_empty() {
            return Ok(HashMap::new());
        }
        let rows: Vec<_> = scopes.iter().map(|s| (&s.caller, &s.type_name, &s.key)).collect();
        // The writer's: on SQLite a reader may not see yet what was committed a moment ago.
        let rows =
            sqlx::query(self.of_rows(LOOK)).bind(json(&rows)).fetch_all(&self.writer).await?;
        rows.iter().map(|row| Ok((scope(row)?, known(row)?))).collect()
    }

    /// An attempt goes on: it holds its row for longer. Nothing happens where another one has
    /// taken over.
    pub async fn hold_key(&self, held: &Reservation, until_ms: i64) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE idempotency_keys SET held_until_ms = $1
             WHERE caller = $2 AND type_name = $3 AND idempotency_key = $4 AND attempt = $5
               AND answer_status IS NULL",
        )
        .bind(until_ms)
        .bind(held.scope.caller.as_str())
        .bind(held.scope.type_name.as_str())
        .bind(held.scope.key.as_str())
        .bind(held.attempt.to_string())
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// An attempt has ended without an answer to keep. Where nothing was done, by it or by one
    /// before it, the key is as good as new; where something may have been, the next attempt has
    /// the same id.
    pub async fn let_key_go(
        &self,
        held: &Reservation,
        may_be_done: bool,
    ) -> Result<(), StoreError> {
        if may_be_done {
            return self.hold_key(held, 0).await;
        }
        let gone = sqlx::query(
            "DELETE FROM idempotency_keys
             WHERE caller = $1 AND type_name = $2 AND idempotency_key = $3 AND attempt = $4
               AND message_id = attempt AND answer_status IS NULL",
        )
        .bind(held.scope.caller.as_str())
        .bind(held.scope.type_name.as_str())
        .bind(held.scope.key.as_str())
        .bind(held.attempt.to_string())
        .execute(&self.writer)
        .await?;
        if gone.rows_affected() == 0 { self.hold_key(held, 0).await } else { Ok(()) }
    }

    /// Type and place of the record that was sent under a key with this id, if the key has its
    /// answer.
    pub async fn place_of_keyed(&self, id: Uuid) -> Result<Option<(String, i32, i64)>, StoreError> {
        let Some(created_at_ms) = time_of(id) else { return Ok(None) };
        let row = sqlx::query(
            "SELECT type_name, receipt_partition, receipt_offset FROM idempotency_keys
             WHERE created_at_ms = $1 AND message_id = $2 AND receipt_offset IS NOT NULL",
        )
        .bind(created_at_ms)
        .bind(id.to_string())
        .fetch_optional(&self.reader)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some((row.try_get(0)?, small(row.try_get(1)?)?, row.try_get(2)?)))
    }

    fn of_rows(&self, (on_sqlite, on_postgres): (&'static str, &'static str)) -> &'static str {
        if self.is_postgres { on_postgres } else { on_sqlite }
    }
}

/// What another attempt's row says.
struct Known {
    fingerprint: String,
    answer: Option<KeptAnswer>,
}

impl Known {
    fn told(&self, wish: &Reservation) -> Reserved {
        told(&self.fingerprint, self.answer.as_ref(), wish)
    }
}

/// What a wish is told whose key is that of a request with this fingerprint.
fn told(fingerprint: &str, answer: Option<&KeptAnswer>, wish: &Reservation) -> Reserved {
    match answer {
        _ if fingerprint != wish.fingerprint => Reserved::OtherRequest,
        Some(answer) => Reserved::Answered(answer.clone()),
        None => Reserved::InFlight,
    }
}

/// Of twins in one call the first one has the row.
fn outcomes(
    reservations: &[Reservation],
    mut ids: HashMap<KeyScope, Uuid>,
    others: &HashMap<KeyScope, Known>,
) -> Vec<Reserved> {
    let mut taken: HashMap<&KeyScope, Known> = HashMap::new();
    let outcome = |reservation| {
        let Reservation { scope, fingerprint, .. }: &Reservation = reservation;
        if let Some(id) = ids.remove(scope) {
            taken.insert(scope, Known { fingerprint: fingerprint.clone(), answer: None });
            return Reserved::Yours(id);
        }
        let known = taken.get(scope).or_else(|| others.get(scope));
        // Without a row: it was let go between the two statements.
        known.map_or(Reserved::InFlight, |known| known.told(reservation))
    };
    reservations.iter().map(outcome).collect()
}

/// The rows to reserve, in the order of their scopes and the first of twins alone; and the scopes.
fn reservation_rows(reservations: &[Reservation]) -> (String, Vec<&KeyScope>) {
    let mut sorted: Vec<&Reservation> = reservations.iter().collect();
    sorted.sort_by_key(|reservation| &reservation.scope);
    sorted.dedup_by_key(|reservation| &reservation.scope);
    let rows: Vec<_> = sorted
        .iter()
        .map(|Reservation { scope: KeyScope { caller, type_name, key }, fingerprint, attempt }| {
            (caller, type_name, key, fingerprint, attempt, created_at_ms(*attempt))
        })
        .collect();
    let scopes = sorted.iter().map(|reservation| &reservation.scope).collect();
    (json(&rows), scopes)
}

fn answer_rows<'a>(answers: impl IntoIterator<Item = &'a AnsweredRequest>) -> String {
    let mut sorted: Vec<&AnsweredRequest> = answers.into_iter().collect();
    sorted.sort_by_key(|answered| &answered.reservation.scope);
    sorted.dedup_by_key(|answered| &answered.reservation.scope);
    let row = |answered: &&AnsweredRequest| {
        let AnsweredRequest { reservation, message_id, answer } = *answered;
        let Reservation { scope, fingerprint, attempt } = reservation;
        serde_json::json!([
            scope.caller,
            scope.type_name,
            scope.key,
            fingerprint,
            message_id,
            attempt,
            created_at_ms(*message_id),
            answer.status,
            answer.location,
            answer.body,
            answer.place.map(|(partition, _)| partition),
            answer.place.map(|(_, offset)| offset),
        ])
    };
    let rows: Vec<_> = sorted.iter().map(row).collect();
    json(&rows)
}

fn created_at_ms(id: Uuid) -> i64 {
    time_of(id).unwrap_or_default()
}

/// Texts and numbers always serialise.
fn json(rows: &impl serde::Serialize) -> String {
    serde_json::to_string(rows).unwrap_or_default()
}

fn scope(row: &AnyRow) -> Result<KeyScope, StoreError> {
    Ok(KeyScope { caller: row.try_get(0)?, type_name: row.try_get(1)?, key: row.try_get(2)? })
}

fn known(row: &AnyRow) -> Result<Known, StoreError> {
    let status: Option<i64> = row.try_get(4)?;
    let answer = match status {
        None => None,
        Some(status) => {
            let corrupt = |_| StoreError::Corrupt { what: "status of an answer" };
            let partition: Option<i64> = row.try_get(7)?;
            let offset: Option<i64> = row.try_get(8)?;
            let place = match (partition, offset) {
                (Some(partition), Some(offset)) => Some((small(partition)?, offset)),
                _ => None,
            };
            Some(KeptAnswer {
                status: u16::try_from(status).map_err(corrupt)?,
                location: row.try_get(5)?,
                body: row.try_get(6)?,
                place,
            })
        }
    };
    Ok(Known { fingerprint: row.try_get(3)?, answer })
}

fn uuid(text: &str) -> Result<Uuid, StoreError> {
    Uuid::parse_str(text).map_err(|_| StoreError::Corrupt { what: "id of a keyed request" })
}

fn small(number: i64) -> Result<i32, StoreError> {
    i32::try_from(number).map_err(|_| StoreError::Corrupt { what: "partition" })
}

#[cfg(test)]
mod tests;
