//! `GET /admin/replays/{id}`: how far a replay is, and what failed.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::super::Services;
use super::super::problem::Problem;
use super::page;
use super::replay::{ReplayBody, SpanBody};
use crate::domain::clock::rfc3339;
use crate::store::ReplayFailure;

/// Which page of the records that failed.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct FailuresQuery {
    /// Failures on a page: 1 to 500, 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u16>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A replay as a whole.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct ReplayDetail {
    /// The replay.
    #[serde(flatten)]
    replay: ReplayBody,
    /// How far it is in each partition.
    partitions: Vec<SpanBody>,
    /// The records that failed. Every other record below a position was done, or was before.
    failures: FailureList,
}

/// A page of records that failed.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct FailureList {
    /// In the order of their places.
    items: Vec<FailureBody>,
    /// The `cursor` of the next page; null on the last one.
    next_cursor: Option<String>,
    /// How many there are in all.
    total: i64,
}

/// A record that failed for good.
#[derive(Serialize, ToSchema)]
#[schema(as = ReplayFailure)]
pub(in super::super) struct FailureBody {
    /// Where the record stands.
    partition: i32,
    /// Where the record stands.
    offset: i64,
    /// Its id.
    message_id: Uuid,
    /// Its key.
    key: Option<String>,
    /// Attempts that were made.
    attempts: u32,
    /// Why.
    error: FailureErrorBody,
    /// RFC 3339.
    failed_at: String,
}

/// Why a record failed.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct FailureErrorBody {
    /// A stable word.
    #[schema(example = "invalid_payload")]
    class: String,
    /// A sentence.
    message: String,
}

impl From<ReplayFailure> for FailureBody {
    fn from(failure: ReplayFailure) -> Self {
        Self {
            partition: failure.partition,
            offset: failure.offset,
            message_id: failure.message_id,
            key: failure.key,
            attempts: failure.attempts,
            error: FailureErrorBody { class: failure.error_class, message: failure.error_message },
            failed_at: rfc3339(failure.failed_at_ms),
        }
    }
}

/// Look at a replay
///
/// Its state, its position in each partition, its pace, and the records that failed.
#[utoipa::path(
    get,
    path = "/admin/replays/{id}",
    tag = "operating",
    params(("id" = String, Path, description = "The id of the replay"), FailuresQuery),
    responses(
        (status = 200, description = "The replay", body = ReplayDetail),
        (status = 400, description = "An unknown parameter or value", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such replay", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database is away", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn get_replay(
    State(services): State<Services>,
    Path(id): Path<String>,
    query: Result<Query<FailuresQuery>, QueryRejection>,
) -> Result<Json<ReplayDetail>, Problem> {
    let id = replay_id(&id)?;
    let Query(query) = query.map_err(|error| page::invalid(error.body_text()))?;
    let limit = page::limit(query.limit)?;
    let cursor = page::cursor(query.cursor.as_deref(), place)?;
    let detail = services.replays.get(id).await?;
    let failures = services.replays.failures(id, cursor, limit).await?;
    Ok(Json(ReplayDetail {
        replay: detail.replay.into(),
        partitions: detail.spans.into_iter().map(SpanBody::from).collect(),
        failures: FailureList {
            items: failures.items.into_iter().map(FailureBody::from).collect(),
            next_cursor: failures.next.map(|(partition, offset)| format!("{partition}.{offset}")),
            total: failures.total,
        },
    }))
}

/// The id in a path.
pub(super) fn replay_id(text: &str) -> Result<Uuid, Problem> {
    Uuid::parse_str(text)
        .map_err(|_| Problem::not_found("unknown-replay", "The id of a replay is a UUID"))
}

fn place(cursor: &str) -> Option<(i32, i64)> {
    let (partition, offset) = cursor.split_once('.')?;
    Some((partition.parse().ok()?, offset.parse().ok()?))
}
