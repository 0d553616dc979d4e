//! `GET /admin/workers`: what each worker does now.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::super::Services;
use super::super::problem::Problem;
use super::page;
use super::paused::PausedTypeBody;
use crate::domain::clock::rfc3339;
use crate::domain::snapshot::{GroupSnapshot, JobRef, LastError, RetryingJob, RunningJob};
use crate::operations::ListedWorker;
use crate::store::WorkerCursor;

/// Which page.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct WorkersQuery {
    /// Workers on a page: 1 to 500, 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u16>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of workers.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct WorkerList {
    /// The one that started last first.
    items: Vec<WorkerBody>,
    /// The `cursor` of the next page; null on the last one.
    next_cursor: Option<String>,
    /// How many workers there are in all.
    total: i64,
}

/// A worker, as it was when it was last seen.
#[derive(Serialize, ToSchema)]
#[schema(as = Worker)]
pub(in super::super) struct WorkerBody {
    /// Names the process.
    instance: String,
    /// The name that it keeps over restarts, if it has one.
    consumer_instance: Option<String>,
    /// Its machine or container.
    host: Option<String>,
    /// The version of jobgate.
    version: String,
    /// RFC 3339.
    started_at: String,
    /// RFC 3339: when it last said so. Every second while something changes, else every 5 s.
    seen_at: String,
    /// How long ago that was.
    silent_seconds: f64,
    /// Whether that was within 10 s. One that is not has died or cannot reach the database; it is
    /// listed for an hour. One that stops is listed no longer.
    alive: bool,
    /// What it does, by group.
    groups: Vec<WorkerGroupBody>,
}

/// What a worker does in a group.
#[derive(Serialize, ToSchema)]
#[schema(as = WorkerGroup)]
pub(in super::super) struct WorkerGroupBody {
    /// The group.
    #[schema(example = "email-workers")]
    group: String,
    /// The partitions that it has, by topic; at most 1,000.
    partitions: Vec<WorkerTopicBody>,
    /// Whether it has more.
    partitions_truncated: bool,
    /// How many jobs it has in hand.
    counts: WorkerCountsBody,
    /// Jobs whose attempt runs; at most 100.
    running: Vec<RunningBody>,
    /// Whether more run.
    running_truncated: bool,
    /// Jobs that failed and wait for their next attempt; at most 100.
    retrying: Vec<RetryingBody>,
    /// Whether more wait so.
    retrying_truncated: bool,
    /// Types of which it starts nothing now.
    paused: Vec<PausedTypeBody>,
}

/// Partitions of a topic.
#[derive(Serialize, ToSchema)]
#[schema(as = WorkerTopic)]
pub(in super::super) struct WorkerTopicBody {
    /// The topic.
    topic: String,
    /// The partitions.
    partitions: Vec<i32>,
}

/// How many jobs a worker has in hand, each counted once. What it has not read yet is lag.
#[derive(Serialize, ToSchema)]
#[schema(as = WorkerCounts)]
pub(in super::super) struct WorkerCountsBody {
    /// An attempt runs, or their dead letter is being written.
    running: u64,
    /// They wait for a place, or for an earlier job of their key.
    waiting: u64,
    /// They wait for their next attempt.
    retrying: u64,
    /// They wait until their type is no longer paused.
    parked: u64,
}

/// Names a job.
#[derive(Serialize, ToSchema)]
#[schema(as = WorkerJob)]
pub(in super::super) struct JobBody {
    /// Its type.
    #[serde(rename = "type")]
    #[schema(example = "email.verification")]
    type_name: String,
    /// The partition.
    partition: i32,
    /// The offset.
    offset: i64,
    /// Its `message_id`.
    id: Uuid,
    /// Its key, at most 200 characters of it.
    key: Option<String>,
    /// Where to ask what became of it.
    status_url: String,
}

/// A job whose attempt runs.
#[derive(Serialize, ToSchema)]
#[schema(as = RunningJob)]
pub(in super::super) struct RunningBody {
    #[serde(flatten)]
    job: JobBody,
    /// The attempt, from 1.
    attempt: u32,
    /// RFC 3339: when the attempt began.
    started_at: String,
}

/// A job that waits for its next attempt.
#[derive(Serialize, ToSchema)]
#[schema(as = RetryingJob)]
pub(in super::super) struct RetryingBody {
    #[serde(flatten)]
    job: JobBody,
    /// Attempts that were made.
    attempts: u32,
    /// RFC 3339: when the next one is due.
    next_attempt_at: String,
    /// Why the last one failed.
    last_error: LastErrorBody,
}

