//! `POST /admin/quarantines/release`: a key goes on, whatever becomes of its dead letter.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::Services;
use super::super::body::{JsonBody, request};
use super::super::caller::Caller;
use super::super::problem::Problem;
use super::reason;
use crate::domain::dead_letter::Bytes;
use crate::domain::fault::Fault;
use crate::operations::QuarantineError;

/// Which key, and why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct ReleaseRequest {
    /// The group.
    #[schema(example = "email-workers")]
    group: String,
    /// The topic.
    #[schema(example = "waitlist.email.verification")]
    topic: String,
    /// The key, as the list has it: a string, or `{"base64": ".."}`.
    #[schema(value_type = KeyBody)]
    key: Bytes,
    /// Why, for the audit: 1 to 1,000 characters.
    #[schema(min_length = 1, max_length = 1000, pattern = r"^[^\x00]*[^\s\x00][^\x00]*$")]
    reason: String,
}

/// A key.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = Key)]
#[expect(dead_code, reason = "it is there for the document alone")]
pub(in super::super) enum KeyBody {
    /// One that is UTF-8.
    Text(String),
    /// Any other.
    Base64 {
        /// RFC 4648, with padding.
        #[schema(format = Byte)]
        base64: String,
    },
}

/// What became of a quarantine.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct ReleasedBody {
    /// `releasing`: what was parked runs now, in its order; `lifted`: nothing was, and there is no
    /// quarantine any more.
    #[schema(example = "releasing")]
    state: &'static str,
    /// Jobs that were parked and run now.
    parked: i64,
}

const USAGE: &str = "Send {\"group\": \"..\", \"topic\": \"..\", \"key\": \"..\", \"reason\": \"..\"}, as \
     GET /admin/quarantines has them";

/// Release a quarantined key
///
/// For a dead letter that is gone from its topic, or about which nothing is to be decided now: it
/// stays as it is. What was parked runs in its order, and before what comes meanwhile. A key that
/// is `releasing` already, of which nothing is left to be sent, is `lifted`.
#[utoipa::path(
    post,
    path = "/admin/quarantines/release",
    tag = "operating",
    request_body = ReleaseRequest,
    responses(
        (status = 200, description = "Released", body = ReleasedBody),
        (status = 400, description = "Not JSON, or not such a request", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "The key is not quarantined", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The reason or the key cannot be taken", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database is away", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn release_quarantine(
    State(services): State<Services>,
    Caller(actor): Caller,
    JsonBody(body): JsonBody,
) -> Result<Json<ReleasedBody>, Problem> {
    let ReleaseRequest { group, topic, key, reason } = request(&body, USAGE)?;
    let reason = reason::checked(&reason)?;
    let key = key.to_bytes().ok_or_else(|| {
        let detail = "must be standard base64, with padding".to_owned();
        Problem::invalid_payload(vec![Fault { pointer: "/key/base64".to_owned(), detail }])
    })?;
    // No name has a NUL, and PostgreSQL takes none.
    if group.contains('\0') || topic.contains('\0') {
        return Err(QuarantineError::NotQuarantined.into());
    }
    let changed = services.quarantines.release(&actor, &group, &topic, &key, reason).await?;
    let machine = changed.row.machine;
    let state = if changed.is_lifted { "lifted" } else { machine.state.as_str() };
    Ok(Json(ReleasedBody { state, parked: machine.parked() }))
}
