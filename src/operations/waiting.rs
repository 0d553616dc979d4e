//! Wait for the end of a job: many may, and what they ask Kafka they ask together.
//!
//! A job's end is seen in its group's commit. So one task asks for the commits of all partitions
//! in which somebody's job is, for as long as there is one, and wakes those whose job is passed;
//! each of them works out its status once then, a few at a time.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::status::{JobStatus, StatusError, Statuses};
use crate::domain::catalog::RecordType;
use crate::domain::dispatch::PartitionId;
use crate::domain::offset_map::DoneRanges;
use crate::domain::status::JobState;
use crate::kafka::{Commit, Groups};
use crate::store::{ScheduledRow, Store};

/// The longest wait. Proxies give an answer up after a minute, many clients after half of that.
pub const WAIT_LONGEST: Duration = Duration::from_secs(30);
/// Who waits at once: half of the connections, so that others find one.
const WAITERS_MAX: usize = 500;
/// Statuses that are worked out for them at once: half of what may be read from Kafka.
const LOOKS_MAX: usize = 4;
/// How long one waits for that when the time is over.
const LAST_LOOK_MAX: Duration = Duration::from_secs(3);
/// How often the commits are asked for: a group commits twice a second.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// How soon a job is looked at again whose end no commit tells: one that is put off, or parked.
/// Doubled each time up to the longest.
const LOOK_AGAIN_FIRST: Duration = Duration::from_millis(500);
/// See [`LOOK_AGAIN_FIRST`].
const LOOK_AGAIN_LONGEST: Duration = Duration::from_secs(4);

/// Lets callers wait. Cheap to clone.
#[derive(Clone)]
pub struct Waiting(Arc<Shared>);

struct Shared {
    statuses: Statuses,
    store: Store,
    groups: Groups,
    places: Arc<Semaphore>,
    looks: Semaphore,
    watched: Mutex<Watched>,
    tracker: TaskTracker,
    stopping: CancellationToken,
}

/// Whose commits are asked for.
#[derive(Default)]
struct Watched {
    by_group: HashMap<String, HashMap<PartitionId, Vec<Waiter>>>,
    is_running: bool,
}

/// Who waits for an offset.
struct Waiter {
    offset: i64,
    passed: oneshot::Sender<()>,
}

/// A place among those who wait.
pub struct Turn {
    waiting: Waiting,
    until: Instant,
    _place: OwnedSemaphorePermit,
}

/// Where a job's end will be seen.
struct Spot {
    group: String,
    id: PartitionId,
    offset: i64,
}

impl Waiting {
    /// The use case, on these parts; once it is stopping nobody waits any longer.
    pub fn new(
        statuses: Statuses,
        store: Store,
        groups: Groups,
        tracker: TaskTracker,
        stopping: CancellationToken,
    ) -> Self {
        Self(Arc::new(Shared {
            statuses,
            store,
            groups,
            places: Arc::new(Semaphore::new(WAITERS_MAX)),
            looks: Semaphore::new(LOOKS_MAX),
            watched: Mutex::default(),
            tracker,
            stopping,
        }))
    }

    /// A place among those who wait, for so long; none where as many wait as may.
    pub fn begin(&self, wait: Duration) -> Option<Turn> {
        let place = Arc::clone(&self.0.places).try_acquire_owned().ok()?;
        let until = Instant::now() + wait.min(WAIT_LONGEST);
        Some(Turn { waiting: self.clone(), until, _place: place })
    }

    fn watch(&self, spot: Spot) -> oneshot::Receiver<()> {
        let (passed, told) = oneshot::channel();
        let mut watched = self.0.watched();
        let of_group = watched.by_group.entry(spot.group).or_default();
        of_group.entry(spot.id).or_default().push(Waiter { offset: spot.offset, passed });
        if !watched.is_running {
            watched.is_running = true;
            drop(self.0.tracker.spawn(Arc::clone(&self.0).ask()));
        }
        told
    }
}

impl Shared {
    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for commits while somebody waits.
    async fn ask(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(ASK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stopping.cancelled() => {
                    // Who waits hears of it by itself.
                    *self.watched() = Watched::default();
                    return;
                }
                _ = ticks.tick() => {}
            }
            let Some(asked) = self.watched().asked() else { return };
            for (group, ids) in asked {
                match self.groups.commits(&group, ids).await {
                    Ok(commits) => self.watched().passed(&group, commits),
                    Err(error) => tracing::debug!(%error, group, "those who wait wait on"),
                }
            }
        }
    }
}

impl Watched {
    /// What is to be asked for; none where nobody waits any longer, and then nobody asks.
    fn asked(&mut self) -> Option<Vec<(String, Vec<PartitionId>)>> {
        self.by_group.retain(|_, partitions| {
            partitions.retain(|_, waiters| {
                waiters.retain(|waiter| !waiter.passed.is_closed());
                !waiters.is_empty()
            });
            !partitions.is_empty()
        });
        self.is_running = !self.by_group.is_empty();
        let asked = self.by_group.iter().map(|(group, partitions)| {
            let ids = partitions.keys().cloned().collect();
            (group.clone(), ids)
        });
        self.is_running.then(|| asked.collect())
    }

