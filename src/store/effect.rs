//! An effect: a transaction whose first statement claims it, so that it is had once.
//!
//! What the handlers of jobs change they change here, each aggregate with methods of its own on
//! [`Effect`]; a job that follows is a row of the schedule in the same transaction. Either all of
//! it is there, or nothing.

use uuid::Uuid;

use super::limited::{OpenTransaction, Transaction};
use super::schedule::{self, Bell};
use super::{Store, StoreError};
use crate::domain::scheduled::ScheduledRecord;

/// A claimed effect that is not committed yet. One that is dropped leaves nothing behind, its
/// claim included.
pub struct Effect {
    transaction: Transaction,
    bell: Bell,
    /// When the first of the rows is due that were written here.
    due_ms: Option<i64>,
    is_postgres: bool,
}

impl Store {
    /// Begins an effect. None if it was had before.
    pub async fn effect(
        &self,
        scope: &str,
        message_id: Uuid,
        now_ms: i64,
    ) -> Result<Option<Effect>, StoreError> {
        let (effect, claimed) = self.effect_of(scope, &[message_id], now_ms).await?;
        Ok((!claimed.is_empty()).then_some(effect))
    }

    /// Begins one effect of several jobs. Returns also those of them that have not had theirs
    /// before; where there are none, nothing is to be done.
    pub async fn effect_of(
        &self,
        scope: &str,
        message_ids: &[Uuid],
        now_ms: i64,
    ) -> Result<(Effect, Vec<Uuid>), StoreError> {
        let mut transaction = self.writer.begin().await?;
        let mut claimed = Vec::with_capacity(message_ids.len());
        for id in message_ids {
            let done = sqlx::query(
                "INSERT INTO claims (scope, message_id, claimed_at_ms) VALUES ($1, $2, $3)
                 ON CONFLICT (scope, message_id) DO NOTHING",
            )
            .bind(scope)
            .bind(id.to_string())
            .bind(now_ms)
            .execute(&mut *transaction)
            .await?;
            if done.rows_affected() == 1 {
                claimed.push(*id);
            }
        }
        let (bell, is_postgres) = (self.bell.clone(), self.is_postgres);
        Ok((Effect { transaction, bell, due_ms: None, is_postgres }, claimed))
    }
}

impl Effect {
    /// Waits until no other effect has its turn with any of these subjects, and takes it until
    /// the end of the transaction. Statements that follow see what the others have committed.
    ///
    /// SQLite has one writer: there every transaction has its turn alone. Of PostgreSQL's
    /// advisory locks each takes 64 bits; two subjects that share one only wait for each other.
    /// They are taken in one order, so that nobody waits in a circle.
    pub async fn take_turns(&mut self, subjects: &[Uuid]) -> Result<(), StoreError> {
        if !self.is_postgres {
            return Ok(());
        }
        let mut locks: Vec<i64> = subjects.iter().map(lock_of).collect();
        locks.sort_unstable();
        locks.dedup();
        for lock in locks {
            sqlx::query("SELECT 1 FROM (SELECT pg_advisory_xact_lock($1)) AS turn")
                .bind(lock)
                .execute(self.on())
                .await?;
        }
        Ok(())
    }

    /// Holds a subject with all others that hold it like this, until the end of the transaction.
    /// On `SQLite` every transaction is alone.
    pub async fn hold(&mut self, subject: Uuid) -> Result<(), StoreError> {
        if self.is_postgres {
            sqlx::query("SELECT 1 FROM (SELECT pg_advisory_xact_lock_shared($1)) AS held")
                .bind(lock_of(&subject))
                .execute(self.on())
                .await?;
        }
        Ok(())
    }

    /// Waits until the end of every transaction that [holds](Self::hold) a subject now. What those
    /// have committed, the statements that follow see. One that asks for it meanwhile waits until
    /// this has come about.
    pub async fn wait_for_holders(&mut self, subject: Uuid) -> Result<(), StoreError> {
        if !self.is_postgres {
            return Ok(());
        }
        // A lock that was taken after a savepoint is let go with it.
        sqlx::query("SAVEPOINT holders").execute(self.on()).await?;
        sqlx::query("SELECT 1 FROM (SELECT pg_advisory_xact_lock($1)) AS alone")
            .bind(lock_of(&subject))
            .execute(self.on())
            .await?;
        sqlx::query("ROLLBACK TO SAVEPOINT holders").execute(self.on()).await?;
        sqlx::query("RELEASE SAVEPOINT holders").execute(self.on()).await?;
        Ok(())
    }

