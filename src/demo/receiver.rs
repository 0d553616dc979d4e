//! The customers' ends of the demo's webhooks: one that takes everything and checks who it comes
//! from, and one that is gone for good.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::clock::SharedClock;
use crate::outbound::{Signer, header};

/// The path that takes everything.
pub(super) const GOOD: &str = "/hooks";
/// The path that answers that there is nothing any more.
pub(super) const GONE: &str = "/gone";

/// The largest body: that of a record, in its envelope.
const BODY_BYTES_MAX: usize = 2 << 20;
/// How long a request may take to come.
const PATIENCE: Duration = Duration::from_secs(15);
/// How far a signature's time may be off (Standard Webhooks).
const TOLERANCE_S: i64 = 300;

/// What has come.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// The ids, each once however often it came.
    pub(super) ids: HashSet<String>,
    /// Requests, repeated ones among them.
    pub(super) requests: u64,
    /// Those whose signature is wrong.
    pub(super) forged: u64,
}

/// Takes webhooks until the token is cancelled.
#[derive(Clone)]
pub(super) struct Receiver {
    received: Arc<Mutex<Received>>,
    signer: Arc<Signer>,
    clock: SharedClock,
}

impl Receiver {
    pub(super) fn new(signer: Signer, clock: &SharedClock) -> Self {
        let clock = Arc::clone(clock);
        Self { received: Arc::default(), signer: Arc::new(signer), clock }
    }

    /// Serves on a port of this machine, whose address it returns.
    pub(super) async fn start(
        &self,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> std::io::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (receiver, stop, connections) = (self.clone(), stop.clone(), tracker.clone());
        tracker.spawn(async move {
            loop {
                let stream = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => stream,
                        Err(_) => continue,
                    },
                };
                let (receiver, stop) = (receiver.clone(), stop.clone());
                connections.spawn(async move {
                    let service = service_fn(move |request| receiver.clone().answer(request));
                    let connection = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(PATIENCE)
                        .serve_connection(TokioIo::new(stream), service);
                    tokio::select! {
                        // Whoever has sent half a request sends it again.
                        _ = connection => {}
                        () = stop.cancelled() => {}
                    }
                });
            }
        });
        Ok(address)
    }

    /// A look at what has come.
    pub(super) fn look<T>(&self, at: impl FnOnce(&Received) -> T) -> T {
        at(&self.received.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn answer(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<Empty<Bytes>>, Infallible> {
        let status = match request.uri().path() {
            GOOD => self.take(request).await,
            GONE => StatusCode::GONE,
            _ => StatusCode::NOT_FOUND,
        };
        let mut response = Response::new(Empty::new());
        *response.status_mut() = status;
        Ok(response)
    }

    async fn take(&self, request: Request<Incoming>) -> StatusCode {
        let (parts, body) = request.into_parts();
        let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
            return StatusCode::BAD_REQUEST;
        };
        let id = self.signed(&parts.headers, &body.to_bytes());
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.requests += 1;
        let Some(id) = id else {
            received.forged += 1;
            return StatusCode::UNAUTHORIZED;
        };
        received.ids.insert(id);
        StatusCode::NO_CONTENT
    }

    /// The id, if it is signed with the secret that the two share.
    fn signed(&self, headers: &HeaderMap, body: &[u8]) -> Option<String> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let id = text(header::ID)?;
        let timestamp_s: i64 = text(header::TIMESTAMP)?.parse().ok()?;
        let age_s = (self.clock.now_ms() / 1_000).abs_diff(timestamp_s);
        let is_signed = text(header::SIGNATURE)? == self.signer.sign(id, timestamp_s, body);
        (is_signed && age_s <= TOLERANCE_S.unsigned_abs()).then(|| id.to_owned())
    }
}
