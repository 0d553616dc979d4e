//! The measure of the gateway: an axum handler that parses the same JSON, and does nothing
//! with it. It checks a token as most handlers do, each time anew; or none.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::serve::ListenerExt as _;
use axum::{Json, Router};
use jobgate::auth::Verifier;
use jobgate::domain::clock::SystemClock;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::payload::Shape;
use crate::side::{CONNECTIONS, Server};
use crate::tokens::{AUDIENCE, SECRET};

/// The argument that makes this program the bare handler.
pub(crate) const COMMAND: &str = "serve-bare";
/// Where it is served, without a token and with one.
const PATH: &str = "/bare";
const PATH_OF_TOKENS: &str = "/bare/token";

/// Serves until it is killed; says first on which address.
pub(crate) fn serve() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime as jobgate's own");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        println!("{}", listener.local_addr().expect("its address"));
        std::io::stdout().flush().expect("somebody reads it");
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("a TCP stream"));
        let router = Router::new()
            .route(PATH, post(accept))
            .route(PATH_OF_TOKENS, post(accept_token))
            .with_state(Arc::new(Checks::new()));
        axum::serve(listener, router).await.expect("it serves");
    });
}

/// What a token is checked by.
struct Checks {
    key: DecodingKey,
    validation: Validation,
}

impl Checks {
    fn new() -> Self {
        // It makes jobgate's cryptography that of jsonwebtoken: the same on both sides.
        drop(Verifier::new(Vec::new(), Arc::new(SystemClock)));
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[AUDIENCE]);
        Self { key: DecodingKey::from_secret(SECRET.as_bytes()), validation }
    }
}

async fn accept(Json(payload): Json<Value>) -> (StatusCode, Json<Value>) {
    let user = payload.get("user_id").cloned().unwrap_or_default();
    (StatusCode::ACCEPTED, Json(json!({ "id": user, "is_accepted": true })))
}

async fn accept_token(
    State(checks): State<Arc<Checks>>,
    headers: HeaderMap,
    payload: Json<Value>,
) -> Result<(StatusCode, Json<Value>), StatusCode> {
    let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer "));
    let token = token.ok_or(StatusCode::UNAUTHORIZED)?;
    let read = jsonwebtoken::decode::<Value>(token, &checks.key, &checks.validation);
    let claims = read.map_err(|_| StatusCode::UNAUTHORIZED)?.claims;
    let may = claims["scope"].as_str().is_some_and(|scope| scope.contains("jobs:write"));
    if may { Ok(accept(payload).await) } else { Err(StatusCode::FORBIDDEN) }
}

/// Starts it as a process of its own.
pub(crate) async fn start() -> (Child, Server) {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .arg(COMMAND)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the bare handler starts");
    let stdout = child.stdout.take().expect("its output");
    let line = BufReader::new(stdout).lines().next_line().await.expect("its output");
    let address = line.expect("its address").parse().expect("an address");
    let pid = child.id().expect("it runs");
    let bare = Server {
        name: "bare",
        pid,
        address,
        path: PATH,
        connections: CONNECTIONS,
        shape: Shape::plain(300),
    };
    (child, bare)
}

/// The same handler behind the check of a token.
pub(crate) fn with_token(bare: &Server, token: &str) -> Server {
    let bare = bare.with_token(token);
    Server { path: PATH_OF_TOKENS, ..bare }
}
