//! What the producing endpoints share: receipts, how they are answered, and what is refused.

use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::problem::Problem;
use crate::domain::catalog::RecordType;
use crate::domain::clock::{parse_rfc3339, rfc3339};
use crate::domain::fault::quoted;
use crate::domain::receipt::Receipt;
use crate::operations::JobStatus;

/// Bytes of a receipt as JSON, at least of nearly all: its text then grows in one place.
const RECEIPT_BYTES: usize = 512;

/// Proof that the record is durable, and where it stands.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
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

impl ReceiptBody {
    /// What is known of the job by its receipt.
    pub(super) fn status(&self, record_type: &RecordType) -> JobStatus {
        let place = (self.partition, self.offset);
        let produced_at_ms = parse_rfc3339(&self.produced_at);
        JobStatus::queued(record_type, self.id, place, self.key.clone(), produced_at_ms)
    }
}

/// The answer that says a record or a job is durable, and where to ask what became of it.
pub(super) fn accepted(status: StatusCode, status_url: &str, body: &impl Serialize) -> Response {
    let mut text = Vec::with_capacity(RECEIPT_BYTES);
    let location = HeaderValue::try_from(status_url);
    let (Ok(()), Ok(location)) = (serde_json::to_writer(&mut text, body), location) else {
        // Receipts are texts and numbers, and always serialise; types have names of plain ASCII.
        return Problem::internal().into_response();
    };
    let json = HeaderValue::from_static("application/json");
    (status, [(CONTENT_TYPE, json), (LOCATION, location)], text).into_response()
}

/// A batch takes no options in its query. Each of its items runs as soon as it can.
pub(in super::super) fn refuse_batch_options(uri: &Uri) -> Result<(), Problem> {
    if uri.query().is_some_and(|query| !query.is_empty()) {
        return Err(Problem::bad_request(
            "unknown-query-parameter",
            "A batch takes no query parameters; a job that is to be put off with delay or run_at \
             is sent by itself, to the path without /batch",
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
