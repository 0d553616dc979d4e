//! `POST /events/{topic}/batch`: publish many events of one type.

use axum::extract::{Path, Request, State};
use axum::response::Response;

use super::super::Services;
use super::super::batch::{self, BatchBody, BatchHeaders, LineBody};
use super::super::body;
use super::super::problem::Problem;
use super::head::Head;
use super::produce::unknown_type;

/// Publish many events
///
/// A JSON array of 1 to 10,000 payloads, at most 8 MiB, is answered as a whole, item by item in
/// its order: 201 where every item was accepted, 422 where each has a fault, 503 or 504 where
/// that is what became of all, else 207. Lines (`application/x-ndjson`), as many as there are,
/// are answered with 200 and a line for each, as soon as its outcome is known, and a summary at
/// the end. A receipt means that every in-sync replica has the record, as for one event.
#[utoipa::path(
    post,
    path = "/events/{topic}/batch",
    tag = "producing",
    params(
        ("topic" = String, Path, description = "The event's type, short (user.signup) or whole (waitlist.events.user.signup)"),
        BatchHeaders,
    ),
    request_body(content(
        (Vec<serde_json::Value> = "application/json"),
        (String = "application/x-ndjson"),
        (Vec<serde_json::Value> = "application/cloudevents-batch+json"),
    ), description = "Payloads of the type"),
    responses(
        (status = 200, description = "Lines: what became of each, then a summary", body = LineBody, content_type = "application/x-ndjson"),
        (status = 201, description = "Every item is durable", body = BatchBody),
        (status = 207, description = "Items differ; each says what became of it", body = BatchBody),
        (status = 400, description = "Not JSON, a query parameter, or a body that does not unpack", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such type", body = Problem, content_type = "application/problem+json"),
        (status = 406, description = "The answer cannot have the form that Accept asks for", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "No item was accepted, each for its own faults; or the body is no array of items", content((BatchBody = "application/json"), (Problem = "application/problem+json"))),
        (status = 503, description = "No item was accepted, since Kafka is away", content((BatchBody = "application/json"), (Problem = "application/problem+json"))),
        (status = 504, description = "The outcome of every item is unknown", content((BatchBody = "application/json"), (Problem = "application/problem+json"))),
    )
)]
pub(in super::super) async fn publish_batch(
    State(services): State<Services>,
    Path(name): Path<String>,
    head: Head,
    request: Request,
) -> Result<Response, Problem> {
    let Some(record_type) = services.catalog.event(&name) else {
        body::discard(request).await;
        return Err(unknown_type(&name));
    };
    batch::answer(&services, record_type, head.marks(), request).await
}
