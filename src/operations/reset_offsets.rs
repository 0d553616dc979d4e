//! Set the offsets of a group that has no members, and note what that passes over.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use thiserror::Error;
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::audit::{Audit, Deed};
use super::detached::run_detached;
use super::edge::{self, Edge, EdgeError};
use super::insist::insist;
use crate::domain::actor::Actor;
use crate::domain::catalog::Catalog;
use crate::domain::clock::SharedClock;
use crate::domain::dispatch::PartitionId;
use crate::domain::id::IdSource;
use crate::domain::status::OffsetReset;
use crate::kafka::{Groups, KafkaFault, Reader};
use crate::store::{Store, StoreError};

/// How long a caller waits; the five questions to Kafka behind it have their own bounds.
const DEADLINE: Duration = Duration::from_secs(15);

/// How long Kafka is asked what became of a reset that it did not answer to, and the database
/// to keep that: longer than a restart of either.
const SETTLE_TIME: Duration = Duration::from_mins(10);

/// What is to be reset, and why.
#[derive(Debug, Clone)]
pub struct ResetRequest {
    /// The group.
    pub group: String,
    /// A topic that it consumes.
    pub topic: String,
    /// Which partitions; none means all.
    pub partitions: Option<Vec<i32>>,
    /// Where to.
    pub to: Edge,
    /// Why.
    pub reason: String,
}

/// What a reset did to one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResetPartition {
    /// The partition.
    pub partition: i32,
    /// The group's next offset before, if it had committed one.
    pub before: Option<i64>,
    /// The group's next offset now.
    pub now: i64,
}

/// Why offsets were not reset.
#[derive(Debug, Error)]
pub enum ResetError {
    /// No type of the catalog has this group.
    #[error("no type has the group {0}")]
    UnknownGroup(String),
    /// The group does not consume the topic.
    #[error("the group does not consume the topic {0}")]
    NotItsTopic(String),
    /// The topic has no such partition, or no such offset.
    #[error(transparent)]
    Edge(EdgeError),
    /// The group has members, and its offsets are theirs.
    #[error("the group has live members")]
    Live,
    /// It took too long; it may happen yet.
    #[error("the outcome is not known yet")]
    OutcomeUnknown,
    /// Kafka took it for some partitions alone.
    #[error("only of the partitions {0:?} the offsets were reset")]
    Partly(Vec<i32>),
    /// Kafka did not answer.
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<EdgeError> for ResetError {
    fn from(error: EdgeError) -> Self {
        match error {
            EdgeError::Kafka(error) => error.into(),
            error => Self::Edge(error),
        }
    }
}

/// Resets offsets. Cheap to clone.
#[derive(Clone)]
pub struct ResetOffsets {
    catalog: Arc<Catalog>,
    store: Store,
    reader: Reader,
    groups: Groups,
    audit: Audit,
    ids: Arc<IdSource>,
    clock: SharedClock,
    tracker: TaskTracker,
    /// One at a time: a reset must know where the one before it ended.
    turn: Arc<Mutex<()>>,
}

/// What a reset stands on.
pub struct ResetParts {
    /// Which groups and topics there are.
    pub catalog: Arc<Catalog>,
    /// Where resets are noted.
    pub store: Store,
    /// Tells bounds and times.
    pub reader: Reader,
    /// Tells and sets commits.
    pub groups: Groups,
    /// Every reset is audited.
    pub audit: Audit,
    /// Names operations.
    pub ids: Arc<IdSource>,
    /// The one clock.
    pub clock: SharedClock,
    /// A reset that has begun comes to its end here.
    pub tracker: TaskTracker,
}

impl ResetOffsets {
    /// The use case, on these parts.
    pub fn new(parts: ResetParts) -> Self {
        let ResetParts { catalog, store, reader, groups, audit, ids, clock, tracker } = parts;
        let turn = Arc::default();
        Self { catalog, store, reader, groups, audit, ids, clock, tracker, turn }
    }

