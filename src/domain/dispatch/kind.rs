//! The state of one type: its gate, its limits, and which of its lanes may go on.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::super::outage::{Breaker, Gate};
use super::super::retry::RetryPolicy;
use super::lane::LaneRef;

/// A type, as far as the machine must know it.
#[derive(Debug, Clone)]
pub struct Kind {
    /// The name.
    pub name: Arc<str>,
    /// Where its records are.
    pub topic: Arc<str>,
    /// How often and how patiently it is tried.
    pub retry: RetryPolicy,
    /// Whether it has a share of the process that no flood of others can take.
    pub is_critical: bool,
    /// Jobs of it that run at the same time; none: no bound of its own.
    pub running_max: Option<usize>,
    /// The same, for each prefix of its key.
    pub running_per_prefix_max: Option<usize>,
    /// Jobs of one key that may run in one attempt; 1: each by itself.
    pub merged_max: usize,
}

#[derive(Debug)]
pub(super) struct KindState {
    pub(super) kind: Kind,
    pub(super) breaker: Breaker,
    /// Whether somebody has paused it.
    pub(super) is_paused: bool,
    /// Lanes whose first record may start.
    pub(super) ready: VecDeque<LaneRef>,
    running: usize,
    /// By prefix: how many run. Without an entry none does.
    by_prefix: HashMap<u64, usize>,
    /// By prefix: lanes that are ready but for the limit.
    held: HashMap<u64, VecDeque<LaneRef>>,
}

impl KindState {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            breaker: Breaker::default(),
            is_paused: false,
            ready: VecDeque::new(),
            running: 0,
            by_prefix: HashMap::new(),
            held: HashMap::new(),
        }
    }

    /// Whether a job may start, and whether as a probe.
    pub(super) fn gate(&self, now_ms: i64) -> Option<bool> {
        if self.is_paused || self.kind.running_max.is_some_and(|most| self.running >= most) {
            return None;
        }
        match self.breaker.gate(now_ms) {
            Gate::Open => Some(false),
            Gate::Probe => Some(true),
            Gate::ClosedUntil(_) | Gate::Probing => None,
        }
    }

    /// Whether its jobs wait for a dependency, or for somebody.
    pub(super) fn is_shut(&self) -> bool {
        self.is_paused || self.breaker.outage().is_some()
    }

    /// When a probe may go that may not go yet.
    pub(super) fn next_probe_ms(&self) -> Option<i64> {
        match self.breaker.gate(i64::MIN) {
            Gate::ClosedUntil(at_ms) => Some(at_ms),
            _ => None,
        }
    }

    /// Whether this prefix has room. If not, the lane is kept until it has.
    pub(super) fn admits(&mut self, prefix: u64, lane: LaneRef) -> bool {
        let Some(most) = self.kind.running_per_prefix_max.filter(|_| prefix != 0) else {
            return true;
        };
        if self.by_prefix.get(&prefix).is_none_or(|count| *count < most) {
            return true;
        }
        self.held.entry(prefix).or_default().push_back(lane);
        false
    }

    pub(super) fn started(&mut self, prefix: u64) {
        self.running += 1;
        if self.counts(prefix) {
            *self.by_prefix.entry(prefix).or_default() += 1;
        }
    }

    /// A job has ended. Lanes that waited for it have their turn; those that have gone
    /// meanwhile are passed over when it comes.
    pub(super) fn ended(&mut self, prefix: u64) {
        self.running = self.running.saturating_sub(1);
        if !self.counts(prefix) {
            return;
        }
        if let Some(count) = self.by_prefix.get_mut(&prefix) {
            *count -= 1;
            if *count == 0 {
                self.by_prefix.remove(&prefix);
            }
        }
        // All of them: some may be of partitions that are gone, and one that finds no room
        // comes back here.
        if let Some(lanes) = self.held.remove(&prefix) {
            self.ready.extend(lanes);
        }
    }

    fn counts(&self, prefix: u64) -> bool {
        prefix != 0 && self.kind.running_per_prefix_max.is_some()
    }
}
