//! Wait for the end of a job: many may, and what they ask Kafka they ask together.
//!
//! A job's end is seen in its group's commit. So one task asks for the commits of all partitions
//! in which somebody's job is, for as long as there is one, and works out together what became of
//! the jobs that are passed. Whoever knows its record needs nothing else of Kafka. What takes a look
//! of its own (a job that is put off, say) is looked at a few at a time.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::status::{JobEnd, JobStatus, PassedRecord, StatusError, Statuses};
use crate::domain::catalog::RecordType;
use crate::domain::dispatch::PartitionId;
use crate::domain::offset_map::DoneRanges;
use crate::domain::scheduled::Stage;
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
/// How many ends are worked out with one question to the index of the dead letters.
const ENDS_MAX: usize = 100;
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

/// Who waits for an offset. The end is none where it takes a look to know it.
struct Waiter {
    offset: i64,
    told: oneshot::Sender<Option<JobEnd>>,
}

/// Those whose records were passed, each with its record.
type Passed = Vec<(PassedRecord, Waiter)>;

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

    fn watch(&self, spot: Spot) -> oneshot::Receiver<Option<JobEnd>> {
        let (told, end) = oneshot::channel();
        let mut watched = self.0.watched();
        let of_group = watched.by_group.entry(spot.group).or_default();
        of_group.entry(spot.id).or_default().push(Waiter { offset: spot.offset, told });
        if !watched.is_running {
            watched.is_running = true;
            drop(self.0.tracker.spawn(Arc::clone(&self.0).ask()));
        }
        end
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
                    Ok(commits) => {
                        let mut passed = self.watched().passed(&group, commits);
                        while !passed.is_empty() {
                            let rest = passed.split_off(passed.len().min(ENDS_MAX));
                            self.tell(&group, std::mem::replace(&mut passed, rest)).await;
                        }
                    }
                    Err(error) => tracing::debug!(%error, group, "those who wait wait on"),
                }
            }
        }
    }

    /// Works out how these have ended.
    async fn tell(&self, group: &str, passed: Passed) {
        let (records, waiters): (Vec<PassedRecord>, Vec<Waiter>) = passed.into_iter().unzip();
        let ends = self.statuses.ends(group, &records).await.unwrap_or_else(|error| {
            tracing::debug!(%error, group, "those who wait look for themselves");
            Vec::new()
        });
        let ends = ends.into_iter().chain(std::iter::repeat_with(|| None));
        for (waiter, end) in waiters.into_iter().zip(ends) {
            waiter.told.send(end).ok();
        }
    }
}

