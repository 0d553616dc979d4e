//! `analytics-rebuild`: writes down once more what the event topics tell, and asks for all rows of
//! the campaigns that they tell of. Only replays run it.
//!
//! It does nothing else that the events ask for: no user, no mail, no place. Each replay begins
//! anew, since its effects are claimed with the replay; that a thing counts once, however often it
//! is told, follows from `event_records`.
//!
//! A signup that the event processor has refused must not count here either, although a topic's
//! partitions come in another order now. Whose signup was taken, the list of users tells; which
//! rewards were granted, the users' rewards do.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::fan_out::FanOut;
use super::{Attempt, database_away, end};
use super::{referral_created, reward_earned, user_signup, user_verified};
use crate::domain::handler::{Failure, Handler, Job, Outcome, ReplayHandler};
use crate::store::{EventKind, EventRecord, NewUser, Store};
use crate::waitlist::events::reward_earned::RewardEarned;

/// Its name.
const NAME: &str = "analytics-rebuild";
/// The group whose workers run it.
const WORKERS: &str = "analytics-workers";
/// What becomes of a signup that was refused: nothing is to be done, as then. It is not claimed,
/// so the mended one of the same id counts. Nor does it fail: people sign up twice, and a replay
/// ends when thousands of records have failed.
const PASSED_OVER: Outcome = Outcome::AlreadyDone;

/// Writes events down once more.
pub(super) struct Rebuild {
    store: Store,
    fan_out: FanOut,
}

impl Rebuild {
    pub(super) fn new(store: &Store, fan_out: &FanOut) -> Self {
        Self { store: store.clone(), fan_out: fan_out.clone() }
    }

    /// The handler under its name.
    pub(super) fn named(self) -> ReplayHandler {
        let types = ["user.signup", "user.verified", "referral.created", "reward.earned"];
        ReplayHandler {
            name: NAME.to_owned(),
            workers: WORKERS.to_owned(),
            types: types.map(str::to_owned).into(),
            handler: Arc::new(self),
        }
    }

    async fn write_down(&self, job: &Job) -> Attempt {
        let (event, user) = read(job)?;
        let listed = listed(&event);
        let now_ms = self.fan_out.now_ms();
        let effect = self.store.effect(&job.scope, job.id, now_ms).await.map_err(database_away)?;
        let Some(mut effect) = effect else { return Ok(Outcome::AlreadyDone) };
        if let Some(user) = &user
            && effect.refutes(user).await.map_err(database_away)?.is_some()
        {
            return Ok(PASSED_OVER);
        }
        if event.kind == EventKind::RewardEarned {
            let earned: RewardEarned = job.payload()?;
            let RewardEarned { user_reward_id, user_id, reward_id, campaign_id, .. } = earned;
            let reward = [user_reward_id, user_id, reward_id, campaign_id];
            if effect.refutes_reward(reward).await.map_err(database_away)? {
                return Ok(PASSED_OVER);
            }
        }
        if let Some(users) = listed
            && effect.is_elsewhere(users, event.campaign_id).await.map_err(database_away)?
        {
            return Ok(PASSED_OVER);
        }
        if !effect.record(&event).await.map_err(database_away)?
            && !effect.has_happened(&event).await.map_err(database_away)?
        {
            // Another one has the address.
            return Ok(PASSED_OVER);
        }
        self.fan_out.keep_all_analytics(&mut effect, event.campaign_id).await?;
        effect.commit().await.map_err(database_away)?;
        Ok(Outcome::Done)
    }
}

impl Handler for Rebuild {
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Outcome> {
        Box::pin(async move { end(self.write_down(job).await) })
    }
}

/// Who must not be on another campaign's list for the event to count; of a signup, more must not be.
fn listed(event: &EventRecord) -> Option<[Uuid; 2]> {
    match event.kind {
        EventKind::Verified => Some([event.user_id, event.user_id]),
        EventKind::Referral => {
            let (_, referred) = event.subject.split_once(':')?;
            Some([event.user_id, Uuid::parse_str(referred).ok()?])
        }
        EventKind::Signup | EventKind::RewardEarned => None,
    }
}

/// What has happened, and, of a signup, who the user is.
fn read(job: &Job) -> Result<(EventRecord, Option<NewUser>), Outcome> {
    Ok(match &*job.type_name {
        "user.signup" => {
            let user = user_signup::new_user(job.payload()?);
            (user_signup::event(job.id, &user), Some(user))
        }
        "user.verified" => (user_verified::event(job.id, &job.payload()?), None),
        "referral.created" => (referral_created::event(job.id, &job.payload()?), None),
        "reward.earned" => (reward_earned::event(job.id, &job.payload()?), None),
        other => {
            let message = format!("{NAME} does not run {other}");
            return Err(Outcome::Fail(Failure::new("unknown_type", message)));
        }
    })
}
