//! `POST /admin/jobs/{type}/pause` and `/resume`: whether the jobs of a type start.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::Services;
use super::super::body::{OptionalJsonBody, request};
use super::super::caller::Caller;
use super::super::problem::Problem;
use super::produce::unknown_type;
use super::reason;
use crate::domain::clock::rfc3339;
use crate::domain::pause::TypePause;

/// Why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct PauseRequest {
    /// Why, for the audit and for whoever wonders: 1 to 1,000 characters.
    #[schema(min_length = 1, max_length = 1000, pattern = r"^[^\x00]*[^\s\x00][^\x00]*$")]
    reason: Option<String>,
}

/// Whether a type is paused.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct PauseBody {
    /// The type.
    #[serde(rename = "type")]
    #[schema(example = "email.verification")]
    type_name: String,
    /// Whether it is.
    paused: bool,
    /// RFC 3339: since when; null where it is not.
    paused_at: Option<String>,
    /// Who has paused it.
    paused_by: Option<String>,
    /// Why, if they said.
    reason: Option<String>,
}

impl PauseBody {
    fn new(type_name: String, pause: Option<TypePause>) -> Self {
        let paused = pause.is_some();
        let (paused_at, paused_by, reason) = match pause {
            Some(TypePause { paused_at_ms, paused_by, reason, .. }) => {
                (Some(rfc3339(paused_at_ms)), Some(paused_by), reason)
            }
            None => (None, None, None),
        };
        Self { type_name, paused, paused_at, paused_by, reason }
    }
}

/// Pause a type
///
/// Its jobs are accepted and kept, and none starts until it is resumed; those that run come to
/// their end. Every worker knows it within 2 s. A type that is paused already stays as it is, with
/// the reason that it has.
#[utoipa::path(
    post,
    path = "/admin/jobs/{type}/pause",
    tag = "operating",
    params(("type" = String, Path, description = "The type of the jobs or events")),
    request_body(content = Option<PauseRequest>, description = "Optional: why"),
    responses(
        (status = 200, description = "It is paused", body = PauseBody),
        (status = 400, description = "Not JSON, or not such a request", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such type", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The reason is empty or too long", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database is away", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn pause_type(
    State(services): State<Services>,
    Path(name): Path<String>,
    Caller(actor): Caller,
    OptionalJsonBody(body): OptionalJsonBody,
) -> Result<Json<PauseBody>, Problem> {
    let reason = reason_in(body.as_ref())?;
    let record_type = services.catalog.by_name(&name).ok_or_else(|| unknown_type(&name))?;
    let pause = services.pauses.pause(&actor, record_type, reason.as_deref()).await?;
    Ok(Json(PauseBody::new(name, pause)))
}

/// Resume a type
///
/// Its jobs start again, the oldest of each key first. Every worker knows it within 2 s. A type
/// that is not paused stays so. An outage that pauses the type as well ends by itself.
#[utoipa::path(
    post,
    path = "/admin/jobs/{type}/resume",
    tag = "operating",
    params(("type" = String, Path, description = "The type of the jobs or events")),
    request_body(content = Option<PauseRequest>, description = "Optional: why"),
    responses(
        (status = 200, description = "It is not paused", body = PauseBody),
        (status = 400, description = "Not JSON, or not such a request", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such type", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The reason is empty or too long", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database is away", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn resume_type(
    State(services): State<Services>,
    Path(name): Path<String>,
    Caller(actor): Caller,
    OptionalJsonBody(body): OptionalJsonBody,
) -> Result<Json<PauseBody>, Problem> {
    let reason = reason_in(body.as_ref())?;
    let record_type = services.catalog.by_name(&name).ok_or_else(|| unknown_type(&name))?;
    let pause = services.pauses.resume(&actor, record_type, reason.as_deref()).await?;
    Ok(Json(PauseBody::new(name, pause)))
}

fn reason_in(body: Option<&Bytes>) -> Result<Option<String>, Problem> {
    let Some(body) = body else { return Ok(None) };
    let PauseRequest { reason } = request(body, "Send nothing, or {\"reason\": \"..\"}")?;
    Ok(reason.as_deref().map(reason::checked).transpose()?.map(str::to_owned))
}
