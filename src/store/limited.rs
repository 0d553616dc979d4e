//! A time limit around every statement. A server that keeps its connections open and says
//! nothing (a stopped process, a hung disk) is noticed neither by TCP nor by the server's own
//! limits; without this one, whoever asks it would wait for ever.

use std::future::Future;
use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use sqlx::any::{Any, AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo};
use sqlx::{AnyPool, Describe, Either, Error, Execute, Executor, SqlStr};
use tokio::time::Instant;

/// How long a statement may take, the wait for a connection included: longer than that wait
/// and than SQLite waits for a lock, and shorter than a caller's patience.
const STATEMENT_MAX: Duration = Duration::from_secs(8);
/// How long connections may take to say goodbye at a stop.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// A pool whose statements have a time limit. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Pool(AnyPool);

/// A transaction whose statements have a time limit. One that is dropped is rolled back.
pub(super) struct Transaction(OpenTransaction);

/// What statements of a transaction are run on.
#[derive(Debug)]
pub(super) struct OpenTransaction {
    inner: sqlx::Transaction<'static, Any>,
    statement_max: Duration,
}

impl Pool {
    pub(super) fn new(pool: AnyPool) -> Self {
        Self(pool)
    }

    pub(super) async fn begin(&self) -> Result<Transaction, Error> {
        let inner = limited(STATEMENT_MAX, self.0.begin()).await?;
        Ok(Transaction(OpenTransaction { inner, statement_max: STATEMENT_MAX }))
    }

    /// A transaction that this statement begins.
    pub(super) async fn begin_with(&self, statement: &'static str) -> Result<Transaction, Error> {
        let inner = limited(STATEMENT_MAX, self.0.begin_with(statement)).await?;
        Ok(Transaction(OpenTransaction { inner, statement_max: STATEMENT_MAX }))
    }

    /// Closes every connection; those that do not answer are left to the end of the process.
    pub(super) async fn close(&self) {
        if tokio::time::timeout(CLOSE_MAX, self.0.close()).await.is_err() {
            tracing::warn!("the database did not answer to the end of its connections");
        }
    }
}

impl Transaction {
    /// Past the limit it may have been committed or not.
    pub(super) async fn commit(self) -> Result<(), Error> {
        limited(self.0.statement_max, self.0.inner.commit()).await
    }

    pub(super) async fn rollback(self) -> Result<(), Error> {
        limited(self.0.statement_max, self.0.inner.rollback()).await
    }
}

impl OpenTransaction {
    /// From now on its statements, and its commit, may take so long: where one of them works on
    /// very many rows. Whoever asks for that says why it is bounded so.
    pub(super) fn allow(&mut self, statement_max: Duration) {
        self.statement_max = statement_max;
    }
}

impl Deref for Transaction {
    type Target = OpenTransaction;

    fn deref(&self) -> &OpenTransaction {
        &self.0
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut OpenTransaction {
        &mut self.0
    }
}

impl<'p> Executor<'p> for &'p Pool {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> Rows<'e>
    where
        'p: 'e,
        E: 'q + Execute<'q, Any>,
    {
        limited_rows(STATEMENT_MAX, self.0.fetch_many(query))
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<AnyRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Any>,
    {
        Box::pin(limited(STATEMENT_MAX, self.0.fetch_optional(query)))
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [AnyTypeInfo],
    ) -> BoxFuture<'e, Result<AnyStatement, Error>>
    where
        'p: 'e,
    {
        Box::pin(limited(STATEMENT_MAX, self.0.prepare_with(sql, parameters)))
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Any>, Error>>
    where
        'p: 'e,
    {
        Box::pin(limited(STATEMENT_MAX, self.0.describe(sql)))
    }
}

impl<'c> Executor<'c> for &'c mut OpenTransaction {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> Rows<'e>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        limited_rows(self.statement_max, (&mut *self.inner).fetch_many(query))
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<AnyRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        Box::pin(limited(self.statement_max, (&mut *self.inner).fetch_optional(query)))
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [AnyTypeInfo],
    ) -> BoxFuture<'e, Result<AnyStatement, Error>>
    where
        'c: 'e,
    {
        Box::pin(limited(self.statement_max, (&mut *self.inner).prepare_with(sql, parameters)))
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Any>, Error>>
    where
        'c: 'e,
    {
        Box::pin(limited(self.statement_max, (&mut *self.inner).describe(sql)))
    }
}

/// What a statement gives: its results and its rows.
type Rows<'e> = BoxStream<'e, Result<Either<AnyQueryResult, AnyRow>, Error>>;

async fn limited<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(limit, work).await.map_err(|_| too_slow(limit))?
}

/// The limit holds for the statement, not for each of its rows.
fn limited_rows(limit: Duration, rows: Rows<'_>) -> Rows<'_> {
    let deadline = Instant::now() + limit;
    let rows = stream::unfold(Some(rows), move |rows| async move {
        let mut rows = rows?;
        match tokio::time::timeout_at(deadline, rows.next()).await {
            Ok(Some(Ok(row))) => Some((Ok(row), Some(rows))),
            Ok(Some(Err(error))) => Some((Err(error), None)),
            Ok(None) => None,
            Err(_) => Some((Err(too_slow(limit)), None)),
        }
    });
    rows.boxed()
}

pub(super) fn too_slow(limit: Duration) -> Error {
    let said = format!("no answer within {} s", limit.as_secs());
    Error::Io(io::Error::new(io::ErrorKind::TimedOut, said))
}

#[cfg(test)]
mod tests {
    use sqlx::Row as _;

    use crate::store::Database;
    use crate::store::tests::postgres;

    /// Longer than any limit here on a busy machine.
    const FOREVER: std::time::Duration = std::time::Duration::from_secs(60);

    /// The server's processes behind some connections, stopped until this is dropped.
    struct Stopped(Vec<String>);

    impl Stopped {
        fn stop(pids: Vec<String>) -> Self {
            signal("-STOP", &pids);
            Self(pids)
        }
    }

    impl Drop for Stopped {
        fn drop(&mut self) {
            signal("-CONT", &self.0);
        }
    }

    fn signal(signal: &str, pids: &[String]) {
        let sent = std::process::Command::new("kill").arg(signal).args(pids).status();
        assert!(sent.unwrap().success(), "{signal} {pids:?}");
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_an_error_and_not_a_wait() {
        let database: Database = postgres::fresh_database().parse().unwrap();
        let store = database.open().await.unwrap();
        // A transaction that is open when the server stops, and a free connection.
        let mut transaction = store.writer.begin().await.unwrap();
        store.audit(None, 1).await.unwrap();
        let rows =
            sqlx::query("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
                .fetch_all(&store.reader)
                .await
                .unwrap();
        let pids = rows.iter().map(|row| row.try_get::<i32, _>(0).unwrap().to_string());
        let pids: Vec<String> = pids.collect();
        assert!(pids.len() >= 2, "the free one too: {pids:?}");
        let stopped = Stopped::stop(pids);
        let asked = tokio::time::timeout(FOREVER, async {
            let within = sqlx::query("SELECT 1").execute(&mut *transaction);
            tokio::join!(store.audit(None, 1), within)
        });
        let (free, within) = asked.await.expect("there is an answer");
        assert!(free.is_err() && within.is_err());
        let committed = tokio::time::timeout(FOREVER, transaction.commit()).await;
        assert!(committed.expect("there is an answer").is_err());
        tokio::time::timeout(FOREVER, store.close()).await.expect("it closes");
        drop(stopped);
    }
}
