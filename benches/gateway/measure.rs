//! Starts both sides, loads them in turn, and shows what came of it.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::common::figures::{median, micros_each, number, per_second, ratio, row, table, target};
use crate::common::process::{busy_time, cpu_time, peak_mb, resident_mb};
use crate::common::{Scale, kafka, machine};
use crate::harness::{Jobgate, Options};
use crate::load::{Plan, Tally};
use crate::{bare, postgres};

/// Connections at once, of either side.
const CONNECTIONS: usize = 64;
/// Where jobs are posted.
const JOBS_PATH: &str = "/jobs/email.verification";
/// CPU of a job, as a multiple of the bare handler's: no more than this.
const CPU_RATIO_MAX: f64 = 3.0;
/// Memory of an idle process, MB: less than this.
const IDLE_MB_MAX: f64 = 40.0;

/// How long each part takes.
struct Spans {
    /// Before anything is measured: Kafka's JVM has to warm up, above all.
    warm_up_s: u64,
    /// One measurement.
    measured_s: u64,
    rounds: usize,
    /// From ready to idle.
    settle: Duration,
}

/// One side.
#[derive(Clone)]
pub(crate) struct Server {
    name: &'static str,
    pub(crate) pid: u32,
    address: SocketAddr,
    path: &'static str,
    /// Whether each request has an `Idempotency-Key`.
    is_keyed: bool,
}

/// What one measurement saw.
struct Sample {
    tally: Tally,
    cpu: Duration,
    kafka_cpu: Duration,
    /// What the machine did besides: near nothing, or the figures are noise.
    others_cpu: Duration,
}

/// Memory of a process, MB.
struct Memory {
    idle_mb: f64,
    peak_mb: f64,
}

/// The whole benchmark.
pub(crate) async fn all(scale: Scale) {
    let spans = scale.pick(
        Spans { warm_up_s: 8, measured_s: 12, rounds: 3, settle: Duration::from_secs(5) },
        Spans { warm_up_s: 1, measured_s: 2, rounds: 1, settle: Duration::from_secs(1) },
    );
    println!("## Gateway\n\n{}", machine::describe());
    let gateway = split_gateway(scale, &spans).await;
    keyed_on_sqlite(&spans).await;
    let both = embedded_both(&spans).await;
    show_memory(scale, &gateway, &both);
    crate::overload::measure(scale).await;
}

/// A gateway as in production: Kafka and PostgreSQL are others.
async fn split_gateway(scale: Scale, spans: &Spans) -> Memory {
    let folder = tempfile::tempdir().expect("a directory");
    let kafka = kafka(folder.path()).await;
    let mut jobgate = Jobgate::start(Options {
        brokers: Some(kafka.bootstrap_servers().to_owned()),
        args: vec!["--role".to_owned(), "gateway".to_owned()],
        env: vec![("DATABASE_URL".to_owned(), postgres::fresh_database())],
        ..Options::default()
    })
    .await;
    let gateway = server_of(&jobgate);
    tokio::time::sleep(spans.settle).await;
    let idle_mb = resident_mb(gateway.pid);

    let (mut bare_process, bare) = start_bare().await;
    let kafka_pid = kafka.java_id(1).expect("Kafka runs");
    let keyed = keyed(&gateway);
    for server in [&bare, &gateway, &keyed] {
        plan(server, spans.warm_up_s).run().await;
    }
    let (mut bare_samples, mut gateway_samples) = (Vec::new(), Vec::new());
    let mut keyed_samples = Vec::new();
    for round in 0..spans.rounds {
        let mut turns = [
            (&bare, &mut bare_samples),
            (&gateway, &mut gateway_samples),
            (&keyed, &mut keyed_samples),
        ];
        // Neither side always goes first.
        if round % 2 == 1 {
            turns.reverse();
        }
        for (server, samples) in turns {
            samples.push(measure(server, kafka_pid, spans.measured_s).await);
        }
    }
    let memory = Memory { idle_mb, peak_mb: peak_mb(gateway.pid) };
    bare_process.kill().await.expect("the bare handler ends");
    jobgate.terminate().await;
    kafka.stop().await.expect("Kafka stops");
    show_load(scale, &bare_samples, &gateway_samples);
    show_keyed("PostgreSQL, a gateway", &gateway_samples, &keyed_samples);
    memory
}

