//! Lets every side read the same backlog in turn, and shows what came of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jobgate::worker::PoolSettings;

use crate::backlog::Backlog;
use crate::bare::{Work, read};
use crate::common::figures::{Sample, median, number, ratio, row, table, target};
use crate::common::pool::{self, Calls, Noop, PLACES, Setup};
use crate::common::process::cpu_time;
use crate::common::{Scale, kafka, machine, sqlite};
use crate::lone;

/// Jobs a second, as a share of the bare consumer's records: no less than this.
const RATE_RATIO_MIN: f64 = 0.5;

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

/// The whole benchmark.
pub(crate) async fn all(scale: Scale) {
    let count = scale.pick(1_000_000, 10_000);
    let rounds = scale.pick(3, 1);
    println!("## Worker\n\n{}", machine::describe());
    let folder = tempfile::tempdir().expect("a directory");
    let kafka = kafka(folder.path()).await;
    let backlog = Backlog::write(kafka.bootstrap_servers(), count).await;

    // The first reading warms up Kafka and the page cache, and is not counted.
    measure(&backlog, Side::Bare(Work::Poll), "warm-up", folder.path()).await;
    let mut samples: Vec<(Side, Sample)> = Vec::new();
    for round in 0..rounds {
        let mut sides = SIDES;
        // No side always goes first.
        if round % 2 == 1 {
            sides.reverse();
        }
        for (side, _) in sides {
            let group = format!("round-{round}-{side:?}").replace(['(', ')'], "-");
            samples.push((side, measure(&backlog, side, &group, folder.path()).await));
        }
    }
    show_rates(scale, &samples, count, rounds);
    let bytes = log_bytes(folder.path(), backlog.jobs.topic());
    println!("\nRoom: {} bytes of Kafka's disk for each record.", bytes / count as u64);

    let jobs = scale.pick(200, 10);
    show_start(&lone::starts(&backlog, jobs, folder.path()).await);
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
    let count = backlog.count;
    let sample = match side {
        Side::Bare(work) => {
            let cpu_before = cpu_time(std::process::id());
            let reading = read(backlog, group, work).await;
            let cpu = cpu_time(std::process::id()).saturating_sub(cpu_before);
            let (took, consumer) = (reading.took, reading.consumer);
            tokio::task::spawn_blocking(move || drop(consumer)).await.expect("it closes");
            Sample { count, took, cpu }
        }
        Side::Pool => {
            let calls = Calls::expecting(count);
            let setup = Setup {
                group,
                handler: Arc::new(Noop(Arc::clone(&calls))),
                store: sqlite(folder, group).await,
                settings: PoolSettings::DEFAULT,
                places: PLACES,
            };
            pool::measure(&backlog.jobs, setup, &calls).await
        }
    };
    // Not in the figures: that nothing was left out.
    backlog.jobs.committed_by(group, count).await;
    sample.print_raw(group);
    sample
}

fn show_rates(scale: Scale, samples: &[(Side, Sample)], count: usize, rounds: usize) {
    let figure_of = |side: Side, figure: fn(&Sample) -> f64| {
        let of_side: Vec<_> = samples.iter().filter(|(of, _)| *of == side).collect();
        median(&of_side, |(_, sample)| figure(sample))
    };
    let pool = figure_of(Side::Pool, Sample::rate);
    let head = ["", "records per second", "CPU of each, µs", "jobgate's pool to this"];
    let mut rows = vec![row(head)];
    for (side, name) in SIDES {
        let rate = figure_of(side, Sample::rate);
        let cpu_us = figure_of(side, Sample::cpu_us);
        rows.push(row([name, &number(rate), &number(cpu_us), &ratio(pool / rate)]));
    }
    table(&format!("{count} records in 10 partitions, median of {rounds} rounds each"), &rows);
    let share = pool / figure_of(Side::Bare(Work::Consume), Sample::rate);
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
