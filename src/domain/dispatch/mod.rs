//! Which job of a group may start now, and what follows from how it ended.
//!
//! A pure machine: it is told what happened (a partition came or went, a record arrived,
//! an attempt ended) and the time, and answers what to do. Kafka and the tasks that run
//! the jobs are the worker's.
//!
//! Its rules are the promises: per topic and key in order and one at a time; different
//! keys side by side, also within a partition; an offset is finished only after the effect
//! or the acknowledged dead letter; an outage is not a dead letter.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use super::offset_map::DoneRanges;
use super::offsets::{Offsets, Progress};
use super::outage::{Breaker, Gate, Outage};
use super::retry::RetryPolicy;

/// How much a group may hold at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Jobs that run at the same time.
    pub running: usize,
    /// Records of one partition that wait or run. At this many its intake stops.
    pub waiting_per_partition: usize,
    /// Bytes of all records that wait or run.
    pub waiting_bytes: usize,
}

impl Limits {
    /// 32 jobs wait for IO without harm on two cores; 1,000 records keep them fed; 64 MiB
    /// bounds what 1,000 records of a full MiB would take.
    pub const DEFAULT: Self =
        Self { running: 32, waiting_per_partition: 1_000, waiting_bytes: 64 << 20 };
}

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionId {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
}

/// A record that has arrived, with what the machine must know of it.
#[derive(Debug)]
pub struct Arrival<T> {
    /// The offset.
    pub offset: i64,
    /// The key; records without one have no order among each other.
    pub key: Option<Vec<u8>>,
    /// The bytes it holds while it waits.
    pub size_bytes: usize,
    /// The record itself.
    pub item: Arc<T>,
}

/// An attempt that shall start.
#[derive(Debug)]
pub struct Start<T> {
    /// Names the attempt when it ends.
    pub ticket: Ticket,
    /// The attempt's number, from 1.
    pub attempt: u32,
    /// The record.
    pub item: Arc<T>,
}

/// Names a running attempt. One from before a rebalance is no longer known and has no
/// effect: its partition belongs to somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    partition: PartitionId,
    generation: u64,
    lane: Lane,
    offset: i64,
    is_probe: bool,
}

impl Ticket {
    /// The partition of the record.
    pub fn partition(&self) -> &PartitionId {
        &self.partition
    }

    /// The offset of the record.
    pub fn offset(&self) -> i64 {
        self.offset
    }
}

/// How an attempt ended, as far as the machine must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End<'a> {
    /// The effect is there.
    Done,
    /// There was nothing to run: the effect was there. It says nothing of a dependency.
    Passed,
    /// Poison.
    Fail,
    /// It may work later.
    Retry(&'a str),
    /// The dependency is away.
    Unavailable(&'a str),
}

/// What follows from the end of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing more: the record is finished.
    Finished {
        /// The outage that this success has ended.
        outage_over: Option<Outage>,
    },
    /// Write the dead letter, then tell [`Dispatcher::buried`].
    DeadLetter {
        /// Attempts that were made.
        attempts: u32,
    },
    /// It runs again at this time, and its key waits for it.
    RetryAt {
        /// Milliseconds since the epoch.
        at_ms: i64,
    },
    /// The type is paused; the job waits without having spent an attempt.
    Paused {
        /// Whether this job was the first to say so.
        is_news: bool,
    },
    /// The partition has been taken away; whoever has it now runs the record.
    Stale,
}

/// A key's place in a partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Lane {
    Key(Vec<u8>),
    Offset(i64),
}

#[derive(Debug)]
struct Entry<T> {
    offset: i64,
    size_bytes: usize,
    item: Arc<T>,
    /// Attempts that have ended and count.
    attempts: u32,
    /// When the last two attempts started, the earlier one first.
    started_ms: Option<(i64, i64)>,
}

#[derive(Debug)]
struct Partition<T> {
    generation: u64,
    type_index: usize,
    offsets: Offsets,
    lanes: HashMap<Lane, VecDeque<Entry<T>>>,
    running: usize,
    intake: Intake,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intake {
    Flowing,
    Paused,
    /// Being revoked: nothing new starts.
    Closing,
}

/// A lane's address, good only for one generation of its partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct LaneRef {
    partition: PartitionId,
    generation: u64,
    lane: Lane,
}

#[derive(Debug)]
struct TypeState {
    name: Arc<str>,
    retry: RetryPolicy,
    breaker: Breaker,
    /// Lanes whose first record may start.
    ready: VecDeque<LaneRef>,
}

