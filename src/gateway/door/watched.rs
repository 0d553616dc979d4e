//! A stream that tells the connection's [`Presence`] what passes, and has the [`Head`] of each
//! request looked at.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::head::Head;
use super::presence::Presence;

/// The stream of one connection.
pub(super) struct Watched<S> {
    stream: S,
    presence: Arc<Presence>,
    /// None for HTTP/2, whose frames say their length and can be read in one way only.
    head: Option<Head>,
}

impl<S> Watched<S> {
    /// A stream of HTTP/1.1, or of HTTP/2.
    pub(super) fn new(stream: S, presence: Arc<Presence>, is_http1: bool) -> Self {
        Self { stream, presence, head: is_http1.then(Head::new) }
    }
}

impl<S> Watched<S> {
    /// The stream itself.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let Self { presence, head: Some(head), .. } = &mut *self else {
            return Poll::Ready(Ok(()));
        };
        // What comes while a request is answered is its body.
        if !presence.has_in_hand()
            && let Some(bytes) = buffer.filled_mut().get_mut(before..).filter(|b| !b.is_empty())
        {
            if head.is_over() {
                *head = Head::new();
            }
            head.look_at(bytes);
            presence.heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.told(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.told(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Of HTTP/1.1 the last answer is still to be read: see to it afterwards.
        if self.head.is_some() {
            self.poll_flush(context)
        } else {
            Pin::new(&mut self.stream).poll_shutdown(context)
        }
    }
}

impl<S> Watched<S> {
    fn told(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(_)) = outcome {
            self.presence.answered_on();
        }
        outcome
    }
}
