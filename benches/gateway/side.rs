//! One side of a comparison, and what a load sees of it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::common::figures::{median, micros_each, per_second};
use crate::common::process::{busy_time, cpu_time};
use crate::harness::Jobgate;
use crate::load::{Plan, Tally};
use crate::payload::Shape;

/// Connections at once, of either side, where nothing else is said.
pub(crate) const CONNECTIONS: usize = 64;
/// Where jobs are posted.
const JOBS_PATH: &str = "/jobs/email.verification";

/// One side.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) pid: u32,
    pub(crate) address: SocketAddr,
    pub(crate) path: &'static str,
    pub(crate) connections: usize,
    pub(crate) shape: Shape,
}

impl Server {
    /// That of a jobgate, with the usual payload.
    pub(crate) fn of(jobgate: &Jobgate) -> Self {
        let authority = jobgate.base.strip_prefix("http://").expect("an HTTP address");
        Self {
            name: "gateway",
            pid: u32::try_from(jobgate.pid().as_raw_nonzero().get()).expect("a process id"),
            address: authority.parse().expect("an address"),
            path: JOBS_PATH,
            connections: CONNECTIONS,
            shape: Shape::plain(300),
        }
    }

    /// The same, each request with an `Idempotency-Key`.
    pub(crate) fn keyed(&self) -> Self {
        let shape = Shape { is_keyed: true, ..self.shape.clone() };
        Self { name: "keyed", shape, ..self.clone() }
    }

    /// The same with payloads of so many bytes.
    pub(crate) fn of_bytes(&self, bytes: usize) -> Self {
        Self { shape: Shape { bytes, ..self.shape.clone() }, ..self.clone() }
    }

    /// The same over so many connections.
    pub(crate) fn over(&self, connections: usize) -> Self {
        Self { connections, ..self.clone() }
    }

    /// The same, each request with this token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        let shape = Shape { token: Some(token.to_owned()), ..self.shape.clone() };
        Self { shape, ..self.clone() }
    }

    /// A load as large as it takes.
    pub(crate) fn plan(&self, seconds: u64) -> Plan {
        Plan {
            address: self.address,
            path: self.path.to_owned(),
            connections: self.connections,
            seconds,
            rate: None,
            shape: self.shape.clone(),
        }
    }
}

/// What one measurement saw.
pub(crate) struct Sample {
    pub(crate) tally: Tally,
    pub(crate) cpu: Duration,
    kafka_cpu: Duration,
    /// What the machine did besides: near nothing, or the figures are noise.
    others_cpu: Duration,
}

impl Sample {
    /// What is seen of this process while a load is sent.
    pub(crate) async fn of(
        name: &str,
        pid: Option<u32>,
        kafka_pid: u32,
        load: impl Future<Output = Tally>,
    ) -> Self {
        let now = || (pid.map(cpu_time).unwrap_or_default(), cpu_time(kafka_pid), busy_time());
        let before = now();
        let tally = load.await;
        let after = now();
        assert_eq!(tally.refused, 0, "this is no overload");
        // A load that is no client of a server is the side itself.
        let cpu = pid.map_or(tally.cpu, |_| after.0.saturating_sub(before.0));
        let kafka_cpu = after.1.saturating_sub(before.1);
        let own = if pid.is_some() { cpu + tally.cpu } else { cpu };
        let others_cpu = after.2.saturating_sub(before.2).saturating_sub(own + kafka_cpu);
        let shown = serde_json::to_string(&tally).expect("a tally is JSON");
        println!("raw {name}: cpu {cpu:?}, Kafka's {kafka_cpu:?}, others' {others_cpu:?}, {shown}");
        Self { tally, cpu, kafka_cpu, others_cpu }
    }

    pub(crate) fn rate(&self) -> f64 {
        per_second(self.tally.accepted, self.tally.took)
    }

    pub(crate) fn cpu_us(&self) -> f64 {
        micros_each(self.cpu, self.tally.accepted)
    }
}

/// One measurement of a server.
pub(crate) async fn measure(server: &Server, kafka_pid: u32, seconds: u64) -> Sample {
    let plan = server.plan(seconds);
    let Shape { bytes, is_keyed, token } = &server.shape;
    let is_known = token.is_some();
    let Server { name, connections, .. } = server;
    let name =
        format!("{name}, {connections} connections, {bytes} B, key {is_keyed}, token {is_known}");
    Sample::of(&name, Some(server.pid), kafka_pid, plan.run()).await
}

/// Measures several sides in turn, so many rounds; neither always goes first.
pub(crate) async fn measure_all<const N: usize>(
    sides: [&Server; N],
    kafka_pid: u32,
    (warm_up_s, measured_s, rounds): (u64, u64, usize),
) -> [Vec<Sample>; N] {
    for server in sides {
        server.plan(warm_up_s).run().await;
    }
    let mut samples = std::array::from_fn(|_| Vec::new());
    for round in 0..rounds {
        let mut turns: Vec<usize> = (0..N).collect();
        turns.rotate_left(round % N);
        for at in turns {
            samples[at].push(measure(sides[at], kafka_pid, measured_s).await);
        }
    }
    samples
}

/// A line of a table: its name, and what it reads off a sample.
pub(crate) type Line = (&'static str, fn(&Sample) -> f64);

/// What sides are compared by.
pub(crate) const COMPARED: [Line; 5] = [
    ("accepted per second", Sample::rate),
    ("CPU of each, µs", Sample::cpu_us),
    ("p50, ms", |s| f64::from(s.tally.p50_us) / 1e3),
    ("p99, ms", |s| f64::from(s.tally.p99_us) / 1e3),
    ("longest, ms", |s| f64::from(s.tally.longest_us) / 1e3),
];

/// What explains it: what else ran on the cores.
pub(crate) const BESIDE: [Line; 3] = [
    ("Kafka's CPU of each, µs", |s| micros_each(s.kafka_cpu, s.tally.accepted)),
    ("the load's CPU of each, µs", |s| micros_each(s.tally.cpu, s.tally.accepted)),
    ("CPU of all else on the machine, share of a core", |s| {
        s.others_cpu.as_secs_f64() / s.tally.took.as_secs_f64()
    }),
];

/// The middle one of the rounds.
pub(crate) fn of_rounds(samples: &[Sample], figure: fn(&Sample) -> f64) -> f64 {
    median(samples, figure)
}
