//! An endpoint of a customer: an HTTP server that answers as it is told and remembers what it got.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::harness::until;
use super::stage::SOON;

/// How a path answers; 204 unless told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: &'static str,
    /// It takes so long.
    pub(crate) after: Duration,
}

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Got {
    /// The job's id.
    pub(crate) fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

#[derive(Default)]
struct Desk {
    replies: Mutex<HashMap<String, Reply>>,
    got: Mutex<Vec<Got>>,
}

/// The server; it ends when it is dropped.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    desk: Arc<Desk>,
    _tasks: JoinSet<()>,
}

impl Receiver {
    /// On an address, with port 0 on a free one.
    pub(crate) async fn on(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("an address");
        let address = listener.local_addr().expect("an address");
        let desk = Arc::<Desk>::default();
        let router = Router::new().fallback(take).with_state(Arc::clone(&desk));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        Self { address, desk, _tasks: tasks }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on a path answers so.
    pub(crate) fn answers(&self, path: &str, reply: Reply) {
        let mut replies = self.desk.replies.lock().unwrap_or_else(PoisonError::into_inner);
        replies.insert(path.to_owned(), reply);
    }

    pub(crate) fn status(&self, path: &str, status: u16) {
        self.answers(path, Reply { status, ..Reply::default() });
    }

    /// What has come to a path.
    pub(crate) fn got(&self, path: &str) -> Vec<Got> {
        let got = self.desk.got.lock().unwrap_or_else(PoisonError::into_inner);
        got.iter().filter(|got| got.path == path).cloned().collect()
    }

    /// Waits until so many have come to a path.
    pub(crate) async fn until(&self, path: &str, count: usize) -> Vec<Got> {
        until(&format!("{count} requests to {path}"), SOON, async || {
            let got = self.got(path);
            (got.len() >= count).then_some(got)
        })
        .await
    }
}

async fn take(
    State(desk): State<Arc<Desk>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = |value: &axum::http::HeaderValue| value.to_str().expect("text").to_owned();
    let headers = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let path = uri.path().to_owned();
    let body = String::from_utf8(body.to_vec()).expect("UTF-8");
    let reply = {
        let mut got = desk.got.lock().unwrap_or_else(PoisonError::into_inner);
        got.push(Got { path: path.clone(), headers, body });
        let replies = desk.replies.lock().unwrap_or_else(PoisonError::into_inner);
        replies.get(&path).cloned().unwrap_or(Reply { status: 204, ..Reply::default() })
    };
    tokio::time::sleep(reply.after).await;
    let status = StatusCode::from_u16(reply.status).expect("a status");
    let mut response = (status, reply.body).into_response();
    for (name, value) in reply.headers {
        response.headers_mut().insert(name, value.parse().expect("a value"));
    }
    response
}
