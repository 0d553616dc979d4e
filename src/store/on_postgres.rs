//! What PostgreSQL can be told beside the tables that both databases have. Instances that start at
//! once take turns with it.

use sqlx::{AnyConnection, AnyPool};

use super::StoreError;

const TURN: i64 = 0x6a6f_6267_6174_6501;

/// Pages of users are filled to this percentage. A recalculation writes the place of almost every
/// user, no index has it, and a row that stays in its page touches none: a million users took a
/// sixth of the time (docs/benchmarks.md), at twice the room.
const FILL: &str = "ALTER TABLE waitlist_users SET (fillfactor = 45)";
const IS_FILLED: &str = "SELECT 1 FROM pg_class
     WHERE oid = 'waitlist_users'::regclass
       AND 'fillfactor=45' = ANY(COALESCE(reloptions, ARRAY[]::text[]))";

const HAS_TIMESCALE: &str = "SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'";
/// `TimescaleDB` divides a campaign's figures by time. What a chunk covers, 30 days in the unit of
/// `time_ms`: it does not know what an integer time counts. Rows of busy campaigns number some 800
/// each month.
const MAKE_HYPERTABLE: &str = "
    SELECT 1 FROM create_hypertable('campaign_analytics', by_range('time_ms', 2592000000),
        if_not_exists => TRUE, migrate_data => TRUE)";

/// Tells it. What it does not take is as good without.
pub(super) async fn tell(pool: &AnyPool) -> Result<(), StoreError> {
    if !holds(pool, IS_FILLED).await? {
        run(pool, FILL).await?;
    }
    if holds(pool, HAS_TIMESCALE).await? {
        run(pool, MAKE_HYPERTABLE).await?;
    }
    Ok(())
}

async fn holds(pool: &AnyPool, query: &'static str) -> Result<bool, StoreError> {
    Ok(sqlx::query(query).fetch_optional(pool).await?.is_some())
}

async fn run(pool: &AnyPool, statement: &'static str) -> Result<(), StoreError> {
    let mut transaction = pool.begin().await?;
    let connection: &mut AnyConnection = &mut transaction;
    sqlx::query("SELECT 1 FROM (SELECT pg_advisory_xact_lock($1)) AS turn")
        .bind(TURN)
        .execute(&mut *connection)
        .await?;
    if let Err(error) = sqlx::query(statement).execute(&mut *connection).await {
        tracing::warn!(%error, statement, "PostgreSQL does not take it, and goes on without");
        return Ok(transaction.rollback().await?);
    }
    Ok(transaction.commit().await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Database;
    use crate::store::tests::postgres;

    #[tokio::test]
    async fn users_have_room_in_their_pages_however_many_instances_start() {
        let url = postgres::fresh_database();
        let database: Database = url.parse().unwrap();
        let (one, other) = tokio::join!(database.open(), database.open());
        one.unwrap();
        other.unwrap();
        let pool = AnyPool::connect(&url).await.unwrap();
        assert!(holds(&pool, IS_FILLED).await.unwrap());
        assert!(!holds(&pool, HAS_TIMESCALE).await.unwrap());
    }
}
