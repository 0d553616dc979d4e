//! Replay a range of a topic under a consumer group of its own: start it, look at it, stop it.
//! The workers that run it stand at the [`desk`].

mod desk;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use thiserror::Error;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::audit::{Audit, Deed};
use super::detached::run_detached;
use super::edge::{Edge, EdgeError};
use crate::domain::actor::Actor;
use crate::domain::catalog::Catalog;
use crate::domain::clock::SharedClock;
use crate::domain::id::IdSource;
use crate::domain::replay::{Counts, Effects, ReplaySpan, ReplayState};
use crate::kafka::{Groups, KafkaFault, Reader};
use crate::store::{Page, ReplayFailure, ReplayRow, Store, StoreError, TimeCursor};

pub use desk::{REPLAY_LEASE_TERM, ReplayDesk, ReplayEnd, TakenReplay};

/// How long a caller waits; the questions to Kafka behind it have their own bounds.
const DEADLINE: Duration = Duration::from_secs(15);
/// Replays that have not ended. More would only wait for each other.
pub const OPEN_REPLAYS_MAX: usize = 100;

/// What is to be replayed, and how.
#[derive(Debug, Clone)]
pub struct ReplayRequest {
    /// A topic of the catalog.
    pub topic: String,
    /// Which partitions; none means all.
    pub partitions: Option<Vec<i32>>,
    /// The first record.
    pub from: Edge,
    /// What stands behind the last record.
    pub to: Edge,
    /// The consumer group; none means `replay-{id}`, or the name of a handler that is no type's own.
    pub group: Option<String>,
    /// What runs the records; none means what runs the topic's type.
    pub handler: Option<String>,
    /// Only records with this key.
    pub key: Option<String>,
    /// What becomes of effects that are there; none means as the handler has it.
    pub effects: Option<Effects>,
    /// The most attempts in a second.
    pub rate_per_second: Option<f64>,
    /// Whether its failures become dead letters too.
    pub dead_letters: bool,
    /// Why.
    pub reason: Option<String>,
}

/// What a replay would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayPlan {
    /// The topic, by its whole name.
    pub topic: String,
    /// What would run its records.
    pub handler: String,
    /// By partition.
    pub spans: Vec<ReplaySpan>,
}

/// A replay with its partitions and the first records that failed.
#[derive(Debug, Clone)]
pub struct ReplayDetail {
    /// The replay.
    pub replay: ReplayRow,
    /// By partition.
    pub spans: Vec<ReplaySpan>,
}

/// Why there is no such replay.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The catalog has no such topic, or it holds the dead letters.
    #[error("the catalog has no topic {0} of jobs or events")]
    UnknownTopic(String),
    /// Nothing of this name runs the records of this topic.
    #[error("no handler {handler} runs the records of {topic}; {}", those_that_run(known))]
    NoHandler {
        /// What was asked for.
        handler: String,
        /// The topic.
        topic: String,
        /// Handlers that run them.
        known: Vec<String>,
    },
    /// What fails with this handler would be a letter to a group that does something else.
    #[error("what fails in {0} is listed with the replay; it is no dead letter of a group")]
    NoLetters(String),
    /// The topic has no such partition, or no such offset.
    #[error("{source}")]
    Edge {
        /// The member of the request: `partitions`, `from` or `to`.
        member: &'static str,
        /// Why.
        source: EdgeError,
    },
    /// The group is one of the catalog: a replay would move its offsets.
    #[error("{0} is a group of workers; a replay needs one of its own")]
    GroupOfWorkers(String),
    /// The group has members, or another replay has it.
    #[error("the group {0} is in use")]
    GroupInUse(String),
    /// There are as many open replays as there may be.
    #[error("{OPEN_REPLAYS_MAX} replays have not ended")]
    TooMany,
    /// There is no such replay.
    #[error("there is no replay {0}")]
    Unknown(Uuid),
    /// It has ended.
    #[error("the replay is {}", .0.as_str())]
    Ended(ReplayState),
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

fn those_that_run(known: &[String]) -> String {
    if known.is_empty() { "nothing does".to_owned() } else { known.join(" and ") + " may" }
}

impl ReplayError {
    fn of_edge(member: &'static str, error: EdgeError) -> Self {
        match error {
            EdgeError::Kafka(error) => error.into(),
            source => Self::Edge { member, source },
        }
    }
}

/// Starts, shows and stops replays. Cheap to clone.
#[derive(Clone)]
pub struct Replays {
    parts: Arc<ReplayParts>,
}

/// What replays stand on.
pub struct ReplayParts {
    /// Which topics there are.
    pub catalog: Arc<Catalog>,
    /// The names of the handlers: each runs the type of its name.
    pub handlers: BTreeSet<String>,
    /// Those that are no type's own, with the types whose records each runs.
    pub named_handlers: BTreeMap<String, BTreeSet<String>>,
    /// Where replays are written down.
    pub store: Store,
    /// Tells bounds and times.
    pub reader: Reader,
    /// Tells who is in a group.
    pub groups: Groups,
    /// Every start and stop is audited.
    pub audit: Audit,
    /// Names replays.
    pub ids: Arc<IdSource>,
    /// The one clock.
    pub clock: SharedClock,
    /// A start that has begun comes to its end here.
    pub tracker: TaskTracker,
}

