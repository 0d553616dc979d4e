//! Clients that hold a connection and give nothing for it.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{Jobgate, Options};
use crate::raw::{Heard, SOON, address, connect, listen, status};

/// How long a head may take, and a body its first byte; and how much more the test bears.
const HEAD: Duration = Duration::from_secs(15);
const BODY: Duration = Duration::from_secs(10);
const SLACK: Duration = Duration::from_secs(4);
/// How long a request may take beside those, on a busy machine.
const SERVED: Duration = Duration::from_secs(5);
/// What the connections of these tests may be silent after an answer.
const KEEP_ALIVE: Duration = Duration::from_secs(3);

async fn start() -> Jobgate {
    let keep_alive = format!("{}s", KEEP_ALIVE.as_secs());
    let args = vec!["--keep-alive".to_owned(), keep_alive];
    Jobgate::start(Options { args, ..Options::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_drips_is_cut_when_its_time_is_over() {
    let jobgate = start().await;
    let host = address(&jobgate.base);
    let post = "POST /jobs/email.verification HTTP/1.1\r\nContent-Type: application/json\r\n";
    let sized = format!("{post}Host: {host}\r\nContent-Length: 1000000\r\n\r\n");
    let chunked = format!("{post}Host: {host}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let get = format!("GET /health/live HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let after_answer = async {
        let mut stream = connect(&jobgate.base).await;
        assert_eq!(status(&mut stream, get.as_bytes()).await, Some(200));
        dripped(stream, "GET ", "X").await
    };
    let idle = async {
        let mut stream = connect(&jobgate.base).await;
        assert_eq!(status(&mut stream, get.as_bytes()).await, Some(200));
        let begun = Instant::now();
        (listen(&mut stream, SOON).await, begun.elapsed())
    };
    let drip =
        async |sent: &str, drop: &str| dripped(connect(&jobgate.base).await, sent, drop).await;
    let (head, second_head, sized, chunked, idle) = tokio::join!(
        drip("GET / HTTP/1.1\r\nX: ", "a"),
        after_answer,
        drip(&sized, " "),
        drip(&chunked, "1\r\n \r\n"),
        idle,
    );
    for (what, (heard, after), limit) in [
        ("a head", head, HEAD),
        ("the head of a second request", second_head, HEAD),
        ("a body", sized, BODY),
        ("a body in chunks", chunked, BODY),
        ("nothing after an answer", idle, KEEP_ALIVE),
    ] {
        assert!(heard.is_closed, "{what}: open after {after:?}");
        let is_in_time = after + Duration::from_millis(500) > limit && after < limit + SLACK;
        assert!(is_in_time, "{what} was cut after {after:?}, not {limit:?}");
        if what.starts_with("a body") {
            assert_eq!(heard.statuses(), [408], "{what} is told: {heard:?}");
        }
    }
}

/// Sends this, then a drop each second, until the end; what was heard and when that was.
async fn dripped(mut stream: TcpStream, sent: &str, drop: &str) -> (Heard, Duration) {
    stream.write_all(sent.as_bytes()).await.expect("it is sent");
    let begun = Instant::now();
    let (mut reading, mut writing) = stream.split();
    let dripping = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if writing.write_all(drop.as_bytes()).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        heard = listen(&mut reading, SOON) => (heard, begun.elapsed()),
        () = dripping => unreachable!("it drips for ever"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_that_hold_a_connection_each_keep_nobody_out() {
    const HOLDERS: usize = 2_000;
    let jobgate = Jobgate::start(Options::default()).await;
    let host = address(&jobgate.base);
    let get = format!("GET /catalog HTTP/1.1\r\nHost: {host}\r\n\r\n");
    // One that was served before the others came.
    let mut early = connect(&jobgate.base).await;
    assert_eq!(status(&mut early, get.as_bytes()).await, Some(200));
    let mut holders = Vec::new();
    for number in 0..HOLDERS {
        let mut stream = connect(&jobgate.base).await;
        stream.write_all(b"GET / HTTP/1.1\r\nX: a").await.ok();
        holders.push(stream);
        if number % 100 == 0 {
            is_served(&jobgate, &get).await;
        }
    }
    for _ in 0..20 {
        is_served(&jobgate, &get).await;
    }
    assert_eq!(status(&mut early, get.as_bytes()).await, Some(200), "who was served stays");
    let mut held = 0;
    for stream in &mut holders {
        let read = tokio::time::timeout(Duration::from_millis(1), stream.read(&mut [0])).await;
        held += usize::from(read.is_err());
    }
    assert!(held <= 1_024, "{held} connections of one address");
    assert!(held > 500, "nobody goes as long as there is room: {held}");
}

/// A body that drips in: of somebody who may send, and of somebody whose token is none.
#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_bodies_that_drip_in_keep_nobody_out() {
    let jobgate = Jobgate::start(Options::default()).await;
    let env = vec![("JOBGATE_JWT_SECRET".to_owned(), "x".repeat(32))];
    let brokers = Some(jobgate.brokers());
    let guarded = Jobgate::start(Options { brokers, env, ..Options::default() }).await;
    for (jobgate, path) in [(&jobgate, "/catalog"), (&guarded, "/openapi.json")] {
        dripping_bodies(jobgate, path).await;
    }
}

/// Of two addresses that are not ours, as many as there may be of all.
async fn dripping_bodies(jobgate: &Jobgate, path: &str) {
    let host = address(&jobgate.base);
    let post = format!(
        "POST /jobs/email.verification HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer none\r\n\
         Content-Type: application/json\r\nContent-Length: 20000\r\n\r\n "
    );
    let get = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    is_served(jobgate, &get).await;
    let before = rss_mib(jobgate);
    let mut holders = Vec::new();
    for number in 0..2_048 {
        let socket = TcpSocket::new_v4().expect("a socket");
        let from = if number % 2 == 0 { "127.0.0.2:0" } else { "127.0.0.3:0" };
        socket.bind(from.parse().expect("an address")).expect("it is of this machine");
        let mut stream = socket.connect(host.parse().expect("it")).await.expect("a connection");
        stream.write_all(post.as_bytes()).await.ok();
        holders.push(stream);
    }
    let begun = Instant::now();
    let mut served = 0;
    while begun.elapsed() < Duration::from_secs(3) {
        is_served(jobgate, &get).await;
        served += 1;
        let holder = &mut holders[served * 7 % 2_048];
        holder.write_all(b" ").await.ok();
    }
    assert!(served > 20, "{served} were served");
    let grown = rss_mib(jobgate).saturating_sub(before);
    println!("[slow] {served} were served beside 2,048 bodies that drip in, {grown} MiB more");
    assert!(grown < 100, "{grown} MiB");
}

fn rss_mib(jobgate: &Jobgate) -> u64 {
    let path = format!("/proc/{}/status", jobgate.pid().as_raw_nonzero());
    let status = std::fs::read_to_string(path).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    let kib: Option<u64> = line.split_whitespace().next().and_then(|kib| kib.parse().ok());
    kib.expect("a number") >> 10
}

async fn is_served(jobgate: &Jobgate, request: &str) {
    let begun = Instant::now();
    let mut stream = connect(&jobgate.base).await;
    assert_eq!(status(&mut stream, request.as_bytes()).await, Some(200));
    assert!(begun.elapsed() < SERVED, "served after {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_its_connections_and_a_newcomer_takes_the_place_of_an_idle_one() {
    let args = ["--connections-per-address", "3"].map(str::to_owned).to_vec();
    let jobgate = Jobgate::start(Options { args, ..Options::default() }).await;
    let get = format!("GET /health/live HTTP/1.1\r\nHost: {}\r\n\r\n", address(&jobgate.base));
    let mut streams = Vec::new();
    for _ in 0..6 {
        let mut stream = connect(&jobgate.base).await;
        assert_eq!(status(&mut stream, get.as_bytes()).await, Some(200));
        streams.push(stream);
    }
    let mut is_open = Vec::new();
    for stream in &mut streams {
        is_open.push(!listen(stream, Duration::from_millis(200)).await.is_closed);
    }
    assert_eq!(is_open, [false, false, false, true, true, true]);
    assert_eq!(jobgate.get("/health/live").await.status, StatusCode::OK);
}
