//! Rewards that are earned by what happened: whoever is due one gets its row at once, in the effect
//! that made it due, and the event `reward.earned` tells of it.

use chrono::DateTime;
use uuid::Uuid;

use super::database_away;
use super::fan_out::FanOut;
use super::milestones::counted;
use crate::domain::handler::{Job, Outcome};
use crate::store::{CampaignRow, Effect, Granted, Grants, NewUserReward, ReferralRule};
use crate::waitlist::events::reward_earned::RewardEarned;

/// The event.
const EARNED: &str = "reward.earned";
/// How often one reward is granted to a user in one effect; the rest comes with the next referral.
/// A reward for each referral that is new, and a user who has very many, must not hold up others.
const AT_ONCE_MAX: usize = 100;
/// Rewards that one run of a campaign's positions grants. Their events are written with the
/// places, which must not take too long; the run asks for another one where there may be more.
pub(super) const GRANTED_MAX: usize = 1_000;

/// Grants what is due.
pub(super) struct Rewards<'a> {
    pub(super) fan_out: &'a FanOut,
    /// What made it due.
    pub(super) job: &'a Job,
}

impl Rewards<'_> {
    /// What a user's referrals have earned, once they are counted. An effect that counts for
    /// several users does so before it grants anything: rewards are locked last.
    pub(super) async fn for_referrals(
        &self,
        effect: &mut Effect,
        campaign: &CampaignRow,
        user_id: Uuid,
    ) -> Result<(), Outcome> {
        let now_ms = self.fan_out.now_ms();
        for rule in effect.referral_rules(user_id, now_ms).await.map_err(database_away)? {
            let due = due(campaign, &rule);
            if due == 0 {
                continue;
            }
            let had = effect.ordinals(user_id, rule.reward_id).await.map_err(database_away)?;
            let missing = (1..=due).filter(|ordinal| !had.contains(ordinal)).take(AT_ONCE_MAX);
            for ordinal in missing {
                let new = NewUserReward {
                    id: id_of(user_id, rule.reward_id, ordinal),
                    user_id,
                    reward_id: rule.reward_id,
                    campaign_id: campaign.id,
                    ordinal,
                };
                match effect.grant(&new, now_ms).await.map_err(database_away)? {
                    Granted::Yes => {
                        self.tell(effect, campaign.id, rule.reward_id, (user_id, new.id)).await?;
                    }
                    Granted::Known => {}
                    Granted::NotNow => break,
                }
            }
        }
        Ok(())
    }

    /// What those in front of a campaign's list have earned, once their places are written.
    /// Returns how many rewards were granted; if it is [`GRANTED_MAX`] there may be more.
    pub(super) async fn for_positions(
        &self,
        effect: &mut Effect,
        campaign_id: Uuid,
    ) -> Result<usize, Outcome> {
        let now_ms = self.fan_out.now_ms();
        let mut count = 0;
        for rule in effect.position_rules(campaign_id, now_ms).await.map_err(database_away)? {
            let users = effect.users_in_front(campaign_id, rule, GRANTED_MAX - count).await;
            let users: Vec<(Uuid, Uuid)> = users
                .map_err(database_away)?
                .into_iter()
                .map(|user_id| (user_id, id_of(user_id, rule.reward_id, 1)))
                .collect();
            if users.is_empty() {
                continue;
            }
            let grants = Grants { reward_id: rule.reward_id, campaign_id, users: &users };
            for one in effect.grant_many(grants, now_ms).await.map_err(database_away)? {
                self.tell(effect, campaign_id, rule.reward_id, one).await?;
                count += 1;
            }
            if count >= GRANTED_MAX {
                break;
            }
        }
        Ok(count)
    }

    /// Publishes that it was earned, as the schedule's next record: the event earns it, counts it,
    /// and has it delivered.
    async fn tell(
        &self,
        effect: &mut Effect,
        campaign_id: Uuid,
        reward_id: Uuid,
        (user_id, user_reward_id): (Uuid, Uuid),
    ) -> Result<(), Outcome> {
        let earned = RewardEarned {
            campaign_id,
            user_id,
            reward_id,
            user_reward_id,
            timestamp: DateTime::from_timestamp_millis(self.fan_out.now_ms()).unwrap_or_default(),
            metadata: None,
        };
        // Its key is the user, who may earn several at once.
        let name = user_reward_id.to_string();
        self.fan_out.ask_for(effect, self.job, EARNED, Some(&name), &earned).await
    }
}

/// How many of a reward a user is due: of what is earned with referrals, one for each so many; of
/// a milestone one, and where none is named, one for each of the campaign's.
fn due(campaign: &CampaignRow, rule: &ReferralRule) -> i64 {
    let count = counted(campaign, rule.counts);
    let due = match rule.value {
        Some(value) if rule.is_milestone => i64::from(count >= value),
        Some(value) => count.checked_div(value).unwrap_or(0),
        None => {
            let reached = campaign.milestones.iter().filter(|milestone| **milestone <= count);
            i64::try_from(reached.count()).unwrap_or(i64::MAX)
        }
    };
    due.min(rule.user_limit)
}

/// A user's reward has the same id however often it is granted.
fn id_of(user_id: Uuid, reward_id: Uuid, ordinal: i64) -> Uuid {
    Uuid::new_v5(&user_id, format!("reward/{reward_id}/{ordinal}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ReferralCounts;

    fn campaign(verification_required: bool) -> CampaignRow {
        CampaignRow {
            id: Uuid::nil(),
            name: String::new(),
            verification_required,
            positions_to_jump: 0,
            referrer_positions_to_jump: 1,
            position_update_threshold: 1,
            milestones: vec![1, 5, 10],
            site_url: None,
        }
    }

    #[test]
    fn so_many_are_due_as_the_referrals_that_count_have_earned() {
        let table = [
            // Milestone, value, limit; all and verified; due.
            ((false, Some(5), 1), (9, 4), 0),
            ((false, Some(5), 1), (9, 5), 1),
            ((false, Some(5), 1), (99, 12), 1),
            ((false, Some(5), 3), (99, 12), 2),
            ((false, Some(5), 3), (99, 99), 3),
            ((true, Some(5), 3), (99, 4), 0),
            ((true, Some(5), 3), (99, 12), 1),
            ((true, None, 9), (99, 0), 0),
            ((true, None, 9), (99, 7), 2),
            ((true, None, 2), (99, 50), 2),
        ];
        for ((is_milestone, value, user_limit), (all, verified), expected) in table {
            let counts = ReferralCounts { all, verified, milestone: 0 };
            let rule =
                ReferralRule { reward_id: Uuid::nil(), is_milestone, value, user_limit, counts };
            assert_eq!(due(&campaign(true), &rule), expected, "{rule:?}");
        }
        let counts = ReferralCounts { all: 5, verified: 0, milestone: 0 };
        let rule = ReferralRule {
            reward_id: Uuid::nil(),
            is_milestone: false,
            value: Some(5),
            user_limit: 1,
            counts,
        };
        assert_eq!(due(&campaign(false), &rule), 1, "where no address is confirmed all count");
    }

    #[test]
    fn the_same_is_granted_under_the_same_id() {
        let [user, other, reward] = [1, 2, 3].map(Uuid::from_u128);
        assert_eq!(id_of(user, reward, 1), id_of(user, reward, 1));
        assert_ne!(id_of(user, reward, 1), id_of(user, reward, 2));
        assert_ne!(id_of(user, reward, 1), id_of(other, reward, 1));
    }
}