impl Replays {
    /// The use case, on these parts.
    pub fn new(parts: ReplayParts) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// What a replay would cover, without starting it.
    pub async fn plan(&self, request: &ReplayRequest) -> Result<ReplayPlan, ReplayError> {
        let replays = self.clone();
        let request = request.clone();
        let work = async move { replays.parts.plan(&request).await };
        run_detached(&self.parts.tracker, DEADLINE, work)
            .await
            .ok_or(ReplayError::OutcomeUnknown)?
    }

    /// Starts a replay: the next worker that is free runs it.
    pub async fn start(
        &self,
        actor: Actor,
        request: ReplayRequest,
    ) -> Result<ReplayDetail, ReplayError> {
        let replays = self.clone();
        let work = async move { replays.parts.start(&actor, &request).await };
        run_detached(&self.parts.tracker, DEADLINE, work)
            .await
            .ok_or(ReplayError::OutcomeUnknown)?
    }

    /// A page of replays, the newest first.
    pub async fn list(
        &self,
        after: Option<TimeCursor>,
        limit: u16,
    ) -> Result<Page<ReplayRow, TimeCursor>, ReplayError> {
        Ok(self.parts.store.replays(after, limit).await?)
    }

    /// One replay.
    pub async fn get(&self, id: Uuid) -> Result<ReplayDetail, ReplayError> {
        let replay = self.parts.store.replay(id).await?.ok_or(ReplayError::Unknown(id))?;
        let spans = self.parts.store.replay_spans(id).await?;
        Ok(ReplayDetail { replay, spans })
    }

    /// A page of the records of a replay that failed for good.
    pub async fn failures(
        &self,
        id: Uuid,
        after: Option<(i32, i64)>,
        limit: u16,
    ) -> Result<Page<ReplayFailure, (i32, i64)>, ReplayError> {
        let store = &self.parts.store;
        if store.replay(id).await?.is_none() {
            return Err(ReplayError::Unknown(id));
        }
        Ok(store.replay_failures(id, after, limit).await?)
    }

    /// Stops a replay. What it has run stays done.
    pub async fn cancel(
        &self,
        actor: &Actor,
        id: Uuid,
        reason: Option<&str>,
    ) -> Result<ReplayDetail, ReplayError> {
        let mut deed = Deed::new("cancel_replay", id.to_string());
        if let Some(reason) = reason {
            deed = deed.because(reason);
        }
        let work = async {
            let ReplayParts { store, clock, .. } = &*self.parts;
            if store.cancel_replay(id, clock.now_ms()).await?.is_none() {
                let ended = store.replay(id).await?.ok_or(ReplayError::Unknown(id))?;
                return Err(ReplayError::Ended(ended.state));
            }
            self.get(id).await
        };
        self.parts.audit.around(actor, deed, work).await
    }
}

impl ReplayParts {
    async fn start(
        &self,
        actor: &Actor,
        request: &ReplayRequest,
    ) -> Result<ReplayDetail, ReplayError> {
        let plan = self.plan(request).await?;
        let id = self.ids.next(self.clock.now_ms());
        let is_named = self.named_handlers.contains_key(&plan.handler);
        let group = request.group.clone().unwrap_or_else(|| {
            if is_named { plan.handler.clone() } else { format!("replay-{id}") }
        });
        // A handler that is no type's own begins anew with each replay.
        let effects = if is_named { Effects::Again } else { Effects::Once };
        let effects = request.effects.unwrap_or(effects);
        let mut deed = Deed::new("start_replay", plan.topic.clone()).with(json!({
            "id": id,
            "partitions": request.partitions,
            "from": request.from.to_json(),
            "to": request.to.to_json(),
            "group": group,
            "handler": plan.handler,
            "key": request.key,
            "effects": effects.as_str(),
            "rate_per_second": request.rate_per_second,
            "dead_letters": request.dead_letters,
        }));
        if let Some(reason) = &request.reason {
            deed = deed.because(reason);
        }
        let replay = ReplayRow {
            id,
            created_at_ms: self.clock.now_ms(),
            created_by: actor.name().to_owned(),
            reason: request.reason.clone(),
            topic: plan.topic,
            handler: plan.handler,
            group: group.clone(),
            effects,
            key: request.key.clone(),
            rate_per_second: request.rate_per_second,
            dead_letters: request.dead_letters,
            state: ReplayState::Queued,
            error: None,
            started_at_ms: None,
            finished_at_ms: None,
            counts: Counts::default(),
            per_1000_s: 0,
            waits_for: None,
            holder: None,
            offsets: plan.spans.iter().map(ReplaySpan::left).sum(),
            offsets_done: 0,
        };
        let work = async {
            if self.store.open_replays().await?.len() >= OPEN_REPLAYS_MAX {
                return Err(ReplayError::TooMany);
            }
            if self.groups.members(&group).await? > 0 {
                return Err(ReplayError::GroupInUse(group));
            }
            if !self.store.begin_replay(&replay, &plan.spans).await? {
                return Err(ReplayError::GroupInUse(group));
            }
            Ok(())
        };
        self.audit.around(actor, deed, work).await?;
        Ok(ReplayDetail { replay, spans: plan.spans })
    }
}
