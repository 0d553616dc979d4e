//! Lets every side read the same backlog in turn, and shows what came of it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::backlog::Backlog;
use crate::bare::{Work, read};
use crate::common::figures::{median, micros_each, number, per_second, ratio, row, table, target};
use crate::common::process::cpu_time;
use crate::common::{Scale, kafka, machine};
use crate::pool::Running;

/// Jobs a second, as a share of the bare consumer's records: no less than this.
const RATE_RATIO_MIN: f64 = 0.5;
/// From one job to the next where each is alone.
const ALONE: Duration = Duration::from_millis(50);

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Bare(Work),
    Pool,
}

const SIDES: [(Side, &str); 4] = [
    (Side::Bare(Work::Poll), "poll alone"),
    (Side::Bare(Work::Consume), "bare `StreamConsumer` loop"),
    (Side::Bare(Work::Parse), "the same, parsing the JSON"),
    (Side::Pool, "jobgate's pool, no-op handler"),
];

/// What one round saw.
struct Sample {
    side: Side,
    /// From the first record to the commit of the last.
    took: Duration,
    cpu: Duration,
    count: usize,
}

/// The whole benchmark.
pub(crate) async fn all(scale: Scale) {
    let count = scale.pick(300_000, 10_000);
    let rounds = scale.pick(3, 1);
    println!("## Worker\n\n{}", machine::describe());
    let folder = tempfile::tempdir().expect("a directory");
    let kafka = kafka(folder.path()).await;
    let backlog = Backlog::write(kafka.bootstrap_servers(), count).await;

    // The first reading warms up Kafka and the page cache, and is not counted.
    measure(&backlog, Side::Bare(Work::Poll), "warm-up", folder.path()).await;
    let mut samples = Vec::new();
    for round in 0..rounds {
        let mut sides = SIDES;
        // No side always goes first.
        if round % 2 == 1 {
            sides.reverse();
        }
        for (side, _) in sides {
            let group = format!("round-{round}-{side:?}").replace(['(', ')'], "-");
            samples.push(measure(&backlog, side, &group, folder.path()).await);
        }
    }
    show_rates(scale, &samples, count, rounds);
    let bytes = log_bytes(folder.path(), backlog.topic());
    println!("\nRoom: {} bytes of Kafka's disk for each record.", bytes / count as u64);

    let jobs = scale.pick(200, 10);
    show_start(&starts_of_lone_jobs(&backlog, jobs, folder.path()).await);
    kafka.stop().await.expect("Kafka stops");
}

/// What a topic takes on disk, its indexes left out: they are made in one size.
fn log_bytes(data_dir: &Path, topic: &str) -> u64 {
    let files = |folder: PathBuf| std::fs::read_dir(folder).expect("a folder").flatten();
    files(data_dir.join("kafka/node-1/data"))
        .filter(|partition| partition.file_name().to_string_lossy().starts_with(topic))
        .flat_map(|partition| files(partition.path()))
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "log"))
        .map(|file| file.metadata().expect("its size").len())
        .sum()
}

async fn measure(backlog: &Backlog, side: Side, group: &str, folder: &Path) -> Sample {
    let cpu_before = cpu_time(std::process::id());
    let (first, end, cpu_after): (Instant, Instant, Duration);
    match side {
        Side::Bare(work) => {
            let consumer;
            (first, consumer) = read(backlog, group, work).await;
            end = backlog.committed_by(group).await;
            cpu_after = cpu_time(std::process::id());
            // Closing a consumer waits for Kafka.
            tokio::task::spawn_blocking(move || drop(consumer)).await.expect("it closes");
        }
        Side::Pool => {
            let pool = Running::start(backlog, group, folder).await;
            end = backlog.committed_by(group).await;
            cpu_after = cpu_time(std::process::id());
            first = pool.first();
            pool.stop().await;
        }
    }
    let (took, cpu) = (end - first, cpu_after.saturating_sub(cpu_before));
    println!("raw {group}: {} records in {took:?}, cpu {cpu:?}", backlog.count);
    Sample { side, took, cpu, count: backlog.count }
}

/// How long jobs take to start that come one by one, in the order of their length.
async fn starts_of_lone_jobs(backlog: &Backlog, jobs: usize, folder: &Path) -> Vec<Duration> {
    let group = "lone-jobs";
    let mut pool = Running::start(backlog, group, folder).await;
    backlog.committed_by(group).await;
    let mut took = Vec::with_capacity(jobs);
    for _ in 0..jobs {
        tokio::time::sleep(ALONE).await;
        took.push(pool.start_of_one(backlog).await);
    }
    pool.stop().await;
    took.sort_unstable();
    took
}

fn rate(sample: &Sample) -> f64 {
    per_second(sample.count, sample.took)
}

fn show_rates(scale: Scale, samples: &[Sample], count: usize, rounds: usize) {
    let figure_of = |side: Side, figure: fn(&Sample) -> f64| {
        let of_side: Vec<&Sample> = samples.iter().filter(|s| s.side == side).collect();
        median(&of_side, |sample| figure(sample))
    };
    let pool = figure_of(Side::Pool, rate);
    let head = ["", "records per second", "CPU of each, µs", "jobgate's pool to this"];
    let mut rows = vec![row(head)];
    for (side, name) in SIDES {
        let rate = figure_of(side, rate);
        let cpu_us = figure_of(side, |sample| micros_each(sample.cpu, sample.count));
        rows.push(row([name, &number(rate), &number(cpu_us), &ratio(pool / rate)]));
    }
    table(&format!("{count} records in 10 partitions, median of {rounds} rounds each"), &rows);
    let share = pool / figure_of(Side::Bare(Work::Consume), rate);
    let what = format!("at least {RATE_RATIO_MIN} of a bare `StreamConsumer` loop");
    target(scale, &what, share >= RATE_RATIO_MIN, &ratio(share));
}

fn show_start(took: &[Duration]) {
    let at = |percent: usize| number(took[(took.len() - 1) * percent / 100].as_secs_f64() * 1e3);
    let mut rows =
        vec![row(["from enqueue to handler, each job alone, ms", "p50", "p99", "longest"])];
    rows.push(row([&format!("{} jobs", took.len()), &at(50), &at(99), &at(100)]));
    table("Start of a job", &rows);
}
