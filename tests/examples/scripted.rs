//! Servers with the answers that a healthy jobgate does not give on demand.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER as RETRY_AFTER_HEADER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Status, `Retry-After`, body.
pub(crate) type Scripted = (u16, Option<&'static str>, &'static str);

/// What [`NOT_NOW`] asks for.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The id in the answers.
pub(crate) const ID: &str = "0193b8b2-7d51-7000-8000-000000000001";
/// What a client prints of [`ACCEPTED`].
pub(crate) const ACCEPTED_LINE: &str =
    "fraud.detection 0193b8b2-7d51-7000-8000-000000000001 waitlist.fraud.detection/3/17";
/// A receipt.
pub(crate) const ACCEPTED: Scripted = (
    202,
    None,
    r#"{"id":"0193b8b2-7d51-7000-8000-000000000001","type":"fraud.detection",
        "topic":"waitlist.fraud.detection","partition":3,"offset":17,"key":"k",
        "produced_at":"2025-01-01T00:00:00.000Z","status_url":"/jobs/fraud.detection/3/17"}"#,
);
const KAFKA_UNAVAILABLE: &str = r#"{"type":"urn:jobgate:problem:kafka-unavailable",
    "title":"Not available now","status":503,"detail":"Kafka cannot be reached"}"#;
/// Kafka is away.
pub(crate) const NOT_NOW: Scripted = (503, Some("1"), KAFKA_UNAVAILABLE);
/// The caller's rate is spent.
pub(crate) const TOO_MUCH: Scripted = (
    429,
    Some("1"),
    r#"{"type":"urn:jobgate:problem:rate-exceeded","title":"Too much","status":429,"detail":"Later"}"#,
);
/// The first one is still being answered.
pub(crate) const IN_FLIGHT: Scripted = (
    409,
    Some("0"),
    r#"{"type":"urn:jobgate:problem:idempotency-key-in-flight","title":"Wait","status":409,"detail":"Wait"}"#,
);
/// Kafka is away, for a test that counts.
pub(crate) const NOT_NOW_BUT_AT_ONCE: Scripted = (503, Some("0"), KAFKA_UNAVAILABLE);
/// Kafka did not acknowledge the record in time.
pub(crate) const OUTCOME_UNKNOWN: Scripted = (
    504,
    Some("0"),
    r#"{"type":"urn:jobgate:problem:outcome-unknown","title":"The outcome is unknown",
        "status":504,"detail":"It may have been written","id":"0193b8b2-7d51-7000-8000-000000000001"}"#,
);

/// Gives one answer after the other, then the last one for ever.
pub(crate) struct Server {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<(Instant, String)>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(answers: &'static [Scripted]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let answer = move |headers: HeaderMap, _: Bytes| {
            let mut seen = seen.lock().expect("no panic");
            let (status, retry_after, body) = answers[seen.len().min(answers.len() - 1)];
            let key = headers["idempotency-key"].to_str().expect("text").to_owned();
            seen.push((Instant::now(), key));
            let status = StatusCode::from_u16(status).expect("a status");
            let headers = [(CONTENT_TYPE, "application/json")];
            let retry_after = retry_after.map(|seconds| [(RETRY_AFTER_HEADER, seconds)]);
            let answer = match retry_after {
                Some(header) => (status, headers, header, body).into_response(),
                None => (status, headers, body).into_response(),
            };
            std::future::ready(answer)
        };
        let router = Router::new().fallback(answer);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { url, asked, _tasks: tasks }
    }

    /// When each request came, and their key.
    pub(crate) fn asked(&self) -> (Vec<Instant>, String) {
        let asked = self.asked.lock().expect("no panic").clone();
        let (times, keys): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        assert!(keys.iter().all(|key| *key == keys[0]), "one key for all: {keys:?}");
        (times, keys[0].clone())
    }
}

/// Takes a request and hangs up without an answer.
pub(crate) struct CutServer {
    pub(crate) url: String,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl CutServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                // The request may come in pieces; its body is `{}`.
                let mut request = Vec::new();
                while !request.ends_with(b"{}")
                    && stream.read_buf(&mut request).await.is_ok_and(|n| n > 0)
                {}
            }
        });
        Self { url, connections, _tasks: tasks }
    }

    /// How many requests came.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}
