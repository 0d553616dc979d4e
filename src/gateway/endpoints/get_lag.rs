//! `GET /admin/lag`, `GET /admin/lag/{group}`: what stands before each group, and since when.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::Services;
use super::super::problem::Problem;
use crate::operations::{GroupLag, PartitionLag, TopicLag};

/// The lag of groups.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct LagBody {
    /// In the catalog's order.
    groups: Vec<GroupLagBody>,
}

/// The lag of a group.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct GroupLagBody {
    /// The group.
    #[schema(example = "email-workers")]
    group: String,
    /// Records before it, over all topics.
    lag: i64,
    /// Seconds since the oldest unfinished record was produced; 0 where there is none, null
    /// where no record tells its time.
    age_seconds: Option<f64>,
    /// The worst of its partitions.
    #[schema(example = "ok")]
    status: &'static str,
    /// By topic.
    topics: Vec<TopicLagBody>,
}

/// The lag in a topic.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct TopicLagBody {
    /// The topic.
    topic: String,
    /// Records, over all partitions.
    lag: i64,
    /// By partition.
    partitions: Vec<PartitionLagBody>,
}

/// The lag in a partition.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct PartitionLagBody {
    /// The partition.
    partition: i32,
    /// The group's next offset; null where it has never committed.
    committed: Option<i64>,
    /// One past the last record.
    end: i64,
    /// Records; all that there are where the group has never committed.
    lag: i64,
    /// As for the group.
    age_seconds: Option<f64>,
    /// Over the samples of the last minute: `ok` (no lag at some time, or it falls),
    /// `lagging` (the group works, but the lag never falls), `stalled` (it does not move),
    /// `rewound` (its offset went back), `unknown` (not watched for a minute yet).
    status: &'static str,
}

impl From<GroupLag> for GroupLagBody {
    fn from(group: GroupLag) -> Self {
        Self {
            group: group.group,
            lag: group.lag_records,
            age_seconds: group.age_ms.map(seconds),
            status: group.status.as_str(),
            topics: group.topics.into_iter().map(TopicLagBody::from).collect(),
        }
    }
}

impl From<TopicLag> for TopicLagBody {
    fn from(topic: TopicLag) -> Self {
        Self {
            topic: topic.topic,
            lag: topic.lag_records,
            partitions: topic.partitions.into_iter().map(PartitionLagBody::from).collect(),
        }
    }
}

impl From<PartitionLag> for PartitionLagBody {
    fn from(partition: PartitionLag) -> Self {
        Self {
            partition: partition.partition,
            committed: partition.committed,
            end: partition.end,
            lag: partition.lag_records,
            age_seconds: partition.age_ms.map(seconds),
            status: partition.status.as_str(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "2^53 ms are 285,000 years")]
fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1_000.0
}

/// Lag of all groups
///
/// In records and in seconds; the age is read from the oldest unfinished record itself,
/// also while no worker runs. Takes at most 8 s.
#[utoipa::path(
    get,
    path = "/admin/lag",
    tag = "operating",
    responses(
        (status = 200, description = "The lag", body = LagBody),
        (status = 503, description = "Kafka did not answer every question", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn get_lag(
    State(services): State<Services>,
) -> Result<Json<LagBody>, Problem> {
    let groups = services.lag.all().await?;
    Ok(Json(LagBody { groups: groups.into_iter().map(GroupLagBody::from).collect() }))
}

/// Lag of one group
///
/// As in the list of all.
#[utoipa::path(
    get,
    path = "/admin/lag/{group}",
    tag = "operating",
    params(("group" = String, Path, description = "A group of the catalog")),
    responses(
        (status = 200, description = "The lag", body = LagBody),
        (status = 404, description = "No type has this group", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Kafka did not answer every question", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn get_group_lag(
    State(services): State<Services>,
    Path(group): Path<String>,
) -> Result<Json<LagBody>, Problem> {
    let group = services.lag.of(&group).await?;
    Ok(Json(LagBody { groups: vec![group.into()] }))
}
