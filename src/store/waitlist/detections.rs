//! Signs of fraud that were found, what somebody has decided of them, and the users who are
//! blocked for it.

use sqlx::Row as _;
use uuid::Uuid;

use crate::store::{Effect, StoreError};

/// What a check has found of a user.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NewDetection<'a> {
    /// The campaign.
    pub campaign_id: Uuid,
    /// The user.
    pub user_id: Uuid,
    /// What it looks like, in a word.
    pub detection_type: &'a str,
    /// From 0 to 1: how sure it is.
    pub confidence: f64,
    /// JSON that says why.
    pub details: &'a str,
    /// When it was found.
    pub at_ms: i64,
}

/// What was found of a user before.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectionRow {
    /// What it looks like, in a word.
    pub detection_type: String,
    /// From 0 to 1: how sure it is.
    pub confidence: f64,
    /// JSON that says why.
    pub details: String,
    /// pending, confirmed, `false_positive` or resolved.
    pub status: String,
}

impl Effect {
    /// From how much confidence on the campaign blocks users; none: it blocks nobody.
    pub async fn block_threshold(&mut self, campaign_id: Uuid) -> Result<Option<f64>, StoreError> {
        let row = sqlx::query("SELECT fraud_block_threshold FROM campaigns WHERE id = $1")
            .bind(campaign_id.to_string())
            .fetch_optional(self.on())
            .await?;
        match row {
            Some(row) => Ok(row.try_get(0)?),
            None => Ok(None),
        }
    }

    /// Writes down what was found. What is known of it already stays as it is, and what somebody
    /// has decided of too.
    pub async fn detect(&mut self, found: &NewDetection<'_>) -> Result<(), StoreError> {
        let id = Uuid::new_v5(&found.user_id, found.detection_type.as_bytes());
        sqlx::query(
            "INSERT INTO fraud_detections
                 (id, campaign_id, user_id, detection_type, confidence, details, status,
                  created_at_ms, updated_at_ms)
             VALUES ($1, $2, $3, $4, $5, $6, 'pending', $7, $7)
             ON CONFLICT (user_id, detection_type) DO UPDATE SET
                 confidence = excluded.confidence, details = excluded.details,
                 updated_at_ms = excluded.updated_at_ms
             WHERE fraud_detections.status = 'pending'
               AND (fraud_detections.confidence <> excluded.confidence
                    OR fraud_detections.details <> excluded.details)",
        )
        .bind(id.to_string())
        .bind(found.campaign_id.to_string())
        .bind(found.user_id.to_string())
        .bind(found.detection_type)
        .bind(found.confidence)
        .bind(found.details)
        .bind(found.at_ms)
        .execute(self.on())
        .await?;
        Ok(())
    }

    /// All that was found of a user.
    pub async fn detections_of(&mut self, user_id: Uuid) -> Result<Vec<DetectionRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT detection_type, confidence, details, status FROM fraud_detections
             WHERE user_id = $1 ORDER BY detection_type",
        )
        .bind(user_id.to_string())
        .fetch_all(self.on())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(DetectionRow {
                    detection_type: row.try_get("detection_type")?,
                    confidence: row.try_get("confidence")?,
                    details: row.try_get("details")?,
                    status: row.try_get("status")?,
                })
            })
            .collect()
    }

    /// A user who is on the list is blocked. Returns whether that is new.
    pub async fn block_user(&mut self, id: Uuid) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE waitlist_users SET status = 'blocked', blocked_by_fraud = 1
             WHERE id = $1 AND status IN ('pending', 'verified')",
        )
        .bind(id.to_string())
        .execute(self.on())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// A user whom a check has blocked is on the list again. Returns whether that is new.
    pub async fn let_in_again(&mut self, id: Uuid) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE waitlist_users SET
                 status = CASE WHEN email_verified <> 0 THEN 'verified' ELSE 'pending' END,
                 blocked_by_fraud = 0
             WHERE id = $1 AND status = 'blocked' AND blocked_by_fraud = 1",
        )
        .bind(id.to_string())
        .execute(self.on())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// The referrals by which a blocked user came count no more. Returns whether one did.
    pub async fn invalidate_referrals_of(&mut self, user_id: Uuid) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE referrals SET status = 'invalid', invalid_by_fraud = 1
             WHERE referred_id = $1 AND status IN ('pending', 'verified')",
        )
        .bind(user_id.to_string())
        .execute(self.on())
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// The referrals of a user count again that did not because a check had blocked the user.
    /// Returns whether there was one.
    pub async fn restore_referrals_of(&mut self, user_id: Uuid) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE referrals SET
                 status = CASE WHEN EXISTS (SELECT 1 FROM event_records
                                            WHERE event_type = 'user.verified' AND subject = $1)
                               THEN 'verified' ELSE 'pending' END,
                 invalid_by_fraud = 0
             WHERE referred_id = $1 AND status = 'invalid' AND invalid_by_fraud = 1",
        )
        .bind(user_id.to_string())
        .execute(self.on())
        .await?;
        Ok(done.rows_affected() > 0)
    }
}
