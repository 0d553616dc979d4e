//! The only home of sqlx: one file per aggregate, one SQL text for SQLite and PostgreSQL.
//!
//! Owns the tables of `migrations/`. Knows nothing of Kafka or HTTP. The rules of the
//! portable text: ids are TEXT, times BIGINT milliseconds, parameters `$n`, an optional
//! filter is `CAST($n AS TEXT) IS NULL OR ..`, and a write transaction's first statement
//! writes (SQLite in WAL refuses to turn a reading transaction into a writing one).
//!
//! To add an aggregate: a migration, and a file here with a struct that borrows [`Store`].

mod audit;
mod dead_letters;
mod instance_counters;
mod leases;
mod offset_resets;
mod resolutions;

use std::path::Path;
use std::time::Duration;

use sqlx::AnyPool;
use sqlx::any::AnyPoolOptions;
use thiserror::Error;

pub use audit::{AuditCursor, AuditEntry};
pub use dead_letters::{Cursor, IndexMoved, IndexedLetter, LetterFilter, LetterState};
pub use instance_counters::{InstanceRow, PAST};
pub use resolutions::{Claim, Resolution};

/// How long a connection may be waited for. Shorter than the deadline of an HTTP answer.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// Readers beside the one writer: more than two cores can use.
const SQLITE_READERS_MAX: u32 = 4;

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

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    reader: AnyPool,
    /// SQLite has one writer: waiting in this pool is fair, waiting for its lock is not.
    writer: AnyPool,
}

impl Store {
    /// Opens the SQLite database at this path, made if it is missing, and brings its
    /// tables up to date.
    pub async fn open_sqlite(path: &Path) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let url = format!("sqlite://{}?mode=rwc", path.display());
        let writer = sqlite_pool(1).connect(&url).await?;
        sqlx::migrate!().run(&writer).await?;
        let reader = sqlite_pool(SQLITE_READERS_MAX).connect(&url).await?;
        Ok(Self { reader, writer })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.reader).await?;
        Ok(())
    }

    /// Closes every connection; what is committed stays.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}

fn sqlite_pool(connections_max: u32) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(|connection, _| {
            Box::pin(async move {
                // FULL: a commit is on the disk before it is reported.
                for pragma in [
                    "PRAGMA journal_mode = WAL",
                    "PRAGMA synchronous = FULL",
                    "PRAGMA busy_timeout = 3000",
                    "PRAGMA foreign_keys = ON",
                ] {
                    sqlx::query(pragma).execute(&mut *connection).await?;
                }
                Ok(())
            })
        })
}

#[cfg(test)]
mod tests;
