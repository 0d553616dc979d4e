//! The measure of the gateway: an axum handler that parses the same JSON, and does nothing
//! with it.

use std::io::Write as _;

use axum::http::StatusCode;
use axum::routing::post;
use axum::serve::ListenerExt as _;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The argument that makes this program the bare handler.
pub(crate) const COMMAND: &str = "serve-bare";
/// Where it is served.
pub(crate) const PATH: &str = "/bare";

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
        let router = Router::new().route(PATH, post(accept));
        axum::serve(listener, router).await.expect("it serves");
    });
}

async fn accept(Json(payload): Json<Value>) -> (StatusCode, Json<Value>) {
    let user = payload.get("user_id").cloned().unwrap_or_default();
    (StatusCode::ACCEPTED, Json(json!({ "id": user, "is_accepted": true })))
}
