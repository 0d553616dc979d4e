//! Topics: creates what is missing, reports what has drifted from the catalog.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;

use super::error::KafkaFault;
use super::kept::Kept;
use super::reader::blocking;
use super::settings::KafkaSettings;
use super::topics::PartitionState;
use crate::domain::catalog::TopicSpec;

/// How long an admin call may take.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Replication where the cluster has the brokers for it.
const REPLICATION: i32 = 3;
/// What a drift calls the replicas of a topic, and its partitions.
const REPLICATION_SETTING: &str = "replication";
const PARTITIONS_SETTING: &str = "partitions";
/// With three replicas, two must have a record: one broker may be away.
const MIN_INSYNC: i32 = 2;

/// How often leaders are looked for, and for how long in all: 10 s.
const LEADER_LOOK: Duration = Duration::from_millis(100);
const LEADER_LOOKS_MAX: u32 = 100;

/// Asks and changes the cluster.
pub struct Admin {
    settings: KafkaSettings,
    kept: Arc<Kept<Client>>,
}

type Client = AdminClient<DefaultClientContext>;

/// What became of the catalog's topics.
#[derive(Debug, Default)]
pub struct TopicReport {
    /// Topics that were made.
    pub created: Vec<String>,
    /// Topics that are missing and may not be made.
    pub missing: Vec<String>,
    /// Where an existing topic is not as the catalog says. It is left as it is.
    pub drift: Vec<TopicDrift>,
    /// Replicas that a new topic gets on this cluster.
    pub replication: i32,
}

/// A setting of a topic that is not as the catalog says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDrift {
    /// The topic.
    pub topic: String,
    /// The setting.
    pub setting: &'static str,
    /// What the catalog says.
    pub declared: String,
    /// What the topic has.
    pub actual: String,
}

impl TopicDrift {
    /// How it is mended.
    pub fn remedy(&self) -> &'static str {
        match self.setting {
            REPLICATION_SETTING => {
                "a record here is on fewer disks than the cluster could give it: give the topic \
                 more replicas with Kafka's kafka-reassign-partitions.sh"
            }
            PARTITIONS_SETTING => "POST /admin/topics/{topic}/partitions makes them more",
            _ => "change it with Kafka's kafka-configs.sh, or leave it so",
        }
    }
}

/// What the cluster's metadata says.
pub(super) struct Cluster {
    brokers: i32,
    pub(super) topics: HashMap<String, Topic>,
}

pub(super) struct Topic {
    partitions: i32,
    replicas: i32,
    pub(super) each: Vec<PartitionState>,
}

/// The settings of a topic by name; none where the cluster does not tell them.
pub(super) type Settings = Option<HashMap<String, String>>;

impl Cluster {
    fn of(metadata: &Metadata) -> Self {
        let count = |length| i32::try_from(length).unwrap_or(i32::MAX);
        let topics = metadata.topics().iter().map(|topic| {
            let partitions = topic.partitions();
            let described = Topic {
                partitions: count(partitions.len()),
                replicas: partitions.iter().map(|p| count(p.replicas().len())).min().unwrap_or(0),
                each: partitions.iter().map(PartitionState::of).collect(),
            };
            (topic.name().to_owned(), described)
        });
        Self { brokers: count(metadata.brokers().len()), topics: topics.collect() }
    }

    /// How many replicas a topic should have here.
    fn replication(&self) -> i32 {
        self.brokers.clamp(1, REPLICATION)
    }
}

impl Admin {
    /// An admin of this cluster.
    pub fn new(settings: &KafkaSettings) -> Result<Self, KafkaFault> {
        let admin = Self { settings: settings.clone(), kept: Arc::default() };
        admin.client()?;
        Ok(admin)
    }

    pub(super) fn client(&self) -> Result<Arc<Client>, KafkaFault> {
        self.kept.client(|| build(&self.settings))
    }

