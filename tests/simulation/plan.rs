//! What a seed decides before anything happens: the limits, the types, which faults there are.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jobgate::domain::dispatch::{Kind, Limits, PartitionId};
use jobgate::domain::quarantine::Numbered;
use jobgate::domain::retry::{Order, RetryPolicy};
use rand::RngExt as _;
use rand::rngs::StdRng;

/// A partition, by its place among all.
pub(crate) type Part = usize;

/// How a job behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nature {
    Good,
    /// Fails so many times.
    Flaky(u32),
    Poison,
    /// Fails every time.
    Stubborn,
    /// Ends the process that runs it.
    Killer,
}

/// A record.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) id: u32,
    pub(crate) part: Part,
    /// Its place among the records of its partition; offsets have holes.
    pub(crate) index: usize,
    pub(crate) offset: i64,
    pub(crate) key: Option<&'static str>,
    pub(crate) nature: Nature,
    /// Whether it is meant for this group.
    pub(crate) is_ours: bool,
    /// Attempts of which its header tells.
    pub(crate) attempts_before: u32,
    /// Its place in a quarantine that has released it.
    pub(crate) numbered: Option<Numbered>,
    /// Whether it is the replay of a dead letter.
    pub(crate) is_replay: bool,
}

impl Job {
    /// One without a key that succeeds.
    pub(crate) fn good(id: u32, part: Part) -> Self {
        Self {
            id,
            part,
            index: 0,
            offset: 0,
            key: None,
            nature: Nature::Good,
            is_ours: true,
            attempts_before: 0,
            numbered: None,
            is_replay: false,
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, part, offset, key, nature, attempts_before, .. } = self;
        let key = key.unwrap_or("-");
        write!(formatter, "job {id} at {part}/{offset} ({key}, {nature:?})")?;
        if *attempts_before > 0 {
            write!(formatter, " after {attempts_before} attempts")?;
        }
        if let Some(numbered) = self.numbered {
            write!(formatter, " number {}", numbered.number)?;
        }
        if self.is_ours { Ok(()) } else { write!(formatter, " of another group") }
    }
}

/// Keys, in two prefixes.
pub(crate) const KEYS: [&str; 6] = ["a_1", "a_2", "a_3", "b_1", "b_2", "b_3"];

/// What a type bounds by itself.
pub(crate) fn prefix_of(key: Option<&str>) -> Option<&str> {
    key.and_then(|key| key.get(..1))
}

/// Which faults a seed knows. Not all at once: some hide others.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is there or not, by itself")]
pub(crate) struct Faults {
    pub(crate) kills: bool,
    pub(crate) stops: bool,
    pub(crate) rebalances: bool,
    pub(crate) losses: bool,
    pub(crate) outages: bool,
    pub(crate) database: bool,
    pub(crate) jumps: bool,
    pub(crate) pauses: bool,
    pub(crate) killers: bool,
}

/// What a seed decides.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) limits: Limits,
    pub(crate) places: usize,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) parts: Vec<PartitionId>,
    pub(crate) kind_of: Vec<usize>,
    pub(crate) workers: usize,
    /// Records in one delivery.
    pub(crate) batch: usize,
    pub(crate) jobs: u32,
    /// Steps with faults.
    pub(crate) steps: usize,
    pub(crate) faults: Faults,
}

impl Plan {
    pub(crate) fn new(random: &mut StdRng) -> Self {
        let waiting_per_partition = random.random_range(3..14);
        let limits = Limits {
            running: random.random_range(1..8),
            waiting_per_partition,
            waiting_bytes: if random.random_bool(0.2) { 100 } else { 1 << 20 },
        };
        let kinds = [
            ("fast", Order::Strict, 1..6, 1, false),
            ("patient", Order::Relaxed, 2..5, 30, false),
            ("critical", Order::Strict, 1..4, 50, true),
        ];
        let kinds = kinds.map(|(name, order, attempts, first_s, is_critical)| Kind {
            name: name.into(),
            topic: format!("topic.{name}").into(),
            retry: RetryPolicy {
                attempts: random.random_range(attempts),
                first: Duration::from_secs(first_s),
                factor: 3,
                longest: Duration::from_secs(600),
                order,
                quarantine: name == "fast" && random.random_bool(0.6),
            },
            is_critical,
            running_max: random.random_bool(0.3).then(|| random.random_range(1..4)),
            running_per_prefix_max: random.random_bool(0.4).then(|| random.random_range(1..3)),
            merged_max: 1,
        });
        let placed = [(0, 0), (0, 1), (1, 0), (2, 0)];
        let part = |(kind, partition): (usize, i32)| PartitionId {
            topic: Arc::clone(&kinds[kind].topic),
            partition,
        };
        let mut on = |share: f64| random.random_bool(share);
        let faults = Faults {
            kills: on(0.5),
            stops: on(0.5),
            rebalances: on(0.6),
            losses: on(0.4),
            outages: on(0.5),
            database: on(0.3),
            jumps: on(0.5),
            pauses: on(0.3),
            killers: on(0.5),
        };
        Self {
            limits,
            places: random.random_range(1..9),
            parts: placed.iter().copied().map(part).collect(),
            kind_of: placed.iter().map(|(kind, _)| *kind).collect(),
            kinds: kinds.to_vec(),
            workers: random.random_range(1..4),
            batch: random.random_range(1..7),
            jobs: random.random_range(20..160),
            steps: random.random_range(200..4_000),
            faults,
        }
    }

    pub(crate) fn kind(&self, part: Part) -> &Kind {
        &self.kinds[self.kind_of[part]]
    }

    pub(crate) fn attempts_max(&self, part: Part) -> u32 {
        self.kind(part).retry.attempts
    }

    /// Records that are watched of a partition which was left without a word: as many as a worker
    /// holds, and as many as it can have finished since its last commit.
    pub(crate) fn watched(&self, is_too_few: bool) -> usize {
        let held = self.limits.waiting_per_partition + self.batch;
        if is_too_few { held } else { held * 10 }
    }

    pub(crate) fn part_of(&self, id: &PartitionId) -> Part {
        self.parts.iter().position(|part| part == id).expect("a partition of the plan")
    }

    pub(crate) fn nature(&self, random: &mut StdRng) -> Nature {
        match random.random_range(0..100) {
            0..12 => Nature::Flaky(random.random_range(1..4)),
            12..17 => Nature::Poison,
            17..21 => Nature::Stubborn,
            21..23 if self.faults.killers => Nature::Killer,
            _ => Nature::Good,
        }
    }
}