/// The machine of one group.
#[derive(Debug)]
pub struct Dispatcher<T> {
    limits: Limits,
    types: Vec<TypeState>,
    type_of_topic: HashMap<Arc<str>, usize>,
    partitions: BTreeMap<PartitionId, Partition<T>>,
    delayed: BinaryHeap<Reverse<(i64, LaneRef)>>,
    running: usize,
    waiting_bytes: usize,
    generation: u64,
    next_type: usize,
    is_stopping: bool,
}

impl<T> Dispatcher<T> {
    /// A machine for these types: name, topic and retry policy of each.
    pub fn new(
        limits: Limits,
        types: impl IntoIterator<Item = (Arc<str>, Arc<str>, RetryPolicy)>,
    ) -> Self {
        let mut states = Vec::new();
        let mut type_of_topic = HashMap::new();
        for (name, topic, retry) in types {
            type_of_topic.insert(topic, states.len());
            let breaker = Breaker::default();
            states.push(TypeState { name, retry, breaker, ready: VecDeque::new() });
        }
        Self {
            limits,
            types: states,
            type_of_topic,
            partitions: BTreeMap::new(),
            delayed: BinaryHeap::new(),
            running: 0,
            waiting_bytes: 0,
            generation: 0,
            next_type: 0,
            is_stopping: false,
        }
    }

    /// Partitions have been given to this worker, each with what is done above its commit.
    pub fn assigned(&mut self, partitions: impl IntoIterator<Item = (PartitionId, DoneRanges)>) {
        for (id, done_before) in partitions {
            let Some(&type_index) = self.type_of_topic.get(&id.topic) else { continue };
            self.forget(&id);
            self.generation += 1;
            self.partitions.insert(
                id,
                Partition {
                    generation: self.generation,
                    type_index,
                    offsets: Offsets::resumed(done_before),
                    lanes: HashMap::new(),
                    running: 0,
                    intake: Intake::Flowing,
                },
            );
        }
    }

    /// Partitions are about to go: nothing of theirs starts any more.
    pub fn closing(&mut self, partitions: &[PartitionId]) {
        for id in partitions {
            if let Some(partition) = self.partitions.get_mut(id) {
                partition.intake = Intake::Closing;
            }
        }
    }

    /// Nothing starts any more, anywhere.
    pub fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// Whether nothing of these partitions runs or is being buried.
    pub fn is_quiet(&self, partitions: &[PartitionId]) -> bool {
        partitions.iter().all(|id| self.partitions.get(id).is_none_or(|p| p.running == 0))
    }

    /// Whether nothing at all runs or is being buried.
    pub fn is_idle(&self) -> bool {
        self.running == 0 && self.partitions.values().all(|partition| partition.running == 0)
    }