    /// Which of these jobs are asked for and nobody has begun to send.
    pub async fn unsent(&mut self, ids: [Uuid; 4]) -> Result<Vec<Uuid>, StoreError> {
        schedule::unsent(&mut self.transaction, ids).await
    }

    /// Asks for a job as part of the effect. Returns false if one of its id was asked for before.
    pub async fn schedule(&mut self, record: &ScheduledRecord) -> Result<bool, StoreError> {
        let is_new = schedule::insert(&mut self.transaction, record).await?;
        let due_ms = self.due_ms.unwrap_or(i64::MAX).min(record.due_ms);
        self.due_ms = Some(due_ms);
        Ok(is_new)
    }

    /// Makes it so. After an error it may be there: whoever tries again finds the claim.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.transaction.commit().await?;
        if let Some(due_ms) = self.due_ms {
            self.bell.ring(due_ms);
        }
        Ok(())
    }

    /// What the statements of an aggregate are run on.
    pub(super) fn on(&mut self) -> &mut OpenTransaction {
        &mut self.transaction
    }
}

/// Ids are random in their last 64 bits, or follow from a hash.
fn lock_of(subject: &Uuid) -> i64 {
    let (_, low) = subject.as_u64_pair();
    i64::from_ne_bytes(low.to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::on_both_databases;

    on_both_databases! {
        an_effect_is_had_once,
        what_is_dropped_was_never_claimed,
        of_many_those_are_claimed_that_were_not,
        nobody_has_a_turn_beside_another,
    }

    const A: Uuid = Uuid::from_u128(1);
    const B: Uuid = Uuid::from_u128(2);

    async fn an_effect_is_had_once(store: Store) {
        let effect = store.effect("workers", A, 1).await.unwrap().unwrap();
        effect.commit().await.unwrap();
        assert!(store.effect("workers", A, 2).await.unwrap().is_none());
        assert!(store.effect("a replay", A, 2).await.unwrap().is_some());
    }

    async fn what_is_dropped_was_never_claimed(store: Store) {
        drop(store.effect("workers", A, 1).await.unwrap().unwrap());
        assert!(store.effect("workers", A, 2).await.unwrap().is_some());
    }

    async fn of_many_those_are_claimed_that_were_not(store: Store) {
        store.effect("workers", A, 1).await.unwrap().unwrap().commit().await.unwrap();
        let (effect, claimed) = store.effect_of("workers", &[A, B, B], 2).await.unwrap();
        assert_eq!(claimed, [B]);
        effect.commit().await.unwrap();
        assert!(store.is_claimed("workers", B).await.unwrap());
    }

    /// Two effects read a number and write the next one; in turns, none of them is lost.
    async fn nobody_has_a_turn_beside_another(store: Store) {
        let subjects = [A, B];
        let runs = (0..20_u128).map(|n| {
            let store = store.clone();
            async move {
                let id = Uuid::from_u128(100 + n);
                let mut effect = store.effect("workers", id, 1).await.unwrap().unwrap();
                let some = if n % 2 == 0 { vec![A, B] } else { vec![B, A] };
                effect.take_turns(&some).await.unwrap();
                let row =
                    sqlx::query("SELECT max(claimed_at_ms) FROM claims WHERE scope = 'count'")
                        .fetch_one(effect.on())
                        .await
                        .unwrap();
                let count: Option<i64> = sqlx::Row::try_get(&row, 0).unwrap();
                sqlx::query("INSERT INTO claims VALUES ('count', $1, $2)")
                    .bind(id.to_string())
                    .bind(count.unwrap_or(0) + 1)
                    .execute(effect.on())
                    .await
                    .unwrap();
                effect.commit().await.unwrap();
            }
        });
        futures_util::future::join_all(runs).await;
        let row = sqlx::query("SELECT max(claimed_at_ms) FROM claims WHERE scope = 'count'")
            .fetch_one(&store.reader)
            .await
            .unwrap();
        assert_eq!(sqlx::Row::try_get::<i64, _>(&row, 0).unwrap(), 20, "{subjects:?}");
    }
}
