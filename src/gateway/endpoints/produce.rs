//! What the producing endpoints share: receipts, and the options that a request may carry.

use axum::http::{HeaderMap, Uri};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::cloud_events::is_binary;
use super::super::problem::Problem;
use super::later::LaterQuery;
use crate::domain::catalog::RecordType;
use crate::domain::clock::{parse_rfc3339, rfc3339};
use crate::domain::fault::quoted;
use crate::domain::receipt::Receipt;
use crate::operations::{JobStatus, When};

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

/// When the job of a request is to run; none for at once. Options that this build does not know
/// are refused: ignoring one would be a lie.
pub(super) fn when(uri: &Uri, headers: &HeaderMap) -> Result<Option<When>, Problem> {
    if is_binary(headers) {
        return Err(Problem::bad_request(
            "not-an-event",
            "A job is no event, and takes no ce-* headers; send its payload without them",
        ));
    }
    match uri.query() {
        None | Some("") => Ok(None),
        Some(_) => LaterQuery::read(uri).map(Some),
    }
}

/// An event has happened: it takes no options. One that was to be delayed would be published now.
pub(super) fn refuse_options(uri: &Uri) -> Result<(), Problem> {
    if uri.query().is_some_and(|query| !query.is_empty()) {
        return Err(Problem::bad_request(
            "unknown-query-parameter",
            "This path takes no query parameters: an event has happened, and cannot be put off \
             with delay or run_at as a job can",
        ));
    }
    Ok(())
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