/// One process with its own Kafka and SQLite, as it is without any settings.
async fn embedded_both(spans: &Spans) -> Memory {
    let mut jobgate = Jobgate::start(Options::default()).await;
    let server = server_of(&jobgate);
    tokio::time::sleep(spans.settle).await;
    let idle_mb = resident_mb(server.pid);
    // Its workers write a mail for each job meanwhile.
    let tally = plan(&server, spans.measured_s).run().await;
    println!("raw both: {}", serde_json::to_string(&tally).expect("a tally is JSON"));
    let memory = Memory { idle_mb, peak_mb: peak_mb(server.pid) };
    jobgate.terminate().await;
    memory
}

/// The cost of a key on SQLite: a process without workers to speak of, on a Kafka of its own.
async fn keyed_on_sqlite(spans: &Spans) {
    let folder = tempfile::tempdir().expect("a directory");
    let kafka = kafka(folder.path()).await;
    let mut jobgate = Jobgate::start(Options {
        brokers: Some(kafka.bootstrap_servers().to_owned()),
        // No group of mails, so that none is sent meanwhile.
        args: vec!["--groups".to_owned(), "analytics-workers".to_owned()],
        ..Options::default()
    })
    .await;
    let plain = server_of(&jobgate);
    let keyed = keyed(&plain);
    let kafka_pid = kafka.java_id(1).expect("Kafka runs");
    let (mut plain_samples, mut keyed_samples) = (Vec::new(), Vec::new());
    for server in [&plain, &keyed] {
        plan(server, spans.warm_up_s).run().await;
    }
    for _ in 0..spans.rounds {
        plain_samples.push(measure(&plain, kafka_pid, spans.measured_s).await);
        keyed_samples.push(measure(&keyed, kafka_pid, spans.measured_s).await);
    }
    jobgate.terminate().await;
    kafka.stop().await.expect("Kafka stops");
    show_keyed("SQLite", &plain_samples, &keyed_samples);
}

fn keyed(plain: &Server) -> Server {
    Server { name: "keyed", is_keyed: true, ..plain.clone() }
}

pub(crate) fn server_of(jobgate: &Jobgate) -> Server {
    let authority = jobgate.base.strip_prefix("http://").expect("an HTTP address");
    Server {
        name: "gateway",
        pid: u32::try_from(jobgate.pid().as_raw_nonzero().get()).expect("a process id"),
        address: authority.parse().expect("an address"),
        path: JOBS_PATH,
        is_keyed: false,
    }
}

async fn start_bare() -> (Child, Server) {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .arg(bare::COMMAND)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the bare handler starts");
    let stdout = child.stdout.take().expect("its output");
    let line = BufReader::new(stdout).lines().next_line().await.expect("its output");
    let address = line.expect("its address").parse().expect("an address");
    let pid = child.id().expect("it runs");
    (child, Server { name: "bare", pid, address, path: bare::PATH, is_keyed: false })
}

pub(crate) fn plan(server: &Server, seconds: u64) -> Plan {
    Plan {
        address: server.address,
        path: server.path.to_owned(),
        connections: CONNECTIONS,
        seconds,
        is_keyed: server.is_keyed,
    }
}

async fn measure(server: &Server, kafka_pid: u32, seconds: u64) -> Sample {
    let now = || (cpu_time(server.pid), cpu_time(kafka_pid), busy_time());
    let before = now();
    let tally = plan(server, seconds).run().await;
    let after = now();
    assert_eq!(tally.refused, 0, "this is no overload");
    let cpu = after.0.saturating_sub(before.0);
    let kafka_cpu = after.1.saturating_sub(before.1);
    let others_cpu = after.2.saturating_sub(before.2).saturating_sub(cpu + kafka_cpu + tally.cpu);
    let shown = serde_json::to_string(&tally).expect("a tally is JSON");
    println!(
        "raw {}: cpu {cpu:?}, Kafka's {kafka_cpu:?}, others' {others_cpu:?}, {shown}",
        server.name
    );
    Sample { tally, cpu, kafka_cpu, others_cpu }
}

