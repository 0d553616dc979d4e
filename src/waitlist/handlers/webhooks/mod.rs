//! Runs `webhook.delivery`: tells a customer's webhook of one event.
//!
//! It goes out at least once, under the job's id as `webhook-id`: once an endpoint has taken it,
//! that is written down together with the job's claim, and whoever finds the claim sends nothing.
//! What an endpoint does is never an outage of the type: the job is put off for as long as the
//! schedule of attempts says, and only the database's being away pauses the others.

mod answer;
mod attempts;
mod endpoints;
mod request;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::unrecorded::Unrecorded;
use super::{Attempt, database_away, end};
use crate::domain::clock::{SharedClock, millis, rfc3339};
use crate::domain::handler::{Failure, Handler, Job, Later, Outcome};
use crate::domain::record::header;
use crate::domain::retry::RetryPolicy;
use crate::outbound::{Client, Post, header as signed};
use crate::store::{
    DeliveryRecord, DisableWebhook, PastDelivery, Store, WebhookRow, WebhookStatus,
};
use crate::waitlist::webhook::WebhookDelivery;
use answer::{ANSWER_BYTES_MAX, Met, met, reason};
use endpoints::{BEHIND, Endpoints, Passage, PutOff, Standing};

pub(in crate::waitlist) use attempts::ATTEMPTS_MAX;

/// The name of the type.
pub(super) const DELIVERY: &str = "webhook.delivery";

/// An attempt takes no less and no more: what its row says is brought within these.
const TIMEOUT_MIN: Duration = Duration::from_secs(1);
const TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// Nothing but failures for so long, and the webhook is disabled. More than all attempts at one
/// event take, so that no single event does it.
const FAILING_MAX: Duration = Duration::from_hours(5 * 24);
const FAILING: &str = "nothing but failures for five days";
const GONE: &str = "the endpoint answered 410: it wants nothing any more";

/// A job that is older is not put off without an attempt any more.
const PUT_OFF_MAX: Duration = FAILING_MAX;

/// Attempts at a webhook that is in no table: its row may still come.
const UNKNOWN_ATTEMPTS_MAX: u32 = RetryPolicy::DEFAULT.attempts;

/// Earlier attempts that a dead letter tells of.
const TOLD_MAX: i64 = 3;

/// Tells webhooks of events.
pub(super) struct DeliverWebhook {
    client: Client,
    store: Store,
    clock: SharedClock,
    endpoints: Endpoints,
    unrecorded: Unrecorded<DeliveryRecord>,
}

/// One attempt, as it is about to be made.
struct Now<'a> {
    job: &'a Job,
    delivery: &'a WebhookDelivery,
    webhook: &'a WebhookRow,
    /// Its number, with those that the producer has made.
    attempt: u32,
    /// How long the record has waited in its topic.
    waited_ms: i64,
}

impl DeliverWebhook {
    pub(super) fn new(client: &Client, store: &Store, clock: &SharedClock) -> Self {
        Self {
            client: client.clone(),
            store: store.clone(),
            clock: Arc::clone(clock),
            endpoints: Endpoints::default(),
            unrecorded: Unrecorded::default(),
        }
    }

    async fn deliver(&self, job: &Job) -> Attempt {
        let delivery: WebhookDelivery = job.payload()?;
        let id = delivery.webhook_id;
        let now_ms = self.clock.now_ms();
        let waited_ms = now_ms.saturating_sub(job.record.timestamp_ms.unwrap_or(now_ms));
        if let Some((until_ms, why)) = self.endpoints.still(id, waited_ms, now_ms) {
            return put_off(job, id, (until_ms, why), now_ms);
        }
        if self.store.is_claimed(&job.scope, job.id).await.map_err(database_away)? {
            return Ok(Outcome::AlreadyDone);
        }
        if let Some(record) = self.unrecorded.get(&job.scope, job.id) {
            return self.record(job, &record).await;
        }
        let webhook = self.store.webhook(id).await.map_err(database_away)?;
        let Some(webhook) = webhook else { return Err(unknown(&delivery, job, waited_ms)) };
        is_active(&webhook).map_err(Outcome::Fail)?;
        let before = delivery.attempt.unwrap_or(0);
        let attempt = before.saturating_add(job.attempt);
        let now = Now { job, delivery: &delivery, webhook: &webhook, attempt, waited_ms };
        match self.endpoints.ask(id, &webhook.url, waited_ms, now_ms) {
            Passage::Go => self.send(&now, now_ms).await,
            Passage::PutOff { until_ms, why } => put_off(job, id, (until_ms, why), now_ms),
        }
    }

