//! A member of a consumer group, on a thread of its own.
//!
//! The thread polls without pause, however long the jobs take, so that a slow handler does
//! not cost the group its partition. What happens goes to the owner as [`ConsumerEvent`]s,
//! in order. A revocation waits for the owner's answer (the offsets to commit) before the
//! partitions are let go.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{ClientContext, Message as _, Offset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};

use super::convert::{READING, record_in};
use super::error::KafkaFault;
use super::ranges::ask_once;
use super::settings::KafkaSettings;
use super::trouble::Troubles;
use crate::domain::dispatch::PartitionId;
use crate::domain::record::Record;

/// How long one poll waits for a record; also how soon a stop is noticed.
const POLL: Duration = Duration::from_millis(100);
/// How long a revocation waits for the jobs of its partitions, with a second to spare over
/// what the owner allows itself.
const REVOKE_WAIT: Duration = Duration::from_secs(6);
/// How long Kafka may take to tell what the group has committed, while its records wait.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the end of the membership may take.
const CLOSE_WAIT: Duration = Duration::from_secs(8);
/// Events between the thread and its owner. Records are bounded by the owner's pauses; this
/// only smooths the way.
const EVENTS_MAX: usize = 4;
/// Records in one event, where so many are there: handing each over by itself costs more than
/// all the rest of its way.
const RECORDS_MAX: usize = 128;
/// Bytes of them, so that what lies between thread and owner stays small.
const RECORDS_BYTES_MAX: usize = 1 << 20;
/// A member that is silent for this long is replaced. librdkafka's 45 s would leave its jobs
/// waiting that long.
const SESSION_TIMEOUT_MS: &str = "6000";
/// The settings of a member, beside those of [`READING`].
const MEMBER: [(&str, &str); 4] = [
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("session.timeout.ms", SESSION_TIMEOUT_MS),
    ("heartbeat.interval.ms", "2000"),
    // A group's first member starts with what is there; `latest` would skip it.
    ("auto.offset.reset", "earliest"),
];

/// What happened to a member of a group.
#[derive(Debug)]
pub enum ConsumerEvent {
    /// Partitions were given to this member.
    Assigned(Vec<Assignment>),
    /// Partitions are about to be taken away. They stay until the revocation is answered.
    Revoking(Revocation),
    /// Partitions were lost: somebody else may have them already. Nothing can be committed.
    Lost(Vec<PartitionId>),
    /// Records, in the order of their partitions; never none.
    Records(Vec<Record>),
    /// This partition has no further record now; told only where [`Membership::tells_ends`].
    End(i32),
    /// The membership is over for good: another member has this one's instance id.
    Fatal(String),
}

/// A partition that was given to a member, with what Kafka tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Which.
    pub id: PartitionId,
    /// The group's last commit.
    pub commit: Option<Commit>,
    /// Whether there was none, and the beginning is committed now: no member of the group has
    /// ever had the partition.
    pub is_first: bool,
    /// Behind its last record at that time.
    pub end: Option<i64>,
}

/// A commit of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The first offset that is not finished.
    pub offset: i64,
    /// What Kafka keeps with it: at most 4,096 bytes, unless the cluster says otherwise.
    pub note: String,
}

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

/// Partitions that are being taken away.
#[derive(Debug)]
pub struct Revocation {
    /// Which.
    pub partitions: Vec<PartitionId>,
    answer: std::sync::mpsc::SyncSender<Vec<(PartitionId, Commit)>>,
}

impl Revocation {
    /// Lets the partitions go, after committing these offsets.
    pub fn let_go(self, offsets: Vec<(PartitionId, Commit)>) {
        // The thread waits for a bounded time; an answer that comes later has no use.
        let _ = self.answer.try_send(offsets);
    }
}

/// A member of a consumer group.
pub struct GroupConsumer {
    /// The thread owns the client: dropping one leaves the group, and that can block.
    client: Weak<BaseConsumer<Context>>,
    /// Partitions whose intake was stopped here and not started again, given away since or not.
    paused: Mutex<HashSet<PartitionId>>,
    is_closing: Arc<AtomicBool>,
    closed: Option<oneshot::Receiver<()>>,
}

struct Context {
    group: String,
    events: mpsc::Sender<ConsumerEvent>,
    /// Records that were polled and not handed over yet.
    held: Mutex<Vec<Record>>,
    troubles: Troubles,
}

/// The owner has gone away.
struct Gone;

