//! Lanes: the records of one key in one partition, in their order.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::super::handler::Failure;
use super::super::offset_map::DoneRanges;
use super::super::offsets::Offsets;
use super::job::Suspicion;

/// Names a lane within its partition.
///
/// A key by its keyed hash: two keys that share one run one after the other, which harms
/// nobody and comes about once in 2^64 pairs. A record without a key has a lane of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum LaneId {
    Key(u64),
    Offset(i64),
}

/// A lane's address, good only for one generation of its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneRef {
    pub(super) slot: usize,
    pub(super) generation: u64,
    pub(super) id: LaneId,
}

/// Where a record is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It has not started, or waits for the dependency of its type.
    Waiting,
    /// An attempt runs since this time.
    Running(i64),
    /// It is being put away: buried, or postponed.
    Leaving,
    /// It runs again at this time.
    RetryAt(i64),
}

#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) offset: i64,
    pub(super) size_bytes: usize,
    /// 0: none.
    pub(super) prefix: u64,
    pub(super) item: Arc<T>,
    /// Attempts that have ended and count.
    pub(super) attempts: u32,
    /// When the last two attempts started, the earlier one first.
    pub(super) started_ms: Option<(i64, i64)>,
    pub(super) suspicion: Suspicion,
    /// It came here with all of its attempts spent, and ended the process in the last one.
    pub(super) is_given_up: bool,
    pub(super) phase: Phase,
    pub(super) last_error: Option<Box<Failure>>,
}

/// The records of a key; the first one runs, or is the next to.
#[derive(Debug)]
pub(super) struct Lane<T> {
    pub(super) first: Entry<T>,
    pub(super) rest: VecDeque<Entry<T>>,
}

/// What may still be taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intake {
    Flowing,
    Paused,
    /// Being revoked: nothing new starts.
    Closing,
}

#[derive(Debug)]
pub(super) struct Partition<T> {
    pub(super) generation: u64,
    pub(super) type_index: usize,
    pub(super) offsets: Offsets,
    pub(super) lanes: HashMap<LaneId, Lane<T>>,
    /// Jobs that run or are being put away.
    pub(super) busy: usize,
    pub(super) intake: Intake,
}

impl<T> Partition<T> {
    pub(super) fn new(generation: u64, type_index: usize, done_before: DoneRanges) -> Self {
        Self {
            generation,
            type_index,
            offsets: Offsets::resumed(done_before),
            lanes: HashMap::new(),
            busy: 0,
            intake: Intake::Flowing,
        }
    }

    /// Adds a record behind those of its lane. Returns whether it is the first of it.
    pub(super) fn push(&mut self, id: LaneId, entry: Entry<T>) -> bool {
        match self.lanes.entry(id) {
            std::collections::hash_map::Entry::Occupied(mut lane) => {
                lane.get_mut().rest.push_back(entry);
                false
            }
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(Lane { first: entry, rest: VecDeque::new() });
                true
            }
        }
    }

    /// Takes a record of a lane out. Returns its bytes, and whether the lane may go on with
    /// another one: one that is being put away, as it ended in the same attempt, must be gone
    /// first.
    pub(super) fn remove(&mut self, id: LaneId, offset: i64) -> (usize, bool) {
        let Some(lane) = self.lanes.get_mut(&id) else { return (0, false) };
        if lane.first.offset != offset {
            let at = lane.rest.binary_search_by_key(&offset, |entry| entry.offset);
            let removed = at.ok().and_then(|at| lane.rest.remove(at));
            return (removed.map_or(0, |entry| entry.size_bytes), false);
        }
        let freed_bytes = lane.first.size_bytes;
        if let Some(next) = lane.rest.pop_front() {
            lane.first = next;
            (freed_bytes, !matches!(lane.first.phase, Phase::Running(_) | Phase::Leaving))
        } else {
            self.lanes.remove(&id);
            (freed_bytes, false)
        }
    }

    /// The bytes of all records that wait or run.
    pub(super) fn held_bytes(&self) -> usize {
        self.entries().map(|entry| entry.size_bytes).sum()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry<T>> {
        self.lanes.values().flat_map(|lane| std::iter::once(&lane.first).chain(&lane.rest))
    }
}

impl<T> Lane<T> {
    /// The record at this offset. They lie in the order of their offsets.
    pub(super) fn entry_mut(&mut self, offset: i64) -> Option<&mut Entry<T>> {
        if self.first.offset == offset {
            return Some(&mut self.first);
        }
        let at = self.rest.binary_search_by_key(&offset, |entry| entry.offset).ok()?;
        self.rest.get_mut(at)
    }
}

impl<T> Entry<T> {
    /// An attempt starts.
    pub(super) fn begin(&mut self, now_ms: i64) {
        let before_ms = self.started_ms.map_or(now_ms, |(_, last_ms)| last_ms);
        self.started_ms = Some((before_ms, now_ms));
        self.phase = Phase::Running(now_ms);
    }

    /// Its last start was none: what counts is when attempts began.
    pub(super) fn has_not_begun(&mut self) {
        let before = self.started_ms.filter(|(before_ms, last_ms)| before_ms < last_ms);
        self.started_ms = before.map(|(before_ms, _)| (before_ms, before_ms));
    }

    /// It waits, without having spent an attempt.
    pub(super) fn wait_for_dependency(&mut self, failure: &Failure) {
        self.phase = Phase::Waiting;
        self.last_error = Some(Box::new(failure.clone()));
    }
}
