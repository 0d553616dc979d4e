//! `POST /admin/groups/{group}/offsets`: where a group goes on.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::Services;
use super::super::body::{JsonBody, request};
use super::super::caller::Caller;
use super::super::problem::Problem;
use super::edge::{EdgeBody, EdgeSchema};
use super::reason;
use crate::domain::fault::Fault;
use crate::operations::{PARTITIONS_MAX, ResetPartition, ResetRequest};

/// What to reset, and why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct OffsetsRequest {
    /// A topic that the group consumes.
    #[schema(example = "waitlist.fraud.detection")]
    topic: String,
    /// Which partitions, at most 1,000; all unless given.
    #[schema(max_items = 1000)]
    partitions: Option<Vec<i32>>,
    /// Where to go on: what stands before is skipped, what stands behind runs (again).
    #[schema(value_type = EdgeSchema)]
    to: EdgeBody,
    /// Why, for the audit: 1 to 1,000 characters.
    #[schema(min_length = 1, max_length = 1000, pattern = r"^[^\x00]*[^\s\x00][^\x00]*$")]
    reason: String,
}

/// What was reset.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct OffsetsBody {
    /// The group.
    group: String,
    /// The topic.
    topic: String,
    /// By partition.
    partitions: Vec<ResetPartitionBody>,
}

/// What a reset did to a partition.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct ResetPartitionBody {
    /// The partition.
    partition: i32,
    /// The group's next offset before; null where it had none.
    before: Option<i64>,
    /// The group's next offset now.
    now: i64,
}

impl From<ResetPartition> for ResetPartitionBody {
    fn from(ResetPartition { partition, before, now }: ResetPartition) -> Self {
        Self { partition, before, now }
    }
}

/// Reset offsets
///
/// Only while the group has no members: stop its workers first. What a reset forward passes
/// over has the status `skipped` from then on; what one backward reaches runs again.
#[utoipa::path(
    post,
    path = "/admin/groups/{group}/offsets",
    tag = "operating",
    params(("group" = String, Path, description = "A group of the catalog")),
    request_body = OffsetsRequest,
    responses(
        (status = 200, description = "Reset", body = OffsetsBody),
        (status = 400, description = "Not JSON, or not such a request", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No type has this group", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The group has members", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Not the group's topic, or not an offset of it", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Kafka or the database is away", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The outcome is unknown: the change may have been made, or in some partitions alone", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn reset_offsets(
    State(services): State<Services>,
    Path(group): Path<String>,
    Caller(actor): Caller,
    JsonBody(body): JsonBody,
) -> Result<Json<OffsetsBody>, Problem> {
    let usage = "Send {\"topic\": \"..\", \"to\": \"latest\", \"reason\": \"..\"}";
    let OffsetsRequest { topic, partitions, to, reason } = request(&body, usage)?;
    // What is asked for goes into the audit, so it is bounded first.
    if partitions.as_ref().is_some_and(|named| named.len() > PARTITIONS_MAX) {
        let detail = format!("may name at most {PARTITIONS_MAX}; without it, all are reset");
        return Err(Problem::invalid_payload(vec![Fault {
            pointer: "/partitions".into(),
            detail,
        }]));
    }
    let to = to.edge("/to").map_err(|fault| Problem::invalid_payload(vec![fault]))?;
    let reason = reason::checked(&reason)?.to_owned();
    let reset = ResetRequest { group: group.clone(), topic: topic.clone(), partitions, to, reason };
    let done = services.reset_offsets.reset(actor, reset).await?;
    let partitions = done.into_iter().map(ResetPartitionBody::from).collect();
    Ok(Json(OffsetsBody { group, topic, partitions }))
}
