//! What becomes of a user's reward: pending, earned, delivered; or expired.

use uuid::Uuid;

use crate::store::{Effect, Store, StoreError};

impl Effect {
    /// A pending reward is earned. Returns false if it is not pending any more.
    pub async fn earn_reward(&mut self, id: Uuid, at_ms: i64) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE user_rewards SET status = 'earned', earned_at_ms = $1
             WHERE id = $2 AND status = 'pending'",
        )
        .bind(at_ms)
        .bind(id.to_string())
        .execute(self.on())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// A reward is delivered. Returns false if somebody has delivered, revoked or ended it.
    pub async fn deliver_reward(&mut self, id: Uuid, now_ms: i64) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE user_rewards SET status = 'delivered', delivered_at_ms = $1,
                 earned_at_ms = COALESCE(earned_at_ms, $1),
                 delivery_attempts = delivery_attempts + 1, delivery_error = NULL
             WHERE id = $2 AND status IN ('pending', 'earned')",
        )
        .bind(now_ms)
        .bind(id.to_string())
        .execute(self.on())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// A reward is earned and stays so: what it waits for is written down.
    pub async fn keep_reward(
        &mut self,
        id: Uuid,
        why: &str,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE user_rewards SET status = 'earned', earned_at_ms = COALESCE(earned_at_ms, $1),
                 delivery_attempts = delivery_attempts + 1, delivery_error = $2
             WHERE id = $3 AND status IN ('pending', 'earned')",
        )
        .bind(now_ms)
        .bind(why)
        .bind(id.to_string())
        .execute(self.on())
        .await?;
        Ok(())
    }

    /// A reward's time was over before it was delivered.
    pub async fn expire_reward(&mut self, id: Uuid, why: &str) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE user_rewards SET status = 'expired', delivery_error = $1
             WHERE id = $2 AND status IN ('pending', 'earned')",
        )
        .bind(why)
        .bind(id.to_string())
        .execute(self.on())
        .await?;
        Ok(())
    }

    /// Why a reward that nobody is to get was not delivered.
    pub async fn refuse_reward(&mut self, id: Uuid, why: &str) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE user_rewards SET delivery_error = $1
             WHERE id = $2 AND status IN ('revoked', 'expired') AND delivered_at_ms IS NULL
               AND delivery_error IS NULL",
        )
        .bind(why)
        .bind(id.to_string())
        .execute(self.on())
        .await?;
        Ok(())
    }

    /// Whether something speaks against a user's having got a reward of a campaign: the reward, or
    /// any other of the campaign, is known, and that the user has this one is not; or the reward or
    /// the user is of another campaign. Whoever said so was refused, or was not heard yet.
    pub async fn refutes_reward(
        &mut self,
        [id, user_id, reward_id, campaign_id]: [Uuid; 4],
    ) -> Result<bool, StoreError> {
        let row = sqlx::query(
            "SELECT 1 WHERE EXISTS (
                 SELECT 1 FROM rewards WHERE (id = $1 AND campaign_id <> $2)
                     OR ((id = $1 OR campaign_id = $2) AND NOT EXISTS (
                         SELECT 1 FROM user_rewards
                         WHERE id = $3 AND reward_id = $1 AND user_id = $4)))
             OR EXISTS (SELECT 1 FROM waitlist_users WHERE id = $4 AND campaign_id <> $2)",
        )
        .bind(reward_id.to_string())
        .bind(campaign_id.to_string())
        .bind(id.to_string())
        .bind(user_id.to_string())
        .fetch_optional(self.on())
        .await?;
        Ok(row.is_some())
    }
}

impl Store {
    /// An attempt to deliver a reward has failed; its effect is gone, and this stays.
    pub async fn note_failed_delivery(&self, id: Uuid, why: &str) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE user_rewards SET delivery_attempts = delivery_attempts + 1,
                 delivery_error = $1
             WHERE id = $2 AND status IN ('pending', 'earned')",
        )
        .bind(why)
        .bind(id.to_string())
        .execute(&self.writer)
        .await?;
        Ok(())
    }
}