/// A line of the table: its name, and what it reads off a sample.
type Line = (&'static str, fn(&Sample) -> f64);

/// What both sides are compared by.
const COMPARED: [Line; 5] = [
    ("accepted per second", |s| per_second(s.tally.accepted, s.tally.took)),
    ("CPU of each, µs", cpu_us),
    ("p50, ms", |s| f64::from(s.tally.p50_us) / 1e3),
    ("p99, ms", |s| f64::from(s.tally.p99_us) / 1e3),
    ("longest, ms", |s| f64::from(s.tally.longest_us) / 1e3),
];

/// What explains it: whether the load was the bottleneck, and what else ran on the cores.
const BESIDE: [Line; 3] = [
    ("CPU of the load, share of a core", |s| {
        s.tally.cpu.as_secs_f64() / s.tally.took.as_secs_f64()
    }),
    ("Kafka's CPU of each, µs", |s| micros_each(s.kafka_cpu, s.tally.accepted)),
    ("CPU of all else on the machine, share of a core", |s| {
        s.others_cpu.as_secs_f64() / s.tally.took.as_secs_f64()
    }),
];

fn cpu_us(sample: &Sample) -> f64 {
    micros_each(sample.cpu, sample.tally.accepted)
}

fn show_load(scale: Scale, bare: &[Sample], gateway: &[Sample]) {
    let title = format!("{CONNECTIONS} connections, median of {} rounds each", bare.len());
    let mut rows = vec![row(["", "bare axum handler", "jobgate", "ratio"])];
    for (name, figure) in COMPARED {
        let (bare, gateway) = (median(bare, figure), median(gateway, figure));
        rows.push(row([name, &number(bare), &number(gateway), &ratio(gateway / bare)]));
    }
    for (name, figure) in BESIDE {
        let (bare, gateway) = (median(bare, figure), median(gateway, figure));
        rows.push(row([name, &number(bare), &number(gateway), ""]));
    }
    table(&title, &rows);
    let cpu = median(gateway, cpu_us) / median(bare, cpu_us);
    let what = format!("CPU of a job at most {CPU_RATIO_MAX} times the bare handler's");
    target(scale, &what, cpu <= CPU_RATIO_MAX, &ratio(cpu));
}

fn show_keyed(database: &str, plain: &[Sample], keyed: &[Sample]) {
    let mut rows = vec![row(["", "without a key", "with an Idempotency-Key", "ratio"])];
    for (name, figure) in COMPARED {
        let (plain, keyed) = (median(plain, figure), median(keyed, figure));
        rows.push(row([name, &number(plain), &number(keyed), &ratio(keyed / plain)]));
    }
    for (name, figure) in BESIDE {
        let (plain, keyed) = (median(plain, figure), median(keyed, figure));
        rows.push(row([name, &number(plain), &number(keyed), ""]));
    }
    let title = format!("Idempotency-Key on {database}, {CONNECTIONS} connections");
    table(&title, &rows);
}

fn show_memory(scale: Scale, gateway: &Memory, both: &Memory) {
    let mut rows = vec![row(["resident memory, MB", "idle", "peak under load"])];
    for (name, memory) in
        [("`--role=gateway`", gateway), ("`--role=both`, without its Kafka", both)]
    {
        rows.push(row([name, &number(memory.idle_mb), &number(memory.peak_mb)]));
    }
    table("Memory", &rows);
    let idle_mb = gateway.idle_mb.max(both.idle_mb);
    let what = format!("less than {IDLE_MB_MAX} MB when idle");
    target(scale, &what, idle_mb < IDLE_MB_MAX, &number(idle_mb));
}
