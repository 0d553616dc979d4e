//! Where workers fetch replays, and write down how far they are. A replay is run by the worker
//! that holds its lease; one that has gone silent loses it, and the next goes on from what was
//! written down.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::super::insist::insist_until;
use crate::domain::clock::SharedClock;
use crate::domain::dispatch::PartitionId;
use crate::domain::handler::Failure;
use crate::domain::record::Record;
use crate::domain::replay::{Effects, ReplaySpan, ReplayState};
use crate::kafka::{GroupIsLive, Groups, KafkaFault};
use crate::store::{ReplayFailure, ReplayProgress, ReplayRow, Store, StoreError};

/// How long a worker that is silent keeps its replay.
pub const REPLAY_LEASE_TERM: Duration = Duration::from_secs(10);

/// How a replay ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayEnd {
    /// Every record that it covers has come to its end.
    Completed,
    /// Somebody has stopped it.
    Cancelled,
    /// It could not go on.
    Failed(String),
}

/// A replay that this worker holds.
#[derive(Debug, Clone)]
pub struct TakenReplay {
    /// What is to be done.
    pub replay: ReplayRow,
    /// How far it is.
    pub spans: Vec<ReplaySpan>,
}

impl TakenReplay {
    /// Where its effects are claimed: with the owner, which is the type's own group or a handler
    /// that is no type's own, or, if they shall happen again, with the replay.
    pub fn scope(&self, owner: &str) -> Arc<str> {
        match self.replay.effects {
            Effects::Once => owner.into(),
            Effects::Again => self.replay.id.to_string().into(),
        }
    }
}

/// The desk of one worker. Cheap to clone.
#[derive(Clone)]
pub struct ReplayDesk {
    store: Store,
    groups: Groups,
    clock: SharedClock,
    /// Names this worker among all.
    worker: Arc<str>,
}

impl ReplayDesk {
    /// A desk for this worker.
    pub fn new(store: Store, groups: Groups, clock: SharedClock, worker: &str) -> Self {
        Self { store, groups, clock, worker: worker.into() }
    }

    /// Takes an open replay that one of these handlers runs and that no other worker holds; none
    /// of those that `has` names.
    pub async fn take(
        &self,
        handlers: &BTreeSet<String>,
        has: impl Fn(Uuid) -> bool,
    ) -> Result<Option<TakenReplay>, StoreError> {
        for replay in self.store.open_replays().await? {
            if has(replay.id) || !handlers.contains(&replay.handler) {
                continue;
            }
            let (id, now_ms) = (replay.id, self.clock.now_ms());
            match self.store.take_replay(id, &self.worker, now_ms, REPLAY_LEASE_TERM).await? {
                None => {}
                // Its worker went away before it could say so.
                Some(ReplayState::Cancelling) => self.end(id, &ReplayEnd::Cancelled).await?,
                Some(_) => return self.taken(id).await,
            }
        }
        Ok(None)
    }

    async fn taken(&self, id: Uuid) -> Result<Option<TakenReplay>, StoreError> {
        // Read again: its former worker may have written since the list was read.
        let Some(replay) = self.store.replay(id).await? else { return Ok(None) };
        let spans = self.store.replay_spans(id).await?;
        // They were not counted, and run again.
        self.store.forget_replay_failures(id, &spans).await?;
        Ok(Some(TakenReplay { replay, spans }))
    }

    /// Puts the replay's group where the replay is to go on. Refused while the group has
    /// members: a worker that went away is one until its session is over.
    pub async fn position(
        &self,
        taken: &TakenReplay,
    ) -> Result<Result<(), GroupIsLive>, KafkaFault> {
        let topic: Arc<str> = taken.replay.topic.as_str().into();
        let offsets = taken.spans.iter().map(|span| {
            let partition = PartitionId { topic: Arc::clone(&topic), partition: span.partition };
            (partition, span.position)
        });
        self.groups.set_offsets(&taken.replay.group, offsets.collect()).await
    }

    /// The replay runs now.
    pub async fn running(&self, id: Uuid) -> Result<(), StoreError> {
        self.store.run_replay(id, &self.worker, self.clock.now_ms()).await
    }

    /// Writes down how far it is and keeps the lease. Returns its state; none if another worker
    /// has it.
    pub async fn save(
        &self,
        id: Uuid,
        progress: &ReplayProgress,
    ) -> Result<Option<ReplayState>, StoreError> {
        let now_ms = self.clock.now_ms();
        self.store.save_replay(id, &self.worker, progress, now_ms, REPLAY_LEASE_TERM).await
    }

    /// The replay has ended.
    pub async fn end(&self, id: Uuid, end: &ReplayEnd) -> Result<(), StoreError> {
        let (state, error) = match end {
            ReplayEnd::Completed => (ReplayState::Completed, None),
            ReplayEnd::Cancelled => (ReplayState::Cancelled, None),
            ReplayEnd::Failed(error) => (ReplayState::Failed, Some(error.as_str())),
        };
        self.store.end_replay(id, &self.worker, state, error, self.clock.now_ms()).await
    }

    /// This worker stops; another one goes on.
    pub async fn release(&self, id: Uuid) -> Result<(), StoreError> {
        self.store.release_replay(id, &self.worker).await
    }

    /// Lists a record that failed for good, and tries until it is listed. Returns false if
    /// `stop` came first: then the record's offset stays open.
    pub async fn list_failure(
        &self,
        id: Uuid,
        record: &Record,
        failure: &Failure,
        attempts: u32,
        stop: &CancellationToken,
    ) -> bool {
        let row = ReplayFailure {
            partition: record.place.partition,
            offset: record.place.offset,
            message_id: record.message_id(),
            key: record.key.as_deref().map(|key| String::from_utf8_lossy(key).into_owned()),
            attempts,
            error_class: failure.class.clone(),
            error_message: failure.message.clone(),
            failed_at_ms: self.clock.now_ms(),
        };
        let note = || self.store.note_replay_failure(id, &row);
        let failed = |error: &StoreError| {
            tracing::warn!(replay = %id, %error, "a failure is not listed yet");
        };
        insist_until(stop, note, failed).await.is_some()
    }
}
