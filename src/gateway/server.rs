//! Connections: how many, how long they may be silent, and how they end.
//!
//! axum's own server never closes a connection that sends nothing, so this one stands on
//! hyper.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::front::Front;
use super::patience::Patience;

/// Connections at once; further ones wait in the backlog. Each costs a few KiB.
const CONNECTIONS_MAX: usize = 1_024;
/// How long a client may take to send its first byte, and then each request's header.
const HEADER_DEADLINE: Duration = Duration::from_secs(15);
/// How long an answer may wait for the client to take its next byte: a slow network moves
/// something in that time.
const READ_PATIENCE: Duration = Duration::from_secs(15);
/// The largest header of a request, bytes.
const HEADER_BYTES_MAX: usize = 32 << 10;
/// The wait after the system refused a connection (out of file handles, usually).
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves until the stop, then finishes what is being answered. The connections run on the
/// tracker: waiting for it waits for them.
pub async fn serve(
    listener: TcpListener,
    front: Front,
    tracker: TaskTracker,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            },
        };
        let (front, stop) = (front.clone(), stop.clone());
        tracker.spawn(async move {
            if let Err(error) = answer(stream, front, &stop).await {
                tracing::debug!(%error, "connection");
            }
            drop(slot);
        });
    }
}

async fn answer(
    stream: TcpStream,
    front: Front,
    stop: &CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    // hyper's timer starts with the first byte: a silent connection is cut here.
    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        first = tokio::time::timeout(HEADER_DEADLINE, stream.readable()) => first??,
    }
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = front.clone().answer(request.map(Body::new));
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(Patience::new(stream, READ_PATIENCE)), service);
    tokio::pin!(connection);
    tokio::select! {
        done = connection.as_mut() => return Ok(done?),
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}
