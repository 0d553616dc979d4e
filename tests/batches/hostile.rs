//! Bodies and readers that are meant to cost memory: many at once, none of which may cost much.

use std::time::{Duration, Instant};

use async_compression::Level;
use async_compression::tokio::write::{GzipEncoder, ZstdEncoder};
use async_compression::zstd::CParameter;
use futures_util::future::join_all;
use reqwest::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::harness::{Jobgate, Options, until};
use super::{SIGNUPS, signup};

const EVENT: &str = "/events/user.signup";
const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";
/// KiB by which a process may grow, whatever is sent to it: what all bodies may take together
/// (48 MiB), or all answers, or all windows (64 MiB), and what each connection takes.
const GROWTH_KIB_MAX: u64 = 112 << 10;
/// How long anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn whatever_many_send_at_once_and_leave_unread_memory_is_bounded() {
    let args = ["--groups", "email-workers", "--connections-per-address", "2048"];
    let args = args.map(str::to_owned).to_vec();
    let jobgate = Jobgate::start(Options { args, ..Options::default() }).await;
    a_thousand_small_bombs_are_refused(&jobgate).await;
    windows_of_zstd_have_a_bound_together(&jobgate).await;
    bodies_that_do_not_end_have_a_bound_together(&jobgate).await;
    lines_that_do_not_end_have_a_bound_together(&jobgate).await;
    answers_that_nobody_reads_have_a_bound_together(&jobgate).await;
    streams_are_a_fair_share(&jobgate).await;
}

/// Until the process has dealt with what was sent to it, as far as it can: it hardly works any more.
async fn worked_off(jobgate: &Jobgate) {
    /// Looks, 25 ms apart, over which it rests.
    const LOOKS: usize = 12;
    /// Hundredths of a second that one at rest may use in that time.
    const REST: u64 = 6;
    let mut used = Vec::new();
    until("it has dealt with what was sent", SOON, async || {
        let now = cpu_ticks(jobgate);
        used.push(now);
        let then = used.iter().rev().nth(LOOKS)?;
        (now - then <= REST).then_some(())
    })
    .await;
}

