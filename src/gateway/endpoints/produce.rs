//! What the producing endpoints share: receipts, and the options that a request may carry.

use axum::http::{HeaderMap, Uri};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::problem::Problem;
use crate::domain::clock::rfc3339;
use crate::domain::fault::quoted;
use crate::domain::receipt::Receipt;

/// Proof that the record is durable, and where it stands.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct ReceiptBody {
    /// The record's `message_id`, which it keeps for ever.
    id: Uuid,
    /// The type.
    #[serde(rename = "type")]
    #[schema(example = "email.verification")]
    type_name: String,
    /// The topic.
    #[schema(example = "waitlist.email.verification")]
    topic: String,
    /// The partition.
    partition: i32,
    /// The offset in the partition.
    offset: i64,
    /// The key, derived from the payload.
    key: String,
    /// RFC 3339, UTC: the record's timestamp.
    #[schema(example = "2025-01-01T00:00:00.000Z")]
    produced_at: String,
    /// Where to ask what became of it.
    #[schema(example = "/jobs/email.verification/3/17")]
    pub(super) status_url: String,
}

impl From<Receipt> for ReceiptBody {
    fn from(receipt: Receipt) -> Self {
        let Receipt { id, type_name, topic, partition, offset, key, produced_at_ms } = receipt;
        let status_url = format!("/jobs/{type_name}/{partition}/{offset}");
        let produced_at = rfc3339(produced_at_ms);
        let topic = topic.to_string();
        Self { id, type_name, topic, partition, offset, key, produced_at, status_url }
    }
}

/// Refuses options that this build does not know. Ignoring one would be a lie: a job that
/// was to be delayed would run now, a request that was to be deduplicated would not be.
pub(super) fn refuse_unknown_options(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    if uri.query().is_some_and(|query| !query.is_empty()) {
        return Err(Problem::bad_request(
            "unknown-query-parameter",
            "This path takes no query parameters",
        ));
    }
    if headers.contains_key("idempotency-key") {
        return Err(Problem::not_implemented(
            "Idempotency-Key is not honoured yet; nothing was written. Send the request without it",
        ));
    }
    Ok(())
}

/// The answer for a type that the catalog does not have.
pub(super) fn unknown_type(name: &str) -> Problem {
    Problem::not_found(
        "unknown-type",
        format!("The catalog has no {}; GET /catalog lists every type", quoted(name)),
    )
}
