//! `POST /events/{topic}`: publish an event.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::super::Services;
use super::super::batch::{self, BatchBody, LineBody};
use super::super::cloud_events::{self, EventBody};
use super::super::problem::Problem;
use super::head::Head;
use super::keyed::{self, KeyHeader};
use super::produce::{self, ReceiptBody, unknown_type};
use crate::domain::cloud_event::Attributes;
use crate::operations::{KeyedRequest, Marks};

/// What is answered where all was published.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is there for the document alone")]
pub(in super::super) enum PublishedBody {
    /// Of one event.
    One(ReceiptBody),
    /// Of a batch.
    Many(BatchBody),
}

/// Publish an event
///
/// A 201 means that every in-sync replica has the record. With an `Idempotency-Key` it may be sent
/// again without harm: see there.
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
    params(("topic" = String, Path, description = "The event's type, short (user.signup) or whole (waitlist.events.user.signup)"), KeyHeader),
    request_body(content(
        (serde_json::Value = "application/json"),
        (serde_json::Value = "application/cloudevents+json"),
        (Vec<serde_json::Value> = "application/cloudevents-batch+json"),
    ), description = "The payload of the type; or an event that holds it, or many"),
    responses(
        (status = 200, description = "Of a batch, where Accept asks for lines: what became of each, then a summary", body = LineBody, content_type = "application/x-ndjson"),
        (status = 201, description = "Durable; of a batch, every item is", body = PublishedBody,
         headers(
             ("Location" = String, description = "Where to ask what became of it"),
             ("Idempotency-Replayed" = String, description = "`true`: the answer of the first request with this Idempotency-Key"),
         )),
        (status = 207, description = "Of a batch: items differ; each says what became of it", body = BatchBody),
        (status = 400, description = "Not JSON, an unknown query parameter, or no Idempotency-Key", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such type", body = Problem, content_type = "application/problem+json"),
        (status = 406, description = "Of a batch: the answer cannot have the form that Accept asks for", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The first request with this Idempotency-Key is still being answered", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The payload is not valid, and every fault is named; or the Idempotency-Key is that of another request", content((BatchBody = "application/json"), (Problem = "application/problem+json"))),
        (status = 503, description = "Kafka is away, or, with an Idempotency-Key, the database; nothing was written", content((BatchBody = "application/json"), (Problem = "application/problem+json"))),
        (status = 504, description = "The outcome is unknown", content((BatchBody = "application/json"), (Problem = "application/problem+json"))),
    )
)]
pub(in super::super) async fn publish_event(
    State(services): State<Services>,
    Path(name): Path<String>,
    mut head: Head,
    body: EventBody,
) -> Result<Response, Problem> {
    let record_type = services.catalog.event(&name).ok_or_else(|| unknown_type(&name))?;
    let (mut accepted, event, body) = match body {
        EventBody::Batch(request) => {
            return batch::answer(&services, record_type, head.marks(), request).await;
        }
        EventBody::Payload(body) => {
            head.refuse_options()?;
            (record_type.accept(&body)?, None, body)
        }
        EventBody::Binary(draft, body) => {
            head.refuse_options()?;
            let (accepted, event) = cloud_events::accept(record_type, draft, &body)?;
            (accepted, Some(event), body)
        }
        EventBody::Structured(body) => {
            head.refuse_options()?;
            let (accepted, event) = cloud_events::accept_structured(record_type, &body)?;
            (accepted, Some(event), body)
        }
    };
    // An event's own is where it began, the request's where it is now.
    let trace = head.trace.take().or_else(|| event.as_ref().and_then(Attributes::trace));
    let event_id = event.as_ref().map(Attributes::message_id);
    if let Some(key) = head.key()? {
        let caller = head.caller.as_ref();
        let request = keyed::request(key, caller, &record_type.name, (head.query(), &body));
        let request = KeyedRequest { id: event_id, ..request };
        let (use_cases, producer) = (services.clone(), request.caller.clone());
        let record_type = Arc::clone(record_type);
        accepted.payload = Value::Null;
        let work = async move |id| {
            // Its memory was counted for as long as the database was waited for.
            drop(body);
            // The id of a CloudEvent follows from what it says of itself.
            let (producer, id) = (producer.as_deref(), Some(event_id.unwrap_or(id)));
            let marks = Marks { producer, id, event: event.as_ref(), trace: trace.as_ref() };
            let written = use_cases.enqueue.enqueue_patiently(&record_type, accepted, marks);
            keyed::sent(written.await, StatusCode::CREATED)
        };
        let said = Box::pin(keyed::once(&services, request, work)).await?;
        return Ok(keyed::answer(said));
    }
    drop(body);
    let (event, trace) = (event.as_ref(), trace.as_ref());
    let marks = Marks { id: event_id, event, trace, ..head.marks() };
    let receipt = services.enqueue.enqueue(record_type, accepted, marks).await?;
    let receipt = ReceiptBody::from(receipt);
    Ok(produce::accepted(StatusCode::CREATED, &receipt.status_url, &receipt))
}
