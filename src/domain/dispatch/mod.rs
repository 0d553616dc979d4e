//! Which job of a group may start now, and what follows from how it ended.
//!
//! A pure machine: it is told what happened (a partition came or went, a record arrived,
//! an attempt ended) and the time, and answers what to do. Kafka and the tasks that run
//! the jobs are the worker's.
//!
//! Its rules are the promises: per topic and key in order and one at a time; different
//! keys side by side, also within a partition; an offset is finished only after the effect,
//! the acknowledged dead letter, or the row that brings the record back; an outage is not a
//! dead letter; a job that ends the process is found out and does not end it for ever.

mod job;
mod judge;
mod kind;
mod lane;
mod merge;
mod shares;
mod view;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use super::offset_map::DoneRanges;
use super::offsets::Progress;
use super::outage::Outage;

pub use job::{Arrival, End, Joined, PartitionId, Past, Start, Suspicion, Ticket, Verdict};
pub use kind::Kind;
use kind::KindState;
use lane::{Entry, Intake, LaneId, LaneRef, Partition, Phase};
pub use shares::{GroupNumber, Leave, Shares};
pub use view::{JobView, View};

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

/// The machine of one group.
#[derive(Debug)]
pub struct Dispatcher<T> {
    limits: Limits,
    kinds: Vec<KindState>,
    kind_of_topic: HashMap<Arc<str>, usize>,
    slots: BTreeMap<PartitionId, usize>,
    /// The slot that was last asked for: records come in runs of one partition.
    last_slot: Option<(PartitionId, usize)>,
    partitions: Vec<Option<Partition<T>>>,
    delayed: BinaryHeap<Reverse<(i64, LaneRef)>>,
    /// Lanes whose first record must run alone.
    alone: VecDeque<LaneRef>,
    is_one_alone: bool,
    /// Whether the last answer was no since one must run alone and others run.
    waits_to_be_alone: bool,
    running: usize,
    waiting_bytes: usize,
    generation: u64,
    next_kind: usize,
    is_stopping: bool,
    /// When it was last asked for a start.
    asked_ms: i64,
    hasher: RandomState,
}

impl<T> Dispatcher<T> {
    /// A machine for these types.
    pub fn new(limits: Limits, kinds: impl IntoIterator<Item = Kind>) -> Self {
        let kinds: Vec<KindState> = kinds.into_iter().map(KindState::new).collect();
        let topics = kinds.iter().enumerate();
        Self {
            limits,
            kind_of_topic: topics.map(|(at, state)| (Arc::clone(&state.kind.topic), at)).collect(),
            kinds,
            slots: BTreeMap::new(),
            last_slot: None,
            partitions: Vec::new(),
            delayed: BinaryHeap::new(),
            alone: VecDeque::new(),
            is_one_alone: false,
            waits_to_be_alone: false,
            running: 0,
            waiting_bytes: 0,
            generation: 0,
            next_kind: 0,
            is_stopping: false,
            asked_ms: i64::MIN,
            hasher: RandomState::new(),
        }
    }

    /// Partitions have been given to this worker, each with what is done above its commit.
    pub fn assigned(&mut self, partitions: impl IntoIterator<Item = (PartitionId, DoneRanges)>) {
        for (id, done_before) in partitions {
            let Some(&type_index) = self.kind_of_topic.get(&id.topic) else { continue };
            self.forget(&id);
            self.generation += 1;
            let partition = Partition::new(self.generation, type_index, done_before);
            let free = self.partitions.iter().position(Option::is_none);
            let slot = free.unwrap_or(self.partitions.len());
            match self.partitions.get_mut(slot) {
                Some(place) => *place = Some(partition),
                None => self.partitions.push(Some(partition)),
            }
            self.slots.insert(id, slot);
        }
    }

    /// Partitions are about to go: nothing of theirs starts any more.
    pub fn closing(&mut self, partitions: &[PartitionId]) {
        for id in partitions {
            if let Some(partition) = self.partition_mut(id) {
                partition.intake = Intake::Closing;
            }
        }
    }

