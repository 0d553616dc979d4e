//! The pool: one member per consumer group, many jobs at once.
//!
//! Owns how jobs are run: attempts with their time limit and panic boundary, and the loop
//! that carries what happens in Kafka to the [dispatcher](crate::domain::dispatch) and its
//! decisions back. Which job may start, wait or die is decided there, not here. Never names
//! the gateway.

mod arrivals;
mod attempt;
mod group;
mod look;
mod merged;
mod outcomes;
mod replay_terms;
mod replays;
mod runner;
mod slots;
mod terms;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::catalog::{Catalog, RecordType};
use crate::domain::clock::SharedClock;
use crate::domain::counters::{Counters, TypeCounters};
use crate::domain::dispatch::Limits;
use crate::domain::handler::Handler;
use crate::domain::snapshot::Board;
use crate::kafka::{KafkaFault, KafkaSettings};
use crate::operations::{AttemptLog, PausedTypes, Quarantines, Schedule, Undertaker};
use group::{Charge, Group};
pub use replays::ReplayRunner;
pub use slots::Slots;
use terms::GroupTerms;

/// How the pool runs jobs.
#[derive(Debug, Clone, Copy)]
pub struct PoolSettings {
    /// How much each group may hold at once.
    pub limits: Limits,
    /// How long one attempt may take. It ends as a retry.
    pub attempt_timeout: Duration,
    /// How long a stop waits for running jobs; what has not ended runs again elsewhere.
    pub drain_timeout: Duration,
}

impl PoolSettings {
    /// An attempt's limit is a backstop, longer than what a handler allows itself: a mail may
    /// take [`DELIVERY_TIMEOUT`](crate::mail::DELIVERY_TIMEOUT). 10 s to drain leave room for
    /// the rest of a stop within 25 s.
    pub const DEFAULT: Self = Self {
        limits: Limits::DEFAULT,
        attempt_timeout: Duration::from_mins(3),
        drain_timeout: Duration::from_secs(10),
    };
}

/// Handlers by the name of their type.
pub type Handlers = HashMap<String, Arc<dyn Handler>>;

/// How many jobs of a type run at the same time in this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunningLimit {
    /// In all; none: no bound of its own.
    pub running: Option<usize>,
    /// For each value of the key's first field, a campaign say; none: no bound.
    pub running_per_prefix: Option<usize>,
}

/// A type with what runs it.
#[derive(Clone)]
struct Runnable {
    record_type: Arc<RecordType>,
    name: Arc<str>,
    handler: Arc<dyn Handler>,
    /// How long an attempt may take, where the handler says so.
    timeout: Option<Duration>,
    limit: RunningLimit,
    counters: Arc<TypeCounters>,
}

impl Runnable {
    fn new(
        parts: &WorkerParts,
        record_type: &Arc<RecordType>,
        handler: &Arc<dyn Handler>,
        counters: Arc<TypeCounters>,
    ) -> Self {
        Self {
            record_type: Arc::clone(record_type),
            name: record_type.name.as_str().into(),
            handler: Arc::clone(handler),
            timeout: handler.timeout(),
            limit: parts.limits.get(&record_type.name).copied().unwrap_or_default(),
            counters,
        }
    }
}

/// What running jobs stands on. Cheap to clone.
#[derive(Clone)]
pub struct WorkerParts {
    /// The cluster.
    pub kafka: KafkaSettings,
    /// Every type.
    pub catalog: Arc<Catalog>,
    /// What runs them. A type without a handler is not consumed: its jobs stay in Kafka.
    pub handlers: Arc<Handlers>,
    /// Buries what fails.
    pub undertaker: Undertaker,
    /// Brings back what waits long for its next attempt.
    pub schedule: Schedule,
    /// The keys whose jobs are parked.
    pub quarantines: Quarantines,
    /// Remembers attempts over a restart.
    pub attempts: AttemptLog,
    /// The places of the process.
    pub slots: Slots,
    /// Where each group puts what it does now.
    pub board: Board,
    /// Which types somebody has paused.
    pub paused: PausedTypes,
    /// Bounds of types that have some of their own.
    pub limits: Arc<HashMap<String, RunningLimit>>,
    /// The one clock.
    pub clock: SharedClock,
    /// Limits.
    pub settings: PoolSettings,
}

/// Runs the jobs of every group that has a handler.
pub struct Pool {
    /// What it stands on.
    pub parts: WorkerParts,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// The groups to run; all that have a handler where it is empty.
    pub groups: Vec<String>,
    /// A name for this instance that it keeps over restarts.
    pub instance: Option<String>,
}

/// Why a pool cannot run.
#[derive(Debug, Error)]
pub enum PoolError {
    /// A group was named that no handler is in.
    #[error("there is no group {name} to run; there are: {}", known.join(", "))]
    UnknownGroup {
        /// The name.
        name: String,
        /// The groups there are.
        known: Vec<String>,
    },
    /// Kafka.
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
}

/// A pool that runs.
#[derive(Clone)]
pub struct RunningPool {
    groups: Arc<Vec<Arc<AtomicBool>>>,
    lost: CancellationToken,
}

impl RunningPool {
    /// Whether every group is joined.
    pub fn is_joined(&self) -> bool {
        self.groups.iter().all(|joined| joined.load(Ordering::Acquire))
    }

    /// Resolves when a group is lost for good; the log says why.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

impl Pool {
    /// Joins the groups and starts running their jobs on the tracker, until the stop. Every
    /// task ends within the drain timeout and what closing a membership takes.
    pub fn start(
        self,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<RunningPool, PoolError> {
        let mut groups = self.runnable();
        if let Some(name) = self.groups.iter().find(|name| !groups.contains_key(name.as_str())) {
            let known = groups.keys().map(|&group| group.to_owned()).collect();
            return Err(PoolError::UnknownGroup { name: name.clone(), known });
        }
        groups.retain(|group, _| self.groups.is_empty() || self.groups.iter().any(|g| g == group));
        let lost = CancellationToken::new();
        let mut joined = Vec::with_capacity(groups.len());
        for (name, types) in groups {
            let terms = GroupTerms {
                group: name.to_owned(),
                undertaker: self.parts.undertaker.clone(),
                schedule: self.parts.schedule.clone(),
                quarantines: self.parts.quarantines.clone(),
            };
            let charge = Charge {
                group: name.to_owned(),
                scope: name.into(),
                instance: self.instance.clone(),
                types,
                postpones: true,
                asks_for_ends: false,
                pace: None,
                terms: Arc::new(terms),
            };
            let group = Group::join(&self.parts, charge, tracker.clone(), lost.clone())?;
            joined.push(group.joined());
            tracker.spawn(group.run(stop.clone()));
        }
        Ok(RunningPool { groups: Arc::new(joined), lost })
    }

    /// What each group can run.
    fn runnable(&self) -> BTreeMap<&str, Vec<Runnable>> {
        let mut groups: BTreeMap<&str, Vec<Runnable>> = BTreeMap::new();
        for record_type in self.parts.catalog.iter() {
            if let Some(handler) = self.parts.handlers.get(&record_type.name) {
                let counters = self.counters.of(&record_type.name).cloned().unwrap_or_default();
                let runnable = Runnable::new(&self.parts, record_type, handler, counters);
                groups.entry(&record_type.group).or_default().push(runnable);
            }
        }
        groups
    }
}
