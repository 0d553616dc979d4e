//! `GET /jobs/scheduled/{id}`: a job that was put off.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;

use super::super::Services;
use super::super::access::Held;
use super::super::problem::Problem;
use super::later::{ScheduledJobBody, scheduled_id};
use super::prefer::{PreferHeader, Wait};
use crate::operations::ScheduleError;

/// What became of a delayed job
///
/// By the id in its receipt. A caller sees what it has put off itself. Known for 40 days after it
/// was sent or cancelled.
#[utoipa::path(
    get,
    path = "/jobs/scheduled/{id}",
    tag = "producing",
    params(("id" = String, Path, description = "The id in the receipt"), PreferHeader),
    responses(
        (status = 200, description = "What became of it", body = ScheduledJobBody),
        (status = 404, description = "No delayed job has this id", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database cannot answer, or, once it was sent, Kafka", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn get_scheduled_job(
    State(services): State<Services>,
    held: Held,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = scheduled_id(&id)?;
    let row = services.schedule.get(id).await?;
    // First of all: no later answer may tell another caller that it is there.
    if !held.may_see(&row.type_name, Some(&row.producer)) {
        return Err(ScheduleError::Unknown(id).into());
    }
    let wait = Wait::begin(&services, &headers);
    let (row, state) = if let Some(turn) = wait.turn() {
        Box::pin(turn.of_delayed(id)).await?
    } else {
        let state = services.statuses.scheduled(row.clone()).await?;
        (row, state)
    };
    Ok(wait.answer(Json(ScheduledJobBody::new(row, state))))
}
