//! A list of users, written past jobgate: how it came about is not what is measured.

use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::{AnyPool, Row as _};
use uuid::Uuid;

/// Users of one statement, so that none runs for long.
const AT_ONCE: usize = 50_000;

/// The campaign's users.
pub(crate) struct List {
    pub(crate) campaign: Uuid,
    users: i64,
    pool: AnyPool,
}

/// Ids are random, as they are in earnest; a sixth of the users has a score.
macro_rules! insert_users {
    ($id:literal) => {
        concat!(
            "INSERT INTO waitlist_users
                 (id, campaign_id, email, email_key, status, referral_code, referral_count,
                  verified_referral_count, verification_token, source, created_at_ms)
             WITH RECURSIVE numbers (n) AS
                 (SELECT CAST($1 AS BIGINT) UNION ALL SELECT n + 1 FROM numbers WHERE n < $2)
             SELECT ",
            $id,
            ", $3, 'user' || n || '@example.com', 'user' || n || '@example.com', 'verified',
                 'CODE' || n, n % 6, CASE WHEN n % 6 = 0 THEN n % 5 ELSE 0 END,
                 '0123456789abcdef0123456789abcdef', 'direct', 1735689600000 + n
             FROM numbers"
        )
    };
}

const ON_SQLITE: &str = insert_users!(
    "lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2)
         || '-a' || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)))"
);
const ON_POSTGRES: &str = insert_users!("CAST(gen_random_uuid() AS TEXT)");

impl List {
    /// Writes a list of so many.
    pub(crate) async fn fill(url: &str, users: usize) -> Self {
        let options = AnyPoolOptions::new().max_connections(1);
        let pool = options.acquire_timeout(Duration::from_secs(60)).connect(url).await;
        let pool = pool.expect("the database");
        let campaign = Uuid::now_v7();
        sqlx::query(
            "INSERT INTO campaigns (id, name, slug, position_update_threshold, created_at_ms)
             VALUES ($1, 'Example', $1, 10, 0)",
        )
        .bind(campaign.to_string())
        .execute(&pool)
        .await
        .expect("a campaign");
        let is_postgres = url.starts_with("postgres");
        for first in (1..=users).step_by(AT_ONCE) {
            let last = (first + AT_ONCE - 1).min(users);
            sqlx::query(if is_postgres { ON_POSTGRES } else { ON_SQLITE })
                .bind(i64::try_from(first).expect("a number"))
                .bind(i64::try_from(last).expect("a number"))
                .bind(campaign.to_string())
                .execute(&pool)
                .await
                .expect("users");
        }
        // As the server does by itself, a while later.
        let tidy = if is_postgres { "VACUUM ANALYZE" } else { "PRAGMA wal_checkpoint(TRUNCATE)" };
        sqlx::query(tidy).execute(&pool).await.expect("it is tidy");
        Self { campaign, users: i64::try_from(users).expect("a number"), pool }
    }

    /// Whoever is last has more referrals than anybody else.
    pub(crate) async fn lift_the_last(&self) {
        let done = sqlx::query(
            "UPDATE waitlist_users SET verified_referral_count = 1000 WHERE position = $1",
        )
        .bind(self.users)
        .execute(&self.pool)
        .await;
        assert_eq!(done.expect("a user").rows_affected(), 1);
    }

    /// Everybody has a place, and nobody shares one.
    pub(crate) async fn check(&self) {
        let row = sqlx::query(
            "SELECT COUNT(DISTINCT position), MIN(position), MAX(position) FROM waitlist_users",
        )
        .fetch_one(&self.pool)
        .await
        .expect("a count");
        let seen: [i64; 3] = std::array::from_fn(|at| row.try_get(at).expect("a number"));
        assert_eq!(seen, [self.users, 1, self.users]);
    }

    pub(crate) async fn close(self) {
        self.pool.close().await;
    }
}
