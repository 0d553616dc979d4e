//! What comes from Kafka: partitions, and the records in them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::group::{Group, REVOKE_DRAIN};
use super::outcomes::commit_of;
use super::terms::Admission;
use crate::domain::commit_note::CommitNote;
use crate::domain::counters::TypeCounters;
use crate::domain::dispatch::{Arrival, PartitionId, Past, Suspicion};
use crate::domain::offset_map::DoneRanges;
use crate::domain::offsets::Progress;
use crate::domain::record::{Record, header};
use crate::kafka::{Assignment, Commit, ConsumerEvent, GroupConsumer};
use crate::operations::Remembered;

/// How long the first jobs of a partition wait for the commit that takes back the word of the
/// worker before. Without it they are watched, which costs little.
const TAKE_BACK_MAX: Duration = Duration::from_secs(2);

/// How long the partitions that come wait for the quarantines to be read.
const QUARANTINES_MAX: Duration = Duration::from_secs(2);

/// So many times as many records of a partition are watched as a worker holds: it may have
/// finished some since its last commit, which come again and are no suspects.
const WATCHED_SCALE: usize = 5;

/// What was there when a partition came to this worker.
#[derive(Default)]
pub(super) struct Inheritance {
    /// Jobs with attempts behind them.
    remembered: Remembered,
    /// Nobody has said that the worker before left in good order: what is below this offset may
    /// have been running when it ended.
    watched_below: i64,
    /// How many more records are watched.
    watched_left: usize,
    /// Jobs from here on have no row that is to be thrown away when the offset has passed them.
    pub(super) noted_below: i64,
}

impl Inheritance {
    /// Whether nothing is left of it.
    pub(super) fn is_spent(&self) -> bool {
        self.remembered.is_empty() && self.watched_left == 0 && self.noted_below == 0
    }

    /// What is known of a record: what was noted of it, or what it says of itself.
    fn past_of(&mut self, record: &Record, past: Past) -> Past {
        let past = self.remembered.take(record).unwrap_or(past);
        if past.suspicion == Suspicion::Alone {
            return past;
        }
        let offset = record.place.offset;
        if offset >= self.watched_below {
            self.watched_left = 0;
        }
        if self.watched_left == 0 {
            return past;
        }
        Past { suspicion: Suspicion::Watched, ..past }
    }

    /// A record that is watched is to run here.
    fn watches(&mut self, offset: i64) {
        self.watched_left = self.watched_left.saturating_sub(1);
        self.noted_below = self.noted_below.max(offset + 1);
    }
}

impl Group {
    pub(super) async fn happened(&mut self, event: ConsumerEvent) {
        // The consumer's thread says nothing while it waits for the answer to a revocation:
        // if it speaks, its patience is over and the partitions are gone. Answering later
        // would forget a new assignment of the same ones.
        if let Some((revocation, _)) = self.revocation.take() {
            self.forget(&revocation.partitions);
        }
        match event {
            ConsumerEvent::Assigned(partitions) => self.assigned(partitions).await,
            ConsumerEvent::Revoking(revocation) => {
                tracing::info!(
                    group = self.name,
                    count = revocation.partitions.len(),
                    "partitions revoked"
                );
                self.dispatcher.closing(&revocation.partitions);
                self.revocation = Some((revocation, Instant::now() + REVOKE_DRAIN));
            }
            ConsumerEvent::Lost(partitions) => {
                tracing::warn!(group = self.name, count = partitions.len(), "partitions lost");
                self.is_joined.store(false, Ordering::Release);
                self.forget(&partitions);
            }
            ConsumerEvent::Fatal(reason) => {
                tracing::error!(group = self.name, reason, "the group is lost for good");
                self.is_joined.store(false, Ordering::Release);
                self.lost.cancel();
            }
            ConsumerEvent::Stranded => self.join_again(),
            ConsumerEvent::Records(records) => {
                self.take_back_words(&records).await;
                let now_ms = self.runner.clock.now_ms();
                for record in records {
                    self.arrived(record, now_ms);
                }
            }
            ConsumerEvent::End(partition) => self.runner.terms.read_to_the_end(partition),
        }
    }

    /// Their jobs wait meanwhile for the database, for a bounded time.
    async fn assigned(&mut self, partitions: Vec<Assignment>) {
        tracing::info!(group = self.name, count = partitions.len(), "partitions assigned");
        self.is_joined.store(true, Ordering::Release);
        let passes_over_done = self.runner.terms.assigned();
        self.read_quarantines().await;
        let ids: Vec<PartitionId> = partitions.iter().map(|given| given.id.clone()).collect();
        let mut remembered = self.runner.attempts.of(&self.name, &ids).await;
        let watched_max = self.settings.limits.waiting_per_partition * WATCHED_SCALE;
        let mut assigned = Vec::with_capacity(partitions.len());
        for Assignment { id, commit, is_first, end } in partitions {
            let note = commit.as_ref().map(|it| CommitNote::decode(it.offset, &it.note));
            let note = note.unwrap_or_default();
            let mut remembered = remembered.remove(&id).unwrap_or_default();
            if passes_over_done {
                let committed = commit.as_ref().map_or(0, |commit| commit.offset);
                let ended = remembered.take_ended(committed, &note.done_above);
                self.forget_ended(&id, ended);
            }
            let has_none_left = |commit: &Commit| end.is_some_and(|end| commit.offset >= end);
            let word = commit.filter(|commit| note.is_clean || has_none_left(commit));
            let inheritance = Inheritance {
                noted_below: remembered.end(),
                remembered,
                watched_below: end.unwrap_or(i64::MAX),
                watched_left: if note.is_clean || is_first { 0 } else { watched_max },
            };
            if let Some(word) = word {
                self.words.insert(id.clone(), word);
            }
            if !inheritance.is_spent() {
                self.inherited.insert(id.clone(), inheritance);
            }
            let done = if passes_over_done { note.done_above } else { DoneRanges::default() };
            assigned.push((id, done));
        }
        self.dispatcher.assigned(assigned);
        // A partition that went while its intake was stopped comes back so: Kafka's client keeps
        // that for a partition, not for an assignment.
        self.change_intake_of(&ids, GroupConsumer::resume);
    }