impl Context {
    fn hold(&self, record: Record) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(record);
    }

    /// Hands over the held records. Before each event of another kind: a record that came before
    /// a rebalance must not be taken for one that came after it.
    fn hand_over(&self) -> Result<(), Gone> {
        let held = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        if held.is_empty() {
            return Ok(());
        }
        self.events.blocking_send(ConsumerEvent::Records(held)).map_err(|_| Gone)
    }

    fn tell(&self, event: ConsumerEvent) -> Result<(), Gone> {
        self.hand_over()?;
        self.events.blocking_send(event).map_err(|_| Gone)
    }
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        self.troubles.heard(&self.group, &error, reason);
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(list) = rebalance else { return };
        let partitions = ids(list);
        if partitions.is_empty() {
            return;
        }
        if consumer.assignment_lost() {
            let _ = self.tell(ConsumerEvent::Lost(partitions));
            return;
        }
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        let revocation = Revocation { partitions, answer };
        if self.tell(ConsumerEvent::Revoking(revocation)).is_err() {
            return;
        }
        let Ok(offsets) = answered.recv_timeout(REVOKE_WAIT) else {
            tracing::warn!("partitions were taken away before their jobs had ended");
            return;
        };
        if let Err(error) = commit_now(consumer, &offsets) {
            tracing::warn!(%error, "the offsets of revoked partitions were not committed");
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            // An empty one too: it says that the group was joined.
            Rebalance::Assign(list) => {
                self.troubles.over();
                let assigned = assignments(consumer, ids(list));
                let _ = self.tell(ConsumerEvent::Assigned(assigned));
            }
            Rebalance::Error(error) => tracing::warn!(%error, "rebalance"),
            Rebalance::Revoke(_) => {}
        }
    }
}

fn ids(list: &TopicPartitionList) -> Vec<PartitionId> {
    list.elements().iter().map(id_of).collect()
}

/// What the group has committed in these partitions, and where they end. Where Kafka does not
/// tell, more records run again than need be, or are watched, and no harm is done.
fn assignments(consumer: &BaseConsumer<Context>, partitions: Vec<PartitionId>) -> Vec<Assignment> {
    if partitions.is_empty() {
        return Vec::new();
    }
    let mut commits: HashMap<PartitionId, Commit> = HashMap::new();
    let mut new = Vec::new();
    match consumer.committed_offsets(list_of(&partitions), ASK_TIMEOUT) {
        Ok(list) => {
            let elements = list.elements();
            commits.extend(elements.iter().filter_map(commit_of));
            // Kafka must have said so: an answer that is missing is no such word.
            new.extend(elements.iter().filter(|element| has_none(element)).map(id_of));
        }
        Err(error) => tracing::debug!(%error, "the notes of a group's commits are not known"),
    }
    let mut ends = HashMap::new();
    match ask_once(consumer, &partitions, Offset::End) {
        Ok(known) => ends = known,
        Err(error) => tracing::debug!(%error, "the ends of partitions are not known"),
    }
    let is_begun = begin(consumer, &new);
    let with = |id: PartitionId| {
        let (commit, end) = (commits.remove(&id), ends.get(&id).copied().flatten());
        let is_first = is_begun && new.contains(&id);
        Assignment { id, commit, is_first, end }
    };
    partitions.into_iter().map(with).collect()
}

/// Commits the beginning of partitions in which the group has never committed. So a member that
/// ends before its first commit leaves a trace, and one that comes first knows that it does.
fn begin(consumer: &BaseConsumer<Context>, partitions: &[PartitionId]) -> bool {
    if partitions.is_empty() {
        return true;
    }
    let begun = ask_once(consumer, partitions, Offset::Beginning).and_then(|beginnings| {
        let commit = |(id, offset): (PartitionId, Option<i64>)| {
            Some((id, Commit { offset: offset?, note: String::new() }))
        };
        let commits: Vec<_> = beginnings.into_iter().filter_map(commit).collect();
        commit_now(consumer, &commits)
    });
    if let Err(error) = &begun {
        tracing::debug!(%error, "the beginning of partitions is not committed");
    }
    begun.is_ok()
}

pub(super) fn commit_of(element: &TopicPartitionListElem<'_>) -> Option<(PartitionId, Commit)> {
    let Offset::Offset(offset) = element.offset() else { return None };
    // Any client of the group may have written it, and rdkafka panics where it is not UTF-8.
    let note = catch_unwind(AssertUnwindSafe(|| element.metadata().to_owned()));
    Some((id_of(element), Commit { offset, note: note.unwrap_or_default() }))
}

fn has_none(element: &TopicPartitionListElem<'_>) -> bool {
    element.error().is_ok() && element.offset() == Offset::Invalid
}

fn id_of(element: &TopicPartitionListElem<'_>) -> PartitionId {
    PartitionId { topic: element.topic().into(), partition: element.partition() }
}

/// Commits with the notes; without them where they are longer than this cluster keeps.
fn commit_now(
    consumer: &BaseConsumer<Context>,
    commits: &[(PartitionId, Commit)],
) -> Result<(), KafkaError> {
    if commits.is_empty() {
        return Ok(());
    }
    let result = consumer.commit(&commit_list(commits, true)?, CommitMode::Sync);
    match result {
        Err(error) if error.rdkafka_error_code() == Some(Code::OffsetMetadataTooLarge) => {
            tracing::debug!(%error, "committed without notes");
            consumer.commit(&commit_list(commits, false)?, CommitMode::Sync)
        }
        result => result,
    }
}

