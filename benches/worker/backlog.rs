//! The records that every side reads: real ones, written as the gateway writes them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use jobgate::domain::catalog::{Catalog, RecordType};
use jobgate::domain::clock::{SharedClock, SystemClock};
use jobgate::domain::counters::Counters;
use jobgate::domain::dispatch::PartitionId;
use jobgate::domain::id::IdSource;
use jobgate::kafka::{Admin, Groups, KafkaSettings, Producer};
use jobgate::operations::Enqueue;
use jobgate::waitlist;
use serde_json::json;
use uuid::Uuid;

/// The type of the records.
pub(crate) const TYPE: &str = "email.verification";
/// Records on their way at once while the backlog is written.
const UNDER_WAY: usize = 1_000;
/// How long a group may take to reach the end.
const END_DEADLINE: Duration = Duration::from_secs(300);
/// How often a group is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// A topic full of records, and what reads and writes it.
pub(crate) struct Backlog {
    pub(crate) kafka: KafkaSettings,
    pub(crate) clock: SharedClock,
    pub(crate) producer: Producer,
    pub(crate) count: usize,
    enqueue: Enqueue,
    record_type: Arc<RecordType>,
    groups: Groups,
}

impl Backlog {
    /// Makes the topics, and writes so many records.
    pub(crate) async fn write(brokers: &str, count: usize) -> Self {
        let kafka = KafkaSettings { brokers: brokers.to_owned(), properties: Vec::new() };
        let catalog = catalog_with_group("email-workers");
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
            Arc::new(Counters::new([TYPE])),
        );
        let record_type = Arc::clone(catalog.job(TYPE).expect("a built-in type"));
        let groups = Groups::new(kafka.clone(), &[]);
        let backlog = Self { kafka, clock, producer, count, enqueue, record_type, groups };
        stream::iter(0..count)
            .for_each_concurrent(UNDER_WAY, async |_| backlog.enqueue_one().await)
            .await;
        backlog
    }

    /// Writes one more record, of a user of its own, and waits until it is acknowledged.
    pub(crate) async fn enqueue_one(&self) {
        // Random, as real ones are: the same again and again would all but vanish when packed.
        let token = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()].map(Uuid::simple);
        let payload = json!({
            "campaign_id": "7f0c9a52-6b1d-4e3f-8a2b-1c5d7e9f0a11",
            "user_id": Uuid::now_v7(),
            "template_data": {
                "email": "ada@example.com",
                "first_name": "Ada",
                "verification_link":
                    format!("https://example.com/verify/{}{}{}", token[0], token[1], token[2]),
            }
        });
        let accepted = self.record_type.accept(payload.to_string().as_bytes());
        let accepted = accepted.expect("a valid payload");
        self.enqueue.enqueue(&self.record_type, accepted, None).await.expect("it is accepted");
    }

    /// Waits until the group has committed the end of the backlog; returns when that was seen.
    pub(crate) async fn committed_by(&self, group: &str) -> Instant {
        let topic: Arc<str> = self.record_type.topic.name.as_str().into();
        let partitions: Vec<PartitionId> = (0..self.record_type.topic.partitions)
            .map(|partition| PartitionId { topic: Arc::clone(&topic), partition })
            .collect();
        let end = i64::try_from(self.count).expect("a count of records");
        let reached = async {
            loop {
                let committed = self.groups.committed(group, partitions.clone()).await;
                let committed = committed.expect("Kafka knows the group");
                if committed.values().flatten().sum::<i64>() >= end {
                    return Instant::now();
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
        };
        tokio::time::timeout(END_DEADLINE, reached).await.expect("the group reaches the end")
    }

    /// The topic's name.
    pub(crate) fn topic(&self) -> &str {
        &self.record_type.topic.name
    }
}

/// The built-in catalog, with this group for the records' type: each round reads from the
/// start as a group of its own.
pub(crate) fn catalog_with_group(group: &str) -> Catalog {
    let mut types = waitlist::catalog().expect("the built-in types");
    for record_type in types.iter_mut().filter(|record_type| record_type.name == TYPE) {
        group.clone_into(&mut record_type.group);
    }
    Catalog::new(types, waitlist::dead_letters()).expect("the built-in catalog")
}
