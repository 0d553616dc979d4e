//! `user.verified`: the user counts, also for whoever referred the user, and is welcomed.

use futures_util::future::BoxFuture;
use serde_json::Map;
use uuid::Uuid;

use super::fan_out::FanOut;
use super::milestones::Milestones;
use super::{Attempt, database_away, end, of_another_campaign};
use crate::domain::handler::{Handler, Job, Outcome};
use crate::store::{EventKind, EventRecord, Store};
use crate::waitlist::email::EmailKind;
use crate::waitlist::events::user_verified::UserVerified;
use crate::waitlist::position::PositionRecalculation;

/// Confirms users.
pub(super) struct Verify {
    store: Store,
    fan_out: FanOut,
}

impl Verify {
    pub(super) fn new(store: &Store, fan_out: &FanOut) -> Self {
        Self { store: store.clone(), fan_out: fan_out.clone() }
    }

    async fn verify(&self, job: &Job) -> Attempt {
        let verified: UserVerified = job.payload()?;
        let (id, campaign_id) = (verified.user_id, verified.campaign_id);
        let now_ms = self.fan_out.now_ms();
        let effect = self.store.effect(&job.scope, job.id, now_ms).await.map_err(database_away)?;
        let Some(mut effect) = effect else { return Ok(Outcome::AlreadyDone) };
        let mut subjects = effect.referrers_of(id).await.map_err(database_away)?;
        subjects.push(id);
        effect.take_turns(&subjects).await.map_err(database_away)?;
        // From here on nobody refers the user beside this, but somebody may have until now.
        let referrers = effect.referrers_of(id).await.map_err(database_away)?;
        effect.take_turns(&referrers).await.map_err(database_away)?;
        let campaign = effect.campaign(campaign_id, now_ms).await.map_err(database_away)?;
        let event = event(job.id, &verified);
        let at_ms = event.at_ms;
        if effect.is_elsewhere([id, id], campaign_id).await.map_err(database_away)? {
            return Err(Outcome::Fail(of_another_campaign()));
        }
        // A rebuild of the analytics may have written the event down, and nothing else.
        let is_recorded = effect.record(&event).await.map_err(database_away)?;
        // A user whose signup comes later is welcomed then.
        let is_verified = effect.verify_user(id, at_ms).await.map_err(database_away)?;
        let counts = effect.verify_referrals_of(id).await.map_err(database_away)?;
        if is_verified && campaign.verification_required {
            let user = (campaign_id, id);
            self.fan_out.ask_mail(&mut effect, job, EmailKind::Welcome, user, Map::new()).await?;
        }
        if is_recorded || is_verified || counts {
            let milestones = Milestones { fan_out: &self.fan_out, campaign: &campaign, job };
            for referrer in &referrers {
                milestones.count(&mut effect, *referrer).await?;
            }
            // All places are worked out; told are those who have done something for theirs.
            let told = referrers.into_iter().chain([id]).collect();
            let places = PositionRecalculation { campaign_id, user_ids: Some(told) };
            self.fan_out.ask(&mut effect, job, "position.recalculation", &places).await?;
            self.fan_out.ask_webhooks(&mut effect, job, campaign_id).await?;
            self.fan_out.keep_analytics(&mut effect, campaign_id, at_ms).await?;
        }
        effect.commit().await.map_err(database_away)?;
        Ok(Outcome::Done)
    }
}

impl Handler for Verify {
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Outcome> {
        Box::pin(async move { end(self.verify(job).await) })
    }
}

/// A confirmed address as it counts.
pub(super) fn event(message_id: Uuid, verified: &UserVerified) -> EventRecord {
    EventRecord {
        kind: EventKind::Verified,
        subject: verified.user_id.to_string(),
        message_id,
        campaign_id: verified.campaign_id,
        user_id: verified.user_id,
        email_key: None,
        at_ms: verified.timestamp.timestamp_millis(),
    }
}
