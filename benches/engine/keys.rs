//! Many keys in one partition: how much faster than one job at a time it goes, and whether each
//! key's jobs ran in their order, one at a time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use jobgate::domain::dispatch::Limits;
use jobgate::domain::handler::{Handler, Job, Outcome};
use jobgate::worker::PoolSettings;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::common::figures::{Sample, median, number, ratio, row, table, target};
use crate::common::jobs::Jobs;
use crate::common::pool::{Calls, Setup, measure as run_pool};
use crate::common::{Scale, sqlite};
use crate::types::{KEYS, key_of, payload};

/// Keys of the one partition.
const KEY_COUNT: usize = 1_000;
/// The longest job; all lengths from nothing up to it are as likely.
const JOB_MAX: Duration = Duration::from_millis(5);
/// Lengths that are drawn; jobs take them in turn.
const LENGTHS: usize = 10_007;
/// The same keys and lengths in every run.
const SEED: u64 = 20;
/// More than any side runs at once, a quarter for critical types left out.
const PLACES: usize = 1_024;
/// The rate, as a share of as many serial ones as jobs run at once: no less than this.
const SHARE_MIN: f64 = 0.8;

/// A pool with its limit of jobs at once.
struct Side {
    name: &'static str,
    running: usize,
    /// Whether the jobs take their time.
    sleeps: bool,
    /// Jobs that it is measured by, in a full run and in a short one: some seconds each.
    full: usize,
    short: usize,
}

const SIDES: [Side; 4] = [
    Side { name: "one at a time", running: 1, sleeps: true, full: 3_000, short: 200 },
    Side { name: "32 at once", running: 32, sleeps: true, full: 60_000, short: 3_000 },
    Side { name: "256 at once", running: 256, sleeps: true, full: 300_000, short: 5_000 },
    Side {
        name: "256 at once, no-op handler: the bound",
        running: 256,
        sleeps: false,
        full: 300_000,
        short: 5_000,
    },
];

/// Measures and shows it. Fails if a key's jobs ran out of order.
pub(crate) async fn measure(scale: Scale, brokers: &str, folder: &Path) {
    let rounds = scale.pick(3, 1);
    let jobs = Jobs::open(brokers, KEYS).await;
    let count = SIDES.iter().map(|side| scale.pick(side.full, side.short)).max();
    let mut random = StdRng::seed_from_u64(SEED);
    let keys: Vec<usize> =
        (0..count.unwrap_or_default()).map(|_| random.random_range(0..KEY_COUNT)).collect();
    jobs.fill(keys.len(), |number| payload(&keys[number].to_string())).await;

    let mut samples: [Vec<Sample>; SIDES.len()] = Default::default();
    let (mut seen, mut violations) = (0, 0);
    for round in 0..rounds {
        let mut turns: Vec<usize> = (0..SIDES.len()).collect();
        // No side always goes first.
        if round % 2 == 1 {
            turns.reverse();
        }
        for turn in turns {
            let side = &SIDES[turn];
            let group = format!("keys-{round}-{}-{}", side.running, side.sleeps);
            let calls = Calls::expecting(scale.pick(side.full, side.short));
            let watch = Arc::new(Watch::new(side, Arc::clone(&calls)));
            let limits = Limits { running: side.running, ..Limits::DEFAULT };
            let setup = Setup {
                group: &group,
                handler: Arc::clone(&watch) as Arc<dyn Handler>,
                store: sqlite(folder, &group).await,
                settings: PoolSettings { limits, ..PoolSettings::DEFAULT },
                places: PLACES,
            };
            let sample = run_pool(&jobs, setup, &calls).await;
            sample.print_raw(&group);
            samples[turn].push(sample);
            seen += calls.begun();
            violations += watch.violations.load(Ordering::Relaxed);
        }
    }
    show(scale, &samples);
    println!(
        "\nOrder: {seen} jobs begun, {violations} of them before or beside an earlier one of their key."
    );
    assert_eq!(violations, 0, "each key's jobs run in order, one at a time");
}

fn show(scale: Scale, samples: &[Vec<Sample>; SIDES.len()]) {
    let serial = median(&samples[0], Sample::rate);
    let mut rows = vec![row([
        "",
        "jobs per second",
        "CPU of each, µs",
        "to one at a time",
        "share of that many",
    ])];
    let mut judged = Vec::new();
    for (side, samples) in SIDES.iter().zip(samples) {
        let (rate, cpu_us) = (median(samples, Sample::rate), median(samples, Sample::cpu_us));
        let times = rate / serial;
        let share = times / side.running.min(KEY_COUNT) as f64;
        let figures = [number(rate), number(cpu_us), number(times)];
        let shown = if side.sleeps { ratio(share) } else { String::new() };
        rows.push(row([side.name, &figures[0], &figures[1], &figures[2], &shown]));
        if side.sleeps && side.running > 1 {
            judged.push((side.name, share));
        }
    }
    let title = format!(
        "{KEY_COUNT} keys in one partition, jobs of 0 to {} ms, median of {} rounds each",
        JOB_MAX.as_millis(),
        samples[0].len()
    );
    table(&title, &rows);
    for (name, share) in judged {
        let what = format!("{name}: at least {SHARE_MIN} of that many times one at a time");
        target(scale, &what, share >= SHARE_MIN, &ratio(share));
    }
}

/// A handler that takes its time and watches over the order.
struct Watch {
    calls: Arc<Calls>,
    lengths: Vec<Duration>,
    keys: Vec<Key>,
    violations: AtomicUsize,
}

struct Key {
    /// The offset of its job that began last.
    last: AtomicI64,
    is_running: AtomicBool,
}

impl Watch {
    fn new(side: &Side, calls: Arc<Calls>) -> Self {
        let mut random = StdRng::seed_from_u64(SEED);
        let mut length = || random.random_range(Duration::ZERO..=JOB_MAX);
        let lengths =
            if side.sleeps { (0..LENGTHS).map(|_| length()).collect() } else { Vec::new() };
        let key = || Key { last: AtomicI64::new(-1), is_running: AtomicBool::new(false) };
        let keys = std::iter::repeat_with(key).take(KEY_COUNT).collect();
        Self { calls, lengths, keys, violations: AtomicUsize::new(0) }
    }

    /// The same for a job in whichever round.
    fn length_of(&self, offset: i64) -> Option<Duration> {
        let at = usize::try_from(offset).expect("an offset") % LENGTHS;
        self.lengths.get(at).copied()
    }
}

impl Handler for Watch {
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            self.calls.begin();
            let offset = job.record.place.offset;
            let key = &self.keys[key_of(&job.payload).parse::<usize>().expect("a number")];
            let is_beside = key.is_running.swap(true, Ordering::SeqCst);
            let is_before = key.last.swap(offset, Ordering::SeqCst) >= offset;
            if is_beside || is_before {
                self.violations.fetch_add(1, Ordering::Relaxed);
            }
            if let Some(length) = self.length_of(offset) {
                tokio::time::sleep(length).await;
            }
            key.is_running.store(false, Ordering::SeqCst);
            self.calls.end();
            Outcome::Done
        })
    }
}