/// CPU that the process has used, in hundredths of a second (`proc_pid_stat(5)`).
fn cpu_ticks(jobgate: &Jobgate) -> u64 {
    let path = format!("/proc/{}/stat", jobgate.pid().as_raw_nonzero());
    let stat = std::fs::read_to_string(path).expect("it runs");
    // The name of the program may hold anything but ends with the last parenthesis.
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let fields = fields.split_whitespace().skip(11).take(2);
    fields.map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

/// What the process grows by, while others are served, before this says that it is over.
async fn grows<T>(jobgate: &Jobgate, what: &str, attack: impl Future<Output = T>) -> T {
    let rss = || super::long::memory_kib(jobgate, "VmRSS:");
    let (before, begun) = (rss(), Instant::now());
    let mut peak = before;
    let watching = async {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            peak = peak.max(rss());
        }
    };
    let outcome = tokio::select! {
        outcome = attack => outcome,
        () = watching => unreachable!("it watches for ever"),
    };
    let grown = peak.max(rss()) - before;
    println!("[hostile] {what}: {:?}, {before} KiB and {grown} more", begun.elapsed());
    assert!(grown < GROWTH_KIB_MAX, "{what}: {grown} KiB");
    // Whoever sends little is served all the same.
    let answer = jobgate.post(EVENT, &signup()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{what}: {}", answer.text);
    outcome
}

/// A connection that sends this and keeps what it hears to itself.
struct Hostile(TcpStream);

impl Hostile {
    /// With small buffers: what is not read stays with jobgate.
    async fn send(jobgate: &Jobgate, path: &str, headers: &str, body: &[u8]) -> Self {
        let address = jobgate.base.strip_prefix("http://").expect("http");
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4 << 10).expect("a small buffer");
        let mut stream = socket.connect(address.parse().expect("it")).await.expect("a connection");
        let head = format!("POST {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await.expect("the head is taken");
        // One that is refused may be cut off.
        stream.write_all(body).await.ok();
        Self(stream)
    }

    /// The first bytes that come, if any come within a moment.
    async fn status(&mut self) -> Option<u16> {
        let mut head = [0; 12];
        let reading = self.0.read_exact(&mut head);
        tokio::time::timeout(Duration::from_millis(500), reading).await.ok()?.ok()?;
        std::str::from_utf8(&head[9..]).ok()?.parse().ok()
    }

    async fn all(mut self) -> String {
        let mut bytes = Vec::new();
        tokio::time::timeout(SOON, self.0.read_to_end(&mut bytes)).await.expect("an end").ok();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn chunked(media_type: &str, coding: &str) -> String {
    let coding =
        if coding.is_empty() { String::new() } else { format!("Content-Encoding: {coding}\r\n") };
    format!(
        "Content-Type: {media_type}\r\n{coding}Connection: close\r\nTransfer-Encoding: chunked\r\n"
    )
}

fn chunk(body: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n"].concat()
}

async fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzipEncoder::new(Vec::new());
    encoder.write_all(text).await.expect("it packs");
    encoder.shutdown().await.expect("it ends");
    encoder.into_inner()
}

/// With a window of this size, as a power of two, and not ended.
async fn begun_zstd(text: &[u8], window_log: u32) -> Vec<u8> {
    let window = [CParameter::window_log(window_log)];
    let mut encoder = ZstdEncoder::with_quality_and_params(Vec::new(), Level::Fastest, &window);
    encoder.write_all(text).await.expect("it packs");
    encoder.flush().await.expect("it is flushed");
    encoder.into_inner()
}

async fn a_thousand_small_bombs_are_refused(jobgate: &Jobgate) {
    let spaces = vec![b' '; 4 << 20];
    let (gzipped, mut zstd) = (gzip(&spaces).await, ZstdEncoder::new(Vec::new()));
    zstd.write_all(&spaces).await.expect("it packs");
    zstd.shutdown().await.expect("it ends");
    let zstd = zstd.into_inner();
    // Nothing comes out of these, again and again.
    let members = gzip(b"").await.repeat(4_000);
    for (coding, body) in [("gzip", &gzipped), ("zstd", &zstd), ("gzip", &members)] {
        let head = format!(
            "Content-Type: {JSON}\r\nContent-Encoding: {coding}\r\nConnection: close\r\n\
             Content-Length: {}\r\n",
            body.len()
        );
        let count = if body.len() > 10_000 { 10 } else { 1_000 };
        let what = format!("{count} bombs of {} bytes in {coding}", body.len());
        let bombs = (0..count).map(async |_| {
            let bomb = Hostile::send(jobgate, EVENT, &head, body).await;
            bomb.all().await.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0)
        });
        let statuses: Vec<u16> = grows(jobgate, &what, join_all(bombs)).await;
        let is_refusal = |status: &u16| matches!(status, 400 | 408 | 413 | 503);
        let odd: Vec<&u16> = statuses.iter().filter(|status| !is_refusal(status)).collect();
        assert!(odd.is_empty(), "{what}: {odd:?}");
        assert!(statuses.iter().any(|status| *status != 503), "{what}: nobody was heard");
    }
}

async fn windows_of_zstd_have_a_bound_together(jobgate: &Jobgate) {
    let too_large = chunk(&begun_zstd(b"[", 27).await);
    let mut too_large = Hostile::send(jobgate, EVENT, &chunked(JSON, "zstd"), &too_large).await;
    too_large.0.write_all(b"0\r\n\r\n").await.expect("it is taken");
    let refused = too_large.all().await;
    assert!(refused.contains("problem:corrupt-body"), "{refused}");
    // The largest that any may be.
    let body = chunk(&begun_zstd(&vec![b' '; 9 << 20], 23).await);
    let head = chunked(LINES, "zstd");
    let mut senders = grows(jobgate, "60 windows of 8 MiB", async {
        let streams = (0..60).map(|_| Hostile::send(jobgate, SIGNUPS, &head, &body));
        let mut senders = join_all(streams).await;
        // Each has been unpacked, or refused, once its line is known to be too long.
        for stream in &mut senders {
            stream.0.write_all(&chunk(b"x")).await.ok();
        }
        worked_off(jobgate).await;
        senders
    })
    .await;
    let mut refused = 0;
    for stream in &mut senders {
        stream.0.write_all(b"0\r\n\r\n").await.ok();
    }
    for stream in senders {
        refused += usize::from(stream.all().await.contains("problem:overloaded"));
    }
    assert!(refused >= 45, "{refused} were refused");
    // They have given it back.
    let usual = gzip(signup().to_string().as_bytes()).await;
    let mut usual = Hostile::send(jobgate, EVENT, &chunked(JSON, "gzip"), &chunk(&usual)).await;
    usual.0.write_all(b"0\r\n\r\n").await.expect("it is taken");
    assert_eq!(usual.status().await, Some(201));
}

async fn bodies_that_do_not_end_have_a_bound_together(jobgate: &Jobgate) {
    let head = format!("Content-Type: {JSON}\r\nContent-Length: 1000000\r\n");
    let body = vec![b' '; 999_000];
    let mut senders = grows(jobgate, "100 bodies of a MB without an end", async {
        let bodies = (0..100).map(|_| Hostile::send(jobgate, EVENT, &head, &body));
        let senders = join_all(bodies).await;
        worked_off(jobgate).await;
        senders
    })
    .await;
    // Those that were too many are told so once they have sent the rest, and those that were not
    // are read to their end.
    let mut statuses = Vec::new();
    for stream in &mut senders {
        stream.0.write_all(&[b' '; 1_000]).await.ok();
    }
    for stream in &mut senders {
        statuses.push(until("an answer", SOON, async || stream.status().await).await);
    }
    let of = |wanted| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!(of(400) + of(503), 100, "{statuses:?}");
    assert!(of(503) >= 10 && of(400) >= 15, "{statuses:?}");
}

async fn lines_that_do_not_end_have_a_bound_together(jobgate: &Jobgate) {
    let line = chunk(&vec![b'x'; 1_000_000]);
    let head = chunked(LINES, "");
    let senders = grows(jobgate, "150 lines of a MB without an end", async {
        let streams = (0..150).map(|_| Hostile::send(jobgate, SIGNUPS, &head, &line));
        let senders = join_all(streams).await;
        worked_off(jobgate).await;
        senders
    })
    .await;
    // Those that were too many hear it of that line, and their next one is taken.
    let ends = senders.into_iter().map(async |mut stream| {
        let rest = format!("\n{}\n", signup());
        stream.0.write_all(&chunk(rest.as_bytes())).await.ok();
        stream.0.write_all(b"0\r\n\r\n").await.ok();
        stream.all().await
    });
    let ends = join_all(ends).await;
    let of = |what: &str| ends.iter().filter(|text| text.contains(what)).count();
    assert!(of("problem:overloaded") >= 90, "{}", of("problem:overloaded"));
    assert!(of("problem:not-json") >= 15, "{}", of("problem:not-json"));
    assert_eq!(of("\"accepted\":1"), 150, "every other line is taken");
    until("large bodies are taken again", SOON, async || {
        let mut large = signup();
        large["metadata"]["padding"] = "x".repeat(900_000).into();
        (jobgate.post(EVENT, &large).await.status == StatusCode::CREATED).then_some(())
    })
    .await;
}

async fn answers_that_nobody_reads_have_a_bound_together(jobgate: &Jobgate) {
    const ARRAYS: usize = 40;
    let array = format!("[{}]", vec!["{}"; 10_000].join(","));
    let head = format!("Content-Type: {JSON}\r\nContent-Length: {}\r\n", array.len());
    let mut senders = grows(jobgate, "40 answers of 5 MB that nobody reads", async {
        let arrays = (0..ARRAYS).map(|_| Hostile::send(jobgate, SIGNUPS, &head, array.as_bytes()));
        let mut senders = join_all(arrays).await;
        let mut statuses = Vec::new();
        for stream in &mut senders {
            let status = until("an answer", SOON, async || stream.status().await).await;
            statuses.push(status);
        }
        let of = |wanted| statuses.iter().filter(|status| **status == wanted).count();
        assert_eq!(of(422) + of(429), ARRAYS, "{statuses:?}");
        assert!(of(422) >= 4 && of(429) >= 20, "{statuses:?}");
        senders
    })
    .await;
    senders.clear();
    until("they have given it back", SOON, async || {
        let again = jobgate.post_raw(SIGNUPS, array.clone()).await;
        (again.status == StatusCode::UNPROCESSABLE_ENTITY).then_some(())
    })
    .await;
}

async fn streams_are_a_fair_share(jobgate: &Jobgate) {
    let (head, line) = (chunked(LINES, ""), chunk(b"{}\n"));
    let senders = grows(jobgate, "300 streams", async {
        let streams = (0..300).map(|_| Hostile::send(jobgate, SIGNUPS, &head, &line));
        let mut senders = join_all(streams).await;
        let mut statuses = Vec::new();
        for stream in &mut senders {
            statuses.push(until("an answer", SOON, async || stream.status().await).await);
        }
        let of = |wanted| statuses.iter().filter(|status| **status == wanted).count();
        assert_eq!(of(200) + of(429), 300, "{statuses:?}");
        assert!((150..=256).contains(&of(200)), "{} streams", of(200));
        senders
    })
    .await;
    drop(senders);
}
