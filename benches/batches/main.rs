//! What lines cost: records a second of one stream of lines, beside a bare rdkafka producer that
//! writes the same records. `scripts/bench` runs it.
//!
//! The bare producer and the client of the stream are in this process; jobgate and Kafka are
//! others. What the bare producer writes lies ready: it parses nothing and checks nothing.
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
#[path = "../../tests/harness/mod.rs"]
mod harness;
#[path = "../../tests/harness/postgres.rs"]
mod postgres;

mod bare;
mod client;

use std::time::Duration;

use common::figures::{median, micros_each, number, per_second, ratio, row, table, target};
use common::process::{cpu_time, peak_mb, resident_mb};
use common::{Scale, kafka, machine};
use harness::{Jobgate, Options};
use uuid::Uuid;

/// The type of all records.
const TYPE: &str = "email.verification";
/// Its topic.
const TOPIC: &str = "waitlist.email.verification";
/// Different payloads; more records than that repeat them.
const PAYLOADS: usize = 10_000;
/// Bytes of each payload.
const PAYLOAD_BYTES: usize = 300;
/// Records a second, as a share of the bare producer's: no less than this.
const RATE_RATIO_MIN: f64 = 0.7;

/// What one round of one side saw.
struct Sample {
    count: usize,
    took: Duration,
    /// CPU of the side's own process: of the bare producer, that of this one.
    cpu: Duration,
    /// CPU of Kafka's.
    kafka_cpu: Duration,
}

/// A side of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Bare,
    Minimal,
    Full,
}

const SIDES: [(Side, &str); 3] = [
    (Side::Bare, "bare rdkafka producer"),
    (Side::Minimal, "lines, `return=minimal`"),
    (Side::Full, "lines, an answer for each"),
];

fn main() {
    common::within_limit(all(Scale::of_arguments()));
}

async fn all(scale: Scale) {
    println!("## Batches\n\n{}", machine::describe());
    let (count, rounds) = scale.pick((1_000_000, 3), (20_000, 1));
    let folder = tempfile::tempdir().expect("a directory");
    let kafka = kafka(folder.path()).await;
    let mut jobgate = Jobgate::start(Options {
        brokers: Some(kafka.bootstrap_servers().to_owned()),
        args: vec!["--role".to_owned(), "gateway".to_owned()],
        env: vec![("DATABASE_URL".to_owned(), postgres::fresh_database())],
        ..Options::default()
    })
    .await;
    let payloads = payloads();
    let pid = u32::try_from(jobgate.pid().as_raw_nonzero().get()).expect("a process id");
    let kafka_pid = kafka.java_id(1).expect("Kafka runs");
    let idle_mb = resident_mb(pid);
    let mut samples: Vec<Vec<Sample>> = SIDES.iter().map(|_| Vec::new()).collect();
    // The first round warms up Kafka's JVM, above all, and does not count.
    for round in 0..=rounds {
        let mut turns: Vec<usize> = (0..SIDES.len()).collect();
        // No side always goes first.
        turns.rotate_left(round % SIDES.len());
        for at in turns {
            let (side, name) = SIDES[at];
            let own_pid = if side == Side::Bare { std::process::id() } else { pid };
            let before = (cpu_time(own_pid), cpu_time(kafka_pid));
            let took = match side {
                Side::Bare => bare::write(kafka.bootstrap_servers(), &payloads, count).await,
                Side::Minimal => client::stream(&jobgate.base, &payloads, count, true).await,
                Side::Full => client::stream(&jobgate.base, &payloads, count, false).await,
            };
            let cpu = cpu_time(own_pid).saturating_sub(before.0);
            let kafka_cpu = cpu_time(kafka_pid).saturating_sub(before.1);
            println!("raw {name}: {count} records in {took:?}, cpu {cpu:?}, Kafka's {kafka_cpu:?}");
            if round > 0 {
                samples[at].push(Sample { count, took, cpu, kafka_cpu });
            }
        }
    }
    let grown_mb = peak_mb(pid) - idle_mb;
    jobgate.terminate().await;
    kafka.stop().await.expect("Kafka stops");
    show(scale, &samples, grown_mb);
}

fn show(scale: Scale, samples: &[Vec<Sample>], grown_mb: f64) {
    let rate = |at: usize| median(&samples[at], |s| per_second(s.count, s.took));
    let mut rows = vec![row(["", "records a second", "ratio", "CPU of each, µs", "Kafka's, µs"])];
    for (at, (_, name)) in SIDES.iter().enumerate() {
        let cpu = median(&samples[at], |s| micros_each(s.cpu, s.count));
        let kafka_cpu = median(&samples[at], |s| micros_each(s.kafka_cpu, s.count));
        let share = ratio(rate(at) / rate(0));
        rows.push(row([name, &number(rate(at)), &share, &number(cpu), &number(kafka_cpu)]));
    }
    table(&format!("One stream, median of {} rounds each", samples[0].len()), &rows);
    println!("\nMemory grew by {} MB at its peak.", number(grown_mb));
    let share = rate(1) / rate(0);
    let what = format!("lines at least {RATE_RATIO_MIN} of a bare producer");
    target(scale, &what, share >= RATE_RATIO_MIN, &ratio(share));
}

/// Mails to users of their own.
fn payloads() -> Vec<(String, String)> {
    let campaign = "7f0c9a52-6b1d-4e3f-8a2b-1c5d7e9f0a11";
    let of_user = |_| {
        let user = Uuid::now_v7();
        // Random, as real ones are: the same again and again would all but vanish when packed.
        let token =
            [user, Uuid::now_v7(), Uuid::now_v7()].map(Uuid::simple).map(|id| id.to_string());
        let text = serde_json::json!({
            "campaign_id": campaign,
            "user_id": user,
            "template_data": {
                "email": "ada@example.com",
                "first_name": "Ada",
                "verification_link": format!("https://example.com/{}", token.concat()),
            }
        });
        let text = text.to_string();
        assert!(text.len().abs_diff(PAYLOAD_BYTES) < 30, "{}", text.len());
        (format!("{campaign}_{user}"), text)
    };
    (0..PAYLOADS).map(of_user).collect()
}
