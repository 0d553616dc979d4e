//! Milestones: numbers of referrals that are worth a mail.

use serde_json::{Map, json};
use uuid::Uuid;

use super::database_away;
use super::fan_out::FanOut;
use crate::domain::handler::{Job, Outcome};
use crate::store::{CampaignRow, Effect, ReferralCounts};
use crate::waitlist::email::EmailKind;

/// Counts a user's referrals, and asks for a mail where that reaches a milestone.
pub(super) struct Milestones<'a> {
    pub(super) fan_out: &'a FanOut,
    pub(super) campaign: &'a CampaignRow,
    /// What changed the count.
    pub(super) job: &'a Job,
}

impl Milestones<'_> {
    /// A user who has not signed up yet is told when the next one comes.
    pub(super) async fn count(
        &self,
        effect: &mut Effect,
        referrer_id: Uuid,
    ) -> Result<(), Outcome> {
        let counts = effect.count_referrals(referrer_id).await.map_err(database_away)?;
        let Some(counts) = counts else { return Ok(()) };
        let Some(reached) = reached(self.campaign, counts) else { return Ok(()) };
        effect.reach_milestone(referrer_id, reached).await.map_err(database_away)?;
        let data = [
            ("milestone".to_owned(), json!(in_words(reached))),
            ("referral_count".to_owned(), json!(counted(self.campaign, counts))),
        ];
        let user = (self.campaign.id, referrer_id);
        let data: Map<_, _> = data.into_iter().collect();
        self.fan_out.ask_mail(effect, self.job, EmailKind::Milestone, user, data).await
    }
}

/// A milestone as its mail tells it.
pub(super) fn in_words(milestone: i64) -> String {
    let friends = if milestone == 1 { "friend" } else { "friends" };
    format!("{milestone} {friends}")
}

/// The referrals that count: where addresses are to be confirmed, those that have been.
pub(super) fn counted(campaign: &CampaignRow, counts: ReferralCounts) -> i64 {
    if campaign.verification_required { counts.verified } else { counts.all }
}

/// The highest milestone that is reached now and was not before.
pub(super) fn reached(campaign: &CampaignRow, counts: ReferralCounts) -> Option<i64> {
    let count = counted(campaign, counts);
    let reached = campaign.milestones.iter().copied().filter(|milestone| *milestone <= count);
    reached.max().filter(|milestone| *milestone > counts.milestone)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_milestone_is_reached_once_and_the_highest_counts() {
        let table = [
            ((0, 0, 0), None),
            ((1, 0, 0), None),
            ((1, 1, 0), Some(1)),
            ((1, 1, 1), None),
            ((9, 7, 1), Some(5)),
            ((12, 12, 0), Some(10)),
            ((4, 4, 5), None),
        ];
        for ((all, verified, milestone), expected) in table {
            let counts = ReferralCounts { all, verified, milestone };
            assert_eq!(reached(&campaign(true), counts), expected, "{counts:?}");
        }
        let unverified = ReferralCounts { all: 5, verified: 0, milestone: 1 };
        assert_eq!(reached(&campaign(false), unverified), Some(5));
    }
}
