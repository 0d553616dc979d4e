//! `DELETE /jobs/scheduled/{id}`: cancel a job that was put off.

use axum::Json;
use axum::extract::{Path, State};

use super::super::Services;
use super::super::access::Held;
use super::super::problem::Problem;
use super::later::{ScheduledJobBody, scheduled_id};
use crate::auth::Scope;
use crate::domain::status::JobState;
use crate::operations::ScheduleError;

/// Cancel a delayed job
///
/// A 200 means that nobody will ever send it. Once it is being sent, or may have been, it cannot
/// be taken back any more. A caller cancels what it has put off itself; cancelling twice is no
/// error.
#[utoipa::path(
    delete,
    path = "/jobs/scheduled/{id}",
    tag = "producing",
    params(("id" = String, Path, description = "The id in the receipt")),
    responses(
        (status = 200, description = "It will never run", body = ScheduledJobBody),
        (status = 404, description = "No delayed job of this caller has this id", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is on its way (`job-on-its-way`), or was sent (`job-sent`; the problem names its record)", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database cannot answer; ask again", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn cancel_scheduled_job(
    State(services): State<Services>,
    held: Held,
    Path(id): Path<String>,
) -> Result<Json<ScheduledJobBody>, Problem> {
    let id = scheduled_id(&id)?;
    // A token that is for some types alone cancels those alone; a row never changes its type.
    if held.is_narrow(Scope::JobsWrite) {
        let row = services.schedule.get(id).await?;
        if !held.has(Scope::JobsWrite, &row.type_name) {
            return Err(ScheduleError::Unknown(id).into());
        }
    }
    let row = services.schedule.cancel(id, held.producer()).await?;
    Ok(Json(ScheduledJobBody::new(row, JobState::Cancelled)))
}
