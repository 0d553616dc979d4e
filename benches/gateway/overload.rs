//! More connections than can be served: whether those who are served notice.

use crate::common::figures::{number, per_second, ratio, row, table, target};
use crate::common::process::peak_mb;
use crate::common::{Scale, kafka};
use crate::harness::{Jobgate, Options};
use crate::load::{Plan, Tally};
use crate::postgres;
use crate::side::Server;

/// Connections: as many as make the most of it, ten times as many, and more than requests may
/// be answered at once, each coming back at once whatever it is told.
const CONNECTIONS: [usize; 3] = [64, 640, 2_000];
/// What must be left of the best rate.
const GOODPUT_MIN: f64 = 0.9;
/// How long a refusal may take, ms, at the 99th percentile.
const REFUSAL_MS_MAX: f64 = 100.0;
/// Memory at the most, MB.
const PEAK_MB_MAX: f64 = 256.0;

/// A gateway as in production, under each number of connections in turn.
pub(crate) async fn measure(scale: Scale) {
    let (warm_up_s, seconds, rounds) = scale.pick((5, 8, 3), (1, 1, 1));
    let folder = tempfile::tempdir().expect("a directory");
    let kafka = kafka(folder.path()).await;
    let mut jobgate = Jobgate::start(Options {
        brokers: Some(kafka.bootstrap_servers().to_owned()),
        args: ["--role", "gateway", "--connections-per-address", "2048"].map(str::to_owned).into(),
        env: vec![("DATABASE_URL".to_owned(), postgres::fresh_database())],
        ..Options::default()
    })
    .await;
    let server = Server::of(&jobgate);
    let plan_of = |connections, seconds| Plan { connections, ..server.plan(seconds) };
    plan_of(CONNECTIONS[0], warm_up_s).run().await;
    let mut seen: [Vec<Tally>; CONNECTIONS.len()] = Default::default();
    for _ in 0..rounds {
        for (connections, seen) in CONNECTIONS.iter().zip(&mut seen) {
            let tally = plan_of(*connections, seconds).run().await;
            let shown = serde_json::to_string(&tally).expect("a tally is JSON");
            println!("raw overload, {connections} connections: {shown}");
            seen.push(tally);
        }
    }
    let peak = peak_mb(server.pid);
    println!("raw overload, peak: {peak} MB");
    jobgate.terminate().await;
    kafka.stop().await.expect("Kafka stops");
    show(scale, &seen, peak);
}

fn show(scale: Scale, seen: &[Vec<Tally>; CONNECTIONS.len()], peak: f64) {
    let median =
        |of: usize, figure: fn(&Tally) -> f64| crate::common::figures::median(&seen[of], figure);
    let rate = |tally: &Tally| per_second(tally.accepted, tally.took);
    let best = median(0, rate).max(median(1, rate));
    let mut rows = vec![row([
        "connections",
        "accepted, to the best",
        "p50, ms",
        "p99, ms",
        "refused, to accepted",
        "p99 of refusals, ms",
        "longest of them, ms",
    ])];
    for (of, connections) in CONNECTIONS.iter().enumerate() {
        let ms = |figure: fn(&Tally) -> f64| number(median(of, figure));
        rows.push(vec![
            connections.to_string(),
            ratio(median(of, rate) / best),
            ms(|tally| f64::from(tally.p50_us) / 1e3),
            ms(|tally| f64::from(tally.p99_us) / 1e3),
            ratio(median(of, |tally| tally.refused as f64 / tally.accepted as f64)),
            ms(|tally| f64::from(tally.refused_p99_us) / 1e3),
            ms(|tally| f64::from(tally.refused_longest_us) / 1e3),
        ]);
    }
    table("Overload", &rows);
    for (of, connections) in CONNECTIONS.iter().enumerate().skip(1) {
        let goodput = median(of, rate) / best;
        let what = format!("{connections} connections: at least {GOODPUT_MIN} of the best rate");
        target(scale, &what, goodput >= GOODPUT_MIN, &ratio(goodput));
    }
    let refusal_ms = median(2, |tally| f64::from(tally.refused_p99_us) / 1e3);
    let what = format!("a refusal within {REFUSAL_MS_MAX} ms at p99");
    target(scale, &what, refusal_ms <= REFUSAL_MS_MAX, &number(refusal_ms));
    let what = format!("memory under overload at most {PEAK_MB_MAX} MB");
    target(scale, &what, peak <= PEAK_MB_MAX, &number(peak));
}
