//! What jobgate adds to an acknowledgement of Kafka while there is half as much to do as it can.

use crate::common::Scale;
use crate::common::figures::{number, row, table, target};
use crate::load::Plan;
use crate::payload::Shape;
use crate::side::{COMPARED, Sample, Server, of_rounds};
use crate::{committed, direct, postgres};

/// Added to a direct produce, ms: in the median, no more than this.
const ADDED_P50_MS_MAX: f64 = 1.0;
/// The same at the 99th percentile.
const ADDED_P99_MS_MAX: f64 = 3.0;

fn p50_ms(sample: &Sample) -> f64 {
    f64::from(sample.tally.p50_us) / 1e3
}

fn p99_ms(sample: &Sample) -> f64 {
    f64::from(sample.tally.p99_us) / 1e3
}

/// The gateway at half of its peak rate, and a producer of the same records at the same one.
pub(crate) async fn measure(
    scale: Scale,
    gateway: &Server,
    (brokers, kafka_pid): (&str, u32),
    peak: f64,
) {
    let (seconds, rounds) = scale.pick((10, 3), (1, 1));
    let plan = Plan { rate: Some(peak / 2.0), ..gateway.plan(seconds) };
    let (mut over_http, mut produced) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let load = plan.run();
        let name = format!("half load, {}", gateway.name);
        over_http.push(Sample::of(&name, Some(gateway.pid), kafka_pid, load).await);
        let load = direct::run(brokers, &plan);
        produced.push(Sample::of("half load, direct", None, kafka_pid, load).await);
    }
    let mut rows = vec![row(["", "direct rdkafka produce", "jobgate", "added"])];
    for (name, figure) in COMPARED {
        let (direct, own) = (of_rounds(&produced, figure), of_rounds(&over_http, figure));
        rows.push(row([name, &number(direct), &number(own), &number(own - direct)]));
    }
    let Shape { bytes, is_keyed, .. } = gateway.shape;
    let key = if is_keyed { ", each with an Idempotency-Key" } else { "" };
    table(&format!("At half of the peak rate, {bytes} B{key}"), &rows);
    if is_keyed {
        show_commits(&plan).await;
    }
    let added = |figure| of_rounds(&over_http, figure) - of_rounds(&produced, figure);
    for (what, added, most) in [
        ("in the median", added(p50_ms), ADDED_P50_MS_MAX),
        ("at p99", added(p99_ms), ADDED_P99_MS_MAX),
    ] {
        let what = format!("{bytes} B{key}: less than {most} ms added {what}");
        target(scale, &what, added < most, &number(added));
    }
}

/// What the one commit that a request with a key waits for takes by itself, at this rate.
async fn show_commits(plan: &Plan) {
    let tally = committed::run(&postgres::durable_database(), plan).await;
    let rows = [
        row(["", "a bare INSERT, committed"]),
        row(["p50, ms", &number(f64::from(tally.p50_us) / 1e3)]),
        row(["p99, ms", &number(f64::from(tally.p99_us) / 1e3)]),
    ];
    table("The same PostgreSQL at this rate", &rows);
}
