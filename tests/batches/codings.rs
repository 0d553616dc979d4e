//! Bodies that come compressed: the bound is that of what comes out.

use std::time::{Duration, Instant};

use async_compression::tokio::write::{GzipEncoder, ZstdEncoder};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::harness::{Answer, Jobgate, uuid, verification};
use super::{SIGNUPS, gateway, lines_of, signup};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Zstd,
}
use Coding::{Gzip, Zstd};

impl Coding {
    fn name(self) -> &'static str {
        match self {
            Gzip => "gzip",
            Zstd => "zstd",
        }
    }

    async fn pack(self, text: &[u8]) -> Vec<u8> {
        match self {
            Gzip => {
                let mut encoder = GzipEncoder::new(Vec::new());
                encoder.write_all(text).await.expect("it packs");
                encoder.shutdown().await.expect("it ends");
                encoder.into_inner()
            }
            Zstd => {
                let mut encoder = ZstdEncoder::new(Vec::new());
                encoder.write_all(text).await.expect("it packs");
                encoder.shutdown().await.expect("it ends");
                encoder.into_inner()
            }
        }
    }
}

async fn post(
    jobgate: &Jobgate,
    path: &str,
    media_type: &str,
    coding: &str,
    body: Vec<u8>,
) -> Answer {
    let request = jobgate.client().post(jobgate.url(path)).body(body);
    let request = request.header("content-type", media_type).header("content-encoding", coding);
    jobgate.send(request.timeout(Duration::from_secs(60))).await
}

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";

#[tokio::test(flavor = "multi_thread")]
async fn packed_bodies_are_taken_and_bounded() {
    let jobgate = gateway().await;
    for coding in [Gzip, Zstd] {
        every_producing_path_takes_them(&jobgate, coding).await;
        what_does_not_unpack_is_refused(&jobgate, coding).await;
        a_bomb_is_refused_in_bounded_memory(&jobgate, coding).await;
    }
    let body = Gzip.pack(signup().to_string().as_bytes()).await;
    for coding in ["br", "gzip, gzip", "gzip, zstd", "deflate"] {
        let answer = post(&jobgate, "/events/user.signup", JSON, coding, body.clone()).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{coding}");
        assert_eq!(answer.problem(), "unknown-content-encoding", "{coding}");
        assert_eq!(answer.headers["accept-encoding"], "gzip, zstd", "{coding}");
    }
    let twice = jobgate.client().post(jobgate.url(SIGNUPS)).body(body);
    let twice = twice.header("content-type", JSON).header("content-encoding", "gzip");
    let twice = jobgate.send(twice.header("content-encoding", "gzip")).await;
    assert_eq!(twice.problem(), "unknown-content-encoding");
    let plain = signup().to_string().into_bytes();
    let answer = post(&jobgate, "/events/user.signup", JSON, "identity", plain).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
}

async fn every_producing_path_takes_them(jobgate: &Jobgate, coding: Coding) {
    let job = coding.pack(verification(&uuid(), &uuid()).to_string().as_bytes()).await;
    let answer = post(jobgate, "/jobs/email.welcome", JSON, coding.name(), job).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{coding:?}: {}", answer.text);
    let array = coding.pack(json!([signup(), {}]).to_string().as_bytes()).await;
    let answer = post(jobgate, SIGNUPS, JSON, coding.name(), array).await;
    assert_eq!(answer.status, StatusCode::MULTI_STATUS, "{coding:?}: {}", answer.text);
    // Several members, or frames, are one body.
    let lines = lines_of((0..3_000).map(|_| signup()));
    let (head, tail) = lines.as_bytes().split_at(lines.len() / 2);
    let packed = [coding.pack(head).await, coding.pack(tail).await].concat();
    let answer = post(jobgate, SIGNUPS, LINES, coding.name(), packed).await;
    assert_eq!(answer.status, StatusCode::OK);
    let summary = summary(&answer);
    assert_eq!(taken(&summary), 3_000, "{coding:?}: {summary}");
    assert_eq!(summary["complete"], true, "{coding:?}");
}

async fn what_does_not_unpack_is_refused(jobgate: &Jobgate, coding: Coding) {
    let text = signup().to_string();
    let packed = coding.pack(text.as_bytes()).await;
    let cut = packed[..packed.len() - 3].to_vec();
    let followed = [packed.as_slice(), b"and more"].concat();
    for (what, body) in [("cut", cut), ("followed", followed), ("plain", text.into_bytes())] {
        let answer = post(jobgate, "/events/user.signup", JSON, coding.name(), body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{coding:?} {what}: {}", answer.text);
        assert_eq!(answer.problem(), "corrupt-body", "{coding:?} {what}");
    }
    // Of lines, those before it count.
    let lines = lines_of((0..2_000).map(|_| signup()));
    let packed = coding.pack(lines.as_bytes()).await;
    let cut = packed[..packed.len() / 2].to_vec();
    let answer = post(jobgate, SIGNUPS, LINES, coding.name(), cut).await;
    let summary = summary(&answer);
    assert_eq!(summary["complete"], false, "{summary}");
    assert_eq!(summary["problem"]["type"], "urn:jobgate:problem:corrupt-body", "{summary}");
    assert_eq!(summary["next_index"], taken(&summary), "{summary}");
}

async fn a_bomb_is_refused_in_bounded_memory(jobgate: &Jobgate, coding: Coding) {
    let before = peak_kib(jobgate);
    // A GiB of spaces.
    let piece = coding.pack(&vec![b' '; 64 << 20]).await;
    let bomb = piece.repeat(16);
    for (path, media_type) in [("/events/user.signup", JSON), (SIGNUPS, JSON), (SIGNUPS, LINES)] {
        let begun = Instant::now();
        let answer = post(jobgate, path, media_type, coding.name(), bomb.clone()).await;
        if media_type == JSON {
            assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{}", answer.text);
        } else {
            let summary = summary(&answer);
            assert_eq!(summary["problem"]["status"], 413, "{coding:?}: {summary}");
        }
        println!(
            "{coding:?}, {} bytes to {path} as {media_type}: {:?}",
            bomb.len(),
            begun.elapsed()
        );
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    }
    let grown_kib = peak_kib(jobgate) - before;
    println!("{coding:?}: the peak grew by {grown_kib} KiB");
    assert!(grown_kib < 40 << 10, "{coding:?}: {grown_kib} KiB");
}

/// Lines that were handed over: on a machine that is busy enough an acknowledgement is late.
fn taken(summary: &Value) -> u64 {
    let count = |name: &str| summary[name].as_u64().expect("a number");
    assert_eq!(count("rejected"), 0, "{summary}");
    count("accepted") + count("unknown")
}

fn summary(answer: &Answer) -> Value {
    let last = answer.text.lines().last().expect("a line");
    serde_json::from_str::<Value>(last).expect("JSON")["summary"].take()
}

fn peak_kib(jobgate: &Jobgate) -> u64 {
    super::long::memory_kib(jobgate, "VmHWM:")
}
