//! Campaigns: their settings.

use sqlx::any::AnyRow;
use sqlx::{Any, Executor, Row as _};
use uuid::Uuid;

use crate::store::{Effect, Store, StoreError};

/// The name of a campaign that nobody has set up.
const NAMELESS: &str = "Waitlist";

/// A campaign's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CampaignRow {
    /// Its id.
    pub id: Uuid,
    /// What people know it by.
    pub name: String,
    /// Whether a user counts only once the address is confirmed.
    pub verification_required: bool,
    /// The score that a user who was referred starts with.
    pub positions_to_jump: i64,
    /// The score that each referral brings the referrer.
    pub referrer_positions_to_jump: i64,
    /// A user is mailed of a position that differs by so much from the last one told.
    pub position_update_threshold: i64,
    /// Numbers of referrals that are worth a mail, ascending.
    pub milestones: Vec<i64>,
    /// Where its own pages are, if it has its own.
    pub site_url: Option<String>,
}

impl CampaignRow {
    /// The name, if somebody has given it one.
    pub fn given_name(&self) -> Option<&str> {
        Some(self.name.as_str()).filter(|name| *name != NAMELESS)
    }
}

impl Store {
    /// A campaign.
    pub async fn campaign(&self, id: Uuid) -> Result<Option<CampaignRow>, StoreError> {
        find(&self.reader, id).await
    }
}

impl Effect {
    /// Whether a campaign is in the table.
    pub async fn has_campaign(&mut self, id: Uuid) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT 1 FROM campaigns WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(self.on())
            .await?;
        Ok(row.is_some())
    }

    /// A campaign. One that nobody has set up is there from now on, with the settings that the
    /// table gives: its events are facts, and whoever owns it can change them at any time.
    pub async fn campaign(&mut self, id: Uuid, now_ms: i64) -> Result<CampaignRow, StoreError> {
        if let Some(found) = find(self.on(), id).await? {
            return Ok(found);
        }
        sqlx::query(
            "INSERT INTO campaigns (id, name, slug, created_at_ms) VALUES ($1, $2, $1, $3)
             ON CONFLICT DO NOTHING",
        )
        .bind(id.to_string())
        .bind(NAMELESS)
        .bind(now_ms)
        .execute(self.on())
        .await?;
        find(self.on(), id).await?.ok_or(StoreError::Corrupt { what: "campaign" })
    }
}

async fn find<'e>(
    executor: impl Executor<'e, Database = Any>,
    id: Uuid,
) -> Result<Option<CampaignRow>, StoreError> {
    let row = sqlx::query(
        "SELECT id, name, verification_required, positions_to_jump, referrer_positions_to_jump,
                position_update_threshold, milestones, site_url
         FROM campaigns WHERE id = $1",
    )
    .bind(id.to_string())
    .fetch_optional(executor)
    .await?;
    row.as_ref().map(campaign).transpose()
}

fn campaign(row: &AnyRow) -> Result<CampaignRow, StoreError> {
    let milestones: String = row.try_get("milestones")?;
    let mut milestones: Vec<i64> = serde_json::from_str(&milestones)
        .map_err(|_| StoreError::Corrupt { what: "milestones of a campaign" })?;
    milestones.sort_unstable();
    Ok(CampaignRow {
        id: super::id_at(row, "id")?,
        name: row.try_get("name")?,
        verification_required: row.try_get::<i64, _>("verification_required")? != 0,
        positions_to_jump: row.try_get("positions_to_jump")?,
        referrer_positions_to_jump: row.try_get("referrer_positions_to_jump")?,
        position_update_threshold: row.try_get("position_update_threshold")?,
        milestones,
        site_url: row.try_get("site_url")?,
    })
}
