//! Keys that are quarantined, and the jobs that are parked for them, which are rows of the
//! schedule. What follows from what is decided in [`crate::domain::quarantine`]; here a row is
//! locked, the machine is asked, and what it says is written, in one transaction.
//!
//! Locks are taken in this order, so that no two transactions wait for each other: the turn of
//! the schedule, what was done with a letter, the quarantine, the rows of the schedule, the
//! number of changes.

mod rows;

use sqlx::Row as _;
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::limited::OpenTransaction;
use super::page::{Page, probe};
use super::schedule::{insert_parked, take_turn};
use super::{Store, StoreError, TimeCursor};
use crate::domain::id;
use crate::domain::quarantine::{Job, Numbered, Parking, Quarantine, QuarantineState, Release};
use crate::domain::receipt::Place;
use crate::domain::record::Record;
use crate::domain::scheduled::ScheduledRecord;
use rows::{
    call_back, count_change, delete, follow_message, has_one_before, has_unsent, insert,
    is_discarded, lock_key, read, update, with_columns,
};

/// Who has the turn while quarantines begin and end.
const HOLDER: &str = "quarantines";

/// A key that is quarantined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantineRow {
    /// What is decided by.
    pub machine: Quarantine,
    /// The group that does not run its jobs.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The key.
    pub key: Vec<u8>,
    /// The dead letter.
    pub letter: Place,
    /// Since when, milliseconds since the epoch.
    pub since_ms: i64,
}

impl QuarantineRow {
    /// The cursor behind this key.
    fn cursor(&self) -> TimeCursor {
        TimeCursor { at_ms: self.since_ms, id: self.machine.id }
    }
}

/// How it stands with a quarantine after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The quarantine.
    pub row: QuarantineRow,
    /// Whether it is lifted: there is no row of it any more.
    pub is_lifted: bool,
}

/// A dead letter that is to hold its key.
#[derive(Debug, Clone, Copy)]
pub struct HeldBy<'a> {
    /// The id of its quarantine, if there is none yet.
    pub id: Uuid,
    /// The group that failed.
    pub group: &'a str,
    /// The record that died.
    pub record: &'a Record,
    /// Its key.
    pub key: &'a [u8],
    /// The dead letter.
    pub letter: &'a Place,
}

/// A record that is to be parked.
#[derive(Debug, Clone, Copy)]
pub struct ParkedBy<'a> {
    /// The group that would run it.
    pub group: &'a str,
    /// Its type.
    pub type_name: &'a str,
    /// The record.
    pub record: &'a Record,
    /// Its key.
    pub key: &'a [u8],
}

/// What became of a record that was to be parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParkEnd {
    /// Its offset may be committed.
    Parked,
    /// Nothing keeps it from running.
    Runs,
    /// As many as may be are parked.
    Full,
}

impl Store {
    /// A dead letter holds its key from now on, unless another one does or somebody has discarded
    /// this one already. Returns what has changed.
    pub async fn hold(&self, by: HeldBy<'_>, now_ms: i64) -> Result<Vec<Changed>, StoreError> {
        let HeldBy { id, group, record, key, letter } = by;
        let message_id = record.message_id();
        let topic = &*record.place.topic;
        let mut transaction = self.writer.begin().await?;
        take_turn(&mut transaction, HOLDER, now_ms).await?;
        let mut changed = follow_message(&mut transaction, group, message_id, letter).await?;
        let row = match lock_key(&mut transaction, group, topic, key).await? {
            None => {
                let machine = Quarantine::new(id, Job::of(record));
                let (group, topic) = (group.to_owned(), topic.to_owned());
                let (key, letter) = (key.to_vec(), letter.clone());
                let row = QuarantineRow { machine, group, topic, key, letter, since_ms: now_ms };
                insert(&mut transaction, &row).await?;
                Some(row)
            }
            Some(mut row) => {
                let before = row.machine;
                if row.machine.buried(Job::of(record)) {
                    let is_same =
                        before.message_id == message_id && before.state == QuarantineState::Held;
                    let since_ms = if is_same { row.since_ms } else { now_ms };
                    Some(QuarantineRow { letter: letter.clone(), since_ms, ..row })
                } else {
                    update(&mut transaction, &row).await?;
                    None
                }
            }
        };
        let mut bell_ms = None;
        if let Some(mut row) = row {
            update(&mut transaction, &row).await?;
            call_back(&mut transaction, &row.machine).await?;
            changed.retain(|other: &Changed| other.row.machine.id != row.machine.id);
            let mut is_lifted = false;
            if is_discarded(&mut transaction, letter, message_id).await? {
                (is_lifted, bell_ms) = release_row(&mut transaction, &mut row, now_ms).await?;
            }
            changed.push(Changed { row, is_lifted });
        }
        count_change(&mut transaction).await?;
        transaction.commit().await?;
        self.ring(bell_ms);
        Ok(changed)
    }

