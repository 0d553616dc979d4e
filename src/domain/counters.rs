//! What is counted while jobs are written and run: atomics for each type, no lock and no
//! allocation on the way of a job.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Upper bounds of a histogram's buckets, in microseconds: from an acknowledgement on a
/// good day to the limit of an attempt.
pub const BUCKETS_US: [u64; 15] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// How long something took, counted in buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS_US.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
}

/// A histogram as it was at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// How many took at most [`BUCKETS_US`], each including those before it.
    pub at_most: [u64; BUCKETS_US.len()],
    /// How many in all.
    pub count: u64,
    /// How long they took together, microseconds.
    pub sum_us: u64,
}

impl Histogram {
    /// Counts one.
    pub fn observe(&self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.partition_point(|bound_us| *bound_us < took_us);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Relaxed);
        }
        self.count.fetch_add(1, Relaxed);
        self.sum_us.fetch_add(took_us, Relaxed);
    }

    /// As it is now.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut so_far = 0;
        let at_most = std::array::from_fn(|index| {
            so_far += self.buckets.get(index).map_or(0, |bucket| bucket.load(Relaxed));
            so_far
        });
        // What ended since the buckets were read must not make the count the smaller one.
        let count = self.count.load(Relaxed).max(so_far);
        HistogramSnapshot { at_most, count, sum_us: self.sum_us.load(Relaxed) }
    }
}

/// What is counted of one type by one process since its start.
#[derive(Debug, Default)]
pub struct TypeCounters {
    /// Records written and acknowledged.
    pub enqueued: AtomicU64,
    /// Records that were not, or may not have been.
    pub enqueue_errors: AtomicU64,
    /// Records read by the workers; one that is read again counts again.
    pub consumed: AtomicU64,
    /// Bytes of their keys, values and headers.
    pub consumed_bytes: AtomicU64,
    /// Attempts that began.
    pub started: AtomicU64,
    /// Attempts that run now.
    pub running: AtomicI64,
    /// Attempts that did what was asked.
    pub succeeded: AtomicU64,
    /// Attempts that had nothing to do, since the effect was there.
    pub already_done: AtomicU64,
    /// Attempts that did not, for whatever reason.
    pub failed: AtomicU64,
    /// Attempts that will be made again.
    pub retried: AtomicU64,
    /// Attempts that met an outage.
    pub unavailable: AtomicU64,
    /// Records passed over, being for another group.
    pub passed: AtomicU64,
    /// Records put aside, their key being quarantined.
    pub parked: AtomicU64,
    /// Dead letters acknowledged.
    pub dead_lettered: AtomicU64,
    /// From the call to the acknowledgement.
    pub enqueue_time: Histogram,
    /// Of attempts.
    pub attempt_time: Histogram,
}

impl TypeCounters {
    /// Adds one.
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// Counts a record that was read.
    pub fn consume(&self, size_bytes: usize) {
        self.consumed.fetch_add(1, Relaxed);
        self.consumed_bytes.fetch_add(size_bytes as u64, Relaxed);
    }

    /// An attempt begins; it runs until the answer is dropped.
    pub fn begin(self: &Arc<Self>) -> Running {
        self.started.fetch_add(1, Relaxed);
        self.running.fetch_add(1, Relaxed);
        Running(Arc::clone(self))
    }

    fn snapshot(&self) -> TypeTotals {
        TypeTotals {
            enqueued: self.enqueued.load(Relaxed),
            enqueue_errors: self.enqueue_errors.load(Relaxed),
            consumed: self.consumed.load(Relaxed),
            consumed_bytes: self.consumed_bytes.load(Relaxed),
            started: self.started.load(Relaxed),
            succeeded: self.succeeded.load(Relaxed),
            already_done: self.already_done.load(Relaxed),
            failed: self.failed.load(Relaxed),
            retried: self.retried.load(Relaxed),
            unavailable: self.unavailable.load(Relaxed),
            passed: self.passed.load(Relaxed),
            parked: self.parked.load(Relaxed),
            dead_lettered: self.dead_lettered.load(Relaxed),
        }
    }
}

