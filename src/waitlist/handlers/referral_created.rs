//! `referral.created`: the pair is written down and counts for whoever referred.

use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::fan_out::FanOut;
use super::milestones::Milestones;
use super::{Attempt, database_away, end, of_another_campaign};
use crate::domain::handler::{Handler, Job, Outcome};
use crate::store::{EventKind, EventRecord, NewReferral, Store};
use crate::waitlist::events::referral_created::ReferralCreated;
use crate::waitlist::position::PositionRecalculation;

/// Writes referrals down.
pub(super) struct RecordReferral {
    store: Store,
    fan_out: FanOut,
}

impl RecordReferral {
    pub(super) fn new(store: &Store, fan_out: &FanOut) -> Self {
        Self { store: store.clone(), fan_out: fan_out.clone() }
    }

    async fn record(&self, job: &Job) -> Attempt {
        let created: ReferralCreated = job.payload()?;
        let referral = referral(&created);
        let NewReferral { referrer_id, referred_id, campaign_id, .. } = referral;
        let now_ms = self.fan_out.now_ms();
        let effect = self.store.effect(&job.scope, job.id, now_ms).await.map_err(database_away)?;
        let Some(mut effect) = effect else { return Ok(Outcome::AlreadyDone) };
        effect.take_turns(&[referrer_id, referred_id]).await.map_err(database_away)?;
        let campaign = effect.campaign(campaign_id, now_ms).await.map_err(database_away)?;
        let users = [referrer_id, referred_id];
        if effect.is_elsewhere(users, campaign_id).await.map_err(database_away)? {
            return Err(Outcome::Fail(of_another_campaign()));
        }
        if effect.refer(&referral).await.map_err(database_away)? {
            let event = event(job.id, &created);
            effect.record(&event).await.map_err(database_away)?;
            effect.note_referrer(referred_id, referrer_id).await.map_err(database_away)?;
            let milestones = Milestones { fan_out: &self.fan_out, campaign: &campaign, job };
            milestones.count(&mut effect, referrer_id).await?;
            // All places are worked out; told are the two whose score has changed.
            let told = Some(vec![referrer_id, referred_id]);
            let places = PositionRecalculation { campaign_id, user_ids: told };
            self.fan_out.ask(&mut effect, job, "position.recalculation", &places).await?;
            self.fan_out.ask_webhooks(&mut effect, job, campaign_id).await?;
            self.fan_out.keep_analytics(&mut effect, campaign_id, event.at_ms).await?;
        }
        effect.commit().await.map_err(database_away)?;
        Ok(Outcome::Done)
    }
}

impl Handler for RecordReferral {
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Outcome> {
        Box::pin(async move { end(self.record(job).await) })
    }
}

fn referral(created: &ReferralCreated) -> NewReferral {
    NewReferral {
        referrer_id: created.referrer_id,
        referred_id: created.referred_id,
        campaign_id: created.campaign_id,
        source: created.source.map(|source| source.as_str().to_owned()),
        ip_address: created.ip_address.map(|address| address.to_string()),
        at_ms: created.timestamp.timestamp_millis(),
    }
}

/// A referral as it counts.
pub(super) fn event(message_id: Uuid, created: &ReferralCreated) -> EventRecord {
    EventRecord {
        kind: EventKind::Referral,
        subject: format!("{}:{}", created.referrer_id, created.referred_id),
        message_id,
        campaign_id: created.campaign_id,
        user_id: created.referrer_id,
        email_key: None,
        at_ms: created.timestamp.timestamp_millis(),
    }
}
