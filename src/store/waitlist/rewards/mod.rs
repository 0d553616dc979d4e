//! Rewards: what a campaign gives, and what users have got of it.
//!
//! What a reward has left is taken before its user's row is written, and the row of the reward is
//! locked by that until the end of the transaction: so nobody gives more than there is, and all
//! take the two locks in the same order.

mod delivering;
mod granting;

use sqlx::Row as _;
use sqlx::any::AnyRow;
use uuid::Uuid;

use crate::store::{Effect, StoreError};

pub use granting::{Granted, Grants, NewUserReward, PositionRule, ReferralRule};

/// A reward as its campaign offers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewardRow {
    /// Its id.
    pub id: Uuid,
    /// The campaign.
    pub campaign_id: Uuid,
    /// What people know it by.
    pub name: String,
    /// More of that.
    pub description: Option<String>,
    /// `early_access`, discount, `premium_feature`, merchandise or custom.
    pub kind: String,
    /// email, webhook or manual.
    pub delivery_method: String,
    /// Which endpoint is told, where the method is webhook.
    pub webhook_id: Option<Uuid>,
    /// So many a user gets at most.
    pub user_limit: i64,
    /// active, paused or ended.
    pub status: String,
    /// From when on it is granted.
    pub starts_at_ms: Option<i64>,
    /// From when on it is not granted, nor delivered, any more.
    pub expires_at_ms: Option<i64>,
}

/// A reward of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRewardRow {
    /// Its id.
    pub id: Uuid,
    /// The user, who may not have signed up yet.
    pub user_id: Uuid,
    /// The reward.
    pub reward_id: Uuid,
    /// The campaign.
    pub campaign_id: Uuid,
    /// The user's first, second and so on of this reward.
    pub ordinal: i64,
    /// pending, earned, delivered, redeemed, revoked or expired.
    pub status: String,
    /// Whether it was taken from what the reward has left.
    pub is_counted: bool,
    /// When it was earned, milliseconds since the epoch.
    pub earned_at_ms: Option<i64>,
}

impl Effect {
    /// A reward.
    pub async fn reward(&mut self, id: Uuid) -> Result<Option<RewardRow>, StoreError> {
        let row = sqlx::query(
            "SELECT id, campaign_id, name, description, type, delivery_method, webhook_id,
                    user_limit, status, starts_at_ms, expires_at_ms
             FROM rewards WHERE id = $1",
        )
        .bind(id.to_string())
        .fetch_optional(self.on())
        .await?;
        row.as_ref().map(reward).transpose()
    }

    /// A user's reward.
    pub async fn user_reward(&mut self, id: Uuid) -> Result<Option<UserRewardRow>, StoreError> {
        let row = sqlx::query(
            "SELECT id, user_id, reward_id, campaign_id, ordinal, status, is_counted, earned_at_ms
             FROM user_rewards WHERE id = $1",
        )
        .bind(id.to_string())
        .fetch_optional(self.on())
        .await?;
        row.as_ref().map(user_reward).transpose()
    }
}

fn reward(row: &AnyRow) -> Result<RewardRow, StoreError> {
    Ok(RewardRow {
        id: super::id_at(row, "id")?,
        campaign_id: super::id_at(row, "campaign_id")?,
        name: row.try_get("name")?,
        description: row.try_get("description")?,
        kind: row.try_get("type")?,
        delivery_method: row.try_get("delivery_method")?,
        webhook_id: super::maybe_id_at(row, "webhook_id")?,
        user_limit: row.try_get("user_limit")?,
        status: row.try_get("status")?,
        starts_at_ms: row.try_get("starts_at_ms")?,
        expires_at_ms: row.try_get("expires_at_ms")?,
    })
}

fn user_reward(row: &AnyRow) -> Result<UserRewardRow, StoreError> {
    Ok(UserRewardRow {
        id: super::id_at(row, "id")?,
        user_id: super::id_at(row, "user_id")?,
        reward_id: super::id_at(row, "reward_id")?,
        campaign_id: super::id_at(row, "campaign_id")?,
        ordinal: row.try_get("ordinal")?,
        status: row.try_get("status")?,
        is_counted: row.try_get::<i64, _>("is_counted")? != 0,
        earned_at_ms: row.try_get("earned_at_ms")?,
    })
}

#[cfg(test)]
mod tests;