    /// Nothing starts any more, anywhere.
    pub fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// Somebody has paused a type, or lets it go on.
    pub fn set_paused(&mut self, is_paused: impl Fn(&str) -> bool) {
        for state in &mut self.kinds {
            state.is_paused = is_paused(&state.kind.name);
        }
    }

    /// Whether nothing of these partitions runs or is being put away.
    pub fn is_quiet(&self, partitions: &[PartitionId]) -> bool {
        partitions.iter().all(|id| self.partition(id).is_none_or(|p| p.busy == 0))
    }

    /// Whether nothing at all runs or is being put away.
    pub fn is_idle(&self) -> bool {
        self.running == 0 && self.partitions.iter().flatten().all(|partition| partition.busy == 0)
    }

    /// Whether as much runs as may: what arrives now could only wait.
    pub fn is_full(&self) -> bool {
        self.running >= self.limits.running
    }

    /// Partitions are gone; what still runs of them ends as [`Verdict::Stale`].
    pub fn revoked(&mut self, partitions: &[PartitionId]) {
        for id in partitions {
            self.forget(id);
        }
    }

    fn slot_of(&mut self, id: &PartitionId) -> Option<usize> {
        let is_same = |last: &PartitionId| {
            last.partition == id.partition && Arc::ptr_eq(&last.topic, &id.topic)
        };
        match &self.last_slot {
            Some((last, slot)) if is_same(last) => Some(*slot),
            _ => {
                let slot = *self.slots.get(id)?;
                self.last_slot = Some((id.clone(), slot));
                Some(slot)
            }
        }
    }

    fn forget(&mut self, id: &PartitionId) {
        self.last_slot = None;
        let Some(slot) = self.slots.remove(id) else { return };
        if let Some(partition) = self.partitions.get_mut(slot).and_then(Option::take) {
            self.waiting_bytes = self.waiting_bytes.saturating_sub(partition.held_bytes());
        }
    }

    /// A record has arrived. Returns whether it is to run here: not if it is done already, was
    /// seen before, or its partition is not this worker's.
    pub fn arrived(&mut self, id: &PartitionId, arrival: Arrival<'_, T>, now_ms: i64) -> bool {
        let Some(slot) = self.slot_of(id) else { return false };
        let Some(partition) = self.partitions.get_mut(slot).and_then(Option::as_mut) else {
            return false;
        };
        if partition.intake == Intake::Closing || !partition.offsets.arrived(arrival.offset) {
            return false;
        }
        let Arrival { offset, key, prefix, size_bytes, past, item } = arrival;
        let key = key.map(|key| self.hasher.hash_one(key));
        let lane = key.map_or(LaneId::Offset(offset), LaneId::Key);
        let retry = self.kinds.get(partition.type_index).map(|state| state.kind.retry);
        // Those that fail here are judged when they do.
        let is_given_up = past.suspicion == Suspicion::Alone
            && retry.is_some_and(|retry| !retry.allows_another(past.attempts));
        let not_before = past.not_before_ms.filter(|at_ms| *at_ms > now_ms);
        let entry = Entry {
            offset,
            size_bytes,
            // 0 says that there is none; a prefix with that hash has no limit, once in 2^64.
            prefix: prefix.map_or(0, |prefix| self.hasher.hash_one(prefix)),
            item,
            attempts: past.attempts,
            started_ms: None,
            suspicion: past.suspicion,
            is_given_up,
            phase: not_before.map_or(Phase::Waiting, Phase::RetryAt),
            last_error: None,
        };
        self.waiting_bytes += size_bytes;
        if partition.push(lane, entry) {
            let generation = partition.generation;
            self.make_ready(LaneRef { slot, generation, id: lane });
        }
        true
    }

    /// A record has arrived that this group does not run.
    pub fn passed(&mut self, id: &PartitionId, offset: i64) {
        let Some(partition) = self.partition_mut(id) else { return };
        if partition.intake != Intake::Closing && partition.offsets.arrived(offset) {
            partition.offsets.finished(offset);
        }
    }

