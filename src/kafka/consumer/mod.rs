//! A member of a consumer group, on a thread of its own.
//!
//! The thread polls without pause, however long the jobs take, so that a slow handler does
//! not cost the group its partition. What happens goes to the owner as [`ConsumerEvent`]s,
//! in order. A revocation waits for the owner's answer (the offsets to commit) before the
//! partitions are let go.

mod commits;
mod context;
mod event;
mod poller;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};

use self::commits::commit_now;
pub(super) use self::commits::commit_of;
use self::context::{Context, REVOKE_WAIT};
pub use self::event::{Assignment, Commit, ConsumerEvent, Revocation};
use self::poller::{CLOSE_WAIT, Poller};
use super::convert::READING;
use super::error::KafkaFault;
use super::settings::KafkaSettings;
use super::stranded::TELLS_EVERY;
use crate::domain::dispatch::PartitionId;

/// Events between the thread and its owner. Records are bounded by the owner's pauses; this
/// only smooths the way.
const EVENTS_MAX: usize = 4;
/// A member that is silent for this long is replaced. librdkafka's 45 s would leave its jobs
/// waiting that long.
const SESSION_TIMEOUT_MS: &str = "6000";
/// The settings of a member, beside those of [`READING`].
const MEMBER: [(&str, &str); 5] = [
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("session.timeout.ms", SESSION_TIMEOUT_MS),
    ("heartbeat.interval.ms", "2000"),
    // A group's first member starts with what is there; `latest` would skip it.
    ("auto.offset.reset", "earliest"),
    TELLS_EVERY,
];

/// Which group to join, and how.
#[derive(Debug, Clone, Copy)]
pub struct Membership<'a> {
    /// The group.
    pub group: &'a str,
    /// A name for this instance: the membership is static, and a restart within the session
    /// timeout keeps its partitions.
    pub instance: Option<&'a str>,
    /// The topics, which must exist.
    pub topics: &'a [&'a str],
    /// Whether the end of a partition is an event. Good for one topic alone: Kafka's client
    /// names the partition and not the topic.
    pub tells_ends: bool,
}

/// A member of a consumer group.
pub struct GroupConsumer {
    joining: Joining,
    /// The thread owns the client: dropping one leaves the group, and that can block.
    client: Weak<BaseConsumer<Context>>,
    /// Partitions whose intake was stopped here and not started again, given away since or not.
    paused: Mutex<HashSet<PartitionId>>,
    is_closing: Arc<AtomicBool>,
    closed: Option<oneshot::Receiver<()>>,
}

/// How a group is joined.
#[derive(Clone)]
struct Joining {
    group: String,
    topics: Vec<String>,
    config: ClientConfig,
}

impl GroupConsumer {
    /// Joins a group.
    pub fn join(
        settings: &KafkaSettings,
        membership: Membership<'_>,
    ) -> Result<(Self, mpsc::Receiver<ConsumerEvent>), KafkaFault> {
        let Membership { group, instance, topics, tells_ends } = membership;
        let mut config = settings.client(group, &[&READING[..], &MEMBER].concat());
        config
            .set("group.id", group)
            .set("enable.partition.eof", if tells_ends { "true" } else { "false" });
        if let Some(instance) = instance {
            config.set("group.instance.id", format!("{group}-{instance}"));
        }
        let topics = topics.iter().map(|&topic| topic.to_owned()).collect();
        Self::start(Joining { group: group.to_owned(), topics, config })
    }

    /// Joins the group again, with a new client.
    pub fn again(&self) -> Result<(Self, mpsc::Receiver<ConsumerEvent>), KafkaFault> {
        Self::start(self.joining.clone())
    }

    fn start(joining: Joining) -> Result<(Self, mpsc::Receiver<ConsumerEvent>), KafkaFault> {
        let Joining { group, topics, config } = &joining;
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let context = Context::new(group, events);
        let action = format!("join the group {group}");
        let client = BaseConsumer::from_config_and_context(config, context)
            .map_err(KafkaFault::failed(action.as_str()))?;
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        client.subscribe(&topics).map_err(KafkaFault::failed(action))?;
        let client = Arc::new(client);
        let is_closing = Arc::new(AtomicBool::new(false));
        let (done, closed) = oneshot::channel();
        let weak = Arc::downgrade(&client);
        let is_closing_too = Arc::clone(&is_closing);
        std::thread::Builder::new()
            .name(format!("kafka-{group}"))
            .spawn(move || {
                Poller::new(client, is_closing_too).run();
                let _ = done.send(());
            })
            .map_err(|_| KafkaFault::Stopping)?;
        let consumer = Self {
            joining,
            client: weak,
            paused: Mutex::default(),
            is_closing,
            closed: Some(closed),
        };
        Ok((consumer, receiver))
    }

    /// Commits offsets: for each partition the first one that is not finished.
    pub fn commit(
        &self,
        commits: Vec<(PartitionId, Commit)>,
    ) -> impl Future<Output = Result<(), KafkaFault>> + Send + use<> {
        let client = self.client();
        async move {
            let client = client?;
            tokio::task::spawn_blocking(move || commit_now(&client, &commits))
                .await
                .map_err(|_| KafkaFault::Stopping)?
                .map_err(KafkaFault::failed("commit offsets"))
        }
    }

    fn client(&self) -> Result<Arc<BaseConsumer<Context>>, KafkaFault> {
        self.client.upgrade().ok_or(KafkaFault::Stopping)
    }

    /// Stops the intake of partitions.
    pub fn pause(&self, partitions: &[PartitionId]) -> Result<(), KafkaFault> {
        self.paused().extend(partitions.iter().cloned());
        self.client()?.pause(&list_of(partitions)).map_err(KafkaFault::failed("pause partitions"))
    }

    /// Starts the intake of partitions again.
    ///
    /// Only of those whose intake was stopped here: of any other one librdkafka would throw away
    /// what was fetched ahead, and go on behind it.
    pub fn resume(&self, partitions: &[PartitionId]) -> Result<(), KafkaFault> {
        let stopped: Vec<PartitionId> = {
            let mut paused = self.paused();
            partitions.iter().filter(|id| paused.remove(*id)).cloned().collect()
        };
        if stopped.is_empty() {
            return Ok(());
        }
        self.client()?.resume(&list_of(&stopped)).map_err(KafkaFault::failed("resume partitions"))
    }

    fn paused(&self) -> MutexGuard<'_, HashSet<PartitionId>> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the group. The owner must go on answering events until their channel ends.
    pub fn start_closing(&self) {
        self.is_closing.store(true, Ordering::Release);
    }

    /// Waits until the thread has ended, for a bounded time.
    pub async fn closed(mut self) {
        if let Some(closed) = self.closed.take()
            && tokio::time::timeout(CLOSE_WAIT + REVOKE_WAIT, closed).await.is_err()
        {
            tracing::warn!("a Kafka consumer did not close in time");
        }
    }
}

/// An owner that goes away without a word leaves the group too.
impl Drop for GroupConsumer {
    fn drop(&mut self) {
        self.start_closing();
    }
}

fn list_of(partitions: &[PartitionId]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for id in partitions {
        list.add_partition(&id.topic, id.partition);
    }
    list
}
