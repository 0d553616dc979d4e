//! One stream of lines over HTTP/1.1: bytes are written and read side by side, and nothing is
//! made of them but the last line.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::TYPE;

/// Bytes of a chunk of the request.
const CHUNK_BYTES: usize = 64 << 10;
/// What is kept of the answer: its last line.
const KEPT_BYTES: usize = 1_024;

/// Streams so many records, and reads to the summary.
pub(crate) async fn stream(
    base: &str,
    payloads: &[(String, String)],
    count: usize,
    is_minimal: bool,
) -> Duration {
    let address = base.strip_prefix("http://").expect("http");
    let stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("a TCP stream");
    let prefer = if is_minimal { "Prefer: return=minimal\r\n" } else { "" };
    let head = format!(
        "POST /jobs/{TYPE}/batch HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/x-ndjson\r\n{prefer}Transfer-Encoding: chunked\r\n\r\n"
    );
    let (mut from, mut to) = stream.into_split();
    let begun = Instant::now();
    let writing = async {
        to.write_all(head.as_bytes()).await.expect("it is read");
        let mut chunk = String::with_capacity(2 * CHUNK_BYTES);
        for (at, (_, payload)) in payloads.iter().cycle().take(count).enumerate() {
            chunk.push_str(payload);
            chunk.push('\n');
            if chunk.len() >= CHUNK_BYTES || at + 1 == count {
                let framed = format!("{:x}\r\n{chunk}\r\n", chunk.len());
                to.write_all(framed.as_bytes()).await.expect("it is read");
                chunk.clear();
            }
        }
        to.write_all(b"0\r\n\r\n").await.expect("it is read");
    };
    let reading = async {
        let (mut buffer, mut last) = (vec![0; CHUNK_BYTES], Vec::new());
        loop {
            let bytes = from.read(&mut buffer).await.expect("an answer");
            if bytes == 0 {
                return last;
            }
            last.extend_from_slice(&buffer[..bytes]);
            let surplus = last.len().saturating_sub(KEPT_BYTES);
            last.drain(..surplus);
        }
    };
    let ((), last) = tokio::join!(writing, reading);
    let took = begun.elapsed();
    let last = String::from_utf8_lossy(&last);
    let summary = last.lines().find_map(|line| line.find("{\"summary\"").map(|at| &line[at..]));
    let summary: Value = serde_json::from_str(summary.expect("a summary")).expect("JSON");
    assert_eq!(summary["summary"]["accepted"], count, "{summary}");
    took
}
