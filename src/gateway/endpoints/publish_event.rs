//! `POST /events/{topic}`: publish an event.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::IntoResponse;
use axum::{Extension, Json};

use super::super::Services;
use super::super::body::JsonBody;
use super::super::problem::Problem;
use super::produce::{ReceiptBody, refuse_options, unknown_type};
use crate::auth::Caller;

/// Publish an event
///
/// A 201 means that every in-sync replica has the record.
#[utoipa::path(
    post,
    path = "/events/{topic}",
    tag = "producing",
    params(("topic" = String, Path, description = "The event's type, short (user.signup) or whole (waitlist.events.user.signup)")),
    request_body(content = serde_json::Value, description = "The payload of the type"),
    responses(
        (status = 201, description = "Durable", body = ReceiptBody,
         headers(("Location" = String, description = "Where to ask what became of it"))),
        (status = 400, description = "Not JSON, or an unknown query parameter", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such type", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The payload is not valid; every fault is named", body = Problem, content_type = "application/problem+json"),
        (status = 501, description = "Idempotency-Key is not honoured yet", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Kafka is away; nothing was written", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The outcome is unknown", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn publish_event(
    State(services): State<Services>,
    caller: Option<Extension<Caller>>,
    Path(name): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<impl IntoResponse, Problem> {
    let record_type = services.catalog.event(&name).ok_or_else(|| unknown_type(&name))?;
    refuse_options(&uri, &headers)?;
    let accepted = record_type.accept(&body)?;
    drop(body);
    let producer = caller.as_deref().map(|caller| caller.name.as_str());
    let receipt = services.enqueue.enqueue(record_type, accepted, producer).await?;
    let receipt = ReceiptBody::from(receipt);
    let location = [(header::LOCATION, receipt.status_url.clone())];
    Ok((StatusCode::CREATED, location, Json(receipt)))
}
