//! The only home of sqlx: one file per aggregate, one SQL text for SQLite and PostgreSQL.
//!
//! Owns the tables of `migrations/`. Knows nothing of Kafka or HTTP. The rules of the
//! portable text: ids are TEXT, times BIGINT milliseconds, parameters `$n`, an optional
//! filter is `CAST($n AS TEXT) IS NULL OR ..`, and a write transaction's first statement
//! writes (SQLite in WAL refuses to turn a reading transaction into a writing one).
//!
//! To add an aggregate: a migration, and a file here with the statements as methods of [`Store`].

mod attempts;
mod audit;
mod claims;
mod cursor;
mod database;
mod dead_letters;
mod effect;
mod idempotency;
mod instance_counters;
mod leases;
mod limited;
mod offset_resets;
mod on_postgres;
mod page;
mod pauses;
mod quarantines;
mod replays;
mod resolutions;
mod retention;
mod schedule;
mod snapshots;
mod waitlist;

use limited::{Pool, Transaction};
use thiserror::Error;

pub use attempts::AttemptRow;
pub use audit::AuditEntry;
pub use cursor::TimeCursor;
pub use database::{Database, InvalidDatabase};
pub use dead_letters::{
    Cursor, IndexMoved, IndexProgress, IndexedLetter, LetterFilter, LetterState,
};
pub use effect::Effect;
pub use idempotency::{AnsweredRequest, KeptAnswer, KeyScope, KeyTimes, Reservation, Reserved};
pub use instance_counters::{InstanceRow, PAST};
pub use page::Page;
pub use quarantines::{Changed, HeldBy, ParkEnd, ParkedBy, QuarantineRow};
pub use replays::{ReplayFailure, ReplayProgress, ReplayRow};
pub use resolutions::{Claim, Resolution};
pub use schedule::{
    Bell, Cancelled, ClaimLimits, DueRow, GivenBack, NotScheduled, ScheduledRow, SentRow,
};
pub use snapshots::{SnapshotRow, WorkerCursor};
pub use waitlist::{
    CampaignAccount, CampaignRow, DetectionRow, EventKind, EventRecord, Granted, Grants, MailEnd,
    MailRecord, MovedUser, Near, NearRow, NewCampaign, NewDetection, NewReferral, NewReward,
    NewUser, NewUserReward, NewWebhook, NotSignedUp, PartnerRow, PositionRule, ReferralCounts,
    ReferralRule, RewardRow, SignedUp, SuspectRow, UserRewardRow, UserRow,
};
pub use waitlist::{DeliveryRecord, DisableWebhook, PastDelivery, WebhookRow, WebhookStatus};

/// The database did not do what it was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A statement failed, or no connection could be had.
    #[error("the database could not be used")]
    Database(#[from] sqlx::Error),
    /// The tables could not be brought up to date.
    #[error("the database's tables could not be brought up to date")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A row holds what no row should.
    #[error("the database holds an unreadable {what}")]
    Corrupt {
        /// What could not be read.
        what: &'static str,
    },
}

impl StoreError {
    /// Whether the data is at fault: it fails the same way however often it is tried.
    pub fn is_of_the_data(&self) -> bool {
        match self {
            Self::Corrupt { .. }
            | Self::Database(sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) => true,
            Self::Database(sqlx::Error::Database(error)) => {
                // Classes 22 and 23 of the SQL standard: what a value is, and what a constraint
                // asks for. SQLite tells only the latter, as a kind.
                let of_class =
                    |code: &str| code.len() == 5 && matches!(code.get(..2), Some("22" | "23"));
                error.code().is_some_and(|code| of_class(&code))
                    || !matches!(error.kind(), sqlx::error::ErrorKind::Other)
            }
            _ => false,
        }
    }

    /// Whether another transaction was in the way, and this one was given up for it.
    pub fn is_a_collision(&self) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else { return false };
        // SQLSTATE: a deadlock, a serialization failure.
        error.code().is_some_and(|code| matches!(&*code, "40P01" | "40001"))
    }
}

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    reader: Pool,
    /// SQLite has one writer: waiting in this pool is fair, waiting for its lock is not. On
    /// PostgreSQL it is the same pool.
    writer: Pool,
    /// Wakes the sender of the schedule.
    bell: Bell,
    /// Where one statement does not fit both, this tells which to take.
    is_postgres: bool,
}

impl Store {
    /// A transaction that reads: each of its statements sees the database as the first one did.
    async fn moment(&self) -> Result<Transaction, sqlx::Error> {
        if self.is_postgres {
            self.reader.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await
        } else {
            self.reader.begin().await
        }
    }

    /// Closes every connection, within a few seconds; what is committed stays.
    pub async fn close(&self) {
        tokio::join!(self.reader.close(), self.writer.close());
    }
}

#[cfg(test)]
mod tests;
