//! `reward.earned`: written down, so that it counts.

use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::fan_out::FanOut;
use super::{Attempt, database_away, end};
use crate::domain::handler::{Handler, Job, Outcome};
use crate::store::{EventKind, EventRecord, Store};
use crate::waitlist::events::reward_earned::RewardEarned;

/// Writes down that a reward was earned.
pub(super) struct RecordReward {
    store: Store,
    fan_out: FanOut,
}

impl RecordReward {
    pub(super) fn new(store: &Store, fan_out: &FanOut) -> Self {
        Self { store: store.clone(), fan_out: fan_out.clone() }
    }

    async fn record(&self, job: &Job) -> Attempt {
        let earned: RewardEarned = job.payload()?;
        let now_ms = self.fan_out.now_ms();
        let effect = self.store.effect(&job.scope, job.id, now_ms).await.map_err(database_away)?;
        let Some(mut effect) = effect else { return Ok(Outcome::AlreadyDone) };
        effect.campaign(earned.campaign_id, now_ms).await.map_err(database_away)?;
        let event = event(job.id, &earned);
        if effect.record(&event).await.map_err(database_away)? {
            self.fan_out.ask_webhooks(&mut effect, job, event.campaign_id).await?;
            self.fan_out.keep_analytics(&mut effect, event.campaign_id, event.at_ms).await?;
        }
        effect.commit().await.map_err(database_away)?;
        Ok(Outcome::Done)
    }
}

impl Handler for RecordReward {
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Outcome> {
        Box::pin(async move { end(self.record(job).await) })
    }
}

/// A reward as it counts.
pub(super) fn event(message_id: Uuid, earned: &RewardEarned) -> EventRecord {
    EventRecord {
        kind: EventKind::RewardEarned,
        subject: earned.user_reward_id.to_string(),
        message_id,
        campaign_id: earned.campaign_id,
        user_id: earned.user_id,
        email_key: None,
        at_ms: earned.timestamp.timestamp_millis(),
    }
}