    /// Partitions are gone; what still runs of them ends as [`Verdict::Stale`].
    pub fn revoked(&mut self, partitions: &[PartitionId]) {
        for id in partitions {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: &PartitionId) {
        if let Some(partition) = self.partitions.remove(id) {
            let waiting: usize =
                partition.lanes.values().flatten().map(|entry| entry.size_bytes).sum();
            self.waiting_bytes = self.waiting_bytes.saturating_sub(waiting);
        }
    }

    /// A record has arrived.
    pub fn arrived(&mut self, id: &PartitionId, arrival: Arrival<T>) {
        let Some(partition) = self.partitions.get_mut(id) else { return };
        if partition.intake == Intake::Closing || !partition.offsets.arrived(arrival.offset) {
            return;
        }
        let Arrival { offset, key, size_bytes, item } = arrival;
        let lane = key.map_or(Lane::Offset(offset), Lane::Key);
        let queue = partition.lanes.entry(lane.clone()).or_default();
        queue.push_back(Entry { offset, size_bytes, item, attempts: 0, started_ms: None });
        self.waiting_bytes += size_bytes;
        if queue.len() == 1 {
            let lane = LaneRef { partition: id.clone(), generation: partition.generation, lane };
            if let Some(state) = self.types.get_mut(partition.type_index) {
                state.ready.push_back(lane);
            }
        }
    }

    /// A record has arrived that this group does not run.
    pub fn passed(&mut self, id: &PartitionId, offset: i64) {
        let Some(partition) = self.partitions.get_mut(id) else { return };
        if partition.intake != Intake::Closing && partition.offsets.arrived(offset) {
            partition.offsets.finished(offset);
        }
    }

    /// The next attempt to start, if one may start now. Call it until it says no.
    pub fn next(&mut self, now_ms: i64) -> Option<Start<T>> {
        if self.is_stopping {
            return None;
        }
        self.wake_delayed(now_ms);
        let count = self.types.len();
        // The types take turns, so that a busy one cannot keep the others waiting.
        for step in 0..count {
            if self.running >= self.limits.running {
                return None;
            }
            let index = (self.next_type + step) % count;
            if let Some(start) = self.next_of(index, now_ms) {
                self.next_type = index + 1;
                return Some(start);
            }
        }
        None
    }

    fn wake_delayed(&mut self, now_ms: i64) {
        while self.delayed.peek().is_some_and(|Reverse((due_ms, _))| *due_ms <= now_ms) {
            let Some(Reverse((_, lane))) = self.delayed.pop() else { break };
            let Some(partition) = self.partitions.get(&lane.partition) else { continue };
            if partition.generation == lane.generation
                && let Some(state) = self.types.get_mut(partition.type_index)
            {
                state.ready.push_back(lane);
            }
        }
    }

    fn next_of(&mut self, index: usize, now_ms: i64) -> Option<Start<T>> {
        let state = self.types.get_mut(index)?;
        let is_probe = match state.breaker.gate(now_ms) {
            Gate::Open => false,
            Gate::Probe => true,
            Gate::ClosedUntil(_) | Gate::Probing => return None,
        };
        while let Some(lane) = state.ready.pop_front() {
            let Some(partition) = self.partitions.get_mut(&lane.partition) else { continue };
            if partition.generation != lane.generation || partition.intake == Intake::Closing {
                continue;
            }
            let Some(entry) = partition.lanes.get_mut(&lane.lane).and_then(VecDeque::front_mut)
            else {
                continue;
            };
            let before_ms = entry.started_ms.map_or(now_ms, |(_, last_ms)| last_ms);
            entry.started_ms = Some((before_ms, now_ms));
            partition.running += 1;
            self.running += 1;
            if is_probe {
                state.breaker.probe_started();
            }
            return Some(Start {
                attempt: entry.attempts + 1,
                item: Arc::clone(&entry.item),
                ticket: Ticket {
                    partition: lane.partition,
                    generation: lane.generation,
                    lane: lane.lane,
                    offset: entry.offset,
                    is_probe,
                },
            });
        }
        None
    }

    /// An attempt has ended. `jitter` in `0.0..=1.0` varies the wait before the next one.
    pub fn ended(&mut self, ticket: &Ticket, end: &End<'_>, now_ms: i64, jitter: f64) -> Verdict {
        self.running = self.running.saturating_sub(1);
        let verdict = self.judge(ticket, end, now_ms, jitter);
        // A record that is being buried keeps its partition busy, so that a rebalance
        // waits for the dead letter instead of writing a second one.
        if !matches!(verdict, Verdict::DeadLetter { .. } | Verdict::Stale) {
            self.quieten(ticket);
        }
        verdict
    }

    fn judge(&mut self, ticket: &Ticket, end: &End<'_>, now_ms: i64, jitter: f64) -> Verdict {
        let Some((partition, state)) = self.owner_of(ticket) else {
            self.void_probe(ticket, now_ms);
            return Verdict::Stale;
        };
        let Some(entry) = partition.lanes.get_mut(&ticket.lane).and_then(VecDeque::front_mut)
        else {
            return Verdict::Stale;
        };
        let lane = LaneRef {
            partition: ticket.partition.clone(),
            generation: ticket.generation,
            lane: ticket.lane.clone(),
        };
        match end {
            End::Done => {
                let outage_over = state.breaker.succeeded(now_ms);
                self.finish(ticket);
                Verdict::Finished { outage_over }
            }
            End::Passed => {
                if ticket.is_probe {
                    state.breaker.probe_was_void(now_ms);
                }
                self.finish(ticket);
                Verdict::Finished { outage_over: None }
            }
            End::Fail => {
                if ticket.is_probe {
                    state.breaker.probe_was_void(now_ms);
                }
                entry.attempts += 1;
                Verdict::DeadLetter { attempts: entry.attempts }
            }
            End::Unavailable(reason) => {
                let is_news = state.breaker.failed(ticket.is_probe, reason, now_ms);
                state.ready.push_back(lane);
                Verdict::Paused { is_news }
            }
            End::Retry(reason) => {
                entry.attempts = (entry.attempts + 1).min(state.retry.attempts);
                let attempts = entry.attempts;
                let before_ms = entry.started_ms.map_or(now_ms, |(before_ms, _)| before_ms);
                if state.retry.allows_another(attempts) {
                    if ticket.is_probe {
                        state.breaker.failed(true, reason, now_ms);
                    }
                    let wait = state.retry.wait_after(attempts, jitter);
                    let at_ms = now_ms + i64::try_from(wait.as_millis()).unwrap_or(i64::MAX / 2);
                    self.delayed.push(Reverse((at_ms, lane)));
                    Verdict::RetryAt { at_ms }
                } else if state.breaker.succeeded_since(before_ms) {
                    if ticket.is_probe {
                        state.breaker.probe_was_void(now_ms);
                    }
                    Verdict::DeadLetter { attempts }
                } else {
                    // Nobody has succeeded since this job's attempt before this one: it may
                    // well be the dependency. The job goes behind the others, so that the next
                    // probe is another one, and is judged when one of them succeeds.
                    let is_news = state.breaker.failed(ticket.is_probe, reason, now_ms);
                    state.ready.push_back(lane);
                    Verdict::Paused { is_news }
                }
            }
        }
    }

    /// The dead letter of this attempt's record has been acknowledged. Returns whether the
    /// partition is still this worker's.
    pub fn buried(&mut self, ticket: &Ticket) -> bool {
        self.quieten(ticket);
        self.finish(ticket);
        self.owner_of(ticket).is_some()
    }

    fn quieten(&mut self, ticket: &Ticket) {
        if let Some((partition, _)) = self.owner_of(ticket) {
            partition.running = partition.running.saturating_sub(1);
        }
    }

    fn owner_of(&mut self, ticket: &Ticket) -> Option<(&mut Partition<T>, &mut TypeState)> {
        let partition = self.partitions.get_mut(&ticket.partition)?;
        if partition.generation != ticket.generation {
            return None;
        }
        let state = self.types.get_mut(partition.type_index)?;
        Some((partition, state))
    }

    fn void_probe(&mut self, ticket: &Ticket, now_ms: i64) {
        if !ticket.is_probe {
            return;
        }
        let index = self.type_of_topic.get(&ticket.partition.topic);
        if let Some(state) = index.and_then(|index| self.types.get_mut(*index)) {
            state.breaker.probe_was_void(now_ms);
        }
    }

    fn finish(&mut self, ticket: &Ticket) {
        let Some((partition, state)) = self.owner_of(ticket) else { return };
        partition.offsets.finished(ticket.offset);
        let mut freed_bytes = 0;
        if let Some(queue) = partition.lanes.get_mut(&ticket.lane) {
            freed_bytes = queue.pop_front().map_or(0, |entry| entry.size_bytes);
            if queue.is_empty() {
                partition.lanes.remove(&ticket.lane);
            } else {
                state.ready.push_back(LaneRef {
                    partition: ticket.partition.clone(),
                    generation: ticket.generation,
                    lane: ticket.lane.clone(),
                });
            }
        }
        self.waiting_bytes = self.waiting_bytes.saturating_sub(freed_bytes);
    }

    /// When [`Dispatcher::next`] may say yes without anything else having happened.
    pub fn next_wakeup_ms(&self) -> Option<i64> {
        if self.is_stopping || self.running >= self.limits.running {
            return None; // only the end of an attempt can change that
        }
        let delayed = self.delayed.peek().map(|Reverse((due_ms, _))| *due_ms);
        let probes = self.types.iter().filter(|state| !state.ready.is_empty()).filter_map(
            |state| match state.breaker.gate(i64::MIN) {
                Gate::ClosedUntil(at_ms) => Some(at_ms),
                _ => None,
            },
        );
        delayed.into_iter().chain(probes).min()
    }

    /// For each partition what may be committed.
    pub fn progress(&self) -> impl Iterator<Item = (&PartitionId, Progress)> {
        self.partitions
            .iter()
            .filter_map(|(id, partition)| Some((id, partition.offsets.progress()?)))
    }

    /// The partitions whose intake must change: first those to pause, then those to
    /// resume. Resuming waits until half is free, since a pause throws away what was
    /// fetched ahead.
    pub fn intake_changes(&mut self) -> (Vec<PartitionId>, Vec<PartitionId>) {
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        let limits = self.limits;
        let bytes = self.waiting_bytes;
        for (id, partition) in &mut self.partitions {
            let waiting = partition.offsets.unfinished();
            let is_full = waiting >= limits.waiting_per_partition
                || partition.offsets.is_map_full()
                || bytes >= limits.waiting_bytes;
            let has_room = waiting <= limits.waiting_per_partition / 2
                && partition.offsets.has_map_room()
                && bytes <= limits.waiting_bytes / 2;
            match partition.intake {
                Intake::Flowing if is_full => {
                    partition.intake = Intake::Paused;
                    pause.push(id.clone());
                }
                Intake::Paused if has_room => {
                    partition.intake = Intake::Flowing;
                    resume.push(id.clone());
                }
                _ => {}
            }
        }
        (pause, resume)
    }

    /// The types that are paused by an outage.
    pub fn outages(&self) -> impl Iterator<Item = (&str, &Outage)> {
        self.types.iter().filter_map(|state| Some((state.name.as_ref(), state.breaker.outage()?)))
    }
}

#[cfg(test)]
mod tests;
