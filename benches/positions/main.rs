//! What it takes to work out the places of a whole list, by its length, on each database.
//! `scripts/bench` runs it.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark fails by panicking, and prints figures of a few digits"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../../tests/harness/postgres.rs"]
mod postgres;

mod list;

use std::time::{Duration, Instant};

use common::figures::{median, number, ratio, row, table};
use common::process::peak_mb;
use common::{Scale, machine};
use jobgate::store::{Database, Store};
use list::List;
use postgres::Postgres;
use uuid::Uuid;

/// Where the list is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Sqlite,
    Postgres,
}

const SIDES: [(Side, &str); 2] = [(Side::Sqlite, "SQLite"), (Side::Postgres, "PostgreSQL")];

/// What changes before a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Nobody has a place yet.
    First,
    /// The last user goes to the front, and everybody else one down.
    Jump,
    /// Nothing does.
    Nothing,
}

const CHANGES: [(Change, &str); 3] = [
    (Change::First, "the first run"),
    (Change::Jump, "the last user jumps to the front"),
    (Change::Nothing, "nothing has changed"),
];

/// A run.
struct Run {
    side: Side,
    users: usize,
    change: Change,
    took: Duration,
    written: u64,
    peak_mb: f64,
}

fn main() {
    common::within_limit(all(Scale::of_arguments()));
}

async fn all(scale: Scale) {
    println!("## Positions\n\n{}", machine::describe());
    let sizes: &[usize] = scale.pick(&[10_000, 100_000, 1_000_000], &[1_000, 5_000]);
    let server = Postgres::start_durable();
    let mut runs = Vec::new();
    for &users in sizes {
        // A million is measured once: its figures are those of seconds.
        let rounds = if users < 1_000_000 { scale.pick(3, 1) } else { 1 };
        for round in 0..rounds {
            for (side, _) in SIDES {
                measure(side, (users, round), &server, &mut runs).await;
            }
        }
    }
    show(sizes, &runs);
}

async fn measure(
    side: Side,
    (users, round): (usize, usize),
    server: &Postgres,
    runs: &mut Vec<Run>,
) {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("list.sqlite");
    let url = match side {
        Side::Sqlite => format!("sqlite:{}", path.display()),
        Side::Postgres => server.fresh_database(),
    };
    let database: Database = url.parse().expect("a database");
    let store = database.open().await.expect("a database");
    let list = List::fill(&url, users).await;
    for (change, name) in CHANGES {
        if change == Change::Jump {
            list.lift_the_last().await;
        }
        forget_peak();
        let before_mb = peak_mb(std::process::id());
        let begun = Instant::now();
        let written = recalculate(&store, list.campaign).await;
        let took = begun.elapsed();
        let peak_mb = peak_mb(std::process::id()) - before_mb;
        println!(
            "raw {side:?} {users} round {round}, {name}: {took:?}, {written} rows, {peak_mb:.1} MB"
        );
        runs.push(Run { side, users, change, took, written, peak_mb });
    }
    list.check().await;
    list.close().await;
    store.close().await;
}

/// What the handler does in a run in which it tells nobody.
async fn recalculate(store: &Store, campaign: Uuid) -> u64 {
    let job = Uuid::now_v7();
    let (mut effect, claimed) =
        store.effect_of("position-workers", &[job], 1).await.expect("an effect");
    assert_eq!(claimed, [job]);
    let written = effect.recalculate_positions(campaign).await.expect("places");
    let moved = effect.moved_users(campaign, None, 5_000).await.expect("those who moved");
    effect.tell_positions(campaign, &moved).await.expect("they are told");
    effect.commit().await.expect("it is committed");
    assert!(moved.len() <= 1, "the threshold keeps mails away");
    written
}

/// The peak of the process's memory begins anew.
fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").expect("Linux");
}

fn show(sizes: &[usize], runs: &[Run]) {
    for (side, name) in SIDES {
        let mut rows = vec![row([
            "",
            "users",
            "seconds",
            "rows written",
            "growth",
            "that of n log n",
            "memory, MB",
        ])];
        for (change, what) in CHANGES {
            let mut before: Option<(usize, f64)> = None;
            for &users in sizes {
                let of: Vec<&Run> = runs
                    .iter()
                    .filter(|run| (run.side, run.users, run.change) == (side, users, change))
                    .collect();
                let took_s = median(&of, |run| run.took.as_secs_f64());
                let growth = before
                    .map(|(fewer, before_s)| (took_s / before_s, n_log_n(users) / n_log_n(fewer)));
                before = Some((users, took_s));
                let shown = |value: Option<f64>| value.map(ratio).unwrap_or_default();
                rows.push(row([
                    what,
                    &number(users as f64),
                    &format!("{took_s:.3}"),
                    &number(of[0].written as f64),
                    &shown(growth.map(|(seen, _)| seen)),
                    &shown(growth.map(|(_, expected)| expected)),
                    &number(median(&of, |run| run.peak_mb)),
                ]));
            }
        }
        table(&format!("Places of a whole list, {name}"), &rows);
    }
}

fn n_log_n(count: usize) -> f64 {
    count as f64 * (count as f64).log2()
}
