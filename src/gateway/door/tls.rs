//! The certificate: read at the start, and again whenever its files have changed.
//!
//! The only home of rustls. A connection keeps what it began with; the next handshake takes the
//! new one. A pair that cannot be used leaves the old one in place, and is said once.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// How HTTP/2 is named in a handshake.
pub(super) const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";
/// How often the files are looked at. Whoever renews a certificate does so days ahead.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Why a certificate cannot be used.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file holds no PEM of what it should.
    #[error("{} holds no {what} as PEM", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The pair is none, or of a kind that is not known.
    #[error("the key and the certificate do not go together")]
    NoPair(#[source] rustls::Error),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

/// A certificate with its key, as two files say. Cheap to clone: the clones are one.
#[derive(Clone)]
pub struct Certificate {
    files: Arc<Files>,
    acceptor: TlsAcceptor,
    current: Arc<Current>,
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
}

/// What the files say.
#[derive(Clone, PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// What the next handshake gets.
struct Current(ArcSwap<CertifiedKey>);

impl Certificate {
    /// Reads a chain of certificates, the server's own first, and its key, both PEM.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, CertificateError> {
        let files = Files {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            provider: Arc::new(ring::default_provider()),
        };
        let pair = files.pair(&files.contents()?)?;
        let current = Arc::new(Current(ArcSwap::from_pointee(pair)));
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&files.provider))
            .with_safe_default_protocol_versions()
            .map_err(CertificateError::Tls)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { files: Arc::new(files), acceptor, current })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// Takes what the files say whenever that has changed, until the stop.
    pub(super) async fn follow(self, stop: CancellationToken) {
        let mut known = self.files.contents().ok();
        // A renewal writes two files, one after the other: what does not go together yet is said
        // only if it stays so.
        let mut doubtful = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let contents = match self.files.contents() {
                Ok(contents) if Some(&contents) == known.as_ref() => {
                    doubtful = None;
                    continue;
                }
                Ok(contents) => contents,
                Err(error) => {
                    if known.take().is_some() {
                        warn(&error);
                    }
                    continue;
                }
            };
            match self.files.pair(&contents) {
                Ok(pair) => {
                    self.current.0.store(Arc::new(pair));
                    tracing::info!("the certificate has changed; the new one is in place");
                    (known, doubtful) = (Some(contents), None);
                }
                Err(_) if doubtful.as_ref() != Some(&contents) => doubtful = Some(contents),
                Err(error) => {
                    warn(&error);
                    known = doubtful.take();
                }
            }
        }
    }
}

fn warn(error: &CertificateError) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::warn!(%error, cause, "the new certificate cannot be used; the old one stays");
}

impl Files {
    fn contents(&self) -> Result<Contents, CertificateError> {
        let read = |path: &PathBuf| {
            std::fs::read(path)
                .map_err(|source| CertificateError::Unreadable { path: path.clone(), source })
        };
        Ok(Contents { certificate: read(&self.certificate)?, key: read(&self.key)? })
    }

    fn pair(&self, contents: &Contents) -> Result<CertifiedKey, CertificateError> {
        let none = |path: &PathBuf, what| CertificateError::NotPem { path: path.clone(), what };
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(&contents.certificate).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| none(&self.certificate, "certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&contents.key)
            .map_err(|_| none(&self.key, "private key"))?;
        CertifiedKey::from_der(chain, key, &self.provider).map_err(CertificateError::NoPair)
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}
