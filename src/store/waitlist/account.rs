//! What there is of a campaign, counted from the rows themselves, to be held against each other.

use sqlx::Row as _;
use uuid::Uuid;

use crate::store::{Store, StoreError};

/// What there is of a campaign.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CampaignAccount {
    /// Events that were written down.
    pub signups: i64,
    /// The same.
    pub verified: i64,
    /// The same.
    pub referrals: i64,
    /// The same.
    pub rewards_earned: i64,
    /// What the hours of the analytics add up to, in the order of their columns: signups, verified,
    /// referrals, mails, rewards earned, rewards delivered.
    pub analytics: [i64; 6],
    /// Mails that went out.
    pub mails: i64,
    /// Mails that were not to.
    pub mails_skipped: i64,
    /// Of both, those that tell of a reward.
    pub reward_mails: i64,
    /// Users.
    pub users: i64,
    /// Those who are blocked.
    pub blocked: i64,
    /// Those who stand on the list.
    pub listed: i64,
    /// How many different places these have.
    pub places: i64,
    /// The lowest number of a place.
    pub first_place: i64,
    /// The highest.
    pub last_place: i64,
    /// Signs of fraud that were found.
    pub detections: i64,
    /// Rewards that users have, whatever became of them.
    pub rewards: i64,
    /// Those that were delivered.
    pub rewards_delivered: i64,
    /// Of these, those that go out by mail.
    pub rewards_mailed: i64,
    /// Those that wait for a person.
    pub rewards_by_hand: i64,
    /// Those that are kept back, since the user is blocked or removed.
    pub rewards_kept: i64,
    /// Webhook jobs that have succeeded.
    pub webhooks_delivered: i64,
    /// Attempts of webhooks that have failed.
    pub webhooks_failed: i64,
}

impl CampaignAccount {
    /// The columns of the query, in its order.
    fn of(row: &sqlx::any::AnyRow) -> Result<Self, StoreError> {
        let mut at = 0..;
        let mut next =
            || -> Result<i64, StoreError> { Ok(row.try_get(at.next().unwrap_or(usize::MAX))?) };
        Ok(Self {
            signups: next()?,
            verified: next()?,
            referrals: next()?,
            rewards_earned: next()?,
            analytics: [next()?, next()?, next()?, next()?, next()?, next()?],
            mails: next()?,
            mails_skipped: next()?,
            reward_mails: next()?,
            users: next()?,
            blocked: next()?,
            listed: next()?,
            places: next()?,
            first_place: next()?,
            last_place: next()?,
            detections: next()?,
            rewards: next()?,
            rewards_delivered: next()?,
            rewards_mailed: next()?,
            rewards_by_hand: next()?,
            rewards_kept: next()?,
            webhooks_delivered: next()?,
            webhooks_failed: next()?,
        })
    }
}

