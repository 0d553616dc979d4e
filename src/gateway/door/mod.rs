//! Connections: how many, how long they may be silent, what they speak, and how they end.
//!
//! axum's own server never closes a connection that sends nothing, so this one stands on
//! hyper. It takes every connection as it comes and leaves none in the backlog: the
//! [`roster`] says who gives up a place for it. [`presence`] knows what a connection is at,
//! [`connection`] serves one, [`tls`] keeps the certificate.

mod connection;
mod head;
mod patience;
mod presence;
mod roster;
mod tls;
mod watched;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::front::Front;
pub(super) use presence::{Awaited, Presence};
use roster::Roster;
pub use tls::{Certificate, CertificateError};

/// Newcomers at the same moment that the system keeps until they are taken: twice as many as there
/// may be. Of more than these it turns some away without a word.
const BACKLOG: u32 = 4_096;
/// Connections at once. Each costs about 20 KiB, and a file handle.
pub const CONNECTIONS_MAX: u32 = 2_048;
/// The wait after the system refused a connection (out of file handles, usually).
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// What a connection is told that finds no place, as all others are being answered.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nConnection: close\r\n\
    Content-Type: application/problem+json\r\nContent-Length: 145\r\n\r\n\
    {\"type\":\"urn:jobgate:problem:overloaded\",\"title\":\"Not available now\",\"status\":503,\
    \"detail\":\"There are too many connections. Connect again later\"}";

/// How connections are taken.
#[derive(Clone)]
pub struct Door {
    /// Connections at once from one address.
    pub per_address_max: u32,
    /// How long a connection may be silent after an answer.
    pub keep_alive: Duration,
    /// Speaks TLS, with this certificate; plain HTTP otherwise.
    pub certificate: Option<Certificate>,
}

/// Listens on an address.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // What has just been closed by others is free again.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Door {
    /// Serves until the stop, then finishes what is being answered. The connections run on the
    /// tracker: waiting for it waits for them.
    pub async fn serve(
        self,
        listener: TcpListener,
        front: Front,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) {
        let in_all_max = usize::try_from(CONNECTIONS_MAX).unwrap_or(usize::MAX);
        let per_address_max = usize::try_from(self.per_address_max).unwrap_or(usize::MAX);
        let roster = Arc::new(Roster::new(in_all_max, per_address_max));
        if let Some(certificate) = self.certificate.clone() {
            tracker.spawn(certificate.follow(stop.clone()));
        }
        let host = connection::Host::new(&self, &front, stop.clone());
        loop {
            let (stream, address) = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, address)) => (stream, of(address)),
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        roster.make_room();
                        tokio::time::sleep(ACCEPT_RETRY).await;
                        continue;
                    }
                },
            };
            let Some(seat) = roster.seat(address, &stop) else {
                turn_away(stream, self.certificate.is_some()).await;
                continue;
            };
            let host = host.clone();
            tracker.spawn(async move {
                if let Err(error) = host.serve(stream, address, &seat.presence).await {
                    tracing::debug!(%error, "connection");
                }
                drop(seat);
            });
        }
    }
}

fn of(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

/// Says why, where that can be said in the clear: what little it is goes into the socket's own
/// buffer, so this waits for nobody.
async fn turn_away(mut stream: TcpStream, speaks_tls: bool) {
    if !speaks_tls && stream.try_write(FULL).is_ok() {
        stream.shutdown().await.ok();
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_answer_to_those_who_find_no_place_has_the_length_that_it_says() {
        let text = std::str::from_utf8(super::FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
}