/// Why an attempt failed.
#[derive(Serialize, ToSchema)]
#[schema(as = LastError)]
pub(in super::super) struct LastErrorBody {
    /// A stable word for the kind of error.
    #[schema(example = "mail_deferred")]
    class: String,
    /// A sentence, at most 200 characters.
    message: String,
}

impl From<ListedWorker> for WorkerBody {
    fn from(worker: ListedWorker) -> Self {
        let ListedWorker { snapshot, is_alive, silent_ms } = worker;
        #[expect(clippy::cast_precision_loss, reason = "2^53 ms are 285,000 years")]
        let silent_seconds = silent_ms as f64 / 1_000.0;
        Self {
            instance: snapshot.instance,
            consumer_instance: snapshot.about.consumer_instance,
            host: snapshot.about.host,
            version: snapshot.about.version,
            started_at: rfc3339(snapshot.started_at_ms),
            seen_at: rfc3339(snapshot.seen_at_ms),
            silent_seconds,
            alive: is_alive,
            groups: snapshot.groups.into_iter().map(WorkerGroupBody::from).collect(),
        }
    }
}

impl From<(String, GroupSnapshot)> for WorkerGroupBody {
    fn from((group, snapshot): (String, GroupSnapshot)) -> Self {
        let of_topic = |(topic, partitions)| WorkerTopicBody { topic, partitions };
        Self {
            group,
            partitions: snapshot.partitions.into_iter().map(of_topic).collect(),
            partitions_truncated: snapshot.partitions_truncated,
            counts: WorkerCountsBody {
                running: snapshot.counts.running,
                waiting: snapshot.counts.waiting,
                retrying: snapshot.counts.retrying,
                parked: snapshot.counts.parked,
            },
            running: snapshot.running.into_iter().map(RunningBody::from).collect(),
            running_truncated: snapshot.running_truncated,
            retrying: snapshot.retrying.into_iter().map(RetryingBody::from).collect(),
            retrying_truncated: snapshot.retrying_truncated,
            paused: snapshot.paused.into_iter().map(PausedTypeBody::from).collect(),
        }
    }
}

impl From<JobRef> for JobBody {
    fn from(job: JobRef) -> Self {
        let JobRef { type_name, partition, offset, id, key } = job;
        let status_url = format!("/jobs/{type_name}/{partition}/{offset}");
        Self { type_name, partition, offset, id, key, status_url }
    }
}

impl From<RunningJob> for RunningBody {
    fn from(RunningJob { job, attempt, started_at_ms }: RunningJob) -> Self {
        Self { job: job.into(), attempt, started_at: rfc3339(started_at_ms) }
    }
}

impl From<RetryingJob> for RetryingBody {
    fn from(retrying: RetryingJob) -> Self {
        Self {
            job: retrying.job.into(),
            attempts: retrying.attempts,
            next_attempt_at: rfc3339(retrying.next_attempt_at_ms),
            last_error: retrying.last_error.into(),
        }
    }
}

impl From<LastError> for LastErrorBody {
    fn from(LastError { class, message }: LastError) -> Self {
        Self { class, message }
    }
}

/// List workers
///
/// What each of them does now: its partitions, the jobs that run, those that wait for their next
/// attempt, and the types that are paused. As each worker has last said; `seen_at` says when. No
/// payloads; an error's message may quote a value.
#[utoipa::path(
    get,
    path = "/admin/workers",
    tag = "operating",
    params(WorkersQuery),
    responses(
        (status = 200, description = "A page", body = WorkerList),
        (status = 400, description = "An unknown parameter or value", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database is away", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn list_workers(
    State(services): State<Services>,
    query: Result<Query<WorkersQuery>, QueryRejection>,
) -> Result<Json<WorkerList>, Problem> {
    let Query(query) = query.map_err(|error| page::invalid(error.body_text()))?;
    let limit = page::limit(query.limit)?;
    let cursor = page::cursor(query.cursor.as_deref(), WorkerCursor::decode)?;
    let page = services.workers.list(cursor.as_ref(), limit).await?;
    Ok(Json(WorkerList {
        items: page.items.into_iter().map(WorkerBody::from).collect(),
        next_cursor: page.next.map(|cursor| cursor.encode()),
        total: page.total,
    }))
}