/// One look at all of it: what is counted apart would not belong together.
const ACCOUNT: &str = "
    SELECT * FROM
    (SELECT CAST(COALESCE(SUM(CASE WHEN event_type = 'user.signup' THEN 1 ELSE 0 END), 0) AS BIGINT),
        CAST(COALESCE(SUM(CASE WHEN event_type = 'user.verified' THEN 1 ELSE 0 END), 0) AS BIGINT),
        CAST(COALESCE(SUM(CASE WHEN event_type = 'referral.created' THEN 1 ELSE 0 END), 0) AS BIGINT),
        CAST(COALESCE(SUM(CASE WHEN event_type = 'reward.earned' THEN 1 ELSE 0 END), 0) AS BIGINT)
     FROM event_records WHERE campaign_id = $1) AS events
    CROSS JOIN
    (SELECT CAST(COALESCE(SUM(new_signups), 0) AS BIGINT),
        CAST(COALESCE(SUM(new_verified), 0) AS BIGINT),
        CAST(COALESCE(SUM(new_referrals), 0) AS BIGINT),
        CAST(COALESCE(SUM(emails_sent), 0) AS BIGINT),
        CAST(COALESCE(SUM(rewards_earned), 0) AS BIGINT),
        CAST(COALESCE(SUM(rewards_delivered), 0) AS BIGINT)
     FROM campaign_analytics WHERE campaign_id = $1 AND granularity = 'hour') AS analytics
    CROSS JOIN
    (SELECT CAST(COALESCE(SUM(CASE WHEN outcome = 'sent' THEN 1 ELSE 0 END), 0) AS BIGINT),
        CAST(COALESCE(SUM(CASE WHEN outcome = 'skipped' THEN 1 ELSE 0 END), 0) AS BIGINT),
        CAST(COALESCE(SUM(CASE WHEN kind = 'reward-earned' THEN 1 ELSE 0 END), 0) AS BIGINT)
     FROM sent_emails WHERE campaign_id = $1) AS mails
    CROSS JOIN
    (SELECT COUNT(*),
        CAST(COALESCE(SUM(CASE WHEN status = 'blocked' THEN 1 ELSE 0 END), 0) AS BIGINT),
        CAST(COALESCE(SUM(CASE WHEN status IN ('pending', 'verified') THEN 1 ELSE 0 END), 0) AS BIGINT)
     FROM waitlist_users WHERE campaign_id = $1) AS users
    CROSS JOIN
    (SELECT COUNT(DISTINCT position), COALESCE(MIN(position), 0), COALESCE(MAX(position), 0)
     FROM waitlist_users
     WHERE campaign_id = $1 AND status IN ('pending', 'verified')) AS places
    CROSS JOIN
    (SELECT COUNT(*) FROM fraud_detections WHERE campaign_id = $1) AS detections
    CROSS JOIN
    (SELECT COUNT(*),
        CAST(COALESCE(SUM(CASE WHEN delivered_at_ms IS NOT NULL THEN 1 ELSE 0 END), 0) AS BIGINT),
        CAST(COALESCE(SUM(CASE WHEN delivered_at_ms IS NOT NULL AND delivery_method = 'email'
                               THEN 1 ELSE 0 END), 0) AS BIGINT),
        CAST(COALESCE(SUM(CASE WHEN user_rewards.status = 'earned' AND delivery_method = 'manual'
                               THEN 1 ELSE 0 END), 0) AS BIGINT),
        CAST(COALESCE(SUM(CASE WHEN user_rewards.status = 'earned' AND delivery_method <> 'manual'
                                    AND waitlist_users.status IN ('blocked', 'removed')
                               THEN 1 ELSE 0 END), 0) AS BIGINT)
     FROM user_rewards JOIN rewards ON rewards.id = reward_id
     LEFT JOIN waitlist_users ON waitlist_users.id = user_rewards.user_id
     WHERE user_rewards.campaign_id = $1) AS rewards
    CROSS JOIN
    (SELECT COUNT(DISTINCT CASE WHEN webhook_deliveries.status = 'succeeded' THEN message_id END),
        CAST(COALESCE(SUM(CASE WHEN webhook_deliveries.status = 'succeeded' THEN 0 ELSE 1 END), 0)
            AS BIGINT)
     FROM webhook_deliveries JOIN webhooks ON webhooks.id = webhook_id
     WHERE webhooks.campaign_id = $1) AS webhooks";

impl Store {
    /// Counts what there is of a campaign.
    pub async fn account_of(&self, campaign_id: Uuid) -> Result<CampaignAccount, StoreError> {
        let query = sqlx::query(ACCOUNT).bind(campaign_id.to_string());
        CampaignAccount::of(&query.fetch_one(&self.reader).await?)
    }

    /// How many jobs that something has asked for since then have not ended: they have no claim in
    /// one of these groups, and no dead letter.
    pub async fn followers_left(
        &self,
        since_ms: i64,
        groups: [&str; 7],
        dlq_topic: &str,
    ) -> Result<i64, StoreError> {
        let mut query = sqlx::query(
            "SELECT COUNT(*) FROM schedule WHERE created_at_ms >= $1 AND state <> 'cancelled'
                 AND NOT EXISTS (
                     SELECT 1 FROM claims WHERE claims.message_id = schedule.message_id
                         AND claims.scope IN ($3, $4, $5, $6, $7, $8, $9))
                 AND NOT EXISTS (
                     SELECT 1 FROM dead_letters
                     WHERE dlq_topic = $2 AND dead_letters.message_id = schedule.message_id)",
        )
        .bind(since_ms)
        .bind(dlq_topic);
        for group in groups {
            query = query.bind(group);
        }
        Ok(query.fetch_one(&self.reader).await?.try_get(0)?)
    }

    /// How many jobs of a type have dead letters since then, by the index: one whose worker is
    /// killed at that moment may have two.
    pub async fn letters_since(
        &self,
        since_ms: i64,
        type_name: &str,
        dlq_topic: &str,
    ) -> Result<i64, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(DISTINCT message_id) FROM dead_letters
             WHERE dlq_topic = $1 AND type_name = $2 AND failed_at_ms >= $3",
        )
        .bind(dlq_topic)
        .bind(type_name)
        .bind(since_ms)
        .fetch_one(&self.reader)
        .await?;
        Ok(row.try_get(0)?)
    }

    /// How many jobs of a type were asked for since then.
    pub async fn asked_since(&self, since_ms: i64, type_name: &str) -> Result<i64, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*) FROM schedule
             WHERE type_name = $1 AND created_at_ms >= $2 AND retry_group IS NULL",
        )
        .bind(type_name)
        .bind(since_ms)
        .fetch_one(&self.reader)
        .await?;
        Ok(row.try_get(0)?)
    }
}
