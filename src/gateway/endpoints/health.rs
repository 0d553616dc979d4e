//! `GET /health/live`, `GET /health/ready`.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::Readiness;
use super::super::problem::Problem;

/// It works.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct Healthy {
    /// `live` or `ready`.
    status: &'static str,
}

/// Is the process alive?
///
/// Never asks Kafka: a restart of jobgate would not bring Kafka back.
#[utoipa::path(
    get,
    path = "/health/live",
    tag = "health",
    responses(
        (status = 200, description = "Alive", body = Healthy),
    )
)]
pub(in super::super) async fn live() -> Json<Healthy> {
    Json(Healthy { status: "live" })
}

/// Would a job be accepted now?
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "health",
    responses(
        (status = 200, description = "A POST would be accepted now", body = Healthy),
        (status = 503, description = "Kafka is away, or jobgate is stopping", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn ready(
    State(Readiness(is_ready)): State<Readiness>,
) -> Result<Json<Healthy>, Problem> {
    if is_ready() { Ok(Json(Healthy { status: "ready" })) } else { Err(Problem::not_ready()) }
}