impl Watched {
    /// What is to be asked for; none where nobody waits any longer, and then nobody asks.
    fn asked(&mut self) -> Option<Vec<(String, Vec<PartitionId>)>> {
        self.by_group.retain(|_, partitions| {
            partitions.retain(|_, waiters| {
                waiters.retain(|waiter| !waiter.told.is_closed());
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

    /// Those whose offset is done by these commits. They are not watched any longer.
    fn passed(&mut self, group: &str, commits: HashMap<PartitionId, Option<Commit>>) -> Passed {
        let mut passed = Vec::new();
        let Some(partitions) = self.by_group.get_mut(group) else { return passed };
        for (id, commit) in commits {
            let (Some(waiters), Some(commit)) = (partitions.get_mut(&id), commit) else { continue };
            let above = DoneRanges::decode(commit.offset, &commit.note);
            let is_done = |offset| offset < commit.offset || above.contains(offset);
            let done = waiters.extract_if(.., |waiter| is_done(waiter.offset));
            passed.extend(done.map(|waiter| {
                let (id, offset) = (id.clone(), waiter.offset);
                (PassedRecord { id, offset, is_below: offset < commit.offset }, waiter)
            }));
        }
        passed
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

    /// Waits for the end of a job that is known to be so, and of its record's place.
    pub async fn of_record(
        &self,
        record_type: &RecordType,
        first: JobStatus,
    ) -> Result<JobStatus, StatusError> {
        let statuses = &self.waiting.0.statuses;
        let is_unfinished =
            matches!(first.state, JobState::Queued | JobState::Running | JobState::Retrying);
        let Some(place) = first.place.clone().filter(|_| is_unfinished) else {
            let look = || Box::pin(self.look_at(record_type, &first));
            return self.until(LOOK_AGAIN_FIRST, first.clone(), JobStatus::is_over, look).await;
        };
        let id = PartitionId { topic: place.topic, partition: place.partition };
        let spot = Spot { group: record_type.group.clone(), id, offset: place.offset };
        let end = self.waiting.watch(spot);
        match self.in_time(end).await {
            Some(Ok(Some(end))) => Ok(first.ended(end)),
            // It is put off, say.
            Some(Ok(None)) => {
                let look = || Box::pin(self.look_at(record_type, &first));
                self.until(Duration::ZERO, first.clone(), JobStatus::is_over, look).await
            }
            Some(Err(_)) | None => Ok(statuses.unfinished(first).await),
        }
    }

    async fn look_at(
        &self,
        record_type: &RecordType,
        status: &JobStatus,
    ) -> Result<JobStatus, StatusError> {
        let statuses = &self.waiting.0.statuses;
        match (&status.place, status.id) {
            (Some(place), _) => statuses.get(record_type, place.partition, place.offset).await,
            (None, Some(id)) => statuses.find(id).await,
            (None, None) => Err(StatusError::TimedOut),
        }
    }

    /// The same for a job that was found by its id.
    pub async fn of_found(&self, id: Uuid, first: JobStatus) -> Result<JobStatus, StatusError> {
        let statuses = &self.waiting.0.statuses;
        // Where it stands in the schedule, its id is found at once; then it has a record.
        let is_sent = |status: &JobStatus| status.is_over() || status.place.is_some();
        let sent =
            self.until(LOOK_AGAIN_FIRST, first, is_sent, || Box::pin(statuses.find(id))).await?;
        match statuses.type_of(&sent) {
            Some(record_type) if sent.place.is_some() => self.of_record(&record_type, sent).await,
            _ => Ok(sent),
        }
    }

    /// The same for a job that was put off, with its row.
    pub async fn of_delayed(&self, id: Uuid) -> Result<(ScheduledRow, JobState), StatusError> {
        let Shared { statuses, store, .. } = &*self.waiting.0;
        let first = self.first(Box::pin(statuses.find(id))).await?;
        let state = self.of_found(id, first).await?.state;
        let row = store.scheduled(id).await?.ok_or(StatusError::UnknownId(id))?;
        // It may have been sent since.
        let is_sent = matches!(row.stage, Stage::Sent { .. });
        let state = if is_sent && state == JobState::Scheduled { JobState::Queued } else { state };
        Ok((row, state))
    }

    /// Looks again and again until that is enough, or the time is over.
    async fn until<F: Future<Output = Result<JobStatus, StatusError>>>(
        &self,
        mut again: Duration,
        first: JobStatus,
        is_enough: impl Fn(&JobStatus) -> bool,
        look: impl Fn() -> F,
    ) -> Result<JobStatus, StatusError> {
        let mut known = first;
        while !is_enough(&known) {
            if self.in_time(tokio::time::sleep(again)).await.is_none() {
                return Ok(self.last_look(known, look()).await);
            }
            again = (again * 2).clamp(LOOK_AGAIN_FIRST, LOOK_AGAIN_LONGEST);
            let _turn = self.waiting.0.looks.acquire().await;
            known = look().await?;
        }
        Ok(known)
    }

    /// What comes before the time is over, and before the process stops.
    async fn in_time<T>(&self, it: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            it = it => Some(it),
            () = tokio::time::sleep_until(self.until) => None,
            () = self.waiting.0.stopping.cancelled() => None,
        }
    }

    /// How it is now; or how it was, where that cannot be had soon.
    async fn last_look(
        &self,
        known: JobStatus,
        look: impl Future<Output = Result<JobStatus, StatusError>>,
    ) -> JobStatus {
        let look = async {
            let _turn = self.waiting.0.looks.acquire().await;
            look.await
        };
        match tokio::time::timeout(LAST_LOOK_MAX, look).await {
            Ok(Ok(now)) => now,
            _ => known,
        }
    }
}
