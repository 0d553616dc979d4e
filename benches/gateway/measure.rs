//! Starts both sides, loads them in turn, and shows what came of it.

use std::time::Duration;

use jobgate::broker::LocalKafka;

use crate::common::figures::{number, ratio, row, table, target};
use crate::common::process::{peak_mb, resident_mb};
use crate::common::{Scale, kafka, machine};
use crate::harness::{Jobgate, Options};
use crate::side::{BESIDE, COMPARED, CONNECTIONS, Sample, Server, measure_all, of_rounds};
use crate::{bare, latency, overload, postgres, tokens};

/// Bytes of payloads: what most have, and a long one.
const SIZES: [usize; 2] = [300, 4_096];
/// Connections at once with tokens: each of them waits for its answer before it sends the next
/// job, so their number says how many jobs can go to Kafka together.
const CROWDS: [usize; 3] = [CONNECTIONS, 256, 640];
/// CPU of a job with a token, as a multiple of the bare handler's: no more than this.
const CPU_RATIO_MAX: f64 = 2.5;
/// Jobs with a token, as a share of what the bare handler answers: no less than this.
const RATE_RATIO_MIN: f64 = 0.48;
/// Memory of an idle process, MB: less than this.
const IDLE_MB_MAX: f64 = 40.0;

/// How long each part takes.
struct Spans {
    /// Before anything is measured: until Kafka's JVM has compiled what it runs.
    warm_up_s: u64,
    /// Before a comparison, one measurement of it, and how often that is made.
    load: (u64, u64, usize),
    /// From ready to idle.
    settle: Duration,
}

/// Memory of a process, MB.
struct Memory {
    idle_mb: f64,
    peak_mb: f64,
}

/// The whole benchmark.
pub(crate) async fn all(scale: Scale) {
    let spans = scale.pick(
        Spans { warm_up_s: 20, load: (5, 10, 3), settle: Duration::from_secs(5) },
        Spans { warm_up_s: 1, load: (1, 1, 1), settle: Duration::from_secs(1) },
    );
    println!("## Gateway\n\n{}", machine::describe());
    let folder = tempfile::tempdir().expect("a directory");
    let kafka = kafka(folder.path()).await;
    with_tokens(scale, &spans, &kafka).await;
    let gateway = without_tokens(scale, &spans, &kafka).await;
    keyed_on_sqlite(&spans, &kafka).await;
    kafka.stop().await.expect("Kafka stops");
    let both = embedded_both(&spans).await;
    show_memory(scale, &gateway, &both);
    overload::measure(scale).await;
}

/// A gateway as in production: Kafka and PostgreSQL are others.
async fn gateway(kafka: &LocalKafka, further: &[(&str, &str)]) -> Jobgate {
    let further = further.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let database = ("DATABASE_URL".to_owned(), postgres::durable_database());
    Jobgate::start(Options {
        brokers: Some(kafka.bootstrap_servers().to_owned()),
        args: vec!["--role".to_owned(), "gateway".to_owned()],
        env: std::iter::once(database).chain(further).collect(),
        ..Options::default()
    })
    .await
}

fn process_of(kafka: &LocalKafka) -> u32 {
    kafka.java_id(1).expect("Kafka runs")
}

/// The measure of all: both sides check who calls.
async fn with_tokens(scale: Scale, spans: &Spans, kafka: &LocalKafka) {
    let mut jobgate = gateway(kafka, &[("JOBGATE_JWT_SECRET", tokens::SECRET)]).await;
    let (mut bare_process, bare) = bare::start().await;
    let token = tokens::token();
    let bare = bare::with_token(&bare, &token);
    let server = Server::of(&jobgate).with_token(&token);
    server.plan(spans.warm_up_s).run().await;
    for connections in CROWDS {
        let sides = [&bare.over(connections), &server.over(connections)];
        let [bare, own] = measure_all(sides, process_of(kafka), spans.load).await;
        show(&format!("{connections} connections, 300 B, HS256 tokens"), &bare, &own, None);
        let cpu = of_rounds(&own, Sample::cpu_us) / of_rounds(&bare, Sample::cpu_us);
        let what = format!(
            "{connections} connections: CPU of a job at most {CPU_RATIO_MAX} times the bare handler's"
        );
        target(scale, &what, cpu <= CPU_RATIO_MAX, &ratio(cpu));
        let rate = of_rounds(&own, Sample::rate) / of_rounds(&bare, Sample::rate);
        let what = format!(
            "{connections} connections: jobs a second at least {RATE_RATIO_MIN} of the bare handler's \
             requests"
        );
        target(scale, &what, rate >= RATE_RATIO_MIN, &ratio(rate));
    }
    bare_process.kill().await.expect("the bare handler ends");
    jobgate.terminate().await;
}

