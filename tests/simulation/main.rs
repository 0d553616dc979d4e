//! The machines that decide what a worker does, tested by the million of steps: a simulated
//! Kafka, database and clock, several workers, and faults wherever one can be, all from one seed.
//! What is real is `jobgate::domain`: dispatcher, offsets, notes of commits, outages, retries.
//! What is simulated is the shell around it, which does what `src/worker` does.
//!
//! A failure names its seed; `SIMULATION_SEED=n` runs that one again and prints its story.
//! `SIMULATION_STEPS=n` makes the test longer.
//!
//! A test that finds nothing proves little. So it is held against mistakes that a worker could
//! make, and each must be found by the invariant that it breaks: `bugs.rs` has the table of both,
//! `checks.rs` the invariants in their exact form.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and a seed's story is for a person to read"
)]

mod bugs;
mod checks;
mod outcomes;
mod partitions;
mod plan;
mod quarantines;
mod schedule;
mod shell;
mod starts;
mod tasks;
mod world;

use bugs::{Bug, TABLE};
use checks::Violation;
use schedule::{Simulation, Tally};

/// Steps that the test takes: enough for some hundred courses, within seconds.
const STEPS: u64 = 1_000_000;
/// By how many seeds a mistake must be found. Most are by the tenth.
const SEEDS_MAX: u64 = 400;
/// What is shown of a story.
const LINES_SHOWN: usize = 60;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn story(seed: u64, bug: Option<Bug>) -> String {
    let mut simulation = Simulation::new(seed, bug, true);
    let _ = simulation.run();
    let lines = simulation.world.trace.unwrap_or_default();
    let from = if setting("SIMULATION_SEED").is_some() {
        0
    } else {
        lines.len().saturating_sub(LINES_SHOWN)
    };
    lines[from..].join("\n")
}

fn fail(seed: u64, bug: Option<Bug>, violation: &Violation) -> ! {
    println!("{}", story(seed, bug));
    panic!("{:?}: {}\nSIMULATION_SEED={seed}", violation.invariant, violation.what);
}

#[test]
fn no_course_of_events_breaks_a_promise() {
    if let Some(seed) = setting("SIMULATION_SEED") {
        match Simulation::new(seed, None, false).run() {
            Ok(tally) => println!("{}\n{tally:?}", story(seed, None)),
            Err(violation) => fail(seed, None, &violation),
        }
        return;
    }
    let steps = setting("SIMULATION_STEPS").unwrap_or(STEPS);
    let mut sum = Tally::default();
    let mut seed = 0;
    while sum.steps < steps {
        match Simulation::new(seed, None, false).run() {
            Ok(tally) => sum.add(&tally),
            Err(violation) => fail(seed, None, &violation),
        }
        seed += 1;
    }
    println!("{seed} seeds: {sum:?}");
    let faults =
        [sum.kills, sum.killed_by_jobs, sum.stops, sum.losses, sum.rebalances, sum.letters];
    assert!(faults.iter().all(|count| *count > 0), "not every fault came about: {sum:?}");
}

/// Runs seeds until one finds the mistake as it should be found.
fn is_found(at: usize) {
    let (bug, expected, also) = TABLE[at];
    let mut others = 0;
    for seed in 0..SEEDS_MAX {
        match Simulation::new(seed, Some(bug), false).run() {
            Ok(_) => {}
            Err(violation) if violation.invariant == expected => {
                println!("{bug:?}: seed {seed}, after {others} others: {}", violation.what);
                return;
            }
            Err(violation) if also.contains(&violation.invariant) => others += 1,
            Err(violation) => fail(seed, Some(bug), &violation),
        }
    }
    panic!("{bug:?} was not found by {expected:?} in {SEEDS_MAX} seeds; {others} by others");
}

/// A test for each line of the table.
macro_rules! mistakes {
    ($($name:ident)*) => {
        /// The tests in the order of the table.
        #[derive(Clone, Copy)]
        #[expect(non_camel_case_types, reason = "named as the tests are")]
        enum Line { $($name),* }

        mod mistakes {
            $(#[test]
            fn $name() {
                super::is_found(super::Line::$name as usize);
            })*
        }
    };
}

mistakes! {
    early_commit
    commit_of_revoked
    letter_not_awaited
    lane_goes_on
    key_ignored
    claim_apart
    no_claim
    note_ignored
    note_at_another_base
    map_off_by_one
    stale_accepted
    never_resumed
    probe_never_released
    outage_buries
    attempts_forgotten
    accused_side_by_side
    row_not_awaited
    resumed_as_new
    prefix_leaks
    shares_ignored
    clean_on_kill
    clean_mark_kept
    watched_convicts
    outage_convicts
    watch_counts_done
    never_paused
    no_wakeup
    revoked_untold
    letter_twice
    probe_ends_early
    lifted_early
    hold_not_awaited
    quarantines_unread
    newcomers_run
}
