//! Referrals: pairs of users, and what follows from them for the one who referred.

use sqlx::Row as _;
use uuid::Uuid;

use crate::store::{Effect, StoreError};

/// A user who joined through another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReferral {
    /// The user who referred.
    pub referrer_id: Uuid,
    /// The user who joined.
    pub referred_id: Uuid,
    /// The campaign.
    pub campaign_id: Uuid,
    /// Where it was shared.
    pub source: Option<String>,
    /// Where the request came from.
    pub ip_address: Option<String>,
    /// When it happened, milliseconds since the epoch.
    pub at_ms: i64,
}

/// How many a user has referred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReferralCounts {
    /// All.
    pub all: i64,
    /// Those that have confirmed their address.
    pub verified: i64,
    /// The highest milestone that a mail was asked for.
    pub milestone: i64,
}

impl Effect {
    /// Writes a pair down, as verified if the referred user has confirmed the address already, and
    /// as invalid while a check for fraud keeps that user blocked. Returns false if it is there.
    pub async fn refer(&mut self, referral: &NewReferral) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO referrals
                 (referrer_id, referred_id, campaign_id, status, source, ip_address, created_at_ms,
                  invalid_by_fraud)
             SELECT $1, $2, $3,
                 CASE WHEN blocked.by_fraud <> 0 THEN 'invalid'
                      WHEN EXISTS (SELECT 1 FROM event_records
                                   WHERE event_type = 'user.verified' AND subject = $2)
                      THEN 'verified' ELSE 'pending' END,
                 $4, $5, $6, blocked.by_fraud
             FROM (SELECT COUNT(*) AS by_fraud FROM waitlist_users
                   WHERE id = $2 AND status = 'blocked' AND blocked_by_fraud = 1) AS blocked
             WHERE 1 = 1
             ON CONFLICT DO NOTHING",
        )
        .bind(referral.referrer_id.to_string())
        .bind(referral.referred_id.to_string())
        .bind(referral.campaign_id.to_string())
        .bind(referral.source.as_deref())
        .bind(referral.ip_address.as_deref())
        .bind(referral.at_ms)
        .execute(self.on())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Those who have referred a user: one, as a rule.
    pub async fn referrers_of(&mut self, user_id: Uuid) -> Result<Vec<Uuid>, StoreError> {
        let rows = sqlx::query("SELECT referrer_id FROM referrals WHERE referred_id = $1")
            .bind(user_id.to_string())
            .fetch_all(self.on())
            .await?;
        rows.iter().map(|row| super::id_at(row, "referrer_id")).collect()
    }

    /// The referrals of a user who has confirmed the address are verified. Returns whether one
    /// was not.
    pub async fn verify_referrals_of(&mut self, user_id: Uuid) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE referrals SET status = 'verified'
             WHERE referred_id = $1 AND status = 'pending'",
        )
        .bind(user_id.to_string())
        .execute(self.on())
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Counts anew how many a user has referred. None if the user has not signed up yet: signing
    /// up counts them.
    pub async fn count_referrals(
        &mut self,
        referrer_id: Uuid,
    ) -> Result<Option<ReferralCounts>, StoreError> {
        let id = referrer_id.to_string();
        sqlx::query(
            "UPDATE waitlist_users SET
                 referral_count = (SELECT COUNT(*) FROM referrals
                                   WHERE referrer_id = $1 AND status <> 'invalid'),
                 verified_referral_count = (SELECT COUNT(*) FROM referrals
                                            WHERE referrer_id = $1
                                              AND status IN ('verified', 'converted'))
             WHERE id = $1",
        )
        .bind(id.as_str())
        .execute(self.on())
        .await?;
        self.referral_counts(&id).await
    }

    /// Notes that a mail is asked for which tells of this milestone.
    pub async fn reach_milestone(
        &mut self,
        user_id: Uuid,
        milestone: i64,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE waitlist_users SET milestone = $1 WHERE id = $2")
            .bind(milestone)
            .bind(user_id.to_string())
            .execute(self.on())
            .await?;
        Ok(())
    }

    async fn referral_counts(&mut self, id: &str) -> Result<Option<ReferralCounts>, StoreError> {
        let row = sqlx::query(
            "SELECT referral_count, verified_referral_count, milestone
             FROM waitlist_users WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(self.on())
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(ReferralCounts {
            all: row.try_get(0)?,
            verified: row.try_get(1)?,
            milestone: row.try_get(2)?,
        }))
    }
}
