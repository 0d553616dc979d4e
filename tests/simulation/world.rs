//! What outlives a worker: the log, the group's commits and who owns what, the database, the
//! dead letters, the clock. And the one source of chance.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::bugs::Bug;
use super::checks::Truth;
use super::plan::{Job, KEYS, Nature, Part, Plan};
use super::quarantines::Ward;

/// What Kafka keeps of a commit.
pub(crate) type Commit = (i64, String);

/// Everything but the workers.
pub(crate) struct World {
    pub(crate) now_ms: i64,
    pub(crate) random: StdRng,
    pub(crate) plan: Plan,
    pub(crate) bug: Option<Bug>,
    pub(crate) parts: Vec<PartLog>,
    pub(crate) database: Database,
    /// By type: whether its dependency is away.
    pub(crate) is_out: Vec<bool>,
    /// By type: whether somebody has paused it.
    pub(crate) is_paused: Vec<bool>,
    /// Whether jobs that fail every time do so no longer.
    pub(crate) is_mended: bool,
    pub(crate) truth: Truth,
    pub(crate) trace: Option<Vec<String>>,
    /// Counts assignments; each is told apart by its number.
    pub(crate) epoch: u64,
    pub(crate) produced: u32,
}

/// A partition with what the group's coordinator knows of it.
#[derive(Default)]
pub(crate) struct PartLog {
    pub(crate) records: Vec<Arc<Job>>,
    pub(crate) end: i64,
    pub(crate) commit: Option<Commit>,
    /// Its worker, and the number of the assignment.
    pub(crate) owner: Option<(usize, u64)>,
    pub(crate) wanted: usize,
}

/// What is noted of attempts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) id: u32,
    pub(crate) attempts: u32,
    pub(crate) is_open: bool,
    pub(crate) not_before_ms: Option<i64>,
}

#[derive(Default)]
pub(crate) struct Database {
    pub(crate) is_away: bool,
    pub(crate) claims: BTreeSet<u32>,
    pub(crate) attempts: BTreeMap<(Part, i64), Row>,
    /// Records that come back: when, and after how many attempts.
    pub(crate) schedule: BTreeMap<(Part, i64), (i64, u32, Arc<Job>)>,
    pub(crate) ward: Ward,
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>, is_traced: bool) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let plan = Plan::new(&mut random);
        let parts = plan.parts.iter().map(|_| PartLog::default()).collect();
        Self {
            now_ms: 1_000_000,
            random,
            bug,
            parts,
            database: Database::default(),
            is_out: vec![false; plan.kinds.len()],
            is_paused: vec![false; plan.kinds.len()],
            is_mended: false,
            truth: Truth::new(plan.parts.len()),
            trace: is_traced.then(Vec::new),
            epoch: 0,
            produced: 0,
            plan,
        }
    }

    pub(crate) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    pub(crate) fn chance(&mut self, share: f64) -> bool {
        self.random.random_bool(share)
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        self.random.random_range(0..count)
    }

    /// For whoever reads the story of a seed.
    pub(crate) fn tell(&mut self, said: impl FnOnce() -> String) {
        let now_ms = self.now_ms;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{now_ms}: {}", said()));
        }
    }

    /// A client writes a record.
    pub(crate) fn produce(&mut self) {
        let part = self.below(self.parts.len());
        let key = self.chance(0.8).then(|| KEYS[self.random.random_range(0..KEYS.len())]);
        let nature = self.plan.nature(&mut self.random);
        let is_ours = self.chance(0.93);
        self.produced += 1;
        self.append(Job { key, nature, is_ours, ..Job::good(self.produced, part) });
    }

    /// A client writes records that succeed, one into each partition of a type.
    pub(crate) fn produce_good(&mut self, kind: usize) {
        for part in 0..self.parts.len() {
            if self.plan.kind_of[part] == kind {
                self.produced += 1;
                self.append(Job::good(self.produced, part));
            }
        }
    }

    /// Puts a record at the end of its topic.
    pub(crate) fn append(&mut self, mut job: Job) {
        let hole = if self.chance(0.15) { self.random.random_range(1..4) } else { 0 };
        let log = &mut self.parts[job.part];
        job.offset = log.end + hole;
        job.index = log.records.len();
        log.end = job.offset + 1;
        let job = Arc::new(job);
        log.records.push(Arc::clone(&job));
        self.truth.produced(&job);
        self.tell(|| format!("produced {job:?}"));
    }

    pub(crate) fn fetch(&self, part: Part, position: i64) -> Vec<Arc<Job>> {
        let records = &self.parts[part].records;
        let from = records.partition_point(|job| job.offset < position);
        records[from..].iter().take(self.plan.batch).cloned().collect()
    }

    /// One record whose time has come goes back to its topic.
    pub(crate) fn bring_back(&mut self, may_repeat: bool) -> bool {
        if self.database.is_away {
            return false;
        }
        let now_ms = self.now_ms;
        let due = self.database.schedule.iter().find(|(_, (at_ms, ..))| *at_ms <= now_ms);
        let Some((&place, (_, attempts, job))) = due else { return false };
        let job = Job { attempts_before: *attempts, ..Job::clone(job) };
        self.append(job);
        // A crash between the two brings it back once more.
        if !(may_repeat && self.chance(0.1)) {
            self.database.schedule.remove(&place);
        }
        true
    }

    /// Whether this assignment is the one that counts.
    pub(crate) fn owns(&self, worker: usize, epoch: u64, part: Part) -> bool {
        self.parts[part].owner == Some((worker, epoch))
    }

    /// A commit has reached Kafka. Returns false where it is refused.
    pub(crate) fn commit(
        &mut self,
        worker: usize,
        epoch: u64,
        part: Part,
        commit: &Commit,
    ) -> bool {
        if !self.owns(worker, epoch, part) && !self.has(Bug::CommitOfRevoked) {
            return false;
        }
        self.tell(|| format!("worker {worker} commits {part}: {commit:?}"));
        let (log, claims, epoch) = (&mut self.parts[part], &self.database.claims, self.epoch);
        log.commit = Some(commit.clone());
        self.truth.committed(part, commit, claims, epoch);
        true
    }

    /// An effect and its claim, in one transaction. Returns false if it was claimed.
    pub(crate) fn claim_with_effect(&mut self, job: &Job) -> bool {
        if !self.database.claims.insert(job.id) {
            return false;
        }
        self.truth.effect(job);
        true
    }

    /// Whether this job would succeed now, as far as it is its own doing.
    pub(crate) fn succeeds(&self, job: &Job, attempt: u32) -> bool {
        match job.nature {
            Nature::Good => true,
            Nature::Flaky(times) => attempt > times || self.is_mended,
            Nature::Poison | Nature::Stubborn | Nature::Killer => self.is_mended,
        }
    }
}
