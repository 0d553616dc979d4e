//! What the client library says to a member, on the thread that polls.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::sync::mpsc;

use super::commits::{commit_now, commit_of, id_of};
use super::event::{Assignment, Commit, ConsumerEvent, Revocation};
use super::list_of;
use crate::domain::dispatch::PartitionId;
use crate::domain::record::Record;
use crate::kafka::ranges::ask_once;
use crate::kafka::stranded::Brokers;
use crate::kafka::trouble::Troubles;

/// How long a revocation waits for the jobs of its partitions, with a second to spare over
/// what the owner allows itself.
pub(super) const REVOKE_WAIT: Duration = Duration::from_secs(6);
/// How long Kafka may take to tell what the group has committed, while its records wait.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);

/// Hears it, and tells the owner.
pub(super) struct Context {
    pub(super) group: String,
    events: mpsc::Sender<ConsumerEvent>,
    /// Records that were polled and not handed over yet.
    held: Mutex<Vec<Record>>,
    pub(super) troubles: Troubles,
    pub(super) brokers: Brokers,
}

/// The owner has gone away.
pub(super) struct Gone;

impl Context {
    pub(super) fn new(group: &str, events: mpsc::Sender<ConsumerEvent>) -> Self {
        Self {
            group: group.to_owned(),
            events,
            held: Mutex::default(),
            troubles: Troubles::default(),
            brokers: Brokers::default(),
        }
    }

    pub(super) fn hold(&self, record: Record) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(record);
    }

    /// Hands over the held records. Before each event of another kind: a record that came before
    /// a rebalance must not be taken for one that came after it.
    pub(super) fn hand_over(&self) -> Result<(), Gone> {
        let held = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        if held.is_empty() {
            return Ok(());
        }
        self.events.blocking_send(ConsumerEvent::Records(held)).map_err(|_| Gone)
    }

    pub(super) fn tell(&self, event: ConsumerEvent) -> Result<(), Gone> {
        self.hand_over()?;
        self.events.blocking_send(event).map_err(|_| Gone)
    }
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        self.troubles.heard(&self.group, &error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.brokers.told(statistics);
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
        let revocation = Revocation::new(partitions, answer);
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

pub(super) fn ids(list: &TopicPartitionList) -> Vec<PartitionId> {
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

fn has_none(element: &TopicPartitionListElem<'_>) -> bool {
    element.error().is_ok() && element.offset() == Offset::Invalid
}
