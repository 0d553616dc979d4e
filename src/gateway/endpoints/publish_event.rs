//! `POST /events/{topic}`: publish an event.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};

use super::super::Services;
use super::super::batch;
use super::super::cloud_events::{self, EventBody};
use super::super::problem::Problem;
use super::produce::{ReceiptBody, refuse_options, unknown_type};
use crate::auth::Caller;
use crate::domain::cloud_event::Attributes;
use crate::operations::Marks;

/// Publish an event
///
/// A 201 means that every in-sync replica has the record.
///
/// A `CloudEvent` (1.0.2) is taken in each of its modes: with its attributes in `ce-*` headers, in
/// an envelope (`application/cloudevents+json`), or many as a batch
/// (`application/cloudevents-batch+json`), which is answered as `/events/{topic}/batch` answers.
/// Its `data` is the payload, its `type` must be the event's type or end with it, its attributes
/// become `ce_*` headers of the record, and the record's id follows from `source` and `id`: an event
/// that is sent again has the same id.
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
    body: EventBody,
) -> Result<Response, Problem> {
    let record_type = services.catalog.event(&name).ok_or_else(|| unknown_type(&name))?;
    let producer = caller.as_deref().map(|caller| caller.name.as_str());
    let (accepted, event) = match body {
        EventBody::Batch(request) => {
            return batch::answer(&services, record_type, producer, request).await;
        }
        EventBody::Payload(body) => {
            refuse_options(&uri, &headers)?;
            (record_type.accept(&body)?, None)
        }
        EventBody::Binary(draft, body) => {
            refuse_options(&uri, &headers)?;
            let (accepted, event) = cloud_events::accept(record_type, draft, &body)?;
            (accepted, Some(event))
        }
        EventBody::Structured(body) => {
            refuse_options(&uri, &headers)?;
            let (accepted, event) = cloud_events::accept_structured(record_type, &body)?;
            (accepted, Some(event))
        }
    };
    let id = event.as_ref().map(Attributes::message_id);
    let marks = Marks { producer, id, event: event.as_ref() };
    let receipt = services.enqueue.enqueue_as(record_type, accepted, marks).await?;
    let receipt = ReceiptBody::from(receipt);
    let location = [(header::LOCATION, receipt.status_url.clone())];
    Ok((StatusCode::CREATED, location, Json(receipt)).into_response())
}