    /// Sets a group's offsets in one topic, only while the group has no members.
    pub async fn reset(
        &self,
        actor: Actor,
        request: ResetRequest,
    ) -> Result<Vec<ResetPartition>, ResetError> {
        if !self.catalog.groups().contains(&request.group.as_str()) {
            return Err(ResetError::UnknownGroup(request.group));
        }
        let its = self.catalog.by_topic(&request.topic);
        if its.is_none_or(|record_type| record_type.group != request.group) {
            return Err(ResetError::NotItsTopic(request.topic));
        }
        let deed = Deed::new("reset_offsets", request.group.clone()).because(&request.reason).with(
            json!({
                "topic": request.topic,
                "partitions": request.partitions,
                "to": request.to.to_json(),
            }),
        );
        let reset = self.clone();
        let work = async move {
            let _turn = reset.turn.lock().await;
            reset.audit.around(&actor, deed, reset.apply(&request)).await
        };
        run_detached(&self.tracker, DEADLINE, work).await.ok_or(ResetError::OutcomeUnknown)?
    }

    async fn apply(&self, request: &ResetRequest) -> Result<Vec<ResetPartition>, ResetError> {
        let ResetRequest { group, topic, .. } = request;
        // Kafka refuses it as well, but only after the rows are written.
        if self.groups.members(group).await? > 0 {
            return Err(ResetError::Live);
        }
        let chosen = edge::partitions(&self.reader, topic, request.partitions.as_deref()).await?;
        let before = self.groups.committed(group, chosen.clone()).await?;
        let bounds = self.reader.bounds_of(chosen.clone()).await?;
        let targets = request.to.offsets(&self.reader, &chosen, &bounds).await?;
        let target = |id: &PartitionId| Some((id.clone(), *targets.get(id)?));
        let targets: Vec<(PartitionId, i64)> = chosen.iter().filter_map(target).collect();
        let at_ms = self.clock.now_ms();
        let mut done = Vec::with_capacity(targets.len());
        let mut resets = Vec::with_capacity(targets.len());
        for (id, to_offset) in &targets {
            let committed = before.get(id).copied().flatten();
            done.push(ResetPartition {
                partition: id.partition,
                before: committed,
                now: *to_offset,
            });
            // A group without a commit would begin with the oldest record.
            let from_offset =
                committed.unwrap_or_else(|| bounds.get(id).map_or(0, |bounds| bounds.low));
            resets.push((id.clone(), OffsetReset { from_offset, to_offset: *to_offset, at_ms }));
        }
        // The rows first: without them, what is passed over would be called done.
        let operation = self.ids.next(at_ms);
        self.store.note_resets(operation, group, &resets).await?;
        let error = match self.groups.set_offsets(group, targets).await {
            Ok(Ok(())) => None,
            Ok(Err(_)) => {
                self.forget(operation, &chosen).await?;
                return Err(ResetError::Live);
            }
            Err(error) => Some(error),
        };
        if let Some(error) = &error {
            tracing::warn!(group, topic, %error, "a reset of offsets has no outcome yet");
        }
        // Kafka may have taken all, some or none of it, whether it answered or not.
        let happened = self.settle(group, operation, &resets).await?;
        match error {
            _ if happened.len() == resets.len() => Ok(done),
            Some(error) if happened.is_empty() => Err(error.into()),
            _ => Err(ResetError::Partly(happened)),
        }
    }

    /// Asks until Kafka tells where the offsets were set, and keeps the rows of those partitions
    /// alone.
    async fn settle(
        &self,
        group: &str,
        operation: Uuid,
        resets: &[(PartitionId, OffsetReset)],
    ) -> Result<Vec<i32>, ResetError> {
        let ids: Vec<PartitionId> = resets.iter().map(|(id, _)| id.clone()).collect();
        let ask = || self.groups.committed(group, ids.clone());
        let now = insist("what became of a reset", SETTLE_TIME, ask).await.map_err(|error| {
            tracing::error!(group, %operation, %error, "a reset of offsets has no known outcome");
            ResetError::OutcomeUnknown
        })?;
        let (kept, lost): (Vec<_>, Vec<_>) =
            resets.iter().partition(|(id, reset)| reset.is_seen_in(now.get(id).copied().flatten()));
        if !lost.is_empty() {
            let lost: Vec<PartitionId> = lost.iter().map(|(id, _)| id.clone()).collect();
            self.forget(operation, &lost).await?;
        }
        Ok(kept.iter().map(|(id, _)| id.partition).collect())
    }

    /// Rows of what did not happen would have jobs that are run called skipped.
    async fn forget(&self, operation: Uuid, ids: &[PartitionId]) -> Result<(), StoreError> {
        let forget = || self.store.forget_resets(operation, ids);
        insist("a reset that did not happen", SETTLE_TIME, forget).await
    }
}
