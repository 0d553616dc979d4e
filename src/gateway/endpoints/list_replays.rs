//! `GET /admin/replays`: the replays, the newest first.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::super::Services;
use super::super::problem::Problem;
use super::page;
use super::replay::ReplayBody;
use crate::store::TimeCursor;

/// Which page.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct ReplaysQuery {
    /// Replays on a page: 1 to 500, 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u16>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of replays.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct ReplayList {
    /// The newest first.
    items: Vec<ReplayBody>,
    /// The `cursor` of the next page; null on the last one.
    next_cursor: Option<String>,
    /// How many replays there are in all.
    total: i64,
}

/// List replays
///
/// The newest first; those that ended too.
#[utoipa::path(
    get,
    path = "/admin/replays",
    tag = "operating",
    params(ReplaysQuery),
    responses(
        (status = 200, description = "A page", body = ReplayList),
        (status = 400, description = "An unknown parameter or value", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database is away", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn list_replays(
    State(services): State<Services>,
    query: Result<Query<ReplaysQuery>, QueryRejection>,
) -> Result<Json<ReplayList>, Problem> {
    let Query(query) = query.map_err(|error| page::invalid(error.body_text()))?;
    let limit = page::limit(query.limit)?;
    let cursor = page::cursor(query.cursor.as_deref(), TimeCursor::decode)?;
    let page = services.replays.list(cursor, limit).await?;
    Ok(Json(ReplayList {
        items: page.items.into_iter().map(ReplayBody::from).collect(),
        next_cursor: page.next.map(|cursor| cursor.encode()),
        total: page.total,
    }))
}
