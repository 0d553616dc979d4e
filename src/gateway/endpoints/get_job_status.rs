//! `GET /jobs/{type}/{partition}/{offset}` and `GET /jobs/by-id/{id}`: what became of a job.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::Services;
use super::super::access::Held;
use super::super::problem::Problem;
use super::later::{record_url, status_url};
use super::list_workers::LastErrorBody;
use super::prefer::{PreferHeader, Wait};
use super::produce::unknown_type;
use crate::domain::clock::rfc3339;
use crate::operations::{JobStatus, StatusError};

/// What became of a job or an event.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct JobStatusBody {
    /// Its `message_id`; null where retention has taken the record.
    id: Option<Uuid>,
    /// Its type.
    #[serde(rename = "type")]
    #[schema(example = "email.verification")]
    type_name: String,
    /// The topic.
    topic: String,
    /// The partition; null as long as it has no record.
    partition: Option<i32>,
    /// The offset; null as long as it has no record.
    offset: Option<i64>,
    /// The key, where it is known and text.
    key: Option<String>,
    /// The group that runs it.
    group: String,
    /// `queued` (waits), `running`, `retrying` (has failed, and waits for its next attempt),
    /// `succeeded`, `dead_lettered`, `skipped` (an offset reset went over it, or it is for another group), `expired`
    /// (retention took it before it was run), `scheduled` (it, or its next attempt, waits for its
    /// time), `cancelled` (before its time), `parked` (put aside, since its key is quarantined).
    #[schema(example = "succeeded")]
    state: &'static str,
    /// Attempts that were made, the one that runs included; null where nothing tells.
    attempts: Option<i64>,
    /// RFC 3339: when the attempt that runs began; only while it is `running`.
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    /// RFC 3339: when the next attempt is due; only while it is `retrying`.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<String>,
    /// Why the last attempt failed; only while it is `retrying`.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<LastErrorBody>,
    /// RFC 3339: the record's timestamp.
    produced_at: Option<String>,
    /// RFC 3339: when it, or its next attempt, is due or was; absent where it was not put off.
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduled_for: Option<String>,
    /// Where to ask again.
    status_url: String,
    /// Its dead letter, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter: Option<StatusLetterBody>,
}

/// The dead letter of a job.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct StatusLetterBody {
    /// The partition of the dead-letter topic.
    partition: i32,
    /// The offset in it.
    offset: i64,
    /// What went wrong.
    error: String,
    /// RFC 3339.
    failed_at: String,
    /// `open`, `replayed`, `resolved` or `discarded`.
    state: &'static str,
    /// The status of the record that a replay sent, if one did.
    replayed_as: Option<String>,
}

impl From<JobStatus> for JobStatusBody {
    fn from(status: JobStatus) -> Self {
        let type_name = status.type_name;
        let dead_letter = status.letter.map(|(letter, resolution)| StatusLetterBody {
            partition: letter.place.partition,
            offset: letter.place.offset,
            error: letter.error_message,
            failed_at: rfc3339(letter.failed_at_ms),
            state: letter.state.as_str(),
            replayed_as: resolution
                .and_then(|resolution| resolution.receipt)
                .map(|place| record_url(&type_name, &place)),
        });
        let place = status.place.as_ref();
        let of_record = place.map(|place| record_url(&type_name, place));
        let of_schedule = || status.id.map(status_url);
        Self {
            id: status.id,
            status_url: of_record.or_else(of_schedule).unwrap_or_default(),
            type_name,
            topic: status.topic,
            partition: place.map(|place| place.partition),
            offset: place.map(|place| place.offset),
            key: status.key,
            group: status.group,
            state: status.state.as_str(),
            attempts: status.attempts,
            started_at: status.started_at_ms.map(rfc3339),
            next_attempt_at: status.next_attempt_at_ms.map(rfc3339),
            last_error: status.last_error.map(LastErrorBody::from),
            produced_at: status.produced_at_ms.map(rfc3339),
            scheduled_for: status.scheduled_for_ms.map(rfc3339),
            dead_letter,
        }
    }
}

