//! Runs replays: takes them from the desk, and follows each to its end.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::group::{Charge, Group};
use super::replay_terms::ReplayTerms;
use super::{Runnable, WorkerParts};
use crate::domain::handler::ReplayHandler;
use crate::domain::pace::Pace;
use crate::domain::replay::ReplayState;
use crate::domain::speed::Speed;
use crate::operations::{REPLAY_LEASE_TERM, ReplayDesk, ReplayEnd, TakenReplay};
use crate::store::ReplayProgress;

/// Replays that one worker runs at once, beside its groups.
const REPLAYS_MAX: usize = 4;
/// How often a worker looks for replays to run.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it looks whether a replay is at its end.
const TICK: Duration = Duration::from_millis(250);
/// How often progress is written down: what a crash makes run again.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// How long a replay's group may have members before it starts: those of a worker that was
/// killed go after the session timeout of 6 s.
const GROUP_WAIT: Duration = Duration::from_secs(30);
/// A replay that fails for so many records is not worth going on with; the list of its failures
/// stays readable.
const FAILURES_MAX: i64 = 10_000;

/// Runs replays beside the groups of a worker. Cheap to clone.
#[derive(Clone)]
pub struct ReplayRunner {
    parts: WorkerParts,
    desk: ReplayDesk,
    /// Those that are no type's own and that this worker runs, by name.
    named_handlers: Arc<HashMap<String, ReplayHandler>>,
    /// The names of all that it runs.
    handlers: Arc<BTreeSet<String>>,
    tracker: TaskTracker,
    stop: CancellationToken,
    running: Arc<Mutex<HashSet<Uuid>>>,
}

/// Why a replay is no longer followed here.
enum Left {
    /// It has ended.
    Ended(ReplayEnd),
    /// This worker stops, or cannot go on; another one may.
    Released,
    /// Another worker has it.
    Taken,
}

impl ReplayRunner {
    /// Runs the replays of these groups' types, and with the handlers that these groups' workers
    /// run; of every type and with every handler where no groups are named.
    pub fn new(
        parts: WorkerParts,
        named_handlers: Vec<ReplayHandler>,
        desk: ReplayDesk,
        groups: &[String],
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let is_ours = |group: &String| groups.is_empty() || groups.contains(group);
        let named_handlers: HashMap<String, ReplayHandler> = named_handlers
            .into_iter()
            .filter(|handler| is_ours(&handler.workers))
            .map(|handler| (handler.name.clone(), handler))
            .collect();
        let handlers = parts
            .catalog
            .iter()
            .filter(|t| is_ours(&t.group) && parts.handlers.contains_key(&t.name))
            .map(|record_type| record_type.name.clone())
            .chain(named_handlers.keys().cloned())
            .collect();
        Self {
            parts,
            desk,
            named_handlers: Arc::new(named_handlers),
            handlers: Arc::new(handlers),
            tracker,
            stop,
            running: Arc::default(),
        }
    }

    /// Takes replays until the stop. Those that run end on the tracker.
    pub async fn run(self) {
        while !self.stop.is_cancelled() {
            match self.take().await {
                Some(taken) => {
                    let runner = self.clone();
                    self.tracker.spawn(async move { runner.follow(taken).await });
                }
                None => self.rest().await,
            }
        }
    }

    async fn rest(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }

