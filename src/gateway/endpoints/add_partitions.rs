//! `POST /admin/topics/{topic}/partitions`: more partitions for a topic.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use utoipa::ToSchema;

use super::super::Services;
use super::super::body::{JsonBody, request};
use super::super::caller::Caller;
use super::super::problem::Problem;
use super::get_topics::TopicDetailBody;
use super::reason;
use crate::domain::fault::Fault;
use crate::operations::PARTITIONS_MAX;

/// How many it shall have.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct PartitionsRequest {
    /// In all, more than now: at most 1,000.
    #[schema(minimum = 1, maximum = 1000, example = 20)]
    count: usize,
    /// Why, for the audit: at most 1,000 characters.
    #[schema(max_length = 1000, pattern = r"^[^\x00]*$")]
    reason: Option<String>,
}

/// More partitions
///
/// They can only become more. A key may then go to another partition than before, so
/// records that are on their way are no longer in order with those that follow.
#[utoipa::path(
    post,
    path = "/admin/topics/{topic}/partitions",
    tag = "operating",
    params(("topic" = String, Path, description = "A topic of the catalog")),
    request_body = PartitionsRequest,
    responses(
        (status = 200, description = "The topic as it is now", body = TopicDetailBody),
        (status = 400, description = "Not JSON, or without a count", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "Not a topic of the catalog", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It has as many, or more", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The count or the reason is out of bounds", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Kafka or the database is away", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The outcome is unknown: the change may have been made", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn add_partitions(
    State(services): State<Services>,
    Path(topic): Path<String>,
    Caller(actor): Caller,
    JsonBody(body): JsonBody,
) -> Result<Json<TopicDetailBody>, Problem> {
    let PartitionsRequest { count, reason } = request(&body, "Send {\"count\": 20}")?;
    if !(1..=PARTITIONS_MAX).contains(&count) {
        return Err(Problem::invalid_payload(vec![Fault {
            pointer: "/count".to_owned(),
            detail: format!("must be 1 to {PARTITIONS_MAX}"),
        }]));
    }
    let reason = reason.as_deref().map(reason::checked).transpose()?.map(str::to_owned);
    let view = services.topics.add_partitions(actor, &topic, count, reason).await?;
    Ok(Json(view.into()))
}