    /// Makes the topics that are missing (unless told not to) and compares the others.
    pub async fn ensure(
        &self,
        topics: &[TopicSpec],
        may_create: bool,
    ) -> Result<TopicReport, KafkaFault> {
        let cluster = self.describe().await?;
        let replication = cluster.replication();
        let mut report = TopicReport { replication, ..TopicReport::default() };
        let (present, absent): (Vec<_>, Vec<_>) =
            topics.iter().partition(|topic| cluster.topics.contains_key(&topic.name));
        if may_create {
            report.created = self.create(&absent, replication).await?;
            if !absent.is_empty() {
                self.wait_for_leaders(&absent).await?;
            }
        } else {
            report.missing = absent.iter().map(|topic| topic.name.clone()).collect();
        }
        let settings = self.settings(&present).await?;
        report.drift = drift(&present, &cluster, &settings);
        Ok(report)
    }

    pub(super) async fn describe(&self) -> Result<Cluster, KafkaFault> {
        let (kept, settings) = (Arc::clone(&self.kept), self.settings.clone());
        blocking(move || {
            let question = |client: &Client| {
                client
                    .inner()
                    .fetch_metadata(None, CALL_TIMEOUT)
                    .map(|found| Cluster::of(&found))
                    .map_err(KafkaFault::failed("list its topics"))
            };
            kept.ask(|| build(&settings), question)
        })
        .await
    }

    /// Waits until each partition of these topics is led: a new one takes a moment, and the
    /// metadata names a leader before that knows of it.
    async fn wait_for_leaders(&self, topics: &[&TopicSpec]) -> Result<(), KafkaFault> {
        let mut waiting: Vec<(String, i32)> = topics
            .iter()
            .flat_map(|topic| {
                (0..topic.partitions).map(|partition| (topic.name.clone(), partition))
            })
            .collect();
        for _ in 0..LEADER_LOOKS_MAX {
            let client = self.client()?;
            waiting = tokio::task::spawn_blocking(move || {
                waiting.retain(|(topic, partition)| {
                    client.inner().fetch_watermarks(topic, *partition, CALL_TIMEOUT).is_err()
                });
                waiting
            })
            .await
            .map_err(|_| KafkaFault::Stopping)?;
            if waiting.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(LEADER_LOOK).await;
        }
        Err(KafkaFault::Missing { what: "a leader of each partition".to_owned() })
    }

    async fn create(
        &self,
        topics: &[&TopicSpec],
        replication: i32,
    ) -> Result<Vec<String>, KafkaFault> {
        let settings: Vec<Vec<(&str, String)>> =
            topics.iter().map(|topic| settings_of(topic, replication)).collect();
        let new_topics: Vec<NewTopic<'_>> = topics
            .iter()
            .zip(&settings)
            .map(|(topic, settings)| {
                let fixed = TopicReplication::Fixed(replication);
                settings.iter().fold(
                    NewTopic::new(&topic.name, topic.partitions, fixed),
                    |new_topic, (name, value)| new_topic.set(name, value),
                )
            })
            .collect();
        if new_topics.is_empty() {
            return Ok(Vec::new());
        }
        let options = AdminOptions::new().operation_timeout(Some(CALL_TIMEOUT));
        let results = self
            .client()?
            .create_topics(&new_topics, &options)
            .await
            .map_err(KafkaFault::failed("create topics"))?;
        let mut created = Vec::new();
        for result in results {
            match result {
                Ok(name) => created.push(name),
                // Another instance was quicker.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => {
                    let error = rdkafka::error::KafkaError::AdminOp(code);
                    return Err(KafkaFault::failed(format!("create the topic {name}"))(error));
                }
            }
        }
        Ok(created)
    }

    /// The settings of these topics, which exist, in their order.
    pub(super) async fn settings(
        &self,
        topics: &[&TopicSpec],
    ) -> Result<Vec<Settings>, KafkaFault> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let resources: Vec<_> =
            topics.iter().map(|topic| ResourceSpecifier::Topic(&topic.name)).collect();
        let options = AdminOptions::new().request_timeout(Some(CALL_TIMEOUT));
        let described = self
            .client()?
            .describe_configs(&resources, &options)
            .await
            .map_err(KafkaFault::failed("describe its topics"))?;
        let settings = described.into_iter().map(|config| {
            let entries = config.ok()?.entries.into_iter();
            Some(entries.filter_map(|entry| Some((entry.name, entry.value?))).collect())
        });
        Ok(settings.collect())
    }
}

