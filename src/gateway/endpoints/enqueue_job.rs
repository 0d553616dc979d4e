//! `POST /jobs/{type}`: enqueue a job.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::Services;
use super::super::body::JsonBody;
use super::super::problem::Problem;
use super::later::{LaterQuery, ScheduledReceiptBody};
use super::produce::{ReceiptBody, unknown_type, when};
use crate::auth::Caller;

/// What a job that was accepted is answered with.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(in super::super) enum EnqueuedBody {
    /// Of a job that was sent.
    Sent(ReceiptBody),
    /// Of a job that was put off.
    Scheduled(ScheduledReceiptBody),
}

/// Enqueue a job
///
/// A 202 means that every in-sync replica has the record; with `delay` or `run_at`, that the
/// database has committed the job. It is then sent at its time, or as soon after it as Kafka can
/// be reached, and bears the timestamp of that moment.
#[utoipa::path(
    post,
    path = "/jobs/{type}",
    tag = "producing",
    params(("type" = String, Path, description = "The job's type"), LaterQuery),
    request_body(content = serde_json::Value, description = "The payload of the type"),
    responses(
        (status = 202, description = "Durable", body = EnqueuedBody,
         headers(("Location" = String, description = "Where to ask what became of it"))),
        (status = 400, description = "Not JSON, an unknown query parameter, or one that says no time within a year", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such type", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The payload is not valid; every fault is named", body = Problem, content_type = "application/problem+json"),
        (status = 501, description = "Idempotency-Key is not honoured yet", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Kafka is away, or, for a job that is put off, the database; nothing was accepted", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The outcome is unknown", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn enqueue_job(
    State(services): State<Services>,
    caller: Option<Extension<Caller>>,
    Path(name): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<impl IntoResponse, Problem> {
    let record_type = services.catalog.job(&name).ok_or_else(|| unknown_type(&name))?;
    let when = when(&uri, &headers)?;
    let accepted = record_type.accept(&body)?;
    drop(body);
    let producer = caller.as_deref().map(|caller| caller.name.as_str());
    let (location, body) = match when {
        None => {
            let receipt = services.enqueue.enqueue(record_type, accepted, producer).await?;
            let receipt = ReceiptBody::from(receipt);
            (receipt.status_url.clone(), EnqueuedBody::Sent(receipt))
        }
        Some(when) => {
            let receipt = services.schedule.accept(record_type, accepted, when, producer).await?;
            let receipt = ScheduledReceiptBody::from(receipt);
            (receipt.status_url.clone(), EnqueuedBody::Scheduled(receipt))
        }
    };
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(body)))
}