    async fn send(&self, now: &Now<'_>, now_ms: i64) -> Attempt {
        let Now { job, delivery, webhook, .. } = now;
        let (url, signer) = request::target(webhook, now_ms).map_err(Outcome::Fail)?;
        let body = request::body(job, delivery).map_err(Outcome::Fail)?;
        let (id, timestamp_s) = (job.id.to_string(), now_ms / 1_000);
        let (timestamp, signature) =
            (timestamp_s.to_string(), signer.sign(&id, timestamp_s, &body));
        let timeout = Duration::from_millis(u64::try_from(webhook.timeout_ms).unwrap_or(0));
        let post = Post {
            url: &url,
            headers: &[
                ("content-type", "application/json"),
                (signed::ID, &id),
                (signed::TIMESTAMP, &timestamp),
                (signed::SIGNATURE, &signature),
            ],
            body: &body,
            timeout: timeout.clamp(TIMEOUT_MIN, TIMEOUT_MAX),
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        let result = self.client.post(&post).await;
        let ended_ms = self.clock.now_ms();
        let took_ms = ended_ms.saturating_sub(now_ms);
        let met = met(&result, ended_ms);
        let record = DeliveryRecord {
            webhook_id: webhook.id,
            message_id: job.id,
            at_ms: now_ms,
            attempt: now.attempt,
            event_type: delivery.event_type.clone(),
            payload: answer::sent(&body),
            response: result.as_ref().ok().map(|got| (got.status, answer::text(&got.body))),
            duration_ms: took_ms,
            error: (met != Met::Taken).then(|| reason(&result)),
        };
        let (id, url) = (webhook.id, webhook.url.as_str());
        match met {
            Met::Taken => {
                self.endpoints.succeeded(id, url, took_ms, ended_ms);
                self.unrecorded.add(&job.scope, job.id, record.clone());
                self.record(job, &record).await
            }
            Met::Gone => {
                self.record_failed(&record, DisableWebhook::Now { reason: GONE }).await?;
                Err(Outcome::Fail(disabled_by(webhook, GONE, &record)))
            }
            Met::Forbidden => {
                self.record_failed(&record, DisableWebhook::No).await?;
                Err(Outcome::Fail(forbidden(webhook, &record)))
            }
            Met::Failed { asked } => {
                let standing = self.endpoints.failed(id, url, took_ms, asked, ended_ms);
                if standing == Standing::AwayFromNowOn {
                    tracing::warn!(webhook.id = %id, host = post.url.host(),
                        "an endpoint is away: its webhook's jobs are put off");
                }
                let failing_ms = millis(FAILING_MAX);
                let disable = DisableWebhook::After { failing_ms, reason: FAILING };
                if self.record_failed(&record, disable).await? {
                    return Err(Outcome::Fail(disabled_by(webhook, FAILING, &record)));
                }
                self.again(now, &record, (asked, standing)).await
            }
        }
    }

    /// Writes down that it is delivered. A worker that has claimed it meanwhile has delivered it
    /// too.
    async fn record(&self, job: &Job, record: &DeliveryRecord) -> Attempt {
        let effect = self.store.effect(&job.scope, job.id, record.at_ms).await;
        if let Some(mut effect) = effect.map_err(database_away)? {
            effect.record_delivery(record).await.map_err(database_away)?;
            effect.commit().await.map_err(database_away)?;
        }
        self.unrecorded.remove(&job.scope, job.id);
        Ok(Outcome::Done)
    }

    async fn record_failed(
        &self,
        record: &DeliveryRecord,
        disable: DisableWebhook<'_>,
    ) -> Result<bool, Outcome> {
        let done = self.store.record_failed_delivery(record, disable).await;
        let is_disabled = done.map_err(database_away)?;
        if is_disabled {
            tracing::warn!(webhook.id = %record.webhook_id, "a webhook is disabled");
        }
        Ok(is_disabled)
    }

    /// Another attempt, or the dead letter after the last one.
    async fn again(
        &self,
        now: &Now<'_>,
        record: &DeliveryRecord,
        (asked, standing): (Option<Duration>, Standing),
    ) -> Attempt {
        let attempts = attempts::attempts_max(now.delivery.max_retries, now.webhook.max_retries);
        let error = record.error.clone().unwrap_or_default();
        if now.attempt >= attempts {
            return Err(Outcome::Fail(self.exhausted(now, &error).await?));
        }
        let wait = attempts::wait_after(now.attempt, rand::random());
        let wait = wait.max(asked.unwrap_or_default());
        let holds_others_up = is_behind(now.waited_ms) || standing != Standing::There;
        let after = attempts::in_place_or_away(wait, holds_others_up);
        let message =
            format!("attempt {} of {attempts} at webhook {}: {error}", now.attempt, now.webhook.id);
        let failure = Failure::new("webhook_failed", message);
        Ok(Outcome::Later(Later { failure, after, spends_attempt: true }))
    }

    async fn exhausted(&self, now: &Now<'_>, error: &str) -> Result<Failure, Outcome> {
        let (id, attempt) = (now.webhook.id, now.attempt);
        let past = self.store.past_deliveries((id, now.job.id), TOLD_MAX).await;
        let past = past.map_err(database_away)?;
        let tell = |past: PastDelivery| {
            let error = past.error.unwrap_or_else(|| "succeeded".to_owned());
            format!("attempt {} at {}: {error}", past.attempt, rfc3339(past.at_ms))
        };
        let message = format!(
            "webhook {id} has not taken it in {attempt} attempts, the last one: {error}. Replay \
             this once the endpoint takes what it is sent"
        );
        let chain = past.into_iter().map(tell).collect();
        Ok(Failure { chain, ..Failure::new("webhook_exhausted", message) })
    }
}

impl Handler for DeliverWebhook {
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Outcome> {
        Box::pin(async move { end(self.deliver(job).await) })
    }
}

/// Whether others wait behind this job, most likely.
fn is_behind(waited_ms: i64) -> bool {
    waited_ms > millis(BEHIND)
}

fn is_active(webhook: &WebhookRow) -> Result<(), Failure> {
    match webhook.status {
        WebhookStatus::Active => Ok(()),
        WebhookStatus::Paused => {
            let id = webhook.id;
            let message =
                format!("webhook {id} is paused: set webhooks.status to active, then replay this");
            Err(Failure::new("webhook_paused", message))
        }
        WebhookStatus::Failed => {
            let reason = webhook.disabled_reason.as_deref().unwrap_or("no reason is known");
            Err(disabled(webhook, reason))
        }
    }
}

fn disabled(webhook: &WebhookRow, reason: &str) -> Failure {
    let message = format!(
        "webhook {} is disabled ({reason}): once its endpoint takes what it is sent, set \
         webhooks.status to active, then replay this",
        webhook.id
    );
    Failure::new("webhook_disabled", message)
}

/// The same, of the attempt that has disabled it.
fn disabled_by(webhook: &WebhookRow, reason: &str, record: &DeliveryRecord) -> Failure {
    Failure { chain: record.error.iter().cloned().collect(), ..disabled(webhook, reason) }
}

fn forbidden(webhook: &WebhookRow, record: &DeliveryRecord) -> Failure {
    let error = record.error.as_deref().unwrap_or_default();
    let message = format!(
        "webhook {} may not be called: {error}. Mend webhooks.url, or allow the network with \
         --webhook-allow-net (JOBGATE_WEBHOOK_ALLOW_NETS) if it is your own; then replay this",
        webhook.id
    );
    Failure::new("webhook_forbidden", message)
}

/// What follows from a webhook that is in no table: its row may still come.
fn unknown(delivery: &WebhookDelivery, job: &Job, waited_ms: i64) -> Outcome {
    let message = format!(
        "webhook {} is not in the table webhooks: put it there, then replay this",
        delivery.webhook_id
    );
    let failure = Failure::new("unknown_webhook", message);
    if job.attempt >= UNKNOWN_ATTEMPTS_MAX {
        return Outcome::Fail(failure);
    }
    let wait = RetryPolicy::DEFAULT.wait_after(job.attempt, rand::random());
    let after = attempts::in_place_or_away(wait, is_behind(waited_ms));
    Outcome::Later(Later { failure, after, spends_attempt: true })
}

/// It makes way for the others of its partition without an attempt. One that has been back for
/// days has had its chance.
fn put_off(job: &Job, id: Uuid, (until_ms, why): (i64, PutOff), now_ms: i64) -> Attempt {
    let failure = match why {
        PutOff::Away => {
            let message = format!(
                "the endpoint of webhook {id} does not answer or wants to be left alone: replay \
                 this once it takes what it is sent"
            );
            Failure::new("webhook_away", message)
        }
        PutOff::Behind => {
            let message = format!(
                "the endpoint of webhook {id} is slower than what it is sent: replay this once \
                 it is faster"
            );
            Failure::new("webhook_behind", message)
        }
    };
    let has_been_back = job.record.headers.text(header::ATTEMPT).is_some();
    if has_been_back && age_ms(job, now_ms) > millis(PUT_OFF_MAX) {
        return Err(Outcome::Fail(failure));
    }
    let wait_ms = u64::try_from(until_ms.saturating_sub(now_ms)).unwrap_or(0);
    let after = Duration::from_millis(wait_ms);
    Ok(Outcome::Later(Later { failure, after, spends_attempt: false }))
}

/// How long ago the job was produced.
fn age_ms(job: &Job, now_ms: i64) -> i64 {
    let text = job.record.headers.text(header::PRODUCED_AT);
    let at = text.and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok());
    let at_ms = at.map(|at| at.timestamp_millis()).or(job.record.timestamp_ms);
    now_ms.saturating_sub(at_ms.unwrap_or(now_ms))
}
