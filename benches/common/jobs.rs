//! The jobs of one type: their topic, written as the gateway writes them, and how far a group is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use jobgate::domain::catalog::{Catalog, RecordType};
use jobgate::domain::clock::{SharedClock, SystemClock};
use jobgate::domain::counters::Counters;
use jobgate::domain::dispatch::PartitionId;
use jobgate::domain::id::IdSource;
use jobgate::kafka::{Admin, Commit, Groups, KafkaSettings, Producer};
use jobgate::operations::{Enqueue, Marks};
use serde_json::Value;

/// Records on their way at once while a topic is filled.
const UNDER_WAY: usize = 1_000;
/// How long a group may take to get where it is waited for.
const COMMIT_DEADLINE: Duration = Duration::from_secs(300);
/// How often a group is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// A type, and the catalog that has it in the group that is to run it: each round reads from
/// the start, as a group of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JobType {
    pub(crate) name: &'static str,
    pub(crate) catalog: fn(group: &str) -> Catalog,
}

/// What reads and writes the jobs of a type.
pub(crate) struct Jobs {
    pub(crate) job_type: JobType,
    pub(crate) kafka: KafkaSettings,
    pub(crate) clock: SharedClock,
    pub(crate) producer: Producer,
    enqueue: Enqueue,
    record_type: Arc<RecordType>,
    groups: Groups,
}

impl Jobs {
    /// Makes the topics that are missing.
    pub(crate) async fn open(brokers: &str, job_type: JobType) -> Self {
        let kafka = KafkaSettings { brokers: brokers.to_owned(), properties: Vec::new() };
        let catalog = (job_type.catalog)("nobody");
        let topics: Vec<_> = catalog.topics().cloned().collect();
        let admin = Admin::new(&kafka).expect("an admin");
        admin.ensure(&topics, true).await.expect("the topics are made");

        let clock: SharedClock = Arc::new(SystemClock);
        let producer = Producer::new(kafka.clone(), Arc::clone(&clock)).expect("a producer");
        producer.probe().await;
        let enqueue = Enqueue::new(
            producer.clone(),
            Arc::new(IdSource::new()),
            Arc::clone(&clock),
            "bench",
            Arc::new(Counters::new([job_type.name])),
        );
        let record_type = Arc::clone(catalog.job(job_type.name).expect("a type of the catalog"));
        let groups = Groups::new(kafka.clone(), &[]);
        Self { job_type, kafka, clock, producer, enqueue, record_type, groups }
    }

    /// Writes one, and waits until it is acknowledged.
    pub(crate) async fn enqueue(&self, payload: &Value) {
        let accepted = self.record_type.accept(payload.to_string().as_bytes());
        let accepted = accepted.expect("a valid payload");
        self.enqueue
            .enqueue(&self.record_type, accepted, Marks::default())
            .await
            .expect("it is accepted");
    }

    /// Writes so many, many at once.
    pub(crate) async fn fill(&self, count: usize, payload: impl Fn(usize) -> Value) {
        stream::iter(0..count)
            .for_each_concurrent(UNDER_WAY, async |number| self.enqueue(&payload(number)).await)
            .await;
    }

    /// Waits until the group has committed so many records, over all partitions.
    pub(crate) async fn committed_by(&self, group: &str, count: usize) {
        let end = offset(count);
        self.commits_until(group, |commits| {
            commits.values().flatten().map(|commit| commit.offset).sum::<i64>() >= end
        })
        .await;
    }

    /// Waits until this is so of what the group has committed.
    pub(crate) async fn commits_until(
        &self,
        group: &str,
        is_so: impl Fn(&HashMap<PartitionId, Option<Commit>>) -> bool,
    ) {
        let topic: Arc<str> = self.topic().into();
        let partitions: Vec<PartitionId> = (0..self.record_type.topic.partitions)
            .map(|partition| PartitionId { topic: Arc::clone(&topic), partition })
            .collect();
        let reached = async {
            loop {
                let commits = self.groups.commits(group, partitions.clone()).await;
                if is_so(&commits.expect("Kafka knows the group")) {
                    return;
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
        };
        tokio::time::timeout(COMMIT_DEADLINE, reached).await.expect("the group gets there");
    }

    /// The topic's name.
    pub(crate) fn topic(&self) -> &str {
        &self.record_type.topic.name
    }
}

/// The offset behind so many records of a partition.
pub(crate) fn offset(count: usize) -> i64 {
    i64::try_from(count).expect("a count of records")
}