/// An attempt that runs.
#[derive(Debug)]
pub struct Running(Arc<TypeCounters>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Relaxed);
    }
}

/// The counters of every type.
#[derive(Debug)]
pub struct Counters {
    types: BTreeMap<String, Arc<TypeCounters>>,
}

impl Counters {
    /// Counters of these types.
    pub fn new<'a>(types: impl IntoIterator<Item = &'a str>) -> Self {
        let types = types.into_iter().map(|name| (name.to_owned(), Arc::default()));
        Self { types: types.collect() }
    }

    /// Those of a type.
    pub fn of(&self, type_name: &str) -> Option<&Arc<TypeCounters>> {
        self.types.get(type_name)
    }

    /// All, by the name of the type.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &TypeCounters)> {
        self.types.iter().map(|(name, counters)| (name.as_str(), counters.as_ref()))
    }

    /// As they are now; types that nothing was counted of are left out.
    pub fn snapshot(&self) -> BTreeMap<String, TypeTotals> {
        self.types
            .iter()
            .map(|(name, counters)| (name.clone(), counters.snapshot()))
            .filter(|(_, totals)| *totals != TypeTotals::default())
            .collect()
    }
}

/// The counters of a type at one time, of one instance or of many. What an older or newer
/// version did not count is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in TypeCounters")]
pub struct TypeTotals {
    pub enqueued: u64,
    pub enqueue_errors: u64,
    pub consumed: u64,
    pub consumed_bytes: u64,
    pub started: u64,
    pub succeeded: u64,
    pub already_done: u64,
    pub failed: u64,
    pub retried: u64,
    pub unavailable: u64,
    pub passed: u64,
    pub parked: u64,
    pub dead_lettered: u64,
}

impl TypeTotals {
    /// Adds what another instance has counted.
    pub fn add(&mut self, other: &Self) {
        self.enqueued += other.enqueued;
        self.enqueue_errors += other.enqueue_errors;
        self.consumed += other.consumed;
        self.consumed_bytes += other.consumed_bytes;
        self.started += other.started;
        self.succeeded += other.succeeded;
        self.already_done += other.already_done;
        self.failed += other.failed;
        self.retried += other.retried;
        self.unavailable += other.unavailable;
        self.passed += other.passed;
        self.parked += other.parked;
        self.dead_lettered += other.dead_lettered;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_s_buckets_include_those_before_them() {
        let histogram = Histogram::default();
        for took_us in [1, 1_000, 1_001, 40_000_000, 90_000_000] {
            histogram.observe(Duration::from_micros(took_us));
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.at_most[..2], [2, 3]);
        assert_eq!(snapshot.at_most[13..], [3, 4], "90 s is beyond the last bucket");
        assert_eq!((snapshot.count, snapshot.sum_us), (5, 130_002_002));
    }

    #[test]
    fn an_attempt_runs_until_it_is_dropped() {
        let counters = Counters::new(["a", "b"]);
        let of_a = counters.of("a").unwrap();
        let running = of_a.begin();
        assert_eq!(of_a.running.load(Relaxed), 1);
        drop(running);
        assert_eq!(of_a.running.load(Relaxed), 0);
        of_a.consume(10);
        let expected =
            TypeTotals { started: 1, consumed: 1, consumed_bytes: 10, ..Default::default() };
        assert_eq!(counters.snapshot(), BTreeMap::from([("a".to_owned(), expected)]));
        assert!(counters.of("c").is_none());
    }

    #[test]
    fn totals_of_many_instances_add_up_and_older_ones_are_read() {
        let mut sum = TypeTotals { started: 2, failed: 1, ..Default::default() };
        let read: TypeTotals = serde_json::from_str(r#"{"started":3,"new_in_v9":7}"#).unwrap();
        sum.add(&read);
        assert_eq!(sum, TypeTotals { started: 5, failed: 1, ..Default::default() });
    }
}
