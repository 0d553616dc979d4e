//! Who is granted a reward, and that there is no more of it than there is.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::LazyLock;

use sqlx::Row as _;
use sqlx::any::AnyRow;
use uuid::Uuid;

use crate::store::waitlist::id_at;
use crate::store::{Effect, ReferralCounts, StoreError};

/// Rewards of a campaign that one event, or one run, looks at: more than anybody reads in a mail.
/// Those that ask for least come first, and who has all of a reward is not asked about it again.
const RULES_MAX: i64 = 100;
/// Rows that one statement writes: its text has a place for each, whether it is used or not.
const WRITTEN_AT_ONCE: usize = 100;

/// A user's reward that is to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewUserReward {
    /// Its id.
    pub id: Uuid,
    /// The user.
    pub user_id: Uuid,
    /// The reward.
    pub reward_id: Uuid,
    /// The campaign.
    pub campaign_id: Uuid,
    /// The user's first, second and so on.
    pub ordinal: i64,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granted {
    /// It is there, `pending`, and taken from what the reward had left.
    Yes,
    /// The user has it already, or somebody has its id.
    Known,
    /// The reward is not to be had now: it is sold out, or not active, or this is not its time.
    NotNow,
}

/// A reward that a user's referrals may earn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReferralRule {
    /// The reward.
    pub reward_id: Uuid,
    /// Whether milestones grant it, and not each so many referrals.
    pub is_milestone: bool,
    /// How many referrals it asks for; of milestones, none: each of the campaign's.
    pub value: Option<i64>,
    /// So many a user gets at most.
    pub user_limit: i64,
    /// What the user has referred.
    pub counts: ReferralCounts,
}

/// A reward for those in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PositionRule {
    /// The reward.
    pub reward_id: Uuid,
    /// The last place that gets it.
    pub value: i64,
}

/// Users who are granted one reward, with the ids of what they get.
#[derive(Debug, Clone, Copy)]
pub struct Grants<'a> {
    /// The reward.
    pub reward_id: Uuid,
    /// The campaign.
    pub campaign_id: Uuid,
    /// The user, and the id of the user's first of this reward.
    pub users: &'a [(Uuid, Uuid)],
}

/// That a reward `rewards` is to be had at the time `$now`; a literal, since sqlx takes no text
/// that was put together.
macro_rules! to_be_had {
    ($start:literal, $now:literal, $end:literal) => {
        concat!(
            $start,
            " rewards.status = 'active'
              AND (rewards.starts_at_ms IS NULL OR rewards.starts_at_ms <= ",
            $now,
            ") AND (rewards.expires_at_ms IS NULL OR rewards.expires_at_ms > ",
            $now,
            ") AND (rewards.total_available IS NULL
                    OR rewards.total_claimed < rewards.total_available) ",
            $end
        )
    };
}

static WRITE: LazyLock<String> = LazyLock::new(write_text);

