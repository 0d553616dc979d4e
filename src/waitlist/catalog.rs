//! The table of the built-in types: names, topics, groups, keys and headers.
//!
//! Names never change once deployed: producers, topics and dead letters bear them.

use std::time::Duration;

use super::analytics::AnalyticsAggregation;
use super::email::Email;
use super::events::referral_created::ReferralCreated;
use super::events::reward_earned::RewardEarned;
use super::events::user_signup::UserSignup;
use super::events::user_verified::UserVerified;
use super::fraud::FraudDetection;
use super::handlers::WEBHOOK_ATTEMPTS_MAX;
use super::position::PositionRecalculation;
use super::reward::RewardDelivery;
use super::webhook::WebhookDelivery;
use crate::domain::catalog::{
    CatalogError, Declaration, Payload, PayloadType, RecordKind, RecordType, TopicSpec,
};
use crate::domain::retry::{Order, RetryPolicy};

const DAY: Duration = Duration::from_hours(24);
const WEEK: Duration = DAY.saturating_mul(7);
const MONTH: Duration = DAY.saturating_mul(30);
const YEAR: Duration = DAY.saturating_mul(365);

const PER_USER: &str = "{campaign_id}_{user_id}";

/// The ten job types and four events, in the order of the documents.
pub fn catalog() -> Result<Vec<RecordType>, CatalogError> {
    let declarations = [
        email("verification", 10, "Asks a new user to confirm the e-mail address."),
        email("welcome", 10, "Welcomes a user to the waitlist."),
        email("position-update", 10, "Tells a user of a new place on the waitlist."),
        email("reward-earned", 10, "Tells a user of a reward that was earned."),
        email("milestone", 5, "Tells a user of a milestone that was reached."),
        Declaration {
            critical: true,
            ..job::<RewardDelivery>(
                "reward",
                "delivery",
                (10, MONTH),
                "{user_reward_id}",
                "Delivers a reward that a user earned.",
            )
        },
        job::<PositionRecalculation>(
            "position",
            "recalculation",
            (5, WEEK),
            "{campaign_id}",
            "Works out the places on a campaign's waitlist anew.",
        ),
        job::<FraudDetection>(
            "fraud",
            "detection",
            (5, MONTH),
            PER_USER,
            "Checks a user for signs of fraud.",
        ),
        Declaration {
            retry: webhook_retry(),
            ..job::<WebhookDelivery>(
                "webhook",
                "delivery",
                (5, WEEK),
                "{webhook_id}",
                "Delivers an event to a customer's webhook.",
            )
        },
        job::<AnalyticsAggregation>(
            "analytics",
            "aggregation",
            (3, WEEK),
            "{campaign_id}_{start_time as unix seconds}",
            "Sums up a campaign's figures over a span of time.",
        ),
        event::<UserSignup>("user.signup", "{user_id}", "A user joined a waitlist."),
        event::<UserVerified>("user.verified", "{user_id}", "A user confirmed the e-mail address."),
        event::<ReferralCreated>(
            "referral.created",
            "{referrer_id}",
            "A user joined through another user's referral.",
        ),
        event::<RewardEarned>("reward.earned", "{user_id}", "A user earned a reward."),
    ];
    declarations.into_iter().map(RecordType::declare).collect()
}

/// The dead letters' topic, as it is unless another name is set.
pub fn dead_letters() -> TopicSpec {
    TopicSpec::dead_letters("waitlist.dlq", 3, YEAR)
}

fn job<P: Payload>(
    family: &str,
    action: &str,
    (partitions, retention): (i32, Duration),
    key: &str,
    description: &str,
) -> Declaration {
    let name = format!("{family}.{action}");
    Declaration {
        kind: RecordKind::Job,
        description: description.to_owned(),
        topic: TopicSpec::new(format!("waitlist.{name}"), partitions, retention),
        group: format!("{family}-workers"),
        key: key.to_owned(),
        retry: RetryPolicy::DEFAULT,
        critical: false,
        headers: vec![("job_type".to_owned(), family.to_owned())],
        constants: Vec::new(),
        payload: PayloadType::of::<P>(),
        name,
    }
}

/// The handler chooses the waits, which are long: the key goes on meanwhile.
fn webhook_retry() -> RetryPolicy {
    RetryPolicy { attempts: WEBHOOK_ATTEMPTS_MAX, order: Order::Relaxed, ..RetryPolicy::DEFAULT }
}

fn email(kind: &str, partitions: i32, description: &str) -> Declaration {
    let mut declaration = job::<Email>("email", kind, (partitions, WEEK), PER_USER, description);
    declaration.headers.push(("email_type".to_owned(), kind.to_owned()));
    declaration.constants.push(("type".to_owned(), kind.to_owned()));
    declaration
}

fn event<P: Payload>(name: &str, key: &str, description: &str) -> Declaration {
    Declaration {
        kind: RecordKind::Event,
        description: description.to_owned(),
        topic: TopicSpec::new(format!("waitlist.events.{name}"), 10, YEAR),
        group: "event-processor".to_owned(),
        key: key.to_owned(),
        retry: RetryPolicy::DEFAULT,
        critical: false,
        headers: vec![("event_type".to_owned(), name.to_owned())],
        constants: Vec::new(),
        payload: PayloadType::of::<P>(),
        name: name.to_owned(),
    }
}
