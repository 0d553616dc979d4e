//! `reward.delivery`: what a user has earned is handed over, by the way that the reward names.
//!
//! That it is delivered is written with what delivers it, a mail or a call of a webhook, in one
//! transaction: a crash leaves both or none. Whoever comes second finds it delivered.

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::fan_out::FanOut;
use super::reward_earned::admit;
use super::{Attempt, database_away, end, wait_for_row};
use crate::domain::clock::rfc3339;
use crate::domain::handler::{Failure, Handler, Job, Later, Outcome};
use crate::store::{Effect, RewardRow, Store, UserRewardRow, UserRow};
use crate::waitlist::email::EmailKind;
use crate::waitlist::reward::RewardDelivery;
use crate::waitlist::webhook::WebhookDelivery;

/// The type.
pub(super) const DELIVERY: &str = "reward.delivery";
/// What a webhook is told.
const DELIVERED: &str = "reward.delivered";

/// Delivers rewards.
pub(super) struct DeliverReward {
    store: Store,
    fan_out: FanOut,
}

/// All that a delivery is about.
struct Parcel {
    row: UserRewardRow,
    reward: RewardRow,
    user: Option<UserRow>,
}

impl DeliverReward {
    pub(super) fn new(store: &Store, fan_out: &FanOut) -> Self {
        Self { store: store.clone(), fan_out: fan_out.clone() }
    }

    async fn deliver(&self, job: &Job, id: Uuid) -> Attempt {
        let now_ms = self.fan_out.now_ms();
        let effect = self.store.effect(&job.scope, job.id, now_ms).await.map_err(database_away)?;
        let Some(mut effect) = effect else { return Ok(Outcome::AlreadyDone) };
        let parcel = parcel(&mut effect, job, id).await?;
        match parcel.row.status.as_str() {
            "pending" | "earned" => {}
            "delivered" | "redeemed" => return Ok(Outcome::AlreadyDone),
            other => {
                let why = format!("it was {other} before it was delivered");
                effect.refuse_reward(id, &why).await.map_err(database_away)?;
                return done(effect).await;
            }
        }
        if let Some(over_ms) = parcel.reward.expires_at_ms.filter(|expires| *expires <= now_ms) {
            let why =
                format!("the reward expired at {}, before it was delivered", rfc3339(over_ms));
            effect.expire_reward(id, &why).await.map_err(database_away)?;
            return done(effect).await;
        }
        let user_status = parcel.user.as_ref().map(|user| user.status.as_str());
        if let Some(status @ ("blocked" | "removed")) = user_status {
            let why = format!("the user is {status}: it is delivered to nobody meanwhile");
            effect.keep_reward(id, &why, now_ms).await.map_err(database_away)?;
            return done(effect).await;
        }
        admit(&mut effect, &parcel.row, &parcel.reward, now_ms).await?;
        match parcel.reward.delivery_method.as_str() {
            "email" => self.mail(&mut effect, job, &parcel, now_ms).await?,
            "webhook" => self.call(&mut effect, job, &parcel, now_ms).await?,
            _ => {
                let why = "it waits for a person, who delivers it: its delivery_method is manual";
                effect.keep_reward(id, why, now_ms).await.map_err(database_away)?;
                return done(effect).await;
            }
        }
        self.fan_out.keep_analytics(&mut effect, parcel.row.campaign_id, now_ms).await?;
        done(effect).await
    }

    async fn mail(
        &self,
        effect: &mut Effect,
        job: &Job,
        parcel: &Parcel,
        now_ms: i64,
    ) -> Result<(), Outcome> {
        let Parcel { row, reward, .. } = parcel;
        on_the_list(job, parcel)?;
        set_delivered(effect, row.id, now_ms).await?;
        let mut data = Map::new();
        data.insert("reward_name".to_owned(), json!(reward.name));
        if let Some(description) = &reward.description {
            data.insert("reward_description".to_owned(), json!(description));
        }
        let user = (row.campaign_id, row.user_id);
        self.fan_out.ask_mail(effect, job, EmailKind::RewardEarned, user, data).await
    }

