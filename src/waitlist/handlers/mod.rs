//! What runs the built-in types, one file each.
//!
//! A handler decides, by the rules of the platform; what it changes in the database is one
//! [`Effect`](crate::store::Effect), claimed and committed as a whole, with the jobs that follow.

mod analytics;
mod analytics_rebuild;
mod ask_webhooks;
mod fan_out;
mod fraud;
#[cfg(test)]
mod fraud_population_test;
mod keep_analytics;
mod mail_data;
mod milestones;
mod position;
mod referral_created;
mod reward_delivery;
mod reward_earned;
mod rewards;
mod send_email;
mod unrecorded;
mod user_signup;
mod user_verified;
mod webhooks;

use std::collections::HashMap;
use std::sync::Arc;

use super::email::EmailKind;
use super::site::Site;
use crate::domain::catalog::Catalog;
use crate::domain::clock::SharedClock;
use crate::domain::handler::{Failure, Handler, Later, Outcome, ReplayHandler};
use crate::domain::retry::RetryPolicy;
use crate::mail::Mailer;
use crate::outbound::{Client, Dns};
use crate::store::{Store, StoreError};
use analytics::SumUp;
use analytics_rebuild::Rebuild;
use fan_out::FanOut;
use fraud::DetectFraud;
use position::Recalculate;
use referral_created::RecordReferral;
use reward_delivery::DeliverReward;
use reward_earned::RecordReward;
use send_email::{SendEmail, Tools};
use user_signup::SignUp;
use user_verified::Verify;
use webhooks::DeliverWebhook;

pub(in crate::waitlist) use webhooks::ATTEMPTS_MAX as WEBHOOK_ATTEMPTS_MAX;

/// What the handlers stand on.
pub struct Parts {
    /// Where the jobs that follow are looked up.
    pub catalog: Arc<Catalog>,
    /// The tables.
    pub store: Store,
    /// Sends the mails.
    pub mailer: Arc<Mailer>,
    /// Where the pages are that mails lead to, unless the campaign has its own.
    pub site: Site,
    /// Sends to webhooks.
    pub webhook_client: Client,
    /// Who is asked whether the domain of an address takes mail; none: nobody is.
    pub mail_dns: Option<Dns>,
    /// The one clock.
    pub clock: SharedClock,
    /// The `producer` header of the jobs that follow.
    pub producer_name: Arc<str>,
}

/// The handlers, by the name of their type.
pub fn handlers(parts: &Parts) -> HashMap<String, Arc<dyn Handler>> {
    let Parts { catalog, store, mailer, site, webhook_client, mail_dns, clock, producer_name } =
        parts;
    let fan_out = FanOut::new(catalog, clock, producer_name);
    let mut handlers: HashMap<String, Arc<dyn Handler>> = HashMap::new();
    for kind in EmailKind::ALL {
        let tools = Tools {
            mailer: Arc::clone(mailer),
            store: store.clone(),
            clock: Arc::clone(clock),
            site: site.clone(),
            fan_out: fan_out.clone(),
        };
        handlers.insert(kind.job_type(), Arc::new(SendEmail::new(kind, tools)));
    }
    let events: [(&str, Arc<dyn Handler>); 5] = [
        (keep_analytics::AGGREGATION, Arc::new(SumUp::new(store, &fan_out))),
        ("user.signup", Arc::new(SignUp::new(store, &fan_out))),
        ("user.verified", Arc::new(Verify::new(store, &fan_out))),
        ("referral.created", Arc::new(RecordReferral::new(store, &fan_out))),
        ("reward.earned", Arc::new(RecordReward::new(store, &fan_out))),
    ];
    let fraud = DetectFraud::new(store, &fan_out, mail_dns.as_ref());
    handlers.insert("fraud.detection".to_owned(), Arc::new(fraud));
    let positions = Recalculate::new(store, &fan_out);
    handlers.insert("position.recalculation".to_owned(), Arc::new(positions));
    let deliver = DeliverWebhook::new(webhook_client, store, clock);
    handlers.insert(webhooks::DELIVERY.to_owned(), Arc::new(deliver));
    handlers.insert(
        reward_delivery::DELIVERY.to_owned(),
        Arc::new(DeliverReward::new(store, &fan_out)),
    );
    handlers.extend(events.map(|(name, handler)| (name.to_owned(), handler)));
    handlers
}

/// The handlers that only replays run.
pub fn replay_handlers(parts: &Parts) -> Vec<ReplayHandler> {
    let fan_out = FanOut::new(&parts.catalog, &parts.clock, &parts.producer_name);
    vec![Rebuild::new(&parts.store, &fan_out).named()]
}

/// An attempt whose end may stand in either arm: steps that fail end it with `?`.
type Attempt = Result<Outcome, Outcome>;

fn end(attempt: Attempt) -> Outcome {
    attempt.unwrap_or_else(|outcome| outcome)
}

/// A user stands on one list.
fn of_another_campaign() -> Failure {
    let message = "the user is on the list of another campaign: a user has one campaign";
    Failure::new("user_of_another_campaign", message)
}

/// What follows where a row is not there: it may be on its way, for a while. That is no sign of an
/// outage, however many wait.
fn wait_for_row(attempt: u32, failure: Failure) -> Outcome {
    const POLICY: RetryPolicy = RetryPolicy::DEFAULT;
    if attempt >= POLICY.attempts {
        return Outcome::Fail(failure);
    }
    let after = POLICY.wait_after(attempt, rand::random());
    Outcome::Later(Later { failure, after, spends_attempt: true })
}

/// What an error of the database means for a job: the database is away for everybody, as a rule.
#[expect(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
fn database_away(error: StoreError) -> Outcome {
    if error.is_of_the_data() {
        let message = "a row or a value is not what the tables hold: mend it there, then replay";
        return Outcome::Fail(Failure::caused_by("invalid_row", message, &error));
    }
    if error.is_a_collision() {
        let message = "another transaction was in the way";
        return Outcome::Retry(Failure::caused_by("collision", message, &error));
    }
    Outcome::Unavailable(Failure::caused_by("database_away", "the database is away", &error))
}
