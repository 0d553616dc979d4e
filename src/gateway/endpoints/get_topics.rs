//! `GET /admin/topics`, `GET /admin/topics/{topic}`: the catalog's topics as they are.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::Services;
use super::super::problem::Problem;
use crate::kafka::{Bounds, PartitionState, TopicDrift};
use crate::operations::TopicView;

/// Every topic of the catalog that the cluster has.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct TopicList {
    /// In the catalog's order, the dead letters' last.
    items: Vec<TopicBody>,
    /// Always null: the topics are one page.
    next_cursor: Option<String>,
    /// How many there are.
    total: usize,
}

/// A topic.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct TopicBody {
    /// Its name.
    topic: String,
    /// The type whose records it holds; null for the dead letters.
    #[serde(rename = "type")]
    type_name: Option<String>,
    /// The group that consumes it; null for the dead letters.
    group: Option<String>,
    /// How many partitions it has.
    partitions: usize,
    /// How many partitions the catalog asks for at least.
    declared_partitions: i32,
    /// Replicas of each record.
    replication: usize,
    /// Records in it, counted by offsets.
    records: i64,
    /// The settings that the catalog declares, as they are.
    settings: BTreeMap<String, String>,
    /// Where it is not as the catalog says. It is left as it is.
    drift: Vec<DriftBody>,
}

/// A topic with its partitions.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct TopicDetailBody {
    /// What the list shows.
    #[serde(flatten)]
    summary: TopicBody,
    /// Its partitions, in their order.
    partition_list: Vec<PartitionBody>,
}

/// A setting that is not as the catalog says.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct DriftBody {
    /// The setting.
    setting: &'static str,
    /// What the catalog says.
    declared: String,
    /// What the topic has.
    actual: String,
}

/// A partition.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct PartitionBody {
    /// Its number.
    partition: i32,
    /// The broker that leads it; null while there is none.
    leader: Option<i32>,
    /// The brokers that should have it.
    replicas: Vec<i32>,
    /// Those that have all of it.
    in_sync: Vec<i32>,
    /// The first offset that retention has left.
    low: i64,
    /// One past the last record.
    end: i64,
}

impl From<TopicDrift> for DriftBody {
    fn from(TopicDrift { setting, declared, actual, .. }: TopicDrift) -> Self {
        Self { setting, declared, actual }
    }
}

impl From<(PartitionState, Bounds)> for PartitionBody {
    fn from((state, bounds): (PartitionState, Bounds)) -> Self {
        let PartitionState { partition, leader, replicas, in_sync } = state;
        Self { partition, leader, replicas, in_sync, low: bounds.low, end: bounds.high }
    }
}

impl From<TopicView> for TopicDetailBody {
    fn from(view: TopicView) -> Self {
        let partitions = &view.partitions;
        let summary = TopicBody {
            topic: view.declared.name,
            type_name: view.type_name,
            group: view.group,
            partitions: partitions.len(),
            declared_partitions: view.declared.partitions,
            replication: partitions.first().map_or(0, |(state, _)| state.replicas.len()),
            records: partitions.iter().map(|(_, bounds)| bounds.high - bounds.low).sum(),
            settings: view.settings.into_iter().collect(),
            drift: view.drift.into_iter().map(DriftBody::from).collect(),
        };
        let partition_list = view.partitions.into_iter().map(PartitionBody::from).collect();
        Self { summary, partition_list }
    }
}

/// Topics
///
/// Those of the catalog, with their settings and where they have drifted from it.
#[utoipa::path(
    get,
    path = "/admin/topics",
    tag = "operating",
    responses(
        (status = 200, description = "The topics", body = TopicList),
        (status = 503, description = "Kafka did not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn list_topics(
    State(services): State<Services>,
) -> Result<Json<TopicList>, Problem> {
    let views = services.topics.list().await?;
    let items: Vec<TopicBody> =
        views.into_iter().map(|view| TopicDetailBody::from(view).summary).collect();
    Ok(Json(TopicList { total: items.len(), next_cursor: None, items }))
}

/// One topic
///
/// With each partition's leader, replicas and offsets.
#[utoipa::path(
    get,
    path = "/admin/topics/{topic}",
    tag = "operating",
    params(("topic" = String, Path, description = "A topic of the catalog")),
    responses(
        (status = 200, description = "The topic", body = TopicDetailBody),
        (status = 404, description = "Not a topic of the catalog, or missing", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Kafka did not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn get_topic(
    State(services): State<Services>,
    Path(topic): Path<String>,
) -> Result<Json<TopicDetailBody>, Problem> {
    Ok(Json(services.topics.get(&topic).await?.into()))
}