    async fn call(
        &self,
        effect: &mut Effect,
        job: &Job,
        parcel: &Parcel,
        now_ms: i64,
    ) -> Result<(), Outcome> {
        let Parcel { row, reward, .. } = parcel;
        let webhook_id = reward.webhook_id.ok_or_else(|| {
            let message = format!(
                "reward {} is delivered by webhook and names none: set its webhook_id, then \
                 replay this",
                reward.id
            );
            Outcome::Fail(Failure::new("no_webhook", message))
        })?;
        let user = on_the_list(job, parcel)?;
        set_delivered(effect, row.id, now_ms).await?;
        let campaign = effect.campaign(row.campaign_id, now_ms).await.map_err(database_away)?;
        let payload = told(parcel, user, campaign.given_name(), now_ms);
        let delivery = WebhookDelivery {
            webhook_id,
            event_type: DELIVERED.to_owned(),
            payload,
            attempt: None,
            max_retries: None,
        };
        self.fan_out.ask(effect, job, "webhook.delivery", &delivery).await
    }

    /// An attempt, and, where it failed for a reason of the reward's own, a word of that in the
    /// user's reward: the effect of an attempt that failed is gone.
    async fn attempt(&self, job: &Job) -> Attempt {
        let wanted: RewardDelivery = job.payload()?;
        let ended = self.deliver(job, wanted.user_reward_id).await;
        if let Err(Outcome::Fail(failure) | Outcome::Later(Later { failure, .. })) = &ended {
            let why = format!("{}: {}", failure.class, failure.message);
            let noted = self.store.note_failed_delivery(wanted.user_reward_id, &why).await;
            noted.map_err(database_away)?;
        }
        ended
    }
}

impl Handler for DeliverReward {
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Outcome> {
        Box::pin(async move { end(self.attempt(job).await) })
    }
}

async fn done(effect: Effect) -> Attempt {
    effect.commit().await.map_err(database_away)?;
    Ok(Outcome::Done)
}

async fn parcel(effect: &mut Effect, job: &Job, id: Uuid) -> Result<Parcel, Outcome> {
    let row = effect.user_reward(id).await.map_err(database_away)?.ok_or_else(|| {
        let message = format!(
            "user_reward {id} is not in the table user_rewards: publish reward.earned with it, \
             then replay this, or discard it"
        );
        wait_for_row(job.attempt, Failure::new("unknown_user_reward", message))
    })?;
    let reward = effect.reward(row.reward_id).await.map_err(database_away)?.ok_or_else(|| {
        let message = format!("reward {} is not in the table rewards any more", row.reward_id);
        Outcome::Fail(Failure::new("unknown_reward", message))
    })?;
    let user = effect.user(row.user_id).await.map_err(database_away)?;
    let user = user.filter(|user| user.campaign_id == row.campaign_id);
    Ok(Parcel { row, reward, user })
}

/// The user, who may have earned it before the signup came here.
fn on_the_list<'a>(job: &Job, parcel: &'a Parcel) -> Result<&'a UserRow, Outcome> {
    parcel.user.as_ref().ok_or_else(|| {
        let message = format!(
            "user {} is not on the list of campaign {}: publish user.signup first, then replay \
             this",
            parcel.row.user_id, parcel.row.campaign_id
        );
        wait_for_row(job.attempt, Failure::new("unknown_user", message))
    })
}

async fn set_delivered(effect: &mut Effect, id: Uuid, now_ms: i64) -> Result<(), Outcome> {
    if effect.deliver_reward(id, now_ms).await.map_err(database_away)? {
        return Ok(());
    }
    // Its row has changed since it was read: the next attempt sees what it is now.
    let message = "somebody has changed the user's reward meanwhile";
    Err(Outcome::Retry(Failure::new("collision", message)))
}

/// What a webhook is told.
fn told(
    parcel: &Parcel,
    user: &UserRow,
    campaign_name: Option<&str>,
    now_ms: i64,
) -> Map<String, Value> {
    let Parcel { row, reward, .. } = parcel;
    let members = [
        (
            "user",
            json!({
                "id": user.id, "email": user.email, "first_name": user.first_name,
                "last_name": user.last_name, "position": user.position,
            }),
        ),
        (
            "reward",
            json!({
                "id": reward.id, "name": reward.name, "description": reward.description,
                "type": reward.kind,
            }),
        ),
        ("campaign", json!({"id": row.campaign_id, "name": campaign_name})),
        (
            "user_reward",
            json!({
                "id": row.id, "ordinal": row.ordinal, "status": "delivered",
                "earned_at": rfc3339(row.earned_at_ms.unwrap_or(now_ms)),
                "delivered_at": rfc3339(now_ms),
            }),
        ),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
