//! Webhooks: where customers want to be told of events.

use sqlx::Row as _;
use sqlx::any::AnyRow;
use uuid::Uuid;

use crate::store::{Effect, Store, StoreError};

/// A webhook, as its delivery must know it.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookRow {
    /// Its id.
    pub id: Uuid,
    /// Where to.
    pub url: String,
    /// What its requests are signed with.
    pub secret: String,
    /// The secret before this one.
    pub previous_secret: Option<String>,
    /// Until when requests are signed with that one too.
    pub previous_secret_until_ms: Option<i64>,
    /// Whether it is to be told anything.
    pub status: WebhookStatus,
    /// Why it is failed.
    pub disabled_reason: Option<String>,
    /// Attempts after the first.
    pub max_retries: Option<i64>,
    /// How long an attempt may take.
    pub timeout_ms: i64,
}

/// Whether a webhook is to be told anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookStatus {
    /// It is.
    Active,
    /// Somebody has paused it.
    Paused,
    /// It did not answer for days, or said that it is gone.
    Failed,
}

impl Store {
    /// A webhook.
    pub async fn webhook(&self, id: Uuid) -> Result<Option<WebhookRow>, StoreError> {
        let row = sqlx::query(
            "SELECT id, url, secret, previous_secret, previous_secret_until_ms, status,
                    disabled_reason, max_retries, timeout_ms
             FROM webhooks WHERE id = $1",
        )
        .bind(id.to_string())
        .fetch_optional(&self.reader)
        .await?;
        row.as_ref().map(webhook).transpose()
    }
}

impl Effect {
    /// Active webhooks of a campaign and of all campaigns, each with the events that it wants, as
    /// its row has them; the oldest, so many at most.
    pub async fn active_webhooks(
        &mut self,
        campaign_id: Uuid,
        webhooks_max: usize,
    ) -> Result<Vec<(Uuid, String)>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, events FROM webhooks
             WHERE status = 'active' AND (campaign_id = $1 OR campaign_id IS NULL)
             ORDER BY created_at_ms, id LIMIT $2",
        )
        .bind(campaign_id.to_string())
        .bind(i64::try_from(webhooks_max).unwrap_or(i64::MAX))
        .fetch_all(self.on())
        .await?;
        rows.iter().map(|row| Ok((super::id_at(row, "id")?, row.try_get("events")?))).collect()
    }
}

fn webhook(row: &AnyRow) -> Result<WebhookRow, StoreError> {
    let status: String = row.try_get("status")?;
    let status = match status.as_str() {
        "active" => WebhookStatus::Active,
        "paused" => WebhookStatus::Paused,
        "failed" => WebhookStatus::Failed,
        _ => return Err(StoreError::Corrupt { what: "status of a webhook" }),
    };
    Ok(WebhookRow {
        id: super::id_at(row, "id")?,
        url: row.try_get("url")?,
        secret: row.try_get("secret")?,
        previous_secret: row.try_get("previous_secret")?,
        previous_secret_until_ms: row.try_get("previous_secret_until_ms")?,
        status,
        disabled_reason: row.try_get("disabled_reason")?,
        max_retries: row.try_get("max_retries")?,
        timeout_ms: row.try_get("timeout_ms")?,
    })
}
