//! What the owner of a campaign sets up. These rows are the platform's to write; jobgate itself
//! does so for its demo alone.

use uuid::Uuid;

use crate::store::{Store, StoreError};

/// A campaign, its settings as the table has them by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCampaign {
    /// The campaign.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// What a user who was referred starts with.
    pub positions_to_jump: i64,
    /// What each referral brings.
    pub referrer_positions_to_jump: i64,
    /// A user is mailed of a new position when it differs by so much.
    pub position_update_threshold: i64,
    /// When it was made, milliseconds since the epoch.
    pub created_at_ms: i64,
}

/// A reward that a campaign gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReward {
    /// The reward.
    pub id: Uuid,
    /// The campaign.
    pub campaign_id: Uuid,
    /// Its name.
    pub name: String,
    /// What it is, a sentence.
    pub description: String,
    /// `early_access`, `discount`, `premium_feature`, `merchandise` or `custom`.
    pub kind: String,
    /// `referral_count`, `position`, `milestone` or `manual`.
    pub trigger: String,
    /// How many referrals, or which place.
    pub trigger_value: Option<i64>,
    /// `email`, `webhook` or `manual`.
    pub delivery_method: String,
    /// Which endpoint is told, where the method is webhook.
    pub webhook_id: Option<Uuid>,
    /// How many there are; none: as many as are wanted.
    pub total_available: Option<i64>,
    /// When it was made, milliseconds since the epoch.
    pub created_at_ms: i64,
}

/// An endpoint of a customer.
#[derive(Clone, PartialEq, Eq)]
pub struct NewWebhook {
    /// The endpoint.
    pub id: Uuid,
    /// Whose events it is told.
    pub campaign_id: Uuid,
    /// Where it is.
    pub url: String,
    /// What the two share, `whsec_..`.
    pub secret: String,
    /// The events that it wants.
    pub events: Vec<String>,
    /// When it was made, milliseconds since the epoch.
    pub created_at_ms: i64,
}

impl Store {
    /// Sets up a campaign.
    pub async fn add_campaign(&self, campaign: &NewCampaign) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO campaigns
                 (id, name, slug, positions_to_jump, referrer_positions_to_jump,
                  position_update_threshold, created_at_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(campaign.id.to_string())
        .bind(campaign.name.as_str())
        .bind(campaign.id.to_string())
        .bind(campaign.positions_to_jump)
        .bind(campaign.referrer_positions_to_jump)
        .bind(campaign.position_update_threshold)
        .bind(campaign.created_at_ms)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Sets up a reward.
    pub async fn add_reward(&self, reward: &NewReward) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO rewards
                 (id, campaign_id, name, description, type, trigger_type, trigger_value,
                  delivery_method, webhook_id, total_available, created_at_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(reward.id.to_string())
        .bind(reward.campaign_id.to_string())
        .bind(reward.name.as_str())
        .bind(reward.description.as_str())
        .bind(reward.kind.as_str())
        .bind(reward.trigger.as_str())
        .bind(reward.trigger_value)
        .bind(reward.delivery_method.as_str())
        .bind(reward.webhook_id.map(|id| id.to_string()))
        .bind(reward.total_available)
        .bind(reward.created_at_ms)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Sets up an endpoint.
    pub async fn add_webhook(&self, webhook: &NewWebhook) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO webhooks (id, campaign_id, url, secret, events, created_at_ms)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(webhook.id.to_string())
        .bind(webhook.campaign_id.to_string())
        .bind(webhook.url.as_str())
        .bind(webhook.secret.as_str())
        .bind(serde_json::Value::from(webhook.events.clone()).to_string())
        .bind(webhook.created_at_ms)
        .execute(&self.writer)
        .await?;
        Ok(())
    }
}
