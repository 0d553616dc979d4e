//! HTTP/2 as frames (RFC 9113, section 4), for what no client library would send.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::raw::SOON;
use crate::tls::Tls;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame as bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A request's headers, packed (RFC 7541): GET / of https at this authority.
pub(crate) fn headers(authority: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x84, 0x87];
    block.extend(literal(&[0x41], authority));
    block
}

/// Those of a POST of JSON to this path.
pub(crate) fn post_headers(authority: &str, path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x87];
    block.extend(literal(&[0x01], authority));
    block.extend(literal(&[0x04], path));
    block.extend(literal(&[0x0f, 0x10], "application/json"));
    block
}

/// A header whose name is in the static table.
fn literal(name: &[u8], value: &str) -> Vec<u8> {
    let length = u8::try_from(value.len()).expect("short");
    [name, &[length], value.as_bytes()].concat()
}

/// A frame that came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// A connection whose settings are agreed on.
pub(crate) struct Line {
    pub(crate) stream: TlsStream<TcpStream>,
}

impl Line {
    pub(crate) async fn open(jobgate: &Tls) -> Self {
        let mut stream = jobgate.connect(&[b"h2"]).await.expect("a handshake");
        let settings = frame(SETTINGS, 0, 0, &[]);
        stream.write_all(&[PREFACE, &settings].concat()).await.expect("it is sent");
        Self { stream }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("it is sent");
        self.stream.flush().await.expect("it is sent");
    }

    /// The next frame; none once the connection is closed.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// The next frame of this kind on this stream; what comes before it is passed over.
    pub(crate) async fn next_of(&mut self, kind: u8, stream: u32) -> Frame {
        let found = async {
            loop {
                let frame = self.next().await.expect("the connection lives");
                if frame.kind == kind && frame.stream == stream {
                    return frame;
                }
            }
        };
        tokio::time::timeout(SOON, found).await.expect("in time")
    }
}
