//! A body far larger than the memory that it takes.

use std::time::Instant;

use super::client::Client;
use super::harness::{Jobgate, uuid};
use super::{SIGNUPS, gateway, of_user};

/// MB that are streamed; a variable makes it as many as one likes.
const STREAMED_MB: usize = 50;
/// Bytes of a line, about.
const LINE_BYTES: usize = 2_000;
/// Lines that are sent at a time.
const LINES_OF_CHUNK: usize = 40;
/// KiB by which the process may grow meanwhile: what may be on its way and wait, and what the
/// allocator keeps of it.
const GROWTH_KIB_MAX: u64 = 48 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_long_body_takes_no_more_memory_than_a_short_one() {
    let megabytes = std::env::var("BATCH_MB").ok().and_then(|text| text.parse().ok());
    let megabytes: usize = megabytes.unwrap_or(STREAMED_MB);
    let jobgate = gateway().await;
    // The first stream brings up what every later one uses.
    stream(&jobgate, 5, true).await;
    let before = memory_kib(&jobgate, "VmRSS:");
    for is_minimal in [true, false] {
        let begun = Instant::now();
        let lines = stream(&jobgate, megabytes, is_minimal).await;
        let took = begun.elapsed().as_secs_f64();
        let peak = memory_kib(&jobgate, "VmHWM:");
        #[expect(clippy::cast_precision_loss, reason = "a figure of a few digits")]
        let rate = lines as f64 / took;
        println!(
            "{megabytes} MB, minimal: {is_minimal}: {lines} lines in {took:.1} s ({rate:.0}/s), \
             {before} KiB before, {peak} KiB at the peak"
        );
        assert!(peak < before + GROWTH_KIB_MAX, "{before} KiB, then {peak} KiB");
    }
}

/// Streams so much, and reads meanwhile; returns the number of lines.
async fn stream(jobgate: &Jobgate, megabytes: usize, is_minimal: bool) -> usize {
    let line = |number| {
        let mut signup = of_user(&uuid(), number);
        signup["metadata"]["padding"] = "x".repeat(LINE_BYTES - signup.to_string().len()).into();
        format!("{signup}\n")
    };
    let chunk: String = (0..LINES_OF_CHUNK).map(line).collect();
    let chunks = megabytes * 1_000_000 / chunk.len();
    let prefer = if is_minimal { "Prefer: return=minimal\r\n" } else { "" };
    let Client { mut requests, mut answers } = Client::open(&jobgate.base, SIGNUPS, prefer).await;
    let writing = async {
        for _ in 0..chunks {
            requests.send(&chunk).await;
        }
        requests.end().await;
    };
    let reading = async {
        answers.head().await;
        let mut count = 0;
        loop {
            let line = answers.line().await.expect("a summary at the end");
            if line["summary"].is_object() {
                return (count, line);
            }
            count += 1;
        }
    };
    let ((), (answered, summary)) = tokio::join!(writing, reading);
    let count = |name: &str| summary["summary"][name].as_u64().expect("a number");
    // On a machine that is busy enough an acknowledgement is late.
    let lines = (chunks * LINES_OF_CHUNK) as u64;
    assert_eq!(count("accepted") + count("unknown"), lines, "{summary}");
    assert_eq!(answered, if is_minimal { count("unknown") } else { lines });
    chunks * LINES_OF_CHUNK
}

/// What the system says of the process's memory.
pub(crate) fn memory_kib(jobgate: &Jobgate, name: &str) -> u64 {
    let path = format!("/proc/{}/status", jobgate.pid().as_raw_nonzero());
    let status = std::fs::read_to_string(path).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
}