    fn with_running<T>(&self, act: impl FnOnce(&mut HashSet<Uuid>) -> T) -> T {
        act(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn take(&self) -> Option<TakenReplay> {
        if self.with_running(|running| running.len()) >= REPLAYS_MAX {
            return None;
        }
        let has = |id| self.with_running(|running| running.contains(&id));
        match self.desk.take(&self.handlers, has).await {
            Ok(taken) => {
                if let Some(taken) = &taken {
                    self.with_running(|running| running.insert(taken.replay.id));
                }
                taken
            }
            Err(error) => {
                tracing::debug!(%error, "no replay could be looked for");
                None
            }
        }
    }

    async fn follow(&self, taken: TakenReplay) {
        let id = taken.replay.id;
        tracing::info!(
            replay = %id,
            topic = taken.replay.topic,
            group = taken.replay.group,
            "replay taken"
        );
        let left = self.replay(&taken).await;
        let told = match &left {
            Left::Ended(end) => {
                tracing::info!(replay = %id, ?end, "replay ended");
                self.desk.end(id, end).await
            }
            Left::Released => self.desk.release(id).await,
            Left::Taken => {
                tracing::warn!(replay = %id, "another worker has taken the replay");
                Ok(())
            }
        };
        if let Err(error) = told {
            // Its lease runs out; whoever takes it then finds it at its end, and says so.
            tracing::warn!(replay = %id, %error, "the end of a replay is not written down");
        }
        // What kept it from going on may still be there: it is not taken again at once.
        if !matches!(left, Left::Ended(_)) {
            self.rest().await;
        }
        self.with_running(|running| running.remove(&id));
    }

    async fn replay(&self, taken: &TakenReplay) -> Left {
        let id = taken.replay.id;
        let Some(record_type) = self.parts.catalog.by_topic(&taken.replay.topic) else {
            let error = format!("the catalog has the topic {} no longer", taken.replay.topic);
            return Left::Ended(ReplayEnd::Failed(error));
        };
        let name = &taken.replay.handler;
        let (handler, owner) = match self.named_handlers.get(name) {
            Some(named) => (&named.handler, name),
            None => match self.parts.handlers.get(name) {
                Some(handler) => (handler, &record_type.group),
                None => return Left::Released,
            },
        };
        if let Err(left) = self.position(taken).await {
            return left;
        }
        if let Err(error) = self.desk.running(id).await {
            tracing::warn!(replay = %id, %error, "a replay waits for the database");
            return Left::Released;
        }
        let group_of_type = &record_type.group;
        let undertaker = &self.parts.undertaker;
        let desk = self.desk.clone();
        let is_types_own = !self.named_handlers.contains_key(name);
        let of_type = (group_of_type.as_str(), is_types_own);
        let terms = Arc::new(ReplayTerms::new(taken, of_type, desk, undertaker));
        let charge = Charge {
            group: taken.replay.group.clone(),
            scope: taken.scope(owner),
            instance: None,
            // What a replay does is counted with the replay, not with the type.
            types: vec![Runnable::new(&self.parts, record_type, handler, Arc::default())],
            postpones: false,
            asks_for_ends: true,
            pace: taken.replay.rate_per_second.map(Pace::new),
            terms: Arc::clone(&terms) as _,
        };
        let (end_of_group, lost) = (self.stop.child_token(), CancellationToken::new());
        let group = Group::join(&self.parts, charge, self.tracker.clone(), lost.clone());
        let group = match group {
            Ok(group) => group,
            Err(error) => {
                tracing::warn!(replay = %id, %error, "a replay waits for Kafka");
                return Left::Released;
            }
        };
        let ran = self.tracker.spawn(group.run(end_of_group.clone()));
        let mut speed = Speed::default();
        let left = self.watch(id, &terms, &mut speed, &lost).await;
        end_of_group.cancel();
        // Ends within the drain's time; a panic in it is logged by itself.
        let _ = ran.await;
        if !matches!(left, Left::Taken)
            && let Err(error) = self.save(id, &terms, &mut speed).await
        {
            // What is not written down runs again.
            tracing::warn!(replay = %id, %error, "the progress of a replay is not written down");
        }
        left
    }

    /// Puts the group to where the replay goes on.
    async fn position(&self, taken: &TakenReplay) -> Result<(), Left> {
        let id = taken.replay.id;
        let begun = Instant::now();
        let progress = ReplayProgress {
            spans: taken.spans.clone(),
            counts: taken.replay.counts,
            per_1000_s: 0,
            waits_for: None,
        };
        loop {
            match self.desk.position(taken).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(_)) if begun.elapsed() > GROUP_WAIT => {
                    let error = format!(
                        "the group {} has members that are not this replay's",
                        taken.replay.group
                    );
                    return Err(Left::Ended(ReplayEnd::Failed(error)));
                }
                Ok(Err(_)) => {}
                Err(error) => tracing::warn!(replay = %id, %error, "a replay waits for Kafka"),
            }
            match self.desk.save(id, &progress).await {
                Ok(Some(ReplayState::Cancelling)) => {
                    return Err(Left::Ended(ReplayEnd::Cancelled));
                }
                Ok(Some(_)) => {}
                Ok(None) => return Err(Left::Taken),
                Err(_) => return Err(Left::Released),
            }
            tokio::select! {
                () = self.stop.cancelled() => return Err(Left::Released),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Writes down how far it is until there is a reason to leave it.
    async fn watch(
        &self,
        id: Uuid,
        terms: &ReplayTerms,
        speed: &mut Speed,
        lost: &CancellationToken,
    ) -> Left {
        let mut saved = Instant::now();
        let mut save_due = saved + SAVE_EVERY;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return Left::Released,
                () = lost.cancelled() => return Left::Released,
                () = tokio::time::sleep(TICK) => {}
            }
            let is_complete = terms.tally().is_complete();
            if !is_complete && Instant::now() < save_due {
                continue;
            }
            match self.save(id, terms, speed).await {
                Ok(Some(ReplayState::Cancelling)) => return Left::Ended(ReplayEnd::Cancelled),
                Ok(Some(_)) if is_complete => return Left::Ended(ReplayEnd::Completed),
                Ok(Some(_)) => saved = Instant::now(),
                Ok(None) => return Left::Taken,
                Err(error) => {
                    tracing::warn!(replay = %id, %error, "a replay waits for the database");
                    // Somebody else may have it by now: what runs twice is claimed once.
                    if saved.elapsed() > REPLAY_LEASE_TERM {
                        return Left::Taken;
                    }
                }
            }
            let failed = terms.tally().counts().failed;
            if failed > FAILURES_MAX {
                let error = format!("{failed} records have failed, more than {FAILURES_MAX}");
                return Left::Ended(ReplayEnd::Failed(error));
            }
            save_due = Instant::now() + SAVE_EVERY;
        }
    }

    async fn save(
        &self,
        id: Uuid,
        terms: &ReplayTerms,
        speed: &mut Speed,
    ) -> Result<Option<ReplayState>, crate::store::StoreError> {
        let progress = {
            let tally = terms.tally();
            let counts = tally.counts();
            ReplayProgress {
                spans: tally.spans().collect(),
                counts,
                per_1000_s: speed.per_1000_s(self.parts.clock.now_ms(), counts.total()),
                waits_for: terms.outage(),
            }
        };
        self.desk.save(id, &progress).await
    }
}
