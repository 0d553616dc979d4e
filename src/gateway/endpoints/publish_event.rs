//! `POST /events/{topic}`: publish an event.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};

use super::super::Services;
use super::super::body::JsonBody;
use super::super::problem::Problem;
use super::keyed::{self, KeyHeader};
use super::produce::{ReceiptBody, refuse_options, unknown_type};
use crate::auth::Caller;

/// Publish an event
///
/// A 201 means that every in-sync replica has the record. With an `Idempotency-Key` it may be sent
/// again without harm: see there.
#[utoipa::path(
    post,
    path = "/events/{topic}",
    tag = "producing",
    params(("topic" = String, Path, description = "The event's type, short (user.signup) or whole (waitlist.events.user.signup)"), KeyHeader),
    request_body(content = serde_json::Value, description = "The payload of the type"),
    responses(
        (status = 201, description = "Durable", body = ReceiptBody,
         headers(
             ("Location" = String, description = "Where to ask what became of it"),
             ("Idempotency-Replayed" = String, description = "`true`: the answer of the first request with this Idempotency-Key"),
         )),
        (status = 400, description = "Not JSON, an unknown query parameter, or no Idempotency-Key", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such type", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The first request with this Idempotency-Key is still being answered", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The payload is not valid, and every fault is named; or the Idempotency-Key is that of another request", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Kafka is away, or, with an Idempotency-Key, the database; nothing was written", body = Problem, content_type = "application/problem+json"),
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
) -> Result<Response, Problem> {
    let record_type = services.catalog.event(&name).ok_or_else(|| unknown_type(&name))?;
    refuse_options(&uri)?;
    let key = keyed::key(&headers)?;
    let accepted = record_type.accept(&body)?;
    let caller = caller.as_deref();
    if let Some(key) = key {
        let request = keyed::request(key, caller, &record_type.name, (&uri, &body));
        let (use_cases, producer) = (services.clone(), request.caller.clone());
        let record_type = Arc::clone(record_type);
        let work = async move |id| {
            let producer = producer.as_deref();
            let written = use_cases.enqueue.enqueue_as(id, &record_type, accepted, producer);
            keyed::sent(written.await, StatusCode::CREATED)
        };
        let said = Box::pin(keyed::once(&services, request, work)).await?;
        return Ok(keyed::answer(said));
    }
    drop(body);
    let producer = caller.map(|caller| caller.name.as_str());
    let receipt = services.enqueue.enqueue(record_type, accepted, producer).await?;
    let receipt = ReceiptBody::from(receipt);
    let location = [(header::LOCATION, receipt.status_url.clone())];
    Ok((StatusCode::CREATED, location, Json(receipt)).into_response())
}
