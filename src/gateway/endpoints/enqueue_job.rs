//! `POST /jobs/{type}`: enqueue a job.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::super::Services;
use super::super::body::JsonBody;
use super::super::problem::Problem;
use super::get_job_status::JobStatusBody;
use super::head::Head;
use super::keyed::{self, KeyHeader};
use super::later::{LaterQuery, ScheduledReceiptBody};
use super::prefer::{self, PreferHeader};
use super::produce::{self, ReceiptBody, unknown_type};
use crate::domain::catalog::{Accepted, RecordType};
use crate::domain::trace::Trace;
use crate::operations::{KeyedRequest, Marks, Said, Undone, When};

/// What a job that was accepted is answered with.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub(in super::super) enum EnqueuedBody {
    /// Of a job that was sent.
    Sent(ReceiptBody),
    /// Of a job that was put off.
    Scheduled(ScheduledReceiptBody),
}

/// What a job that was accepted is answered with where the client preferred to wait.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct WaitedBody {
    /// The receipt.
    #[serde(flatten)]
    receipt: EnqueuedBody,
    /// With `Preference-Applied`: what had become of it when its end or the time came.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<JobStatusBody>,
}

/// Enqueue a job
///
/// A 202 means that every in-sync replica has the record; with `delay` or `run_at`, that the
/// database has committed the job. It is then sent at its time, or as soon after it as Kafka can
/// be reached, and bears the timestamp of that moment.
///
/// With an `Idempotency-Key` it may be sent again without harm: see there. Without one the
/// database is not needed to send a job at once.
///
/// With `Prefer: wait=10` the answer is held until the job has ended, or the time is up, and has a
/// `status` beside the receipt. It is a 202 whatever became of the job.
#[utoipa::path(
    post,
    path = "/jobs/{type}",
    tag = "producing",
    params(("type" = String, Path, description = "The job's type"), LaterQuery, KeyHeader, PreferHeader),
    request_body(content = serde_json::Value, description = "The payload of the type"),
    responses(
        (status = 202, description = "Durable", body = WaitedBody,
         headers(
             ("Location" = String, description = "Where to ask what became of it"),
             ("Preference-Applied" = String, description = "`wait=10`: it was waited, and the body has a `status`"),
             ("Idempotency-Replayed" = String, description = "`true`: the answer of the first request with this Idempotency-Key"),
         )),
        (status = 400, description = "Not JSON, an unknown query parameter, one that says no time within a year, or no Idempotency-Key", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such type", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The first request with this Idempotency-Key is still being answered", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The payload is not valid, and every fault is named; or the Idempotency-Key is that of another request", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Kafka is away, or, for a job that is put off or has an Idempotency-Key, the database; nothing was accepted", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The outcome is unknown", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn enqueue_job(
    State(services): State<Services>,
    Path(name): Path<String>,
    mut head: Head,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let record_type = services.catalog.job(&name).ok_or_else(|| unknown_type(&name))?;
    let when = head.when()?;
    let key = head.key()?;
    let mut accepted = record_type.accept(&body)?;
    if let Some(key) = key {
        let caller = head.caller.as_ref();
        let request = keyed::request(key, caller, &record_type.name, (head.query(), &body));
        // Read, it may be many times as large as its text: not while the database is waited for.
        accepted.payload = Value::Null;
        let trace = head.trace;
        let job = Job { record_type: Arc::clone(record_type), accepted, when, trace, body };
        // Boxed, as what is rare is below: a job without options does not carry it along.
        let said = Box::pin(once(&services, request, job)).await?;
        return Ok(match head.wait {
            None => keyed::answer(said),
            Some(wait) => Box::pin(waited(&services, record_type, said, wait)).await,
        });
    }
    let receipt = match when {
        None => {
            drop(body);
            let receipt = services.enqueue.enqueue(record_type, accepted, head.marks()).await?;
            EnqueuedBody::Sent(receipt.into())
        }
        Some(when) => {
            accepted.payload = Value::Null;
            let accept = services.schedule.accept(record_type, accepted, when, head.marks());
            let receipt = Box::pin(accept).await?;
            drop(body);
            EnqueuedBody::Scheduled(receipt.into())
        }
    };
    let Some(wait) = head.wait else {
        return Ok(accepted_as(&receipt, &receipt));
    };
    let status = Box::pin(ended(&services, record_type, &receipt, wait)).await;
    let is_applied = status.is_some();
    let body = WaitedBody { receipt, status };
    let mut response = accepted_as(&body.receipt, &body);
    if is_applied {
        prefer::applied(&mut response, wait);
    }
    Ok(response)
}

fn accepted_as(receipt: &EnqueuedBody, body: &impl Serialize) -> Response {
    let status_url = match receipt {
        EnqueuedBody::Sent(receipt) => &receipt.status_url,
        EnqueuedBody::Scheduled(receipt) => &receipt.status_url,
    };
    produce::accepted(StatusCode::ACCEPTED, status_url, body)
}

/// What has become of a job when its end or the time comes. None where that cannot be waited for,
/// or told: it is accepted all the same.
async fn ended(
    services: &Services,
    record_type: &RecordType,
    receipt: &EnqueuedBody,
    wait: Duration,
) -> Option<JobStatusBody> {
    let turn = services.waiting.begin(wait)?;
    let status = match receipt {
        EnqueuedBody::Sent(receipt) => {
            turn.of_record(record_type, receipt.status(record_type)).await
        }
        EnqueuedBody::Scheduled(receipt) => {
            match turn.first(services.statuses.find(receipt.id)).await {
                Ok(first) => turn.of_found(receipt.id, first).await,
                Err(error) => Err(error),
            }
        }
    };
    match status {
        Ok(status) => Some(status.into()),
        Err(error) => {
            tracing::debug!(%error, "a job that was waited for has no status");
            None
        }
    }
}

/// An answer that was kept, and what became of its job beside it.
async fn waited(
    services: &Services,
    record_type: &RecordType,
    mut said: Said,
    wait: Duration,
) -> Response {
    // What was kept is a receipt, since nothing else is.
    let status = match serde_json::from_str(&said.answer.body) {
        Ok(receipt) => Box::pin(ended(services, record_type, &receipt, wait)).await,
        Err(_) => None,
    };
    let status = status.and_then(|status| serde_json::to_string(&status).ok());
    // What was kept stays as it is, to the byte; the status stands behind it.
    let is_applied = status.is_some() && said.answer.body.pop() == Some('}');
    if let Some(status) = status.filter(|_| is_applied) {
        said.answer.body.push_str(",\"status\":");
        said.answer.body.push_str(&status);
        said.answer.body.push('}');
    }
    let mut response = keyed::answer(said);
    if is_applied {
        prefer::applied(&mut response, wait);
    }
    response
}

/// A valid job.
struct Job {
    record_type: Arc<RecordType>,
    accepted: Accepted,
    when: Option<When>,
    trace: Option<Trace>,
    /// Its memory is counted for as long as the job waits for the database, whether or not its
    /// client does.
    body: Bytes,
}

/// Does it once under its key.
async fn once(services: &Services, request: KeyedRequest, job: Job) -> Result<Said, Problem> {
    let (use_cases, producer) = (services.clone(), request.caller.clone());
    let work = async move |id| {
        let Job { record_type, accepted, when, trace, body } = job;
        let (record_type, producer) = (record_type.as_ref(), producer.as_deref());
        let marks = Marks { producer, id: Some(id), event: None, trace: trace.as_ref() };
        let Some(when) = when else {
            drop(body);
            let written = use_cases.enqueue.enqueue_patiently(record_type, accepted, marks);
            return keyed::sent(written.await, StatusCode::ACCEPTED);
        };
        let delayed = use_cases.schedule.accept(record_type, accepted, when, marks).await;
        let receipt = delayed.map_err(|error| Undone {
            may_be_done: error.may_be_accepted(),
            error: Box::new(Problem::of_keyed_delay(error)),
        })?;
        let receipt = ScheduledReceiptBody::from(receipt);
        keyed::kept(StatusCode::ACCEPTED, receipt.status_url.clone(), &receipt, None)
    };
    keyed::once(services, request, work).await
}