    /// The first record of a lane has its turn, unless it must wait for a time.
    fn make_ready(&mut self, lane: LaneRef) {
        let Some((entry, type_index)) = self.first_of(lane) else { return };
        if let Phase::RetryAt(at_ms) = entry.phase {
            self.delayed.push(Reverse((at_ms, lane)));
        } else if entry.suspicion == Suspicion::Alone {
            self.alone.push_back(lane);
        } else if let Some(state) = self.kinds.get_mut(type_index) {
            state.ready.push_back(lane);
        }
    }

    /// The next attempt to start, if one may start now. Call it until it says no.
    pub fn next(&mut self, now_ms: i64, leave: Leave) -> Option<Start<T>> {
        self.waits_to_be_alone = false;
        if self.is_stopping || self.is_one_alone {
            return None;
        }
        self.asked_ms = now_ms;
        self.wake_delayed(now_ms);
        if let Some((lane, is_probe, is_given_up)) = self.next_alone(now_ms) {
            // One that is given up does not run.
            let may_start = is_given_up || (leave.alone && self.running == 0);
            if !may_start {
                // The others wait for it: so it comes to run alone.
                self.alone.push_front(lane);
                self.waits_to_be_alone = true;
                return None;
            }
            self.is_one_alone = !is_given_up;
            return self.start(lane, now_ms, is_probe);
        }
        if self.running >= self.limits.running {
            return None;
        }
        let count = self.kinds.len();
        // The types take turns, so that a busy one cannot keep the others waiting.
        for step in 0..count {
            let index = (self.next_kind + step) % count;
            if let Some(start) = self.next_of(index, now_ms, leave) {
                self.next_kind = index + 1;
                return Some(start);
            }
        }
        None
    }

    /// Whether one must run alone, and does or would if nothing else ran in the process.
    pub fn wants_alone(&self) -> bool {
        self.waits_to_be_alone || (self.is_one_alone && !self.is_stopping)
    }

    fn wake_delayed(&mut self, now_ms: i64) {
        while self.delayed.peek().is_some_and(|Reverse((due_ms, _))| *due_ms <= now_ms) {
            let Some(Reverse((_, lane))) = self.delayed.pop() else { break };
            if let Some(entry) = self.first_of_mut(lane) {
                entry.phase = Phase::Waiting;
                self.make_ready(lane);
            }
        }
    }

    /// A lane whose first record must run alone, whether it does so as a probe, and whether it is
    /// given up instead.
    fn next_alone(&mut self, now_ms: i64) -> Option<(LaneRef, bool, bool)> {
        let mut left = self.alone.len();
        while left > 0 {
            left -= 1;
            let lane = self.alone.pop_front()?;
            let Some((entry, index)) = self.first_of(lane) else { continue };
            let is_given_up = entry.is_given_up;
            let state = self.kinds.get(index)?;
            let Some(is_probe) = state.gate(now_ms) else {
                // The others need not wait for an outage of its type.
                self.alone.push_back(lane);
                continue;
            };
            return Some((lane, is_probe, is_given_up));
        }
        None
    }

    fn next_of(&mut self, index: usize, now_ms: i64, leave: Leave) -> Option<Start<T>> {
        let state = self.kinds.get(index)?;
        if state.ready.is_empty() || !leave.for_type(state.kind.is_critical) {
            return None;
        }
        let is_probe = state.gate(now_ms)?;
        loop {
            let lane = self.kinds.get_mut(index)?.ready.pop_front()?;
            let Some((entry, _)) = self.first_of(lane) else { continue };
            let prefix = entry.prefix;
            if self.kinds.get_mut(index)?.admits(prefix, lane) {
                return self.start(lane, now_ms, is_probe);
            }
        }
    }