/// What became of a job
///
/// By the place in its receipt; events have a status too. Worked out from the group's
/// commit, the dead letters, the record, and what the workers said a second or two ago of the jobs
/// that they have in hand, within 5 s; never guessed: 503 where one of them
/// cannot be asked.
///
/// A caller sees what it has sent itself. Once retention has taken a record, only its dead
/// letter tells who sent it: without one it is a 404 for its own caller too, and its last
/// state (`succeeded`, `skipped`, `expired`) is shown to `admin:read` alone.
#[utoipa::path(
    get,
    path = "/jobs/{type}/{partition}/{offset}",
    tag = "producing",
    params(
        ("type" = String, Path, description = "The type of the job or event"),
        ("partition" = i32, Path, description = "The partition, from the receipt"),
        ("offset" = i64, Path, description = "The offset, from the receipt"),
        PreferHeader,
    ),
    responses(
        (status = 200, description = "What became of it", body = JobStatusBody),
        (status = 404, description = "No such type, or no record at this place", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Kafka, the database or the index cannot answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn get_job_status(
    State(services): State<Services>,
    held: Held,
    place: Result<Path<(String, i32, i64)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path((name, partition, offset)) = place.map_err(|_| {
        Problem::not_found("no-such-record", "Partition and offset must be whole numbers")
    })?;
    let record_type = services.catalog.by_name(&name).ok_or_else(|| unknown_type(&name))?;
    let wait = Wait::begin(&services, &headers);
    let status = wait.look(services.statuses.get(record_type, partition, offset)).await?;
    let not_there =
        |status: JobStatus| StatusError::NotFound { topic: status.topic, partition, offset };
    let status = shown_to(&held, status, not_there)?;
    let status = match wait.turn() {
        Some(turn) => turn.of_record(record_type, status).await?,
        None => status,
    };
    Ok(wait.answer(Json(JobStatusBody::from(status))))
}

/// Find a job by its id
///
/// A job that was put off is found in the schedule, before and after it was sent. The record of
/// any other is found by the time inside the `UUIDv7`, in every topic, without an index: at most
/// 10,000 records of each partition are read, for at most 2 s. It finds the record that had the
/// id first, not its replays.
///
/// This is what tells after a 504. A record that comes late is found as soon as it is there. For as
/// long as jobgate may be trying to write it, a 404 says until when; a 404 after that is certain.
#[utoipa::path(
    get,
    path = "/jobs/by-id/{id}",
    tag = "producing",
    params(("id" = String, Path, description = "The id in the receipt"), PreferHeader),
    responses(
        (status = 200, description = "What became of it", body = JobStatusBody),
        (status = 404, description = "No record has this id (yet: the problem says until when it may still come), or it carries no time", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "It is not among the records that are searched, and there are more: ask by its place", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The search took too long, or Kafka, the database or the index cannot answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn find_job(
    State(services): State<Services>,
    held: Held,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = Uuid::parse_str(&id)
        .map_err(|_| Problem::not_found("unknown-id", "An id is a UUID, as the receipt has it"))?;
    let wait = Wait::begin(&services, &headers);
    let status = wait.look(services.statuses.find(id)).await?;
    let not_there = |_| services.statuses.not_there(id);
    let status = shown_to(&held, status, not_there)?;
    let status = match wait.turn() {
        Some(turn) => turn.of_found(id, status).await?,
        None => status,
    };
    Ok(wait.answer(Json(JobStatusBody::from(status))))
}

/// A caller sees what it has sent itself, and an operator everything, of the types that its token
/// is for. What is not shown is answered as what is not there, to the letter.
fn shown_to(
    held: &Held,
    status: JobStatus,
    not_there: impl FnOnce(JobStatus) -> StatusError,
) -> Result<JobStatus, Problem> {
    let is_shown = held.may_see(&status.type_name, status.producer.as_deref());
    if is_shown { Ok(status) } else { Err(not_there(status).into()) }
}
