//! The settings of the door: connections, rates and TLS.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use crate::gateway::{CONNECTIONS_MAX, Certificate, Door, RateLimit};

/// How requests come in.
#[derive(Debug, Clone, Args)]
pub(super) struct DoorSettings {
    /// Records a second that each caller may send, and how many at once; a request that sends none
    /// counts as one. In the memory of this process. No limit unless given.
    #[arg(long, env = "JOBGATE_RATE_LIMIT", value_name = "RECORDS/BURST")]
    pub(super) rate_limit: Option<RateLimit>,

    /// Connections at once from one address (an IPv6 network of 64 bits counts as one).
    #[arg(long, env = "JOBGATE_CONNECTIONS_PER_ADDRESS", default_value = "1024",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(CONNECTIONS_MAX)))]
    connections_per_address: u32,

    /// How long a connection may be silent after an answer. Longer than a balancer keeps it, so that
    /// it is never closed just when the next request comes.
    #[arg(long, env = "JOBGATE_KEEP_ALIVE", default_value = "75s", value_parser = keep_alive)]
    keep_alive: Duration,

    /// The certificate to serve HTTPS with, the server's own first, as a file of PEM; read again
    /// when it changes.
    #[arg(long, env = "JOBGATE_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// The certificate's private key, as a file of PEM.
    #[arg(long, env = "JOBGATE_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

impl DoorSettings {
    /// The door that the settings describe; reads the certificate.
    pub(super) fn door(&self) -> anyhow::Result<Door> {
        Ok(Door {
            per_address_max: self.connections_per_address,
            keep_alive: self.keep_alive,
            certificate: self.certificate()?,
        })
    }

    /// The certificate, if there is to be one.
    pub(super) fn certificate(&self) -> anyhow::Result<Option<Certificate>> {
        let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            return Ok(None);
        };
        let opened = Certificate::open(certificate, key);
        opened.map(Some).context("--tls-cert and --tls-key")
    }

    /// `https` or `http`.
    pub(super) fn scheme(&self) -> &'static str {
        if self.tls_cert.is_some() { "https" } else { "http" }
    }
}

fn keep_alive(text: &str) -> Result<Duration, String> {
    let range = Duration::from_secs(1)..=Duration::from_hours(1);
    match humantime::parse_duration(text) {
        Ok(duration) if range.contains(&duration) => Ok(duration),
        _ => Err("must be from 1s to 1h".to_owned()),
    }
}
