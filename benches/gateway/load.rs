//! The load: connections that each send the next request once the last one is answered. A
//! process of its own, on one thread, so that its work is not counted as the server's.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::common::process::cpu_time;
use crate::payload::Request;

/// The argument that makes this program the load.
pub(crate) const COMMAND: &str = "load";
/// What both sides answer when all is well.
const ACCEPTED: u16 = 202;
/// What is answered to more than can be answered soon.
const REFUSED: u16 = 503;

/// What to send where.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    pub(crate) connections: usize,
    pub(crate) seconds: u64,
    /// Whether each request has an `Idempotency-Key`.
    pub(crate) is_keyed: bool,
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
    /// What [`Plan::run`] passes on.
    pub(crate) fn of_arguments(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut next = || arguments.next().expect("ADDRESS PATH CONNECTIONS SECONDS IS_KEYED");
        Self {
            address: next().parse().expect("an address"),
            path: next(),
            connections: next().parse().expect("a number of connections"),
            seconds: next().parse().expect("a number of seconds"),
            is_keyed: next().parse().expect("true or false"),
        }
    }

    /// Sends the load from a process of its own.
    pub(crate) async fn run(&self) -> Tally {
        let output = Command::new(std::env::current_exe().expect("this program"))
            .arg(COMMAND)
            .arg(self.address.to_string())
            .arg(&self.path)
            .arg(self.connections.to_string())
            .arg(self.seconds.to_string())
            .arg(self.is_keyed.to_string())
            .kill_on_drop(true)
            .output()
            .await
            .expect("the load runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the load ended early: {said}");
        serde_json::from_slice(&output.stdout).expect("a tally")
    }
}

/// Sends the load and prints the tally.
pub(crate) fn run(plan: &Plan) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime of one thread");
    let tally = runtime.block_on(send(plan));
    println!("{}", serde_json::to_string(&tally).expect("a tally is JSON"));
}

async fn send(plan: &Plan) -> Tally {
    let begun = Instant::now();
    let until = begun + Duration::from_secs(plan.seconds);
    // No user of one run is met in another.
    let first_user = Uuid::now_v7().as_u128() & !u128::from(u64::MAX);
    let mut connections = JoinSet::new();
    for number in 0..plan.connections {
        let plan = plan.clone();
        let first_user = first_user | ((number as u128) << 40);
        connections.spawn(async move { keep_sending(&plan, first_user, until).await });
    }
    let (mut accepted_us, mut refused_us) = (Vec::new(), Vec::new());
    for latencies in connections.join_all().await {
        accepted_us.extend(latencies.accepted_us);
        refused_us.extend(latencies.refused_us);
    }
    let took = begun.elapsed();
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
struct Latencies {
    accepted_us: Vec<u32>,
    refused_us: Vec<u32>,
}

/// One connection's requests, one after the other.
async fn keep_sending(plan: &Plan, first_user: u128, until: Instant) -> Latencies {
    let mut stream = TcpStream::connect(plan.address).await.expect("a connection");
    stream.set_nodelay(true).expect("a TCP stream");
    let mut request = Request::new(&plan.address.to_string(), &plan.path, plan.is_keyed);
    let mut answer = Vec::with_capacity(4096);
    let mut latencies = Latencies::default();
    loop {
        let begun = Instant::now();
        if begun >= until {
            return latencies;
        }
        let user = Uuid::from_u128(first_user | latencies.accepted_us.len() as u128);
        stream.write_all(request.of_user(user)).await.expect("a request goes out");
        let status = read_answer(&mut stream, &mut answer).await;
        let text = || String::from_utf8_lossy(&answer).into_owned();
        let took_us = u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX);
        match status {
            ACCEPTED => latencies.accepted_us.push(took_us),
            REFUSED => latencies.refused_us.push(took_us),
            _ => panic!("{}", text()),
        }
    }
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
