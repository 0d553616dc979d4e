//! The catalog's topics as they are, and more partitions for one of them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use thiserror::Error;
use tokio_util::task::TaskTracker;

use super::audit::{Audit, Deed};
use super::detached::run_detached;
use crate::domain::actor::Actor;
use crate::domain::catalog::{Catalog, TopicSpec};
use crate::domain::dispatch::PartitionId;
use crate::kafka::{Admin, Bounds, KafkaFault, PartitionState, Reader, TopicDrift};
use crate::store::StoreError;

/// Partitions of one topic: what a single broker bears without harm.
pub const PARTITIONS_MAX: usize = 1_000;
/// How long topics may take to be described.
const LOOK_DEADLINE: Duration = Duration::from_secs(8);
/// How long a caller waits for new partitions to have their leaders.
const DEADLINE: Duration = Duration::from_secs(15);

/// Why a topic cannot be shown or changed.
#[derive(Debug, Error)]
pub enum TopicError {
    /// It is not one of the catalog.
    #[error("the catalog has no topic {0}")]
    Unknown(String),
    /// The cluster does not have it.
    #[error("the topic {0} is missing")]
    Missing(String),
    /// Partitions can only become more.
    #[error("the topic has {now} partitions already")]
    NotMore {
        /// How many it has.
        now: usize,
    },
    /// Kafka took too long to describe it.
    #[error("Kafka took longer than {} s", LOOK_DEADLINE.as_secs())]
    TimedOut,
    /// It took too long; it may happen yet.
    #[error("the outcome is not known yet")]
    OutcomeUnknown,
    /// Kafka did not answer.
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A topic, as it is and as it should be.
#[derive(Debug)]
pub struct TopicView {
    /// As it should be.
    pub declared: TopicSpec,
    /// The type whose records it holds; none for the dead letters.
    pub type_name: Option<String>,
    /// The group that consumes it.
    pub group: Option<String>,
    /// Its partitions, in their order.
    pub partitions: Vec<(PartitionState, Bounds)>,
    /// The settings that the catalog declares, as they are.
    pub settings: Vec<(String, String)>,
    /// Where it is not as the catalog says.
    pub drift: Vec<TopicDrift>,
}

/// Shows and changes topics. Cheap to clone.
#[derive(Clone)]
pub struct Topics {
    catalog: Arc<Catalog>,
    admin: Arc<Admin>,
    reader: Reader,
    audit: Audit,
    tracker: TaskTracker,
}

impl Topics {
    /// The use case, on these parts.
    pub fn new(
        catalog: Arc<Catalog>,
        admin: Arc<Admin>,
        reader: Reader,
        audit: Audit,
        tracker: TaskTracker,
    ) -> Self {
        Self { catalog, admin, reader, audit, tracker }
    }

    /// Every topic of the catalog that the cluster has.
    pub async fn list(&self) -> Result<Vec<TopicView>, TopicError> {
        self.views(self.catalog.topics().cloned().collect()).await
    }

    /// One topic of the catalog.
    pub async fn get(&self, topic: &str) -> Result<TopicView, TopicError> {
        let view = self.views(vec![self.declared(topic)?]).await?.pop();
        view.ok_or_else(|| TopicError::Missing(topic.to_owned()))
    }

    /// Gives a topic so many partitions in all. A key may then go to another partition than
    /// before: records that are on their way are no longer in order with those that follow.
    pub async fn add_partitions(
        &self,
        actor: Actor,
        topic: &str,
        count: usize,
        reason: Option<String>,
    ) -> Result<TopicView, TopicError> {
        let declared = self.declared(topic)?;
        let deed = Deed { reason, ..Deed::new("add_partitions", topic) };
        let (topics, deed) = (self.clone(), deed.with(json!({ "count": count })));
        let work = async move {
            let change = topics.grow(&declared.name, count);
            topics.audit.around(&actor, deed, change).await
        };
        run_detached(&self.tracker, DEADLINE, work).await.ok_or(TopicError::OutcomeUnknown)??;
        self.get(topic).await.map_err(|error| {
            tracing::warn!(topic, %error, "it has more partitions, and cannot be shown");
            TopicError::OutcomeUnknown
        })
    }

    async fn grow(&self, topic: &str, count: usize) -> Result<(), TopicError> {
        let now = self.reader.bounds(topic).await?.len();
        if count <= now {
            return Err(TopicError::NotMore { now });
        }
        Ok(self.admin.add_partitions(topic, count).await?)
    }

    fn declared(&self, topic: &str) -> Result<TopicSpec, TopicError> {
        let found = self.catalog.topics().find(|declared| declared.name == topic);
        found.cloned().ok_or_else(|| TopicError::Unknown(topic.to_owned()))
    }

    async fn views(&self, declared: Vec<TopicSpec>) -> Result<Vec<TopicView>, TopicError> {
        let views = self.look(declared);
        let views = tokio::time::timeout(LOOK_DEADLINE, views).await;
        Ok(views.map_err(|_| TopicError::TimedOut)??)
    }

    async fn look(&self, declared: Vec<TopicSpec>) -> Result<Vec<TopicView>, KafkaFault> {
        let states = self.admin.topics(&declared).await?;
        let id = |topic: &str, partition: &PartitionState| PartitionId {
            topic: topic.into(),
            partition: partition.partition,
        };
        let asked = states
            .iter()
            .flat_map(|state| state.partitions.iter().map(|p| id(&state.name, p)))
            .collect();
        let bounds = self.reader.bounds_of(asked).await?;
        let mut views = Vec::with_capacity(states.len());
        for state in states {
            let Some(declared) = declared.iter().find(|spec| spec.name == state.name) else {
                continue;
            };
            let record_type = self.catalog.by_topic(&state.name);
            let partitions = state.partitions.into_iter().filter_map(|partition| {
                let bounds = *bounds.get(&id(&state.name, &partition))?;
                Some((partition, bounds))
            });
            views.push(TopicView {
                declared: declared.clone(),
                type_name: record_type.map(|record_type| record_type.name.clone()),
                group: record_type.map(|record_type| record_type.group.clone()),
                partitions: partitions.collect(),
                settings: state.settings.into_iter().collect(),
                drift: state.drift,
            });
        }
        Ok(views)
    }
}
