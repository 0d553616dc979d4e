//! HTTP as bytes.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long what must happen may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// How long nothing more comes before an exchange counts as over.
const QUIET: Duration = Duration::from_secs(2);

/// `host:port` of a base URL.
pub(crate) fn address(base: &str) -> &str {
    base.split_once("://").expect("a URL").1
}

pub(crate) async fn connect(base: &str) -> TcpStream {
    TcpStream::connect(address(base)).await.expect("a connection")
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) text: String,
    pub(crate) is_closed: bool,
}

impl Heard {
    /// The status of each answer.
    pub(crate) fn statuses(&self) -> Vec<u16> {
        let heads = self.text.split("HTTP/1.1 ").skip(1);
        heads.map(|head| head[..3].parse().expect("a status")).collect()
    }
}

/// Sends bytes as they are, and listens until the end, or until nothing more comes.
pub(crate) async fn exchange(base: &str, request: &[u8]) -> Heard {
    let mut stream = connect(base).await;
    // The other side may have closed already.
    stream.write_all(request).await.ok();
    listen(&mut stream, QUIET).await
}

/// Listens until the end, or until nothing comes for this long.
pub(crate) async fn listen<S: AsyncRead + Unpin>(stream: &mut S, quiet: Duration) -> Heard {
    let mut bytes = Vec::new();
    let is_closed = loop {
        match tokio::time::timeout(quiet, stream.read_buf(&mut bytes)).await {
            Ok(Ok(0) | Err(_)) => break true,
            Ok(Ok(_)) => {}
            Err(_) => break false,
        }
    };
    Heard { text: String::from_utf8_lossy(&bytes).into_owned(), is_closed }
}

/// The status that a request on this stream is answered with; the stream stays usable.
pub(crate) async fn status<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    request: &[u8],
) -> Option<u16> {
    stream.write_all(request).await.ok()?;
    let mut answer = Vec::new();
    let whole = async {
        loop {
            if stream.read_buf(&mut answer).await.ok()? == 0 {
                return None;
            }
            let text = String::from_utf8_lossy(&answer);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
                });
                if length.is_none_or(|length: usize| body.len() >= length) {
                    return head.get(9..12)?.parse().ok();
                }
            }
        }
    };
    tokio::time::timeout(SOON, whole).await.ok().flatten()
}