    /// Parks a record whose key is quarantined. Once this has said so, its offset may be
    /// committed; asked for twice, it is parked once.
    pub async fn park(&self, by: ParkedBy<'_>, now_ms: i64) -> Result<ParkEnd, StoreError> {
        let ParkedBy { group, type_name, record, key } = by;
        let mut transaction = self.writer.begin().await?;
        let row = lock_key(&mut transaction, group, &record.place.topic, key).await?;
        let Some(mut row) = row else {
            transaction.rollback().await?;
            return Ok(ParkEnd::Runs);
        };
        let may_one_before_come = match Numbered::of(record) {
            Some(numbered) if numbered.quarantine == row.machine.id => {
                has_one_before(&mut transaction, &row.machine, numbered.number, record).await?
            }
            _ => true,
        };
        let parking = row.machine.park(Job::of(record), may_one_before_come);
        let (number, due_ms) = match parking {
            Parking::Kept(number) => (number, None),
            Parking::Due(number, due_ms) => (number, Some(due_ms)),
            Parking::Runs | Parking::Ended | Parking::Full => {
                transaction.rollback().await?;
                return Ok(match parking {
                    Parking::Runs => ParkEnd::Runs,
                    Parking::Full if self.is_parked(&row.machine, record).await? => ParkEnd::Parked,
                    Parking::Full => ParkEnd::Full,
                    _ => ParkEnd::Parked,
                });
            }
        };
        let numbered = Numbered { quarantine: row.machine.id, number };
        let due_or_now_ms = due_ms.unwrap_or(now_ms);
        let parked =
            ScheduledRecord::parked(record, type_name, group, numbered, now_ms, due_or_now_ms);
        if !insert_parked(&mut transaction, &parked, numbered, due_ms.is_some()).await? {
            // It came before; the number that it would have got is another one's.
            transaction.rollback().await?;
            return Ok(ParkEnd::Parked);
        }
        update(&mut transaction, &row).await?;
        transaction.commit().await?;
        self.ring(due_ms);
        Ok(ParkEnd::Parked)
    }

    async fn is_parked(&self, machine: &Quarantine, record: &Record) -> Result<bool, StoreError> {
        let place = &record.place;
        let id = id::of_parked(machine.id, &place.topic, place.partition, place.offset);
        let row = sqlx::query("SELECT 1 FROM schedule WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await?;
        Ok(row.is_some())
    }

    /// A key is to go on, whatever becomes of its letter. One that is released already is lifted
    /// if nothing of it is left to be sent. None where it is not quarantined.
    pub async fn release_key(
        &self,
        group: &str,
        topic: &str,
        key: &[u8],
        now_ms: i64,
    ) -> Result<Option<Changed>, StoreError> {
        let mut transaction = self.writer.begin().await?;
        take_turn(&mut transaction, HOLDER, now_ms).await?;
        let Some(mut row) = lock_key(&mut transaction, group, topic, key).await? else {
            transaction.rollback().await?;
            return Ok(None);
        };
        let (mut is_lifted, bell_ms) = release_row(&mut transaction, &mut row, now_ms).await?;
        if bell_ms.is_none() && !is_lifted && !has_unsent(&mut transaction, &row.machine).await? {
            // What was sent may be gone from its topic, and nobody would ever say that it ended.
            delete(&mut transaction, &row.machine).await?;
            is_lifted = true;
        }
        count_change(&mut transaction).await?;
        transaction.commit().await?;
        self.ring(bell_ms);
        Ok(Some(Changed { row, is_lifted }))
    }

    /// The job of a letter has succeeded: what it holds is released.
    pub async fn release_message(
        &self,
        group: &str,
        message_id: Uuid,
        now_ms: i64,
    ) -> Result<Vec<Changed>, StoreError> {
        let mut transaction = self.writer.begin().await?;
        take_turn(&mut transaction, HOLDER, now_ms).await?;
        let rows = sqlx::query(with_columns!(
            "UPDATE quarantines SET state = state
             WHERE group_name = $1 AND message_id = $2 AND state = 'held' RETURNING",
            ""
        ))
        .bind(group)
        .bind(message_id.to_string())
        .fetch_all(&mut *transaction)
        .await?;
        let (changed, bell_ms) = release_rows(&mut transaction, &rows, now_ms).await?;
        if changed.is_empty() {
            transaction.rollback().await?;
            return Ok(changed);
        }
        count_change(&mut transaction).await?;
        transaction.commit().await?;
        self.ring(bell_ms);
        Ok(changed)
    }

    /// A released record has come to its end. Returns the quarantine as it is then; none where it
    /// was lifted before.
    pub async fn released_ended(&self, numbered: Numbered) -> Result<Option<Changed>, StoreError> {
        let mut transaction = self.writer.begin().await?;
        let row = sqlx::query(with_columns!(
            "UPDATE quarantines SET state = state WHERE id = $1 RETURNING",
            ""
        ))
        .bind(numbered.quarantine.to_string())
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(mut row) = row.as_ref().map(read).transpose()? else {
            transaction.rollback().await?;
            return Ok(None);
        };
        let is_lifted = row.machine.ended(numbered.number);
        if is_lifted {
            delete(&mut transaction, &row.machine).await?;
            count_change(&mut transaction).await?;
        } else {
            update(&mut transaction, &row).await?;
        }
        transaction.commit().await?;
        Ok(Some(Changed { row, is_lifted }))
    }

    /// Grows with each quarantine that begins, is released or is lifted.
    pub async fn quarantine_changes(&self) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT number FROM quarantine_changes WHERE id = 1")
            .fetch_one(&self.reader)
            .await?;
        Ok(row.try_get(0)?)
    }