/// Payloads of each size, with an `Idempotency-Key` and without; then at half the rate.
async fn without_tokens(scale: Scale, spans: &Spans, kafka: &LocalKafka) -> Memory {
    let mut jobgate = gateway(kafka, &[]).await;
    let server = Server::of(&jobgate);
    tokio::time::sleep(spans.settle).await;
    let idle_mb = resident_mb(server.pid);
    let (mut bare_process, bare) = bare::start().await;
    let mut peaks = Vec::new();
    for bytes in SIZES {
        let [bare, own] = [&bare, &server].map(|side| side.of_bytes(bytes));
        let keyed = own.keyed();
        let sides = [&bare, &own, &keyed];
        let [of_bare, of_own, of_keyed] = measure_all(sides, process_of(kafka), spans.load).await;
        let title = format!("{CONNECTIONS} connections, {bytes} B, no tokens; keys on PostgreSQL");
        show(&title, &of_bare, &of_own, Some(&of_keyed));
        peaks.push((own, of_rounds(&of_own, Sample::rate)));
        peaks.push((keyed, of_rounds(&of_keyed, Sample::rate)));
    }
    bare_process.kill().await.expect("the bare handler ends");
    let at = (kafka.bootstrap_servers(), process_of(kafka));
    for (side, peak) in &peaks {
        latency::measure(scale, side, at, *peak).await;
    }
    let memory = Memory { idle_mb, peak_mb: peak_mb(server.pid) };
    jobgate.terminate().await;
    memory
}

/// One process with its own Kafka and SQLite, as it is without any settings.
async fn embedded_both(spans: &Spans) -> Memory {
    let mut jobgate = Jobgate::start(Options::default()).await;
    let server = Server::of(&jobgate);
    tokio::time::sleep(spans.settle).await;
    let idle_mb = resident_mb(server.pid);
    // Its workers write a mail for each job meanwhile.
    let tally = server.plan(spans.load.1).run().await;
    println!("raw both: {}", serde_json::to_string(&tally).expect("a tally is JSON"));
    let memory = Memory { idle_mb, peak_mb: peak_mb(server.pid) };
    jobgate.terminate().await;
    memory
}

/// The cost of a key on SQLite: a process without workers to speak of.
async fn keyed_on_sqlite(spans: &Spans, kafka: &LocalKafka) {
    let mut jobgate = Jobgate::start(Options {
        brokers: Some(kafka.bootstrap_servers().to_owned()),
        // No group of mails, so that none is sent meanwhile.
        args: vec!["--groups".to_owned(), "analytics-workers".to_owned()],
        ..Options::default()
    })
    .await;
    let plain = Server::of(&jobgate);
    let sides = [&plain, &plain.keyed()];
    let [plain, keyed] = measure_all(sides, process_of(kafka), spans.load).await;
    jobgate.terminate().await;
    let mut rows = vec![row(["", "without a key", "with an Idempotency-Key", "ratio"])];
    for (name, figure) in COMPARED.into_iter().chain(BESIDE) {
        let (plain, keyed) = (of_rounds(&plain, figure), of_rounds(&keyed, figure));
        rows.push(row([name, &number(plain), &number(keyed), &ratio(keyed / plain)]));
    }
    table(&format!("Idempotency-Key on SQLite, {CONNECTIONS} connections"), &rows);
}

/// Both sides, and what a key adds to ours.
fn show(title: &str, bare: &[Sample], own: &[Sample], keyed: Option<&[Sample]>) {
    let mut head = row(["", "bare axum handler", "jobgate", "to the bare one"]);
    if keyed.is_some() {
        head.extend(row(["with an Idempotency-Key", "to that without"]));
    }
    let mut rows = vec![head];
    for (at, (name, figure)) in COMPARED.into_iter().chain(BESIDE).enumerate() {
        let (bare, own) = (of_rounds(bare, figure), of_rounds(own, figure));
        let compared = |ratio: String| if at < COMPARED.len() { ratio } else { String::new() };
        let mut cells = row([name, &number(bare), &number(own), &compared(ratio(own / bare))]);
        if let Some(keyed) = keyed {
            let keyed = of_rounds(keyed, figure);
            cells.extend([number(keyed), compared(ratio(keyed / own))]);
        }
        rows.push(cells);
    }
    table(title, &rows);
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
