//! The load: jobs of many keys, those of a key one after the other.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use jobgate::operations::EnqueueError;
use uuid::Uuid;

use super::rig::ledger::{count_effects, effects};
use super::rig::plan::Task;
use super::rig::stage::Stage;

const KEYS: usize = 100;
/// What a job takes beside its statements.
const JOB_MS: u64 = 10;
/// The load lasts so long at least, so that a fault comes into its middle.
const LASTS_MIN: Duration = Duration::from_secs(10);
/// Jobs that are sent in a second at most: what two workers do on two cores, and some more.
const RATE_MAX: usize = 400;
/// The pause after a job that was not accepted.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// How long what is left may take once the load and the fault are over, beside its jobs.
const REST_MAX: Duration = Duration::from_mins(2);

/// The load of one fault.
pub(crate) struct Load<'a> {
    stage: &'a Stage,
    kind: &'a str,
    jobs: usize,
    answers: Mutex<Answers>,
    accepted: AtomicUsize,
}

/// What the callers were told.
#[derive(Debug, Default, Clone)]
pub(crate) struct Answers {
    pub(crate) accepted: Vec<Uuid>,
    /// They may have been written, or not.
    pub(crate) unknown: Vec<Uuid>,
    /// Nothing was written; sent again.
    pub(crate) refused: usize,
}

impl<'a> Load<'a> {
    pub(crate) fn new(stage: &'a Stage, kind: &'a str, jobs: usize) -> Self {
        Self { stage, kind, jobs, answers: Mutex::default(), accepted: AtomicUsize::new(0) }
    }

    fn lasts(&self) -> Duration {
        LASTS_MIN.max(Duration::from_secs((self.jobs / RATE_MAX) as u64))
    }

    /// How long its jobs may take, generously.
    pub(crate) fn patience(&self) -> Duration {
        self.lasts() * 10
    }

    /// Sends everything.
    pub(crate) async fn run(&self) {
        let of_key = self.jobs / KEYS;
        let pace = self.lasts() / u32::try_from(of_key).expect("a count");
        let senders = stream::iter(0..KEYS).for_each_concurrent(KEYS, async |key| {
            // Not all in the same moment.
            let offset = pace * u32::try_from(key).expect("a count") / 100;
            let begun = tokio::time::Instant::now() + offset;
            for number in 0..of_key {
                let due = begun + pace * u32::try_from(number).expect("a count");
                tokio::time::sleep_until(due).await;
                self.send(key, number).await;
            }
        });
        senders.await;
    }

    async fn send(&self, key: usize, number: usize) {
        let number = i64::try_from(number).expect("a count");
        let task = Task::new(&format!("k{key}"), number).taking(JOB_MS);
        loop {
            let answer = self.stage.try_send(self.kind, &task).await;
            if self.is_answered(&answer.map(|receipt| receipt.id)) {
                return;
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// Writes an answer down. Returns false where the job must be sent again.
    fn is_answered(&self, answer: &Result<Uuid, EnqueueError>) -> bool {
        let mut answers = self.answers.lock().expect("nobody panics with it");
        match answer {
            Ok(id) => {
                answers.accepted.push(*id);
                self.accepted.fetch_add(1, Ordering::Relaxed);
            }
            Err(EnqueueError::OutcomeUnknown { id }) => answers.unknown.push(*id),
            Err(_) => {
                answers.refused += 1;
                return false;
            }
        }
        true
    }

    /// Jobs that were accepted by now.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Waits until this part of the load is accepted, and a good part of that has run.
    pub(crate) async fn until_percent(&self, percent: usize) {
        let share = self.jobs * percent / 100;
        while self.accepted() < share
            || count_effects(&self.stage.pool, self.kind).await.unwrap_or(0) < share / 2
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) fn answers(&self) -> Answers {
        self.answers.lock().expect("nobody panics with it").clone()
    }

    /// Waits until every job that was accepted has its effect.
    pub(crate) async fn until_done(&self) {
        let begun = Instant::now();
        let limit = REST_MAX + self.patience() / 2;
        let accepted = self.answers().accepted;
        loop {
            // Counted first: reading them all takes long.
            let count = count_effects(&self.stage.pool, self.kind).await.unwrap_or(0);
            if count >= accepted.len() && self.lost(&accepted).await == 0 {
                return;
            }
            if begun.elapsed() > limit {
                let lost = self.lost(&accepted).await;
                panic!("lost: {lost} of {} have no effect after {limit:?}", accepted.len());
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    async fn lost(&self, accepted: &[Uuid]) -> usize {
        let effects = effects(&self.stage.pool, self.kind).await;
        let ids: HashSet<String> = effects.into_iter().map(|effect| effect.message_id).collect();
        accepted.iter().filter(|id| !ids.contains(&id.to_string())).count()
    }
}