    /// A page of the quarantines, the newest first.
    pub async fn quarantines(
        &self,
        after: Option<TimeCursor>,
        limit: u16,
    ) -> Result<Page<QuarantineRow, TimeCursor>, StoreError> {
        let select = sqlx::query(with_columns!(
            "SELECT",
            "FROM quarantines
             WHERE CAST($1 AS BIGINT) IS NULL OR since_ms < $1 OR (since_ms = $1 AND id < $2)
             ORDER BY since_ms DESC, id DESC LIMIT $3"
        ))
        .bind(after.map(|after| after.at_ms))
        .bind(after.map(|after| after.id.to_string()))
        .bind(probe(limit));
        let count = sqlx::query("SELECT COUNT(*) FROM quarantines");
        self.page(select, count, limit, read, QuarantineRow::cursor).await
    }

    /// The key that a dead letter holds; the last one, where its job has had several.
    pub async fn quarantine_of(
        &self,
        letter: &Place,
        message_id: Uuid,
    ) -> Result<Option<QuarantineRow>, StoreError> {
        let row = sqlx::query(with_columns!(
            "SELECT",
            "FROM quarantines
             WHERE letter_topic = $1 AND letter_partition = $2 AND letter_offset = $3
               AND message_id = $4 AND state = 'held'
             ORDER BY since_ms DESC LIMIT 1"
        ))
        .bind(letter.topic.as_ref())
        .bind(i64::from(letter.partition))
        .bind(letter.offset)
        .bind(message_id.to_string())
        .fetch_optional(&self.reader)
        .await?;
        row.as_ref().map(read).transpose()
    }

    /// Wakes the sender for rows that are committed.
    pub(super) fn ring(&self, due_ms: Option<i64>) {
        if let Some(due_ms) = due_ms {
            self.bell.ring(due_ms);
        }
    }
}

/// Whoever decides about a letter takes this first: what is said of letter and key agrees then.
pub(super) async fn take_quarantine_turn(
    transaction: &mut OpenTransaction,
    now_ms: i64,
) -> Result<(), StoreError> {
    take_turn(transaction, HOLDER, now_ms).await
}

/// Somebody has decided about a letter, in this transaction. Returns when the first job that was
/// parked is due; after the commit the caller rings the bell with that.
pub(super) async fn release_letter(
    transaction: &mut OpenTransaction,
    letter: &Place,
    message_id: Uuid,
    now_ms: i64,
) -> Result<Option<i64>, StoreError> {
    let rows = sqlx::query(with_columns!(
        "UPDATE quarantines SET state = state
         WHERE letter_topic = $1 AND letter_partition = $2 AND letter_offset = $3
           AND message_id = $4 AND state = 'held' RETURNING",
        ""
    ))
    .bind(letter.topic.as_ref())
    .bind(i64::from(letter.partition))
    .bind(letter.offset)
    .bind(message_id.to_string())
    .fetch_all(&mut *transaction)
    .await?;
    let (changed, bell_ms) = release_rows(transaction, &rows, now_ms).await?;
    if !changed.is_empty() {
        count_change(transaction).await?;
    }
    Ok(bell_ms)
}

async fn release_rows(
    transaction: &mut OpenTransaction,
    rows: &[AnyRow],
    now_ms: i64,
) -> Result<(Vec<Changed>, Option<i64>), StoreError> {
    let (mut changed, mut bell_ms) = (Vec::with_capacity(rows.len()), None);
    for row in rows {
        let mut row = read(row)?;
        let (is_lifted, due_ms) = release_row(transaction, &mut row, now_ms).await?;
        bell_ms = [bell_ms, due_ms].into_iter().flatten().min();
        changed.push(Changed { row, is_lifted });
    }
    Ok((changed, bell_ms))
}

/// Whether it is lifted, and when the first of its jobs is due.
async fn release_row(
    transaction: &mut OpenTransaction,
    row: &mut QuarantineRow,
    now_ms: i64,
) -> Result<(bool, Option<i64>), StoreError> {
    match row.machine.release(now_ms) {
        Release::Already => Ok((false, None)),
        Release::Lifted => {
            delete(transaction, &row.machine).await?;
            Ok((true, None))
        }
        Release::Due(base_ms) => {
            sqlx::query(
                "UPDATE schedule SET state = 'waiting', due_ms = $1 + quarantine_number
                 WHERE quarantine_id = $2 AND state = 'parked'",
            )
            .bind(base_ms)
            .bind(row.machine.id.to_string())
            .execute(&mut *transaction)
            .await?;
            update(transaction, row).await?;
            Ok((false, Some(base_ms.saturating_add(row.machine.ended).saturating_add(1))))
        }
    }
}

#[cfg(test)]
mod tests;