    fn start(&mut self, lane: LaneRef, now_ms: i64, is_probe: bool) -> Option<Start<T>> {
        let partition = self.partitions.get_mut(lane.slot)?.as_mut()?;
        let type_index = partition.type_index;
        let entry = &mut partition.lanes.get_mut(&lane.id)?.first;
        entry.begin(now_ms);
        partition.busy += 1;
        self.running += 1;
        let state = self.kinds.get_mut(type_index)?;
        state.started(entry.prefix);
        let probe = if is_probe { state.breaker.probe_started() } else { None };
        let is_alone = entry.suspicion == Suspicion::Alone && !entry.is_given_up;
        let start = Start {
            attempt: entry.attempts + 1,
            suspicion: entry.suspicion,
            is_given_up: entry.is_given_up,
            item: Arc::clone(&entry.item),
            ticket: Ticket {
                lane,
                offset: entry.offset,
                type_index,
                prefix: entry.prefix,
                is_critical: state.kind.is_critical,
                probe,
                is_alone,
                is_joined: false,
            },
            also: Vec::new(),
        };
        Some(self.join(start, now_ms))
    }

    fn partition(&self, id: &PartitionId) -> Option<&Partition<T>> {
        self.partitions.get(*self.slots.get(id)?)?.as_ref()
    }

    fn partition_mut(&mut self, id: &PartitionId) -> Option<&mut Partition<T>> {
        self.partitions.get_mut(*self.slots.get(id)?)?.as_mut()
    }

    fn is_current(&self, lane: LaneRef) -> bool {
        let partition = self.partitions.get(lane.slot).and_then(Option::as_ref);
        partition.is_some_and(|partition| partition.generation == lane.generation)
    }

    fn current_mut(&mut self, lane: LaneRef) -> Option<&mut Partition<T>> {
        let partition = self.partitions.get_mut(lane.slot)?.as_mut()?;
        (partition.generation == lane.generation).then_some(partition)
    }

    /// The first record of a lane that may go on, and its type.
    fn first_of(&self, lane: LaneRef) -> Option<(&Entry<T>, usize)> {
        let partition = self.partitions.get(lane.slot)?.as_ref()?;
        if partition.generation != lane.generation || partition.intake == Intake::Closing {
            return None;
        }
        Some((&partition.lanes.get(&lane.id)?.first, partition.type_index))
    }

    fn first_of_mut(&mut self, lane: LaneRef) -> Option<&mut Entry<T>> {
        let partition = self.current_mut(lane)?;
        (partition.intake != Intake::Closing).then_some(())?;
        Some(&mut partition.lanes.get_mut(&lane.id)?.first)
    }

    /// When [`Dispatcher::next`] may say yes without anything else having happened since it has
    /// said no. What was due then waits for something else, for a place say: no time helps it.
    pub fn next_wakeup_ms(&self) -> Option<i64> {
        if self.is_stopping || self.is_one_alone || self.running >= self.limits.running {
            return None; // only the end of an attempt can change that
        }
        let delayed = self.delayed.peek().map(|Reverse((due_ms, _))| *due_ms);
        let has_alone = !self.alone.is_empty();
        let waits = |state: &&KindState| !state.is_paused && (has_alone || !state.ready.is_empty());
        let probes = self.kinds.iter().filter(waits).filter_map(KindState::next_probe_ms);
        delayed.into_iter().chain(probes).filter(|at_ms| *at_ms > self.asked_ms).min()
    }

    /// For each partition what may be committed.
    pub fn progress(&self) -> impl Iterator<Item = (&PartitionId, Progress)> {
        self.slots.iter().filter_map(|(id, slot)| {
            let partition = self.partitions.get(*slot)?.as_ref()?;
            Some((id, partition.offsets.progress()?))
        })
    }

    /// The partitions whose intake must change: first those to pause, then those to
    /// resume. Resuming waits until half is free, since a pause throws away what was
    /// fetched ahead.
    pub fn intake_changes(&mut self) -> (Vec<PartitionId>, Vec<PartitionId>) {
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        let limits = self.limits;
        let bytes = self.waiting_bytes;
        for (id, slot) in &self.slots {
            let Some(partition) = self.partitions.get_mut(*slot).and_then(Option::as_mut) else {
                continue;
            };
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
        self.kinds
            .iter()
            .filter_map(|state| Some((state.kind.name.as_ref(), state.breaker.outage()?)))
    }
}

#[cfg(test)]
mod alone_test;
#[cfg(test)]
mod later_test;
#[cfg(test)]
mod merge_test;
#[cfg(test)]
mod probes_test;
#[cfg(test)]
mod tests;
