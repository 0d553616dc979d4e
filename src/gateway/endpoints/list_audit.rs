//! `GET /admin/audit`: who did what, the newest first.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::super::Services;
use super::super::problem::Problem;
use super::page;
use crate::domain::clock::rfc3339;
use crate::store::{AuditEntry, TimeCursor};

/// Which page.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct AuditQuery {
    /// Entries on a page: 1 to 500, 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u16>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of the audit.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct AuditList {
    /// The newest first.
    items: Vec<AuditBody>,
    /// The `cursor` of the next page; null on the last one.
    next_cursor: Option<String>,
    /// How many entries there are in all.
    total: i64,
}

/// An admin's write.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct AuditBody {
    /// Names the entry.
    id: Uuid,
    /// RFC 3339.
    at: String,
    /// Who; `loopback` is somebody on the machine itself.
    #[schema(example = "loopback")]
    actor: String,
    /// What was done.
    #[schema(example = "reset_offsets")]
    action: String,
    /// To what.
    #[schema(example = "fraud-workers")]
    target: String,
    /// Why.
    reason: Option<String>,
    /// What else was asked for.
    detail: Value,
    /// `done`, or why not; `begun` where the end is not known.
    #[schema(example = "done")]
    outcome: String,
}

impl From<AuditEntry> for AuditBody {
    fn from(entry: AuditEntry) -> Self {
        let AuditEntry { id, at_ms, actor, action, target, reason, detail, outcome } = entry;
        Self { id, at: rfc3339(at_ms), actor, action, target, reason, detail, outcome }
    }
}

/// Who did what
///
/// Every write of an operator, also one that was refused; the newest first.
#[utoipa::path(
    get,
    path = "/admin/audit",
    tag = "operating",
    params(AuditQuery),
    responses(
        (status = 200, description = "A page", body = AuditList),
        (status = 400, description = "An unknown parameter or value", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database is away", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn list_audit(
    State(services): State<Services>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<AuditList>, Problem> {
    let Query(query) = query.map_err(|error| page::invalid(error.body_text()))?;
    let limit = page::limit(query.limit)?;
    let cursor = page::cursor(query.cursor.as_deref(), TimeCursor::decode)?;
    let page = services.audit.list(cursor, limit).await?;
    Ok(Json(AuditList {
        items: page.items.into_iter().map(AuditBody::from).collect(),
        next_cursor: page.next.map(|cursor| cursor.encode()),
        total: page.total,
    }))
}
