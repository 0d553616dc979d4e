//! The catalog's topics as the cluster has them, and more partitions for one.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminOptions, NewPartitions};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataPartition;

use super::admin::{Admin, CALL_TIMEOUT, TopicDrift, drift, settings_of};
use super::error::KafkaFault;
use crate::domain::catalog::TopicSpec;

/// How often new partitions are looked for, and for how long in all: 5 s.
const LOOK: Duration = Duration::from_millis(50);
const LOOKS_MAX: u32 = 100;

/// A topic as the cluster has it.
#[derive(Debug, Clone)]
pub struct TopicState {
    /// Its name.
    pub name: String,
    /// Its partitions, in their order.
    pub partitions: Vec<PartitionState>,
    /// The settings that the catalog declares, as they are.
    pub settings: BTreeMap<String, String>,
    /// Where it is not as the catalog says.
    pub drift: Vec<TopicDrift>,
}

/// A partition as the cluster has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionState {
    /// Its number.
    pub partition: i32,
    /// The broker that leads it; none while there is no leader.
    pub leader: Option<i32>,
    /// The brokers that should have it.
    pub replicas: Vec<i32>,
    /// Those that have all of it.
    pub in_sync: Vec<i32>,
}

impl PartitionState {
    pub(super) fn of(partition: &MetadataPartition) -> Self {
        Self {
            partition: partition.id(),
            leader: Some(partition.leader()).filter(|leader| *leader >= 0),
            replicas: partition.replicas().to_vec(),
            in_sync: partition.isr().to_vec(),
        }
    }
}

impl Admin {
    /// These topics as they are; one that is missing is left out.
    pub async fn topics(&self, topics: &[TopicSpec]) -> Result<Vec<TopicState>, KafkaFault> {
        let cluster = self.describe().await?;
        let present: Vec<&TopicSpec> =
            topics.iter().filter(|topic| cluster.topics.contains_key(&topic.name)).collect();
        let settings = self.settings(&present).await?;
        let drift = drift(&present, &cluster, &settings);
        let states = present.iter().zip(settings).map(|(topic, settings)| {
            let mut partitions =
                cluster.topics.get(&topic.name).map_or_else(Vec::new, |t| t.each.clone());
            partitions.sort_by_key(|partition| partition.partition);
            let settings = settings.unwrap_or_default();
            let declared = settings_of(topic, 1);
            TopicState {
                name: topic.name.clone(),
                partitions,
                settings: declared
                    .into_iter()
                    .filter_map(|(name, _)| Some((name.to_owned(), settings.get(name)?.clone())))
                    .collect(),
                drift: drift.iter().filter(|drift| drift.topic == topic.name).cloned().collect(),
            }
        });
        Ok(states.collect())
    }

    /// Gives a topic so many partitions in all, and waits until each has a leader. What Kafka
    /// does not answer to is [`KafkaFault::Unknown`]: it may have been done.
    pub async fn add_partitions(&self, topic: &str, count: usize) -> Result<(), KafkaFault> {
        let action = format!("add partitions to {topic}");
        let unknown = |cause: &dyn std::fmt::Display| {
            tracing::warn!(topic, count, %cause, "more partitions: the outcome is unknown");
            KafkaFault::Unknown { action: action.clone() }
        };
        let options = AdminOptions::new().operation_timeout(Some(CALL_TIMEOUT));
        let results = self
            .client()?
            .create_partitions(&[NewPartitions::new(topic, count)], &options)
            .await
            .map_err(|error| unknown(&error))?;
        for result in results {
            result.map_err(|(_, code): (String, RDKafkaErrorCode)| match code {
                RDKafkaErrorCode::RequestTimedOut | RDKafkaErrorCode::OperationTimedOut => {
                    unknown(&code)
                }
                code => KafkaFault::failed(action.as_str())(KafkaError::AdminOp(code)),
            })?;
        }
        for _ in 0..LOOKS_MAX {
            let cluster = self.describe().await.map_err(|error| unknown(&error))?;
            let each = cluster.topics.get(topic).map_or(&[][..], |topic| &topic.each);
            if each.len() >= count && each.iter().all(|partition| partition.leader.is_some()) {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(unknown(&"a partition has no leader yet"))
    }
}
