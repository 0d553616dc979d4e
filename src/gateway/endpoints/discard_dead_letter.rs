//! `POST /admin/dlq/{partition}/{offset}/discard`: put a dead letter aside.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::super::Services;
use super::super::body::{JsonBody, request};
use super::super::caller::Caller;
use super::super::problem::Problem;
use super::get_dead_letter::letter_path;
use super::reason;

/// Why it is put aside.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct DiscardRequest {
    /// Why, for whoever looks at it later: 1 to 1,000 characters.
    #[schema(min_length = 1, max_length = 1000, pattern = r"^[^\x00]*[^\s\x00][^\x00]*$")]
    reason: String,
}

/// Discard a dead letter
///
/// It stays in the topic and in the history, with the reason. Where it holds its key, that goes on.
#[utoipa::path(
    post,
    path = "/admin/dlq/{partition}/{offset}/discard",
    tag = "operating",
    params(
        ("partition" = i32, Path, description = "The partition of the dead-letter topic"),
        ("offset" = i64, Path, description = "The offset in it"),
    ),
    request_body = DiscardRequest,
    responses(
        (status = 204, description = "Discarded"),
        (status = 400, description = "Not JSON, or without a reason", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such dead letter", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Not open any more", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The reason is empty or too long", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Kafka or the database is away", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn discard_dead_letter(
    State(services): State<Services>,
    place: Result<Path<(i32, i64)>, PathRejection>,
    Caller(actor): Caller,
    JsonBody(body): JsonBody,
) -> Result<StatusCode, Problem> {
    let (partition, offset) = letter_path(place)?;
    let DiscardRequest { reason } = request(&body, "Send {\"reason\": \"..\"}")?;
    let reason = reason::checked(&reason)?;
    services.dead_letters.discard(&actor, partition, offset, reason).await?;
    Ok(StatusCode::NO_CONTENT)
}
