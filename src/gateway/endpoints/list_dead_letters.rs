//! `GET /admin/dlq`: browse dead letters, the newest first.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::super::Services;
use super::super::problem::Problem;
use super::letter::LetterBody;
use super::page;
use crate::store::{Cursor, LetterFilter, LetterState};

/// Which dead letters, and which page.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct ListQuery {
    /// `open`, `replayed`, `resolved` or `discarded`.
    #[param(pattern = "^(open|replayed|resolved|discarded)$")]
    state: Option<String>,
    /// The type, for example email.verification.
    #[serde(rename = "type")]
    type_name: Option<String>,
    /// The original topic.
    topic: Option<String>,
    /// Letters on a page: 1 to 500, 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u16>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of dead letters.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct LetterList {
    /// The letters, the newest first.
    items: Vec<LetterBody>,
    /// The `cursor` of the next page; null on the last one.
    next_cursor: Option<String>,
    /// How many letters match in all.
    total: i64,
}

/// Browse dead letters
///
/// The newest first; `total` is exact.
#[utoipa::path(
    get,
    path = "/admin/dlq",
    tag = "operating",
    params(ListQuery),
    responses(
        (status = 200, description = "A page", body = LetterList),
        (status = 400, description = "An unknown filter or value", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Kafka or the database is away", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn list_dead_letters(
    State(services): State<Services>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<LetterList>, Problem> {
    let Query(query) = query.map_err(|error| page::invalid(error.body_text()))?;
    let limit = page::limit(query.limit)?;
    let state = query.state.as_deref().map(parse_state).transpose()?;
    let cursor = page::cursor(query.cursor.as_deref(), Cursor::decode)?;
    let filter = LetterFilter { state, type_name: query.type_name, topic: query.topic };
    let page = services.dead_letters.list(&filter, cursor, limit).await?;
    Ok(Json(LetterList {
        items: page.items.into_iter().map(LetterBody::from).collect(),
        next_cursor: page.next.map(|cursor| cursor.encode()),
        total: page.total,
    }))
}

fn parse_state(word: &str) -> Result<LetterState, Problem> {
    LetterState::parse(word).ok_or_else(|| {
        Problem::bad_request("invalid-query", "state must be open, replayed, resolved or discarded")
    })
}