impl Effect {
    /// Rewards that this user's referrals may earn and that the user does not have all of. Nobody
    /// who was removed or blocked earns any.
    pub async fn referral_rules(
        &mut self,
        user_id: Uuid,
        now_ms: i64,
    ) -> Result<Vec<ReferralRule>, StoreError> {
        let rows = sqlx::query(to_be_had!(
            "SELECT rewards.id, rewards.trigger_type, rewards.trigger_value, rewards.user_limit,
                    waitlist_users.referral_count, waitlist_users.verified_referral_count,
                    waitlist_users.milestone
             FROM waitlist_users
             JOIN rewards ON rewards.campaign_id = waitlist_users.campaign_id
             WHERE waitlist_users.id = $1
               AND waitlist_users.status NOT IN ('removed', 'blocked')
               AND waitlist_users.referral_count > 0
               AND rewards.trigger_type IN ('referral_count', 'milestone') AND",
            "$2",
            "AND rewards.user_limit > (SELECT COUNT(*) FROM user_rewards
                                       WHERE user_rewards.user_id = $1
                                         AND user_rewards.reward_id = rewards.id)
             ORDER BY COALESCE(rewards.trigger_value, 0), rewards.id LIMIT $3"
        ))
        .bind(user_id.to_string())
        .bind(now_ms)
        .bind(RULES_MAX)
        .fetch_all(self.on())
        .await?;
        let mut rules: Vec<ReferralRule> =
            rows.iter().map(referral_rule).collect::<Result<_, _>>()?;
        // Everybody takes rewards in one order, so that nobody waits in a circle.
        rules.sort_unstable_by_key(|rule| rule.reward_id);
        Ok(rules)
    }

    /// Rewards of the campaign for those in front.
    pub async fn position_rules(
        &mut self,
        campaign_id: Uuid,
        now_ms: i64,
    ) -> Result<Vec<PositionRule>, StoreError> {
        let rows = sqlx::query(to_be_had!(
            "SELECT id, trigger_value FROM rewards
             WHERE campaign_id = $1 AND trigger_type = 'position' AND",
            "$2",
            "ORDER BY id LIMIT $3"
        ))
        .bind(campaign_id.to_string())
        .bind(now_ms)
        .bind(RULES_MAX)
        .fetch_all(self.on())
        .await?;
        let rule = |row: &AnyRow| {
            Ok(PositionRule { reward_id: id_at(row, "id")?, value: row.try_get("trigger_value")? })
        };
        rows.iter().map(rule).collect()
    }

    /// Users whose place is good enough and who do not have the reward: so many at most, those in
    /// front first.
    pub async fn users_in_front(
        &mut self,
        campaign_id: Uuid,
        rule: PositionRule,
        most: usize,
    ) -> Result<Vec<Uuid>, StoreError> {
        let rows = sqlx::query(
            "SELECT listed.id FROM waitlist_users AS listed
             WHERE listed.campaign_id = $1 AND listed.position > 0 AND listed.position <= $2
               AND NOT EXISTS (SELECT 1 FROM user_rewards AS had
                               WHERE had.user_id = listed.id AND had.reward_id = $3)
             ORDER BY listed.position LIMIT $4",
        )
        .bind(campaign_id.to_string())
        .bind(rule.value)
        .bind(rule.reward_id.to_string())
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .fetch_all(self.on())
        .await?;
        rows.iter().map(|row| id_at(row, "id")).collect()
    }

    /// The ordinals that a user has of a reward.
    pub async fn ordinals(
        &mut self,
        user_id: Uuid,
        reward_id: Uuid,
    ) -> Result<BTreeSet<i64>, StoreError> {
        let rows =
            sqlx::query("SELECT ordinal FROM user_rewards WHERE user_id = $1 AND reward_id = $2")
                .bind(user_id.to_string())
                .bind(reward_id.to_string())
                .fetch_all(self.on())
                .await?;
        Ok(rows.iter().map(|row| row.try_get("ordinal")).collect::<Result<_, _>>()?)
    }

    /// Takes one from what a reward has left. Returns false where it is not to be had now.
    pub async fn take_reward(&mut self, id: Uuid, now_ms: i64) -> Result<bool, StoreError> {
        let done = sqlx::query(to_be_had!(
            "UPDATE rewards SET total_claimed = total_claimed + 1 WHERE id = $1 AND",
            "$2",
            ""
        ))
        .bind(id.to_string())
        .bind(now_ms)
        .execute(self.on())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Takes one for a row that somebody has put there without. Returns false where it is not to
    /// be had now.
    pub async fn count_user_reward(
        &mut self,
        (id, reward_id): (Uuid, Uuid),
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        if !self.take_reward(reward_id, now_ms).await? {
            return Ok(false);
        }
        let done =
            sqlx::query("UPDATE user_rewards SET is_counted = 1 WHERE id = $1 AND is_counted = 0")
                .bind(id.to_string())
                .execute(self.on())
                .await?;
        if done.rows_affected() == 0 {
            // Somebody was quicker.
            self.add_to_claimed(reward_id, -1).await?;
        }
        Ok(true)
    }

    /// Grants a reward to a user.
    pub async fn grant(&mut self, new: &NewUserReward, now_ms: i64) -> Result<Granted, StoreError> {
        if !self.take_reward(new.reward_id, now_ms).await? {
            return Ok(Granted::NotNow);
        }
        let done = sqlx::query(
            "INSERT INTO user_rewards
                 (id, user_id, reward_id, campaign_id, ordinal, status, is_counted)
             VALUES ($1, $2, $3, $4, $5, 'pending', 1)
             ON CONFLICT DO NOTHING",
        )
        .bind(new.id.to_string())
        .bind(new.user_id.to_string())
        .bind(new.reward_id.to_string())
        .bind(new.campaign_id.to_string())
        .bind(new.ordinal)
        .execute(self.on())
        .await?;
        if done.rows_affected() == 1 {
            return Ok(Granted::Yes);
        }
        self.add_to_claimed(new.reward_id, -1).await?;
        Ok(Granted::Known)
    }

    /// Grants a reward to many users: the first of them, where there are not enough for all.
    /// Returns those who have got it, with the id of what they got.
    pub async fn grant_many(
        &mut self,
        grants: Grants<'_>,
        now_ms: i64,
    ) -> Result<Vec<(Uuid, Uuid)>, StoreError> {
        let Grants { reward_id, campaign_id, users } = grants;
        // Nobody else takes any until the end of the transaction.
        let left = sqlx::query(to_be_had!(
            "UPDATE rewards SET total_claimed = total_claimed WHERE id = $1 AND",
            "$2",
            "RETURNING total_available - total_claimed AS remaining"
        ))
        .bind(reward_id.to_string())
        .bind(now_ms)
        .fetch_optional(self.on())
        .await?;
        let Some(left) = left else { return Ok(Vec::new()) };
        let left: Option<i64> = left.try_get("remaining")?;
        let most = left.map_or(users.len(), |left| usize::try_from(left).unwrap_or(0));
        let mut granted = Vec::new();
        for some in users.get(..most.min(users.len())).unwrap_or(users).chunks(WRITTEN_AT_ONCE) {
            let mut query = sqlx::query(WRITE.as_str())
                .bind(reward_id.to_string())
                .bind(campaign_id.to_string());
            for place in 0..WRITTEN_AT_ONCE {
                let ids = some.get(place);
                query = query
                    .bind(ids.map(|(user, _)| user.to_string()))
                    .bind(ids.map(|(_, id)| id.to_string()));
            }
            for row in query.fetch_all(self.on()).await? {
                granted.push((id_at(&row, "user_id")?, id_at(&row, "id")?));
            }
        }
        let count = i64::try_from(granted.len()).unwrap_or(i64::MAX);
        self.add_to_claimed(reward_id, count).await?;
        Ok(granted)
    }

    async fn add_to_claimed(&mut self, reward_id: Uuid, count: i64) -> Result<(), StoreError> {
        sqlx::query("UPDATE rewards SET total_claimed = total_claimed + $1 WHERE id = $2")
            .bind(count)
            .bind(reward_id.to_string())
            .execute(self.on())
            .await?;
        Ok(())
    }
}

