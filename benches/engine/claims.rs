//! Handlers that write a claim as their effect, on each database, beside one that does nothing.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use jobgate::domain::clock::SharedClock;
use jobgate::domain::handler::{Failure, Handler, Job, Outcome};
use jobgate::store::{Database, Store};
use jobgate::worker::PoolSettings;
use uuid::Uuid;

use crate::common::figures::{Sample, median, number, ratio, row, table};
use crate::common::jobs::Jobs;
use crate::common::pool::{Calls, Noop, PLACES, Setup, measure as run_pool};
use crate::common::{Scale, sqlite};
use crate::postgres::Postgres;
use crate::types::{CLAIMS, payload};

/// Where claims are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Nowhere,
    Sqlite,
    Postgres,
}

const SIDES: [(Side, &str); 3] = [
    (Side::Nowhere, "no-op handler"),
    (Side::Sqlite, "a claim on SQLite"),
    (Side::Postgres, "a claim on PostgreSQL"),
];

/// Measures and shows it.
pub(crate) async fn measure(scale: Scale, brokers: &str, folder: &Path) {
    let rounds = scale.pick(3, 1);
    let count_of = |side: Side| match side {
        Side::Nowhere => scale.pick(200_000, 5_000),
        // Each waits for a disk.
        Side::Sqlite | Side::Postgres => scale.pick(10_000, 500),
    };
    let jobs = Jobs::open(brokers, CLAIMS).await;
    jobs.fill(count_of(Side::Nowhere), |_| payload(&Uuid::now_v7().to_string())).await;
    // One that is as careful as in production: a commit is on the disk before it is reported.
    let server = Postgres::start_durable();

    let mut samples: Vec<(Side, Sample)> = Vec::new();
    for round in 0..rounds {
        let mut sides = SIDES;
        // No side always goes first.
        if round % 2 == 1 {
            sides.reverse();
        }
        for (side, _) in sides {
            let group = format!("claims-{round}-{side:?}");
            let store = match side {
                Side::Nowhere | Side::Sqlite => sqlite(folder, &group).await,
                Side::Postgres => postgres_store(&server).await,
            };
            let calls = Calls::expecting(count_of(side));
            let handler: Arc<dyn Handler> = match side {
                Side::Nowhere => Arc::new(Noop(Arc::clone(&calls))),
                Side::Sqlite | Side::Postgres => Arc::new(Claiming {
                    calls: Arc::clone(&calls),
                    store: store.clone(),
                    clock: Arc::clone(&jobs.clock),
                }),
            };
            let setup = Setup {
                group: &group,
                handler,
                store: store.clone(),
                settings: PoolSettings::DEFAULT,
                places: PLACES,
            };
            let sample = run_pool(&jobs, setup, &calls).await;
            store.close().await;
            sample.print_raw(&group);
            samples.push((side, sample));
        }
    }
    show(&samples, rounds);
}

async fn postgres_store(server: &Postgres) -> Store {
    let database: Database = server.fresh_database().parse().expect("a URL");
    database.open().await.expect("a database")
}

fn show(samples: &[(Side, Sample)], rounds: usize) {
    let figure_of = |side: Side, figure: fn(&Sample) -> f64| {
        let of_side: Vec<_> = samples.iter().filter(|(of, _)| *of == side).collect();
        median(&of_side, |(_, sample)| figure(sample))
    };
    let noop = figure_of(Side::Nowhere, Sample::rate);
    let mut rows = vec![row(["", "jobs per second", "CPU of each, µs", "to the no-op handler"])];
    for (side, name) in SIDES {
        let (rate, cpu_us) = (figure_of(side, Sample::rate), figure_of(side, Sample::cpu_us));
        rows.push(row([name, &number(rate), &number(cpu_us), &ratio(rate / noop)]));
    }
    let running = PoolSettings::DEFAULT.limits.running;
    let title = format!("A claim as the effect, {running} at once, median of {rounds} rounds each");
    table(&title, &rows);
}

/// A handler whose effect is its claim.
struct Claiming {
    calls: Arc<Calls>,
    store: Store,
    clock: SharedClock,
}

impl Handler for Claiming {
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            self.calls.begin();
            match self.store.claim(&job.scope, job.id, self.clock.now_ms()).await {
                Ok(true) => {
                    self.calls.end();
                    Outcome::Done
                }
                // Only what was claimed counts as an end.
                Ok(false) => Outcome::AlreadyDone,
                Err(error) => {
                    println!("raw claims: {error:?}");
                    Outcome::Unavailable(Failure::caused_by("database", "no claim", &error))
                }
            }
        })
    }
}
