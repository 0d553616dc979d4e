//! A service of the tests' own: it writes down each request and answers as it is told to.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How a request is answered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reply {
    /// With this status.
    Status(u16),
    /// With this status and this `Retry-After`.
    After(u16, &'static str),
    /// 503 with a `Retry-After` that is a date, so many seconds from now.
    Dated(u64),
    /// With this status and body.
    Body(u16, &'static str),
    /// With this status, as late as that.
    Slow(u16, Duration),
    /// Not at all: the connection stays open.
    Hang,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) at: Instant,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}"));
        value.to_str().expect("text")
    }

    /// The id inside the `Idempotency-Key`.
    pub(crate) fn id(&self) -> &str {
        let quoted = self.header("idempotency-key");
        quoted.strip_prefix('"').and_then(|id| id.strip_suffix('"')).expect("a quoted string")
    }

    pub(crate) fn attempt(&self) -> u32 {
        self.header("jobgate-attempt").parse().expect("a number")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

#[derive(Default)]
struct Seen {
    requests: Vec<Request>,
    /// Answers to give, by id or else by path; the last one for ever.
    replies: HashMap<String, Vec<Reply>>,
}

#[derive(Clone, Default)]
struct Service {
    seen: Arc<Mutex<Seen>>,
}

/// A service that can go away and come back at the same address.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    service: Service,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (service, stop) = (Service::default(), CancellationToken::new());
        let mut receiver = Self { address, service, tasks: JoinSet::new(), stop };
        receiver.serve(listener);
        receiver
    }

    fn serve(&mut self, listener: TcpListener) {
        let router = Router::new().fallback(answer).with_state(self.service.clone());
        self.stop = CancellationToken::new();
        let stopped = self.stop.clone().cancelled_owned();
        let serve = axum::serve(listener, router).with_graceful_shutdown(stopped);
        self.tasks.spawn(async move { serve.await.expect("it serves") });
    }

    /// Goes away: connections that are open end, and further ones are refused.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        self.tasks.join_next().await;
    }

    /// Comes back where it was.
    pub(crate) fn start_again(&mut self) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an option");
        socket.bind(self.address).expect("the same port");
        self.serve(socket.listen(128).expect("it listens"));
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What to answer on a path, or to the job with an id: one after the other, the last one for
    /// ever. Whatever is not said is 200.
    pub(crate) fn reply(&self, to: &str, replies: &[Reply]) {
        self.seen().replies.insert(to.to_owned(), replies.to_vec());
    }

    /// The requests so far, in their order.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen().requests.clone()
    }

    /// Those on a path.
    pub(crate) fn on(&self, path: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.path == path).collect()
    }

    /// Those for a job.
    pub(crate) fn of(&self, id: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.id() == id).collect()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.service.seen.lock().expect("no panic")
    }
}

async fn answer(
    State(service): State<Service>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request = Request { path: uri.path().to_owned(), headers, body, at: Instant::now() };
    let reply = {
        let mut seen = service.seen.lock().expect("no panic");
        let id = request.id().to_owned();
        let (earlier, to) = if seen.replies.contains_key(&id) {
            (seen.requests.iter().filter(|it| it.id() == id).count(), id)
        } else {
            let earlier = seen.requests.iter().filter(|it| it.path == request.path);
            (earlier.count(), request.path.clone())
        };
        seen.requests.push(request);
        let replies = seen.replies.get(&to).map_or(&[][..], Vec::as_slice);
        replies.get(earlier).or(replies.last()).copied().unwrap_or(Reply::Status(200))
    };
    let status = |code: u16| StatusCode::from_u16(code).expect("a status");
    match reply {
        Reply::Status(code) => status(code).into_response(),
        Reply::After(code, after) => (status(code), [("retry-after", after)]).into_response(),
        Reply::Dated(seconds) => {
            let at = chrono::DateTime::from_timestamp(now_s() + seconds.cast_signed(), 0);
            let date = at.expect("a time").format("%a, %d %b %Y %H:%M:%S GMT").to_string();
            (status(503), [("retry-after", date)]).into_response()
        }
        Reply::Body(code, body) => (status(code), body).into_response(),
        Reply::Slow(code, wait) => {
            tokio::time::sleep(wait).await;
            status(code).into_response()
        }
        Reply::Hang => std::future::pending().await,
    }
}

/// Seconds since the epoch.
pub(crate) fn now_s() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    i64::try_from(since.as_secs()).expect("a time")
}
