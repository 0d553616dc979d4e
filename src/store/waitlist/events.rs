//! What has happened, once each.

use uuid::Uuid;

use crate::store::{Effect, StoreError};

const HOUR_MS: i64 = 3_600_000;

/// What happens on a waitlist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A user joined.
    Signup,
    /// A user confirmed the address.
    Verified,
    /// A user joined through another one.
    Referral,
    /// A user earned a reward.
    RewardEarned,
}

impl EventKind {
    /// The event type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Signup => "user.signup",
            Self::Verified => "user.verified",
            Self::Referral => "referral.created",
            Self::RewardEarned => "reward.earned",
        }
    }
}

/// An event as it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// What happened.
    pub kind: EventKind,
    /// What it happened to; the same thing happens to it once.
    pub subject: String,
    /// The event's id.
    pub message_id: Uuid,
    /// The campaign.
    pub campaign_id: Uuid,
    /// The user.
    pub user_id: Uuid,
    /// Of a signup: the address in lower case, which counts once in a campaign.
    pub email_key: Option<String>,
    /// When it happened, milliseconds since the epoch.
    pub at_ms: i64,
}

impl Effect {
    /// Writes an event down. Returns false if the same has happened before, and then changes
    /// nothing.
    pub async fn record(&mut self, event: &EventRecord) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO event_records
                 (event_type, subject, message_id, campaign_id, user_id, email_key, at_ms, hour_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT DO NOTHING",
        )
        .bind(event.kind.as_str())
        .bind(event.subject.as_str())
        .bind(event.message_id.to_string())
        .bind(event.campaign_id.to_string())
        .bind(event.user_id.to_string())
        .bind(event.email_key.as_deref())
        .bind(event.at_ms)
        .bind(hour_of(event.at_ms))
        .execute(self.on())
        .await?;
        Ok(done.rows_affected() == 1)
    }
}

impl Effect {
    /// Whether the same has happened, whenever it was.
    pub async fn has_happened(&mut self, event: &EventRecord) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT 1 FROM event_records WHERE event_type = $1 AND subject = $2")
            .bind(event.kind.as_str())
            .bind(event.subject.as_str())
            .fetch_optional(self.on())
            .await?;
        Ok(row.is_some())
    }
}

/// The start of the hour, UTC, that a time is in.
pub(super) fn hour_of(at_ms: i64) -> i64 {
    at_ms.div_euclid(HOUR_MS).saturating_mul(HOUR_MS)
}
