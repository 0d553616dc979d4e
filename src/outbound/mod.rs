//! Calls to others: HTTP requests that leave the house, their signatures, and the questions to
//! the DNS.
//!
//! The only home of the HTTP client (reqwest, over rustls with ring and the system's roots) and of
//! the resolver (hickory). It owns the rule which addresses a customer's URL may lead to, and
//! where that rule is asked: inside the connection, of the very address that is connected to, so
//! that no second look-up can put another one in its place.
//! It must never know what a job, a topic or a webhook's row is, and never put a URL's path or
//! query, a secret or a body into an error or a log line.

mod client;
mod dns;
#[cfg(test)]
#[path = "../../tests/harness/dns.rs"]
mod dns_server;
mod guard;
mod retry_after;
mod signature;
mod target;

use std::net::IpAddr;

pub use client::{Answer, Client, ClientSettings, Get, Post, Reach, SendError};
pub use dns::{Dns, DnsError, DnsServer, InvalidDnsServer, MailDomain, NoMail};
pub use guard::{AllowedNet, Blocked, Guard, InvalidNet};
pub use retry_after::RetryAfter;
pub use signature::{InvalidSecret, Secret, Signer, header};
pub use target::{InvalidUrl, TargetUrl};

/// What keeps this module from being built.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The TLS library takes none of what it is given.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// The HTTP client takes none of what it is given.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
}

/// An address in the form that it is judged in: an IPv4 address that is written as an IPv6 one
/// (`::ffff:10.0.0.1`) is that IPv4 address.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}
