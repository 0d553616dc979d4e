//! `POST /admin/dlq/{partition}/{offset}/replay`: send a dead letter's record again.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::Services;
use super::super::body::{OptionalJsonBody, request};
use super::super::caller::Caller;
use super::super::problem::Problem;
use super::get_dead_letter::letter_path;
use super::produce::ReceiptBody;

/// How to send it again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct ReplayRequest {
    /// The fixed payload; without it the record goes out as it was.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Object, required = false)]
    payload: Option<Box<RawValue>>,
}

/// A null that is given is a payload, and not a valid one: whoever sends it meant a fix.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(from).map(Some)
}

/// The new record.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct ReplayedBody {
    /// Its receipt; the id is the one it always had.
    #[serde(flatten)]
    receipt: ReceiptBody,
    /// Names this replay; the record carries it as a header.
    replay_id: Uuid,
}

/// Replay a dead letter
///
/// As it was, or with a fixed payload, which is validated. The record keeps its
/// `message_id`, and only the group that failed runs it.
#[utoipa::path(
    post,
    path = "/admin/dlq/{partition}/{offset}/replay",
    tag = "operating",
    params(
        ("partition" = i32, Path, description = "The partition of the dead-letter topic"),
        ("offset" = i64, Path, description = "The offset in it"),
    ),
    request_body(content = Option<ReplayRequest>, description = "Optional: the fixed payload"),
    responses(
        (status = 202, description = "Durable", body = ReplayedBody,
         headers(("Location" = String, description = "Where to ask what became of it"))),
        (status = 400, description = "Not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such dead letter", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Not open any more, or it cannot be replayed", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The payload is not valid; every fault is named", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Kafka or the database is away; nothing was written", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The outcome is unknown", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn replay_dead_letter(
    State(services): State<Services>,
    place: Result<Path<(i32, i64)>, PathRejection>,
    Caller(actor): Caller,
    OptionalJsonBody(body): OptionalJsonBody,
) -> Result<impl IntoResponse, Problem> {
    let (partition, offset) = letter_path(place)?;
    let payload = match body {
        None => None,
        Some(body) => {
            let usage = "Send nothing, or {\"payload\": {..}}";
            let request: ReplayRequest = request(&body, usage)?;
            request.payload
        }
    };
    let payload = payload.as_deref().map(|payload| payload.get().as_bytes());
    let replayed = services.replay_letter.replay(&actor, partition, offset, payload).await?;
    let receipt = ReceiptBody::from(replayed.receipt);
    let location = [(header::LOCATION, receipt.status_url.clone())];
    let body = ReplayedBody { receipt, replay_id: replayed.replay_id };
    Ok((StatusCode::ACCEPTED, location, Json(body)))
}
