//! `POST /admin/replays/{id}/cancel`: stop a replay.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::super::Services;
use super::super::body::{OptionalJsonBody, request};
use super::super::caller::Caller;
use super::super::problem::Problem;
use super::get_replay::replay_id;
use super::reason;
use super::replay::ReplayBody;

/// Why it is stopped.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct CancelRequest {
    /// Why, for the audit: 1 to 1,000 characters.
    #[schema(min_length = 1, max_length = 1000, pattern = r"^[^\x00]*[^\s\x00][^\x00]*$")]
    reason: Option<String>,
}

/// Cancel a replay
///
/// Jobs that run come to their end; what was done stays done. `cancelling` until its worker has
/// stopped, which takes a second or two.
#[utoipa::path(
    post,
    path = "/admin/replays/{id}/cancel",
    tag = "operating",
    params(("id" = String, Path, description = "The id of the replay")),
    request_body(content = Option<CancelRequest>, description = "Optional: why"),
    responses(
        (status = 202, description = "It stops", body = ReplayBody),
        (status = 400, description = "Not JSON, or not such a request", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such replay", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It has ended", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The reason is empty or too long", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database is away", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn cancel_replay(
    State(services): State<Services>,
    Path(id): Path<String>,
    Caller(actor): Caller,
    OptionalJsonBody(body): OptionalJsonBody,
) -> Result<(StatusCode, Json<ReplayBody>), Problem> {
    let id = replay_id(&id)?;
    let reason = match body {
        None => None,
        Some(body) => {
            let CancelRequest { reason } = request(&body, "Send nothing, or {\"reason\": \"..\"}")?;
            reason.as_deref().map(reason::checked).transpose()?.map(str::to_owned)
        }
    };
    let cancelled = services.replays.cancel(&actor, id, reason.as_deref()).await?;
    Ok((StatusCode::ACCEPTED, Json(cancelled.replay.into())))
}
