//! What a webhook is sent: the body, the same bytes on every attempt, and its signature.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::clock::rfc3339;
use crate::domain::handler::{Failure, Job};
use crate::domain::id;
use crate::domain::record::header;
use crate::outbound::{Secret, Signer, TargetUrl};
use crate::store::WebhookRow;
use crate::waitlist::webhook::WebhookDelivery;

/// The body.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    timestamp: String,
    data: &'a Map<String, Value>,
}

/// The body of a delivery.
pub(super) fn body(job: &Job, delivery: &WebhookDelivery) -> Result<Vec<u8>, Failure> {
    let told = Told {
        event_type: &delivery.event_type,
        timestamp: produced_at(job),
        data: &delivery.payload,
    };
    serde_json::to_vec(&told)
        .map_err(|error| Failure::caused_by("invalid_payload", "the payload is no JSON", &error))
}

/// When the job was produced: what its header says, which stays through retries and replays; else
/// the time in its id. Of a foreign record without either it is the record's own time.
fn produced_at(job: &Job) -> String {
    if let Some(text) = job.record.headers.text(header::PRODUCED_AT) {
        return text.to_owned();
    }
    rfc3339(id::time_of(job.id).or(job.record.timestamp_ms).unwrap_or_default())
}

/// Where to, and how it is signed at this time. A failure says what to mend.
pub(super) fn target(webhook: &WebhookRow, now_ms: i64) -> Result<(TargetUrl, Signer), Failure> {
    let id = webhook.id;
    let url: TargetUrl = webhook.url.parse().map_err(|error| {
        let message =
            format!("the url of webhook {id} {error}: mend it in webhooks.url, then replay this");
        Failure::new("invalid_webhook_url", message)
    })?;
    let invalid = |column: &str, error| {
        let message =
            format!("webhooks.{column} of webhook {id} {error}: mend it there, then replay this");
        Failure::new("invalid_webhook_secret", message)
    };
    let mut secrets =
        vec![Secret::parse(&webhook.secret).map_err(|error| invalid("secret", error))?];
    let is_rotating = webhook.previous_secret_until_ms.is_none_or(|until_ms| now_ms < until_ms);
    if let Some(previous) = webhook.previous_secret.as_deref().filter(|_| is_rotating) {
        secrets.push(Secret::parse(previous).map_err(|error| invalid("previous_secret", error))?);
    }
    Ok((url, Signer::new(secrets)))
}