fn build(settings: &KafkaSettings) -> Result<Client, KafkaFault> {
    settings.client("admin", &[]).create().map_err(KafkaFault::failed("set up an admin"))
}

/// Where these topics are not as the catalog says.
pub(super) fn drift(
    topics: &[&TopicSpec],
    cluster: &Cluster,
    settings: &[Settings],
) -> Vec<TopicDrift> {
    let mut drift = Vec::new();
    for (topic, actual) in topics.iter().zip(settings) {
        let mut note = |setting, declared: String, actual: String| {
            let topic = topic.name.clone();
            drift.push(TopicDrift { topic, setting, declared, actual });
        };
        let Some(&Topic { partitions, replicas, .. }) = cluster.topics.get(&topic.name) else {
            continue;
        };
        if partitions < topic.partitions {
            note(PARTITIONS_SETTING, topic.partitions.to_string(), partitions.to_string());
        }
        // Made when there were fewer brokers. What it needs of min.insync.replicas goes by the
        // replicas it has, and is next once it has more.
        if replicas < cluster.replication() {
            note(REPLICATION_SETTING, cluster.replication().to_string(), replicas.to_string());
        }
        let Some(actual) = actual else { continue };
        for (setting, declared) in settings_of(topic, replicas) {
            if let Some(actual) = actual.get(setting).filter(|actual| **actual != declared) {
                note(setting, declared, actual.clone());
            }
        }
    }
    drift
}

pub(super) fn settings_of(topic: &TopicSpec, replication: i32) -> Vec<(&'static str, String)> {
    let min_insync = if replication >= REPLICATION { MIN_INSYNC } else { 1 };
    let mut settings = vec![
        ("retention.ms", topic.retention.as_millis().to_string()),
        ("min.insync.replicas", min_insync.to_string()),
        ("cleanup.policy", "delete".to_owned()),
    ];
    settings.extend(topic.max_message_bytes.map(|bytes| ("max.message.bytes", bytes.to_string())));
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> TopicSpec {
        TopicSpec {
            name: "t".into(),
            partitions: 3,
            retention: Duration::from_secs(60),
            max_message_bytes: None,
        }
    }

    /// What is said of a topic that is as declared but for these numbers.
    fn drift_of(
        brokers: i32,
        partitions: i32,
        replicas: i32,
    ) -> Vec<(&'static str, String, String)> {
        let topic = Topic { partitions, replicas, each: Vec::new() };
        let cluster = Cluster { brokers, topics: HashMap::from([("t".to_owned(), topic)]) };
        let settings = settings_of(&spec(), replicas);
        let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value));
        let found = drift(&[&spec()], &cluster, &[Some(settings.collect())]);
        found.into_iter().map(|drift| (drift.setting, drift.declared, drift.actual)).collect()
    }

    #[test]
    fn a_topic_on_fewer_disks_than_the_cluster_has_is_named() {
        let too_few = |declared: &str, actual: &str| {
            vec![("replication", declared.to_owned(), actual.to_owned())]
        };
        assert_eq!(drift_of(3, 3, 1), too_few("3", "1"));
        assert_eq!(drift_of(2, 3, 1), too_few("2", "1"));
        assert_eq!(drift_of(5, 3, 2), too_few("3", "2"));
        for (brokers, replicas) in [(1, 1), (2, 2), (3, 3), (5, 3), (3, 5)] {
            assert_eq!(drift_of(brokers, 3, replicas), [], "{replicas} of {brokers}");
        }
        assert_eq!(drift_of(1, 2, 1), [("partitions", "3".to_owned(), "2".to_owned())]);
    }
}
