//! `POST /admin/dlq/index/rebuild`: make the index of the dead letters anew.

use axum::extract::State;
use axum::http::StatusCode;

use super::super::Services;
use super::super::caller::Caller;
use super::super::problem::Problem;

/// Rebuild the index
///
/// The dead-letter topic is the truth; what was replayed or discarded is kept. Lists, single
/// letters and the status of jobs that may have failed are answered 503 until the index has
/// reached the end of the topic again.
#[utoipa::path(
    post,
    path = "/admin/dlq/index/rebuild",
    tag = "operating",
    responses(
        (status = 202, description = "Under way"),
        (status = 503, description = "The database is away", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn rebuild_dead_letter_index(
    State(services): State<Services>,
    Caller(actor): Caller,
) -> Result<StatusCode, Problem> {
    services.dead_letters.rebuild_index(&actor).await?;
    Ok(StatusCode::ACCEPTED)
}