    /// Wakes those whose offset is done by these commits.
    fn passed(&mut self, group: &str, commits: HashMap<PartitionId, Option<Commit>>) {
        let Some(partitions) = self.by_group.get_mut(group) else { return };
        for (id, commit) in commits {
            let (Some(waiters), Some(commit)) = (partitions.get_mut(&id), commit) else { continue };
            let above = DoneRanges::decode(commit.offset, &commit.note);
            let is_done = |offset| offset < commit.offset || above.contains(offset);
            for waiter in waiters.extract_if(.., |waiter| is_done(waiter.offset)) {
                waiter.passed.send(()).ok();
            }
        }
    }
}

impl Turn {
    /// Looks for the first time, in the line of those who wait.
    pub async fn first<T>(
        &self,
        look: impl Future<Output = Result<T, StatusError>>,
    ) -> Result<T, StatusError> {
        let in_line = self.waiting.0.looks.acquire();
        let turn = tokio::time::timeout_at(self.until + LAST_LOOK_MAX, in_line).await;
        let _turn = turn.map_err(|_| StatusError::TimedOut)?;
        look.await
    }

    /// Waits for the end of the record at this place, or of the time. Without a first look at it,
    /// there is none before its end.
    pub async fn of_record(
        &self,
        record_type: &RecordType,
        (partition, offset): (i32, i64),
        first: Option<JobStatus>,
    ) -> Result<JobStatus, StatusError> {
        let statuses = &self.waiting.0.statuses;
        let id = PartitionId { topic: record_type.topic.name.as_str().into(), partition };
        let spot = Spot { group: record_type.group.clone(), id, offset };
        let look = || statuses.get(record_type, partition, offset);
        self.until_over(first, Some(spot), |status: &JobStatus| status.state, look).await
    }

    /// The same for a job that was found by its id.
    pub async fn of_found(&self, id: Uuid, first: JobStatus) -> Result<JobStatus, StatusError> {
        let statuses = &self.waiting.0.statuses;
        let was_put_off = first.scheduled_for_ms.is_some();
        let record_type = statuses.type_of(&first);
        match (&first.place, record_type) {
            // Where it stands in the schedule, its id is found at once.
            (Some(place), Some(record_type)) if !was_put_off => {
                let place = (place.partition, place.offset);
                self.of_record(&record_type, place, Some(first)).await
            }
            _ => {
                let look = || statuses.find(id);
                self.until_over(Some(first), None, |status: &JobStatus| status.state, look).await
            }
        }
    }

    /// The same for a job that was put off, with its row.
    pub async fn of_delayed(
        &self,
        id: Uuid,
        first: (ScheduledRow, JobState),
    ) -> Result<(ScheduledRow, JobState), StatusError> {
        let Shared { statuses, store, .. } = &*self.waiting.0;
        let look = || async {
            let row = store.scheduled(id).await?.ok_or(StatusError::UnknownId(id))?;
            let state = statuses.scheduled(row.clone()).await?;
            Ok((row, state))
        };
        self.until_over(Some(first), None, |(_, state)| *state, look).await
    }

    /// Looks until it is over, or the time is.
    async fn until_over<T, F: Future<Output = Result<T, StatusError>>>(
        &self,
        first: Option<T>,
        mut spot: Option<Spot>,
        state: impl Fn(&T) -> JobState,
        look: impl Fn() -> F,
    ) -> Result<T, StatusError> {
        let mut known = first;
        let mut again = LOOK_AGAIN_FIRST;
        loop {
            if known.as_ref().is_some_and(|known| state(known).is_over()) {
                break;
            }
            let is_in_time = match spot.take() {
                Some(spot) => {
                    let passed = self.waiting.watch(spot);
                    self.in_time(passed).await
                }
                None => {
                    let slept = self.in_time(tokio::time::sleep(again)).await;
                    again = (again * 2).min(LOOK_AGAIN_LONGEST);
                    slept
                }
            };
            if !is_in_time {
                return self.last_look(known, look()).await;
            }
            let _turn = self.waiting.0.looks.acquire().await;
            known = Some(look().await?);
        }
        known.ok_or(StatusError::TimedOut)
    }

    /// Whether it comes before the time is over, and the process stops.
    async fn in_time<T>(&self, it: impl Future<Output = T>) -> bool {
        tokio::select! {
            _ = it => true,
            () = tokio::time::sleep_until(self.until) => false,
            () = self.waiting.0.stopping.cancelled() => false,
        }
    }

    /// How it is now; or how it was, where that cannot be had soon.
    async fn last_look<T>(
        &self,
        known: Option<T>,
        look: impl Future<Output = Result<T, StatusError>>,
    ) -> Result<T, StatusError> {
        let look = async {
            let _turn = self.waiting.0.looks.acquire().await;
            look.await
        };
        match (tokio::time::timeout(LAST_LOOK_MAX, look).await, known) {
            (Ok(Ok(now)), _) => Ok(now),
            (_, Some(known)) => Ok(known),
            (Ok(Err(error)), None) => Err(error),
            (Err(_), None) => Err(StatusError::TimedOut),
        }
    }
}
