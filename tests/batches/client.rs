//! A client that writes and reads one HTTP/1.1 request byte by byte, each when the test says.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpSocket;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// How long an answer may take on a busy machine.
const SOON: Duration = Duration::from_secs(300);

/// What the system keeps for a client that does not read: left to itself it may be 32 MB.
const UNREAD_BYTES: u32 = 256 << 10;

/// A request that is under way.
pub(crate) struct Client {
    pub(crate) requests: Requests,
    pub(crate) answers: Answers,
}

/// Its one side.
pub(crate) struct Requests(OwnedWriteHalf);

/// Its other side.
pub(crate) struct Answers {
    from: BufReader<OwnedReadHalf>,
    /// What of the current chunk has not been cut into lines.
    text: Vec<u8>,
}

impl Client {
    /// Sends the head of a request whose lines follow in chunks.
    pub(crate) async fn open(base: &str, path: &str, headers: &str) -> Self {
        let address = base.strip_prefix("http://").expect("http");
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(UNREAD_BYTES).expect("a buffer");
        let stream = socket.connect(address.parse().expect("it")).await.expect("a connection");
        stream.set_nodelay(true).expect("a TCP stream");
        let (from, to) = stream.into_split();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             Content-Type: application/x-ndjson\r\n{headers}Transfer-Encoding: chunked\r\n\r\n"
        );
        let mut requests = Requests(to);
        requests.write(head.as_bytes()).await.expect("the head is taken");
        let answers = Answers { from: BufReader::new(from), text: Vec::new() };
        Self { requests, answers }
    }
}

impl Requests {
    /// Sends these bytes as a chunk.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.expect("it is taken");
    }

    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        let bytes = bytes.as_ref();
        let framed = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        self.write(&framed).await
    }

    /// Sends the last chunk.
    pub(crate) async fn end(&mut self) {
        self.write(b"0\r\n\r\n").await.expect("it is taken");
    }

    async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes).await
    }
}

impl Answers {
    /// The head of the answer, as text.
    pub(crate) async fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = tokio::time::timeout(SOON, self.from.read_line(&mut head)).await;
            assert!(read.expect("in time").expect("a head") > 0, "the answer ends: {head}");
        }
        head
    }

    /// The next line; none at the end of the answer.
    pub(crate) async fn line(&mut self) -> Option<Value> {
        let line = tokio::time::timeout(SOON, self.raw_line()).await.expect("a line in time")?;
        let text = String::from_utf8_lossy(&line);
        Some(serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}")))
    }

    /// Every line up to the end. The last one is the summary.
    pub(crate) async fn rest(&mut self) -> (Vec<Value>, Value) {
        let mut lines = Vec::new();
        while let Some(line) = self.line().await {
            lines.push(line);
        }
        let mut last = lines.pop().expect("a line");
        assert!(last["summary"].is_object(), "the last line is the summary: {last}");
        (lines, last["summary"].take())
    }

    /// Lines as long as there are any; no error where the answer is cut off.
    pub(crate) async fn until_cut(&mut self) -> Vec<Value> {
        let mut lines = Vec::new();
        while let Some(line) = self.raw_line().await {
            lines.extend(serde_json::from_slice::<Value>(&line));
        }
        lines
    }

    async fn raw_line(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.text.iter().position(|byte| *byte == b'\n') {
                let rest = self.text.split_off(at + 1);
                return Some(std::mem::replace(&mut self.text, rest));
            }
            let mut size = String::new();
            self.from.read_line(&mut size).await.ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok().filter(|size| *size > 0)?;
            let before = self.text.len();
            self.text.resize(before + size, 0);
            self.from.read_exact(&mut self.text[before..]).await.ok()?;
            self.from.read_exact(&mut [0; 2]).await.ok()?;
        }
    }
}
