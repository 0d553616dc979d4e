//! A connection whose other side must go on reading: one that takes no byte for a while ends.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A stream that fails a write as timed out once it has waited this long for the other side to
/// take a byte, or to send one: a client may send a long body before it reads its answer. A slow
/// reader is borne; one that has stopped would hold its connection for ever.
pub(super) struct Patience<S> {
    stream: S,
    limit: Duration,
    over: Pin<Box<Sleep>>,
    is_waiting: bool,
}

impl<S> Patience<S> {
    /// Waits this long for the other side.
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, over: Box::pin(sleep(limit)), is_waiting: false }
    }

    /// Passes on the outcome of a write; one that has to wait starts the clock.
    fn bounded(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if outcome.is_ready() {
            self.is_waiting = false;
            return outcome;
        }
        if !self.is_waiting {
            self.is_waiting = true;
            self.over.as_mut().reset(Instant::now() + self.limit);
        }
        ready!(self.over.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patience<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.is_waiting && buffer.filled().len() > filled {
            let limit = self.limit;
            self.over.as_mut().reset(Instant::now() + limit);
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patience<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bounded(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.bounded(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(15);

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stops_is_given_up() {
        let (server, _client) = tokio::io::duplex(64);
        let begun = Instant::now();
        let error = Patience::new(server, LIMIT).write_all(&[0; 1_000]).await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed()), (io::ErrorKind::TimedOut, LIMIT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_still_sends_may_read_later() {
        let (server, mut client) = tokio::io::duplex(64);
        let (mut reading, mut writing) = tokio::io::split(Patience::new(server, LIMIT));
        let writing = async { writing.write_all(&[7; 200]).await };
        let reading = async { reading.read_exact(&mut [0; 5]).await.map(drop) };
        let client = async {
            for _ in 0..5 {
                sleep(LIMIT * 2 / 3).await;
                client.write_all(&[1]).await.unwrap();
            }
            client.read_exact(&mut [0; 200]).await.map(drop)
        };
        let (written, read, client) = tokio::join!(writing, reading, client);
        assert!(written.is_ok() && read.is_ok() && client.is_ok(), "{written:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_gets_everything() {
        let (server, mut client) = tokio::io::duplex(64);
        let writing = async {
            let mut server = Patience::new(server, LIMIT);
            server.write_all(&[7; 1_000]).await.unwrap();
        };
        let reading = async {
            let mut all = Vec::new();
            while all.len() < 1_000 {
                sleep(LIMIT / 2).await;
                let mut some = [0; 50];
                let length = client.read(&mut some).await.unwrap();
                all.extend_from_slice(&some[..length]);
            }
            all
        };
        let ((), all) = tokio::join!(writing, reading);
        assert_eq!(all, [7; 1_000]);
    }
}
