//! `reward.earned`: written down, so that it counts; the user has the reward, and it is delivered.
//!
//! What triggers have granted is there already. What somebody else says that a user has earned is
//! granted here, under the id that they gave it.

use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::fan_out::FanOut;
use super::reward_delivery::DELIVERY;
use super::{Attempt, database_away, end, of_another_campaign, wait_for_row};
use crate::domain::handler::{Failure, Handler, Job, Outcome};
use crate::store::{
    Effect, EventKind, EventRecord, Granted, NewUserReward, RewardRow, Store, UserRewardRow,
};
use crate::waitlist::events::reward_earned::RewardEarned;
use crate::waitlist::reward::RewardDelivery;

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
        let RewardEarned { campaign_id, user_id, user_reward_id, .. } = earned;
        let now_ms = self.fan_out.now_ms();
        let effect = self.store.effect(&job.scope, job.id, now_ms).await.map_err(database_away)?;
        let Some(mut effect) = effect else { return Ok(Outcome::AlreadyDone) };
        // Whatever else is granted to this user by events waits.
        effect.take_turns(&[user_id]).await.map_err(database_away)?;
        effect.campaign(campaign_id, now_ms).await.map_err(database_away)?;
        if effect.is_elsewhere([user_id, user_id], campaign_id).await.map_err(database_away)? {
            return Err(Outcome::Fail(of_another_campaign()));
        }
        let event = event(job.id, &earned);
        // A rebuild of the analytics may have written the event down, and nothing else.
        let is_recorded = effect.record(&event).await.map_err(database_away)?;
        let is_earned = has(&mut effect, job, &earned, now_ms).await?
            && effect.earn_reward(user_reward_id, event.at_ms).await.map_err(database_away)?;
        if is_earned {
            let delivery = RewardDelivery { user_reward_id, retry_attempt: None };
            self.fan_out.ask(&mut effect, job, DELIVERY, &delivery).await?;
        }
        if is_recorded || is_earned {
            self.fan_out.ask_webhooks(&mut effect, job, campaign_id).await?;
            self.fan_out.keep_analytics(&mut effect, campaign_id, event.at_ms).await?;
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

/// Sees to it that the user has the reward. Returns whether it is still to be earned.
async fn has(
    effect: &mut Effect,
    job: &Job,
    earned: &RewardEarned,
    now_ms: i64,
) -> Result<bool, Outcome> {
    let id = earned.user_reward_id;
    let reward = offered(effect, job, earned.reward_id).await?;
    if reward.campaign_id != earned.campaign_id {
        return Err(Outcome::Fail(reward_of_another_campaign(&reward)));
    }
    if let Some(row) = effect.user_reward(id).await.map_err(database_away)? {
        let is_same = row.user_id == earned.user_id && row.reward_id == earned.reward_id;
        if !is_same {
            let message = format!(
                "user_reward_id {id} is that of another user or another reward: publish the \
                 event with an id of its own"
            );
            return Err(Outcome::Fail(Failure::new("user_reward_taken", message)));
        }
        if row.status != "pending" {
            return Ok(false);
        }
        admit(effect, &row, &reward, now_ms).await?;
        return Ok(true);
    }
    let had = effect.ordinals(earned.user_id, reward.id).await.map_err(database_away)?;
    let free = (1..=reward.user_limit).find(|ordinal| !had.contains(ordinal));
    let Some(ordinal) = free else {
        return Err(Outcome::Fail(limit_reached(&reward, earned.user_id)));
    };
    let new = NewUserReward {
        id,
        user_id: earned.user_id,
        reward_id: reward.id,
        campaign_id: reward.campaign_id,
        ordinal,
    };
    match effect.grant(&new, now_ms).await.map_err(database_away)? {
        Granted::Yes => Ok(true),
        Granted::NotNow => Err(Outcome::Fail(not_now(&reward, now_ms))),
        Granted::Known => {
            let message = "somebody has granted the user this reward at the same time";
            Err(Outcome::Retry(Failure::new("collision", message)))
        }
    }
}

/// A reward as it is offered; one that nobody knows may be on its way.
async fn offered(effect: &mut Effect, job: &Job, id: Uuid) -> Result<RewardRow, Outcome> {
    let reward = effect.reward(id).await.map_err(database_away)?;
    reward.ok_or_else(|| {
        let message = format!(
            "reward {id} is not in the table rewards: put it there, then replay this, or discard it"
        );
        wait_for_row(job.attempt, Failure::new("unknown_reward", message))
    })
}

/// A row that somebody has put there takes its one from what the reward has left.
pub(super) async fn admit(
    effect: &mut Effect,
    row: &UserRewardRow,
    reward: &RewardRow,
    now_ms: i64,
) -> Result<(), Outcome> {
    if row.campaign_id != reward.campaign_id {
        return Err(Outcome::Fail(reward_of_another_campaign(reward)));
    }
    if row.is_counted {
        return Ok(());
    }
    if row.ordinal > reward.user_limit {
        return Err(Outcome::Fail(limit_reached(reward, row.user_id)));
    }
    let is_there = effect.count_user_reward((row.id, reward.id), now_ms).await;
    if !is_there.map_err(database_away)? {
        return Err(Outcome::Fail(not_now(reward, now_ms)));
    }
    Ok(())
}

fn reward_of_another_campaign(reward: &RewardRow) -> Failure {
    let message = format!(
        "reward {} is one of campaign {}: a reward is earned in its own campaign",
        reward.id, reward.campaign_id
    );
    Failure::new("reward_of_another_campaign", message)
}

fn limit_reached(reward: &RewardRow, user_id: Uuid) -> Failure {
    let message = format!(
        "user {user_id} has reward {} as often as its user_limit of {} allows: raise it and \
         replay this, or discard it",
        reward.id, reward.user_limit
    );
    Failure::new("user_limit_reached", message)
}

/// Why a reward is not to be had.
fn not_now(reward: &RewardRow, now_ms: i64) -> Failure {
    let id = reward.id;
    let (class, message) = if reward.status != "active" {
        let message = format!("reward {id} is {}: make it active and replay this", reward.status);
        ("reward_not_active", message)
    } else if reward.starts_at_ms.is_some_and(|starts| starts > now_ms) {
        let message = format!("reward {id} is not granted before its starts_at_ms: replay it then");
        ("reward_not_started", message)
    } else if reward.expires_at_ms.is_some_and(|expires| expires <= now_ms) {
        let message = format!("the time of reward {id} is over: move its expires_at_ms and replay");
        ("reward_expired", message + " this")
    } else {
        let message = format!("nothing is left of reward {id}: raise its total_available and");
        ("sold_out", message + " replay this")
    };
    Failure::new(class, format!("{message}, or discard it"))
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
