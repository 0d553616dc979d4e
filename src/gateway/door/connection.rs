//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::response::Response;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::Door;
use super::head::HEAD_BYTES_MAX;
use super::patience::Patience;
use super::presence::{HEADER_DEADLINE, InHand, Presence};
use super::tls;
use super::watched::Watched;
use crate::gateway::front::Front;

/// How long an answer may wait for the client to take its next byte: a slow network moves
/// something in that time.
const READ_PATIENCE: Duration = Duration::from_secs(15);
/// The same for HTTP/2, where it is counted unpacked.
const HEADER_LIST_BYTES_MAX: u32 = 32 << 10;
/// How long the handshake of TLS may take: some round trips.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Requests at once on a connection of HTTP/2: what one client has a use for.
const STREAMS_MAX: u32 = 128;
/// Streams that a client has taken back and that still cost something here; more of them (a
/// rapid reset) end the connection.
const RESET_STREAMS_MAX: usize = 20;
/// Streams that were reset here since the client broke the rules; more of them end the connection.
const FAULTY_STREAMS_MAX: usize = 32;
/// Bytes of bodies that wait to be read, of one request and of a connection: what may be held for
/// a client without asking.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 256 << 10;
/// Bytes of an answer that wait to be sent.
const SEND_BYTES_MAX: usize = 64 << 10;
/// How often a client that is silent is asked whether it is there, and how long it may think.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_PATIENCE: Duration = Duration::from_secs(10);
/// How long the answers that are in hand may keep a connection that is to end.
const LEAVE_DEADLINE: Duration = Duration::from_secs(10);
/// How long, and how much, is read and thrown away of what a client still sends to a connection
/// that has ended: else the system would reset it, and the last answer might never be read.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 1 << 20;
/// The first byte of a TLS connection.
const TLS_HANDSHAKE: u8 = 22;
/// What a client is told that speaks plain HTTP to a port of TLS.
const PLAIN_TO_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\
    Content-Type: text/plain\r\nContent-Length: 29\r\n\r\nThis port speaks HTTPS alone\n";

/// Serves connections.
#[derive(Clone)]
pub(super) struct Host {
    front: Front,
    keep_alive: Duration,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
    http1: Arc<http1::Builder>,
    http2: http2::Builder<TokioExecutor>,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Host {
    pub(super) fn new(door: &Door, front: &Front, stop: CancellationToken) -> Self {
        let mut http1 = http1::Builder::new();
        // The times of a connection are ours: hyper's would cost a timer for each request.
        http1.header_read_timeout(None).max_buf_size(HEAD_BYTES_MAX);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEADER_LIST_BYTES_MAX)
            .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
            .max_local_error_reset_streams(FAULTY_STREAMS_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(SEND_BYTES_MAX)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_PATIENCE);
        let tls = door.certificate.as_ref().map(tls::Certificate::acceptor);
        let front = front.speaking(if tls.is_some() { "https" } else { "http" });
        Self { front, keep_alive: door.keep_alive, tls, stop, http1: Arc::new(http1), http2 }
    }

    /// Serves a connection to its end.
    pub(super) async fn serve(
        self,
        stream: TcpStream,
        address: IpAddr,
        presence: &Arc<Presence>,
    ) -> Result<(), Failure> {
        stream.set_nodelay(true)?;
        let Some(acceptor) = self.tls.clone() else {
            let stream = Patience::new(stream, READ_PATIENCE);
            return self.http1(stream, address, presence).await;
        };
        let handshake = async {
            let mut first = [0];
            if stream.peek(&mut first).await? > 0 && first != [TLS_HANDSHAKE] {
                return say_it_is_tls(stream).await.map(|()| None);
            }
            acceptor.accept(Patience::new(stream, READ_PATIENCE)).await.map(Some)
        };
        let stream = tokio::select! {
            () = presence.leaving().cancelled() => return Ok(()),
            stream = timeout(HANDSHAKE_DEADLINE, handshake) => stream??,
        };
        let Some(stream) = stream else { return Ok(()) };
        if stream.get_ref().1.alpn_protocol() == Some(tls::HTTP2) {
            self.http2(stream, address, presence).await
        } else {
            self.http1(stream, address, presence).await
        }
    }

