//! `POST /jobs/{type}/validate`, `POST /events/{topic}/validate`: is a payload valid? Nothing
//! is produced.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::Services;
use super::super::body::JsonBody;
use super::super::problem::Problem;
use super::produce::unknown_type;
use crate::domain::catalog::RecordType;

/// The payload is valid.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct Valid {
    /// Always true; faults come as a problem document.
    valid: bool,
}

/// Check a job's payload
///
/// Nothing is produced.
#[utoipa::path(
    post,
    path = "/jobs/{type}/validate",
    tag = "producing",
    params(("type" = String, Path, description = "The job's type")),
    request_body(content = serde_json::Value, description = "The payload of the type"),
    responses(
        (status = 200, description = "Valid", body = Valid),
        (status = 400, description = "Not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such type", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The payload is not valid; every fault is named", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn validate_job(
    State(services): State<Services>,
    Path(name): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Valid>, Problem> {
    validate(services.catalog.job(&name).map(AsRef::as_ref), &name, &body)
}

/// Check an event's payload
///
/// Nothing is produced.
#[utoipa::path(
    post,
    path = "/events/{topic}/validate",
    tag = "producing",
    params(("topic" = String, Path, description = "The event's type, short or whole")),
    request_body(content = serde_json::Value, description = "The payload of the type"),
    responses(
        (status = 200, description = "Valid", body = Valid),
        (status = 400, description = "Not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such type", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The payload is not valid; every fault is named", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn validate_event(
    State(services): State<Services>,
    Path(name): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Valid>, Problem> {
    validate(services.catalog.event(&name).map(AsRef::as_ref), &name, &body)
}

fn validate(
    record_type: Option<&RecordType>,
    name: &str,
    body: &[u8],
) -> Result<Json<Valid>, Problem> {
    record_type.ok_or_else(|| unknown_type(name))?.accept(body)?;
    Ok(Json(Valid { valid: true }))
}