fn referral_rule(row: &AnyRow) -> Result<ReferralRule, StoreError> {
    Ok(ReferralRule {
        reward_id: id_at(row, "id")?,
        is_milestone: row.try_get::<String, _>("trigger_type")? == "milestone",
        value: row.try_get("trigger_value")?,
        user_limit: row.try_get("user_limit")?,
        counts: ReferralCounts {
            all: row.try_get("referral_count")?,
            verified: row.try_get("verified_referral_count")?,
            milestone: row.try_get("milestone")?,
        },
    })
}

/// Writes that many first rewards of users; both databases call the columns of rows that come as
/// parameters column1 and so on.
fn write_text() -> String {
    let mut text = "INSERT INTO user_rewards
             (id, user_id, reward_id, campaign_id, ordinal, status, is_counted)
         SELECT v.column2, v.column1, CAST($1 AS TEXT), CAST($2 AS TEXT), 1, 'pending', 1
         FROM (VALUES "
        .to_owned();
    for place in 0..WRITTEN_AT_ONCE {
        let comma = if place == 0 { "" } else { ", " };
        let (user, id) = (2 * place + 3, 2 * place + 4);
        // Writing to a string does not fail.
        let _ = write!(text, "{comma}(CAST(${user} AS TEXT), CAST(${id} AS TEXT))");
    }
    text + ") AS v WHERE v.column1 IS NOT NULL ON CONFLICT DO NOTHING RETURNING id, user_id"
}
