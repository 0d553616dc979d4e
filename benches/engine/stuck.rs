//! A key that is stuck with everything behind it in one partition: how fast the others go on,
//! what that takes of memory, and what runs again after a crash.

use std::path::Path;

use jobgate::domain::commit_note::CommitNote;
use jobgate::domain::offset_map::DoneRanges;
use uuid::Uuid;

use crate::alone::{Alone, Plan, STUCK_KEY, Seen};
use crate::common::Scale;
use crate::common::figures::{micros_each, number, per_second, ratio, row, table, target};
use crate::common::jobs::{Jobs, offset};
use crate::types::{STUCK, payload};

/// The rate beside a stuck key, as a share of the rate without one: no less than this.
const RATE_SHARE_MIN: f64 = 0.8;
/// Memory at most beside a stuck key, as a multiple of that without one: no more than this,
/// however many records are done behind it.
const PEAK_RATIO_MAX: f64 = 1.25;

/// Measures and shows it. Fails if what was done above the commit runs again.
pub(crate) async fn measure(scale: Scale, brokers: &str, folder: &Path) {
    let others = scale.pick(1_000_000, 20_000);
    let count = others + 1;
    let jobs = Jobs::open(brokers, STUCK).await;
    jobs.enqueue(&payload(STUCK_KEY)).await;
    jobs.fill(others, |_| payload(&Uuid::now_v7().to_string())).await;
    let plan = |group: &str, expected, is_stuck| Plan {
        brokers: brokers.to_owned(),
        folder: folder.to_owned(),
        group: group.to_owned(),
        expected,
        is_stuck,
    };

    let mut pool = Alone::start(&plan("nothing-stuck", others, false));
    let free = pool.seen().await;
    pool.stop().await;

    let mut pool = Alone::start(&plan("one-stuck", others, true));
    let stuck = pool.seen().await;
    // The commit stays where the stuck job is, and says that all others are done.
    jobs.commits_until("one-stuck", |commits| {
        commits.values().flatten().any(|commit| {
            let note = CommitNote::decode(commit.offset, &commit.note);
            commit.offset == 0 && note.done_above == DoneRanges::between(0, offset(count), [0])
        })
    })
    .await;
    pool.kill().await;

    let mut pool = Alone::start(&plan("one-stuck", 1, false));
    pool.seen().await;
    jobs.committed_by("one-stuck", count).await;
    let executions = pool.stop().await;

    show(scale, others, free, stuck);
    println!(
        "\nAfter `kill -9` and a restart: {executions} of {count} records ran, the stuck one among them."
    );
    assert_eq!(executions, 1, "what is done above the commit does not run again");
}

fn show(scale: Scale, others: usize, free: Seen, stuck: Seen) {
    let head = [
        "",
        "records per second",
        "CPU of each, µs",
        "resident before, MB",
        "at the end",
        "at most",
    ];
    let mut rows = vec![row(head)];
    let rate = |seen: Seen| per_second(others, seen.took);
    for (name, seen) in [("nothing stuck", free), ("one key stuck", stuck)] {
        println!("raw {name}: {}", serde_json::to_string(&seen).expect("JSON"));
        let cpu_us = number(micros_each(seen.cpu, others));
        let memory = [seen.before_mb, seen.end_mb, seen.peak_mb].map(number);
        rows.push(row([name, &number(rate(seen)), &cpu_us, &memory[0], &memory[1], &memory[2]]));
    }
    table(&format!("{others} records in one partition behind the first, no-op handler"), &rows);
    let share = rate(stuck) / rate(free);
    let what = format!("beside a stuck key at least {RATE_SHARE_MIN} of the rate without one");
    target(scale, &what, share >= RATE_SHARE_MIN, &ratio(share));
    let peak = stuck.peak_mb / free.peak_mb;
    let what = format!("beside a stuck key at most {PEAK_RATIO_MAX} times the memory");
    target(scale, &what, peak <= PEAK_RATIO_MAX, &ratio(peak));
}