fn commit_list(
    commits: &[(PartitionId, Commit)],
    has_notes: bool,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(commits.len());
    for (id, commit) in commits {
        list.add_partition_offset(&id.topic, id.partition, Offset::Offset(commit.offset))?;
        if has_notes
            && !commit.note.is_empty()
            && let Some(mut element) = list.find_partition(&id.topic, id.partition)
        {
            element.set_metadata(&commit.note);
        }
    }
    Ok(list)
}

impl GroupConsumer {
    /// Joins a group.
    pub fn join(
        settings: &KafkaSettings,
        membership: Membership<'_>,
    ) -> Result<(Self, mpsc::Receiver<ConsumerEvent>), KafkaFault> {
        let Membership { group, instance, topics, tells_ends } = membership;
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let mut config = settings.client(group, &[&READING[..], &MEMBER].concat());
        config
            .set("group.id", group)
            .set("enable.partition.eof", if tells_ends { "true" } else { "false" });
        if let Some(instance) = instance {
            config.set("group.instance.id", format!("{group}-{instance}"));
        }
        let context = Context {
            group: group.to_owned(),
            events,
            held: Mutex::default(),
            troubles: Troubles::default(),
        };
        let action = format!("join the group {group}");
        let client = BaseConsumer::from_config_and_context(&config, context)
            .map_err(KafkaFault::failed(action.as_str()))?;
        client.subscribe(topics).map_err(KafkaFault::failed(action))?;
        let client = Arc::new(client);
        let is_closing = Arc::new(AtomicBool::new(false));
        let (done, closed) = oneshot::channel();
        let weak = Arc::downgrade(&client);
        let is_closing_too = Arc::clone(&is_closing);
        std::thread::Builder::new()
            .name(format!("kafka-{group}"))
            .spawn(move || {
                let last_topic = RefCell::new(Arc::from(""));
                Poller { client, is_closing: is_closing_too, last_topic }.run();
                let _ = done.send(());
            })
            .map_err(|_| KafkaFault::Stopping)?;
        let consumer =
            Self { client: weak, paused: Mutex::default(), is_closing, closed: Some(closed) };
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

struct Poller {
    client: Arc<BaseConsumer<Context>>,
    is_closing: Arc<AtomicBool>,
    last_topic: RefCell<Arc<str>>,
}

impl Poller {
    fn run(self) {
        while !self.is_closing.load(Ordering::Acquire) {
            self.poll();
        }
        // The revocation runs inside of polls, and ends with an empty assignment.
        self.client.unsubscribe();
        let deadline = Instant::now() + CLOSE_WAIT;
        while Instant::now() < deadline && self.is_member() {
            self.poll();
        }
    }

    /// Records come in runs of one topic: its name is made once for each.
    fn topic_of(&self, message: &BorrowedMessage<'_>) -> Arc<str> {
        let mut last = self.last_topic.borrow_mut();
        if &**last != message.topic() {
            *last = message.topic().into();
        }
        Arc::clone(&last)
    }

    fn is_member(&self) -> bool {
        self.client.assignment().is_ok_and(|list| list.count() > 0)
    }

    /// Hands over what there is: waits for the first record, and takes those that have come
    /// with it.
    fn poll(&self) {
        let context = self.client.context();
        let (mut count, mut bytes, mut wait) = (0, 0, POLL);
        let other = loop {
            match self.client.poll(wait) {
                Some(Ok(message)) => {
                    let record = record_in(self.topic_of(&message), &message);
                    (count, bytes) = (count + 1, bytes + record.size_bytes());
                    context.hold(record);
                    if count == RECORDS_MAX || bytes >= RECORDS_BYTES_MAX {
                        break None;
                    }
                    wait = Duration::ZERO;
                }
                Some(Err(error)) => break Some(error),
                None => break None,
            }
        };
        if context.hand_over().is_err() {
            self.is_closing.store(true, Ordering::Release);
        }
        if let Some(error) = other {
            self.failed(error);
        }
    }

    fn failed(&self, error: KafkaError) {
        match error {
            KafkaError::MessageConsumptionFatal(_) => {
                let said = self.client.client().fatal_error().map(|(_, reason)| reason);
                let said = said.unwrap_or_else(|| error.to_string());
                let _ = self.client.context().tell(ConsumerEvent::Fatal(said));
                self.is_closing.store(true, Ordering::Release);
            }
            KafkaError::PartitionEOF(partition) => {
                let _ = self.client.context().tell(ConsumerEvent::End(partition));
            }
            error => {
                let context = self.client.context();
                context.troubles.heard(&context.group, &error, "");
            }
        }
    }
}