    /// What the worker before has quarantined must be known before anything runs that comes behind
    /// it. Where the database does not tell, the types that ask for quarantines wait.
    async fn read_quarantines(&mut self) {
        let Some(quarantines) = self.runner.terms.quarantines() else { return };
        let mut types = self.runner.types.iter();
        if !types.any(|runnable| self.runner.asks_for_quarantine(runnable)) {
            return;
        }
        let begun = Instant::now();
        let look = tokio::time::timeout(QUARANTINES_MAX, quarantines.look()).await;
        self.unread_since = (!matches!(look, Ok(Ok(())))).then_some(begun);
        if self.unread_since.is_some() {
            tracing::warn!(group = self.name, "jobs wait until their keys' quarantines are read");
        }
        self.heed_pauses();
    }

    /// Of rows of jobs that have ended since, there would be ever more behind one that waits.
    fn forget_ended(&self, id: &PartitionId, offsets: Vec<i64>) {
        if offsets.is_empty() {
            return;
        }
        let (runner, id) = (Arc::clone(&self.runner), id.clone());
        self.runner.tracker.spawn(async move {
            runner.attempts.forget_ended(&runner.group, &id, &offsets).await;
        });
    }

    /// The good order of partitions in which nothing was left and nothing came: nobody has said
    /// it yet where the worker before was killed.
    pub(super) fn words_to_give(&self, partitions: &[PartitionId]) -> Vec<(PartitionId, Commit)> {
        let words = partitions.iter().filter_map(|id| Some((id, self.words.get(id)?)));
        words.map(|(id, word)| (id.clone(), said_again(word, true))).collect()
    }

    /// Before the first job of a partition starts, it is no longer said that the partition was
    /// left in good order: this job may end the process before anything else is committed, and
    /// nobody would ever watch it.
    async fn take_back_words(&mut self, records: &[Record]) {
        if self.words.is_empty() {
            return;
        }
        let mut commits: Vec<(PartitionId, Commit)> = Vec::new();
        for record in records {
            let (topic, partition) = (Arc::clone(&record.place.topic), record.place.partition);
            let Some((id, word)) = self.words.remove_entry(&PartitionId { topic, partition })
            else {
                continue;
            };
            if CommitNote::decode(word.offset, &word.note).is_clean {
                commits.push((id, said_again(&word, false)));
            }
        }
        if commits.is_empty() {
            return;
        }
        let commit = self.consumer.commit(commits.clone());
        if matches!(tokio::time::timeout(TAKE_BACK_MAX, commit).await, Ok(Ok(()))) {
            return;
        }
        for (id, _) in commits {
            let inheritance = self.inherited.entry(id).or_default();
            inheritance.watched_below = i64::MAX;
            inheritance.watched_left = self.settings.limits.waiting_per_partition * WATCHED_SCALE;
        }
    }

    fn arrived(&mut self, record: Record, now_ms: i64) {
        let Some(&index) = self.by_topic.get(&record.place.topic) else { return };
        let Some(runnable) = self.runner.types.get(index) else { return };
        let size_bytes = record.size_bytes();
        runnable.counters.consume(size_bytes);
        let topic = Arc::clone(&record.place.topic);
        let id = PartitionId { topic, partition: record.place.partition };
        match self.runner.terms.admit(&record) {
            Admission::Run => {}
            Admission::Pass => {
                TypeCounters::count(&runnable.counters.passed);
                self.dispatcher.passed(&id, record.place.offset);
                return;
            }
            Admission::Ignore => return,
        }
        let attempts = attempts_before(&record, runnable.record_type.retry.attempts);
        let past = Past { attempts, ..Past::default() };
        let past = match self.inherited.get_mut(&id) {
            Some(inheritance) => inheritance.past_of(&record, past),
            None => past,
        };
        let record = Arc::new(record);
        let key = record.key.as_deref();
        let arrival = Arrival {
            offset: record.place.offset,
            key,
            prefix: key.and_then(|key| runnable.record_type.key.prefix_of(key)),
            size_bytes,
            past,
            item: Arc::clone(&record),
        };
        let offset = arrival.offset;
        let is_to_run = self.dispatcher.arrived(&id, arrival, now_ms);
        if is_to_run
            && past.suspicion == Suspicion::Watched
            && let Some(inheritance) = self.inherited.get_mut(&id)
        {
            inheritance.watches(offset);
        }
    }
}

/// The same commit, with or without the word that all is in good order.
fn said_again(commit: &Commit, is_clean: bool) -> Commit {
    let note = CommitNote::decode(commit.offset, &commit.note);
    commit_of(&Progress { offset: commit.offset, done_above: note.done_above }, is_clean)
}

/// A record that has come back names its attempt. At least one is left to it, whoever wrote it.
fn attempts_before(record: &Record, attempts_max: u32) -> u32 {
    let attempt = record.headers.text(header::ATTEMPT).and_then(|text| text.parse::<u32>().ok());
    attempt.map_or(0, |attempt| attempt.saturating_sub(1).min(attempts_max.saturating_sub(1)))
}
