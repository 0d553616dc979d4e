//! `GET /admin/quarantines`: the keys that are quarantined, the newest first.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::super::Services;
use super::super::problem::Problem;
use super::page;
use super::quarantine::QuarantineBody;
use crate::store::TimeCursor;

/// Which page.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct QuarantinesQuery {
    /// Keys on a page: 1 to 500, 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u16>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of quarantined keys.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct QuarantineList {
    /// The newest first.
    items: Vec<QuarantineBody>,
    /// The `cursor` of the next page; null on the last one.
    next_cursor: Option<String>,
    /// How many keys are quarantined in all.
    total: i64,
}

/// List quarantined keys
///
/// The newest first. A key goes on once its dead letter is discarded, or its replay has succeeded.
#[utoipa::path(
    get,
    path = "/admin/quarantines",
    tag = "operating",
    params(QuarantinesQuery),
    responses(
        (status = 200, description = "A page", body = QuarantineList),
        (status = 400, description = "An unknown parameter or value", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database is away", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn list_quarantines(
    State(services): State<Services>,
    query: Result<Query<QuarantinesQuery>, QueryRejection>,
) -> Result<Json<QuarantineList>, Problem> {
    let Query(query) = query.map_err(|error| page::invalid(error.body_text()))?;
    let limit = page::limit(query.limit)?;
    let cursor = page::cursor(query.cursor.as_deref(), TimeCursor::decode)?;
    let page = services.quarantines.list(cursor, limit).await?;
    let body = |row| QuarantineBody::new(row, &services.catalog);
    Ok(Json(QuarantineList {
        items: page.items.into_iter().map(body).collect(),
        next_cursor: page.next.map(|cursor| cursor.encode()),
        total: page.total,
    }))
}
