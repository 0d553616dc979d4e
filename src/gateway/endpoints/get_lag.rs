//! `GET /admin/lag`, `GET /admin/lag/{group}`: what stands before each group, and since when.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::Services;
use super::super::problem::Problem;
use super::paused::PausedTypeBody;
use crate::domain::snapshot::PausedType;
use crate::operations::{GroupLag, PartitionLag, TopicLag};

/// How long the lag waits for the paused types at most: they are an aside.
const PAUSED_WAIT: Duration = Duration::from_secs(2);

/// The paused types, by group.
type Paused = BTreeMap<String, Vec<PausedType>>;

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
    /// Its types of which nothing starts now; null where the database does not tell.
    paused: Option<Vec<PausedTypeBody>>,
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

impl GroupLagBody {
    fn new(group: GroupLag, paused: Option<&Paused>) -> Self {
        let of_group = |paused: &Paused| paused.get(&group.group).cloned().unwrap_or_default();
        let paused = paused.map(of_group);
        Self {
            group: group.group,
            lag: group.lag_records,
            age_seconds: group.age_ms.map(seconds),
            status: group.status.as_str(),
            paused: paused.map(|all| all.into_iter().map(PausedTypeBody::from).collect()),
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

/// The paused types of each group. The lag is Kafka's, and does not wait for a database that
/// is away.
async fn paused(services: &Services) -> Option<Paused> {
    match tokio::time::timeout(PAUSED_WAIT, services.pauses.by_group(&services.catalog)).await {
        Ok(Ok(paused)) => Some(paused),
        Ok(Err(error)) => {
            tracing::debug!(%error, "the lag is told without the paused types");
            None
        }
        Err(_) => None,
    }
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
    let (groups, paused) = tokio::join!(services.lag.all(), paused(&services));
    let with_paused = |group| GroupLagBody::new(group, paused.as_ref());
    Ok(Json(LagBody { groups: groups?.into_iter().map(with_paused).collect() }))
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
    let (group, paused) = tokio::join!(services.lag.of(&group), paused(&services));
    Ok(Json(LagBody { groups: vec![GroupLagBody::new(group?, paused.as_ref())] }))
}