    /// hyper flushes at the end and leaves the stream open; it is closed here, in peace.
    async fn http1<S>(
        self,
        stream: S,
        address: IpAddr,
        presence: &Arc<Presence>,
    ) -> Result<(), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = self.service(address, presence);
        let stream = Watched::new(stream, Arc::clone(presence), true);
        let mut connection = self.http1.serve_connection(TokioIo::new(stream), service);
        match self.until_its_end(&mut OfHttp1(&mut connection), presence).await {
            End::Done(outcome) => {
                linger(connection.into_parts().io.into_inner().into_inner(), presence).await;
                Ok(outcome?)
            }
            End::Cut => Ok(()),
        }
    }

    async fn http2<S>(
        self,
        stream: S,
        address: IpAddr,
        presence: &Arc<Presence>,
    ) -> Result<(), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = self.service(address, presence);
        let stream = Watched::new(stream, Arc::clone(presence), false);
        let connection = pin!(self.http2.serve_connection(TokioIo::new(stream), service));
        match self.until_its_end(&mut OfHttp2(connection), presence).await {
            End::Done(outcome) => Ok(outcome?),
            End::Cut => Ok(()),
        }
    }

    fn service(
        &self,
        address: IpAddr,
        presence: &Arc<Presence>,
    ) -> impl Service<
        Request<Incoming>,
        Response = Response,
        Error = Infallible,
        Future = impl Future<Output = Result<Response, Infallible>> + Send + 'static,
    > + Unpin
    + Send
    + 'static {
        let (front, presence) = (self.front.clone(), Arc::clone(presence));
        service_fn(move |request: Request<Incoming>| {
            let in_hand = presence.asked();
            let (front, presence) = (front.clone(), Arc::clone(&presence));
            async move {
                let answer = front.answer(request.map(Body::new), address, &presence).await;
                Ok::<_, Infallible>(kept_in_hand(answer, in_hand))
            }
        })
    }

    /// Drives a connection until it ends, has to leave, or its time is over.
    async fn until_its_end<C: Connection>(&self, connection: &mut C, presence: &Presence) -> End {
        // No limit is shorter than this: whatever the connection is at when it is looked at, what
        // it comes to be at next is not over before the next look.
        let look_every = HEADER_DEADLINE.min(self.keep_alive);
        let mut over = pin!(sleep(look_every));
        let mut is_leaving = false;
        loop {
            tokio::select! {
                biased;
                done = std::future::poll_fn(|context| connection.poll(context)) => {
                    return End::Done(done);
                }
                () = presence.leaving().cancelled(), if !is_leaving => {
                    is_leaving = true;
                    if presence.can_be_cut(self.stop.is_cancelled()) {
                        return End::Cut;
                    }
                    connection.leave();
                    over.as_mut().reset(Instant::now() + LEAVE_DEADLINE);
                }
                () = over.as_mut() => {
                    let left = match presence.left(self.keep_alive) {
                        Some(_) if is_leaving => return End::Cut,
                        Some(Duration::ZERO) => return End::Cut,
                        Some(left) => left.min(look_every),
                        None => look_every,
                    };
                    over.as_mut().reset(Instant::now() + left);
                }
            }
        }
    }
}

/// How the driving of a connection ended.
enum End {
    /// By itself.
    Done(hyper::Result<()>),
    /// Its time was over, or others needed its place.
    Cut,
}

/// What HTTP/1.1 and HTTP/2 have in common.
trait Connection {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>>;
    /// Ends it after the answers that are in hand.
    fn leave(&mut self);
}

struct OfHttp1<'a, S: HttpService<Incoming>, I>(&'a mut http1::Connection<TokioIo<I>, S>);

impl<S, I> Connection for OfHttp1<'_, S, I>
where
    S: HttpService<Incoming, ResBody = Body> + Unpin,
    S::Error: Into<Failure>,
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        Pin::new(&mut *self.0).poll(context)
    }

    fn leave(&mut self) {
        Pin::new(&mut *self.0).graceful_shutdown();
    }
}

struct OfHttp2<'a, S: HttpService<Incoming>, I>(
    Pin<&'a mut http2::Connection<TokioIo<I>, S, TokioExecutor>>,
)
where
    I: AsyncRead + AsyncWrite + Unpin;

impl<S, I> Connection for OfHttp2<'_, S, I>
where
    S: HttpService<Incoming, ResBody = Body>,
    S::Error: Into<Failure>,
    S::Future: Send + 'static,
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.as_mut().poll(context)
    }

    fn leave(&mut self) {
        self.0.as_mut().graceful_shutdown();
    }
}

/// An answer whose length is not known is still being made when its head is there, perhaps while
/// its request is still being read: it stays in hand until its body has ended.
fn kept_in_hand(answer: Response, in_hand: InHand) -> Response {
    if answer.body().size_hint().exact().is_some() {
        return answer;
    }
    answer.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _ = &in_hand;
            frame
        }))
    })
}

/// Ends a stream so that the client gets to read what was answered last.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, presence: &Presence) {
    let reading = async {
        stream.shutdown().await?;
        let mut thrown_away = [0; 4 << 10];
        let mut bytes = 0;
        while bytes < LINGER_BYTES_MAX {
            match stream.read(&mut thrown_away).await? {
                0 => break,
                length => bytes += length,
            }
        }
        io::Result::Ok(())
    };
    tokio::select! {
        () = presence.leaving().cancelled() => {}
        _ = timeout(LINGER, reading) => {}
    }
}

async fn say_it_is_tls(mut stream: TcpStream) -> io::Result<()> {
    stream.try_write(PLAIN_TO_TLS)?;
    stream.shutdown().await?;
    let mut thrown_away = [0; 4 << 10];
    while stream.read(&mut thrown_away).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_answer_in_the_clear_has_the_length_that_it_says() {
        let text = std::str::from_utf8(super::PLAIN_TO_TLS).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}
