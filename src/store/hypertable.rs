//! `TimescaleDB`: where the database has it, a campaign's figures are a hypertable, divided by
//! time. Nothing else differs, and without it nothing happens.

use sqlx::AnyPool;

use super::StoreError;

/// Instances that start at once take turns: the first one makes the hypertable.
const TURN: i64 = 0x6a6f_6267_6174_6501;

/// What a chunk covers, 30 days in the unit of `time_ms`. `TimescaleDB` does not know what an
/// integer time counts, so it must be told. Rows of busy campaigns number some 800 each month.
const MAKE: &str = "
    SELECT 1 FROM create_hypertable('campaign_analytics', by_range('time_ms', 2592000000),
        if_not_exists => TRUE, migrate_data => TRUE)";

/// Makes the hypertable, unless it is one. A table that cannot be made one is as good without.
pub(super) async fn make(pool: &AnyPool) -> Result<(), StoreError> {
    let extension = sqlx::query("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'")
        .fetch_optional(pool)
        .await?;
    if extension.is_none() {
        return Ok(());
    }
    let mut transaction = pool.begin().await?;
    sqlx::query("SELECT 1 FROM (SELECT pg_advisory_xact_lock($1)) AS turn")
        .bind(TURN)
        .execute(&mut *transaction)
        .await?;
    let made = sqlx::query(MAKE).execute(&mut *transaction).await;
    if let Err(error) = made {
        tracing::warn!(%error, "campaign_analytics stays an ordinary table");
        transaction.rollback().await?;
        return Ok(());
    }
    transaction.commit().await?;
    Ok(())
}
