//! The load: connections that each send the next request once the last one is answered, as fast
//! as they can or at a pace. A process of its own, on one thread, so that its work is not
//! counted as the server's.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use uuid::Uuid;

use crate::common::process::cpu_time;
use crate::payload::{Shape, Template};

/// The argument that makes this program the load.
pub(crate) const COMMAND: &str = "load";
/// What both sides answer when all is well.
const ACCEPTED: u16 = 202;
/// What is answered to more than can be answered soon.
const REFUSED: u16 = 503;

/// What to send where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    pub(crate) connections: usize,
    pub(crate) seconds: u64,
    /// Requests a second of all connections together; none for as many as there can be.
    pub(crate) rate: Option<f64>,
    pub(crate) shape: Shape,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// Requests that were accepted; any answer but this and a refusal ends the load.
    pub(crate) accepted: usize,
    /// Requests that were refused for the time being. Their client comes back at once.
    pub(crate) refused: usize,
    pub(crate) refused_p99_us: u32,
    pub(crate) refused_longest_us: u32,
    /// From the first request to the last answer.
    pub(crate) took: Duration,
    pub(crate) p50_us: u32,
    pub(crate) p99_us: u32,
    pub(crate) longest_us: u32,
    /// The load's own CPU time.
    pub(crate) cpu: Duration,
}

impl Plan {
    /// What [`spawn`] passes on.
    pub(crate) fn of_argument(argument: Option<String>) -> Self {
        serde_json::from_str(&argument.expect("a plan")).expect("a plan is JSON")
    }

    /// Sends the load from a process of its own.
    pub(crate) async fn run(&self) -> Tally {
        spawn(&[COMMAND], self).await
    }
}

/// Starts this program again with these arguments and a plan.
pub(crate) async fn spawn(arguments: &[&str], plan: &Plan) -> Tally {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(arguments)
        .arg(serde_json::to_string(plan).expect("a plan is JSON"))
        .kill_on_drop(true)
        .output()
        .await
        .expect("the load runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the load ended early: {said}");
    serde_json::from_slice(&output.stdout).expect("a tally")
}

/// Sends the load and prints the tally.
pub(crate) fn run(plan: &Plan) {
    let connection = async |number: usize, paced: Paced| keep_sending(plan, number, paced).await;
    print(&tally_of(plan, connection));
}

pub(crate) fn print(tally: &Tally) {
    println!("{}", serde_json::to_string(tally).expect("a tally is JSON"));
}

/// When the requests of one connection begin.
pub(crate) struct Paced {
    until: Instant,
    /// From one to the next at least, and when the next one may.
    pace: Option<(Duration, Instant)>,
}

impl Paced {
    fn new(plan: &Plan, number: usize, begun: Instant) -> Self {
        let pace = plan.rate.map(|rate| {
            let each = Duration::from_secs_f64(plan.connections as f64 / rate);
            // The connections begin one after the other.
            (each, begun + each.mul_f64(number as f64 / plan.connections as f64))
        });
        Self { until: begun + Duration::from_secs(plan.seconds), pace }
    }

    /// Waits until the next one may begin. Returns when it did; none when it is over.
    pub(crate) async fn next(&mut self) -> Option<Instant> {
        if let Some((each, at)) = &mut self.pace {
            tokio::time::sleep_until((*at).into()).await;
            // What came late is not made up for.
            *at = (*at + *each).max(Instant::now());
        }
        Some(Instant::now()).filter(|now| *now < self.until)
    }
}

/// No user of one run is met in another.
pub(crate) fn first_user(number: usize) -> u128 {
    (Uuid::now_v7().as_u128() & !u128::from(u64::MAX)) | ((number as u128) << 40)
}

/// Runs every connection to its end, on one thread.
pub(crate) fn tally_of(plan: &Plan, connection: impl AsyncFn(usize, Paced) -> Latencies) -> Tally {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime of one thread");
    let begun = Instant::now();
    let connections =
        (0..plan.connections).map(|number| connection(number, Paced::new(plan, number, begun)));
    let all = runtime.block_on(join_all(connections));
    let took = begun.elapsed();
    let (mut accepted_us, mut refused_us) = (Vec::new(), Vec::new());
    for latencies in all {
        accepted_us.extend(latencies.accepted_us);
        refused_us.extend(latencies.refused_us);
    }
    accepted_us.sort_unstable();
    refused_us.sort_unstable();
    let percentile = |latencies_us: &[u32], percent: usize| {
        let last = latencies_us.len().saturating_sub(1);
        latencies_us.get(last * percent / 100).copied().unwrap_or_default()
    };
    Tally {
        accepted: accepted_us.len(),
        refused: refused_us.len(),
        refused_p99_us: percentile(&refused_us, 99),
        refused_longest_us: percentile(&refused_us, 100),
        took,
        p50_us: percentile(&accepted_us, 50),
        p99_us: percentile(&accepted_us, 99),
        longest_us: percentile(&accepted_us, 100),
        cpu: cpu_time(std::process::id()),
    }
}

/// How long the requests of a connection took, in us.
#[derive(Default)]
pub(crate) struct Latencies {
    accepted_us: Vec<u32>,
    refused_us: Vec<u32>,
}

impl Latencies {
    /// How many were accepted.
    pub(crate) fn len(&self) -> usize {
        self.accepted_us.len()
    }

    /// One that began then is accepted now.
    pub(crate) fn accept(&mut self, begun: Instant) {
        self.accepted_us.push(took_us(begun));
    }
}

fn took_us(begun: Instant) -> u32 {
    u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX)
}

/// One connection's requests, one after the other.
async fn keep_sending(plan: &Plan, number: usize, mut paced: Paced) -> Latencies {
    let mut stream = TcpStream::connect(plan.address).await.expect("a connection");
    stream.set_nodelay(true).expect("a TCP stream");
    let mut request = Template::request(&plan.address.to_string(), &plan.path, &plan.shape);
    let mut answer = Vec::with_capacity(4096);
    let mut latencies = Latencies::default();
    let first_user = first_user(number);
    while let Some(begun) = paced.next().await {
        let user = Uuid::from_u128(first_user | latencies.len() as u128);
        stream.write_all(request.of_user(user)).await.expect("a request goes out");
        match read_answer(&mut stream, &mut answer).await {
            ACCEPTED => latencies.accept(begun),
            REFUSED => latencies.refused_us.push(took_us(begun)),
            _ => panic!("{}", String::from_utf8_lossy(&answer)),
        }
    }
    latencies
}

/// Reads a whole answer into the buffer, head and body, and returns its status.
async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> u16 {
    answer.clear();
    let mut length = None;
    loop {
        let read = stream.read_buf(answer).await.expect("an answer comes");
        assert!(read > 0, "the connection was closed in the middle of an answer");
        if length.is_none() {
            length = whole_length(answer);
        }
        if length.is_some_and(|length| answer.len() >= length) {
            let status = answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
            return status.and_then(|digits| digits.parse().ok()).expect("a status");
        }
    }
}

/// How long an answer is with its body, once its head is there.
fn whole_length(answer: &[u8]) -> Option<usize> {
    let head_length = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..head_length]).expect("a head of ASCII");
    let body_length: usize = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .expect("a Content-Length");
    Some(head_length + body_length)
}
