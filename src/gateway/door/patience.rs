//! A connection whose other side must go on reading: one that takes nothing for a while, or next
//! to nothing for long, ends.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// What a reader must take, bytes a second, on the whole: far below any network. Whoever takes a
/// byte now and then would else hold its connection for ever.
const BYTES_PER_SECOND_MIN: u32 = 1 << 10;

/// A stream that fails a write as timed out once it has waited too long for the other side.
/// Waiting spends patience, and bytes that are taken earn it again, up to the limit. A client that
/// sends has all of it: it may send a long body before it reads its answer, and how slowly a body
/// may come is the body's own rule.
pub(super) struct Patience<S> {
    stream: S,
    limit: Duration,
    left: Duration,
    over: Pin<Box<Sleep>>,
    waits_since: Option<Instant>,
}

impl<S> Patience<S> {
    /// Waits this long for the other side to take a byte.
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        let over = Box::pin(sleep(limit));
        Self { stream, limit, left: limit, over, waits_since: None }
    }

    /// Bytes have come.
    fn renew(&mut self) {
        self.left = self.limit;
        if let Some(since) = self.waits_since.as_mut() {
            let now = Instant::now();
            *since = now;
            self.over.as_mut().reset(now + self.limit);
        }
    }

    /// Passes on the outcome of a write; one that has to wait starts the clock.
    fn bounded(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(taken) = &outcome {
            if let Some(since) = self.waits_since.take() {
                self.left = self.left.saturating_sub(since.elapsed());
            }
            let bytes = taken.as_ref().copied().unwrap_or_default();
            self.left = self.left.saturating_add(worth(bytes)).min(self.limit);
            return outcome;
        }
        if self.waits_since.is_none() {
            let now = Instant::now();
            self.waits_since = Some(now);
            self.over.as_mut().reset(now + self.left);
        }
        ready!(self.over.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

/// The patience that so many bytes are worth.
fn worth(bytes: usize) -> Duration {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    Duration::from_secs(1) * bytes / BYTES_PER_SECOND_MIN
}

impl<S: AsyncRead + Unpin> AsyncRead for Patience<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > filled {
            self.renew();
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

    /// How much of the answer comes to a reader that takes so much at a time, each half limit.
    async fn taken_by(bytes_at_a_time: usize) -> usize {
        const BYTES: usize = 600 << 10;
        let (server, mut client) = tokio::io::duplex(1 << 10);
        let writing = async {
            let mut server = Patience::new(server, LIMIT);
            server.write_all(&vec![7; BYTES]).await.ok();
        };
        let reading = async {
            let mut all = 0;
            loop {
                sleep(LIMIT / 2).await;
                let mut taken = 0;
                while taken < bytes_at_a_time {
                    let mut some = [0; 1 << 10];
                    let most = some.len().min(bytes_at_a_time - taken);
                    match client.read(&mut some[..most]).await.unwrap() {
                        0 => return all + taken,
                        length => taken += length,
                    }
                }
                all += taken;
            }
        };
        tokio::join!(writing, reading).1
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_gets_everything_and_one_that_sips_does_not() {
        assert_eq!(taken_by(20 << 10).await, 600 << 10);
        assert!(taken_by(100).await < 2 << 10);
    }
}
