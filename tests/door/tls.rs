//! TLS: what is spoken through it, and a certificate that changes.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::until;
use crate::raw::{SOON, address, connect, exchange, listen, status};

const START: Duration = Duration::from_secs(120);

/// A started jobgate that speaks TLS.
pub(crate) struct Tls {
    pub(crate) base: String,
    folder: tempfile::TempDir,
    child: Child,
}

/// Files of a fresh certificate for localhost, and its key.
fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    let fresh = [folder.join("fresh.pem"), folder.join("fresh.key.pem")];
    let output = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-subj", "/CN=localhost", "-days", "30", "-out"])
        .arg(&fresh[0])
        .arg("-keyout")
        .arg(&fresh[1])
        .output()
        .expect("openssl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::rename(&fresh[0], &certificate).expect("the certificate");
    std::fs::rename(&fresh[1], &key).expect("the key");
    (certificate, key)
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobgate"));
    command
        .arg("--data-dir")
        .arg(folder.join("data"))
        .arg("--tls-cert")
        .arg(folder.join("certificate.pem"))
        .arg("--tls-key")
        .arg(folder.join("key.pem"))
        .env_remove("KAFKA_BROKERS")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// A test that fails shows what jobgate said last.
impl Drop for Tls {
    #[expect(clippy::print_stderr, reason = "the last word of a failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("jobgate's log ({:?}):\n{}", self.child.try_wait(), self.log());
        }
    }
}

impl Tls {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        certificate(folder.path());
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let mut child = command(folder.path())
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("jobgate starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let said = async {
            loop {
                let line = lines.next_line().await.expect("text").expect("an address");
                if let Some((_, rest)) = line.split_once("https://") {
                    return rest.split([' ', '/']).next().unwrap_or_default().to_owned();
                }
            }
        };
        let address = tokio::time::timeout(START, said).await.expect("a start in time");
        Self { base: format!("https://{address}"), folder, child }
    }

    pub(crate) async fn connect(&self, alpn: &[&[u8]]) -> std::io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(ring::default_provider());
        let accepts_any = AcceptsAny(provider.signature_verification_algorithms);
        let mut config = ClientConfig::builder_with_provider(provider as Arc<CryptoProvider>)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(accepts_any))
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = TcpStream::connect(address(&self.base)).await?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("its log")
    }

    fn request(&self, path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", address(&self.base))
    }
}

/// A client that wants to know which certificate it is shown, and no more.
#[derive(Debug)]
struct AcceptsAny(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AcceptsAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().expect("a certificate")[0].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_without_a_restart_and_a_broken_one_changes_nothing() {
    let jobgate = Tls::start().await;
    let health = jobgate.request("/health/live");
    let mut early = jobgate.connect(&[b"http/1.1"]).await.expect("a handshake");
    assert_eq!(status(&mut early, health.as_bytes()).await, Some(200));
    let first = shown(&early);

    // A key that is not the certificate's: the old pair stays, and it is said.
    let folder = jobgate.folder.path();
    let (_, key) = certificate(folder);
    let good_key = std::fs::read(&key).expect("the key");
    let good = std::fs::read(folder.join("certificate.pem")).expect("the certificate");
    let broken = |text: &[u8]| std::fs::write(&key, text).expect("written");
    broken(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    until("the broken key is said", SOON, async || {
        jobgate.log().contains("the old one stays").then_some(())
    })
    .await;
    assert_eq!(shown(&jobgate.connect(&[]).await.expect("a handshake")), first);
    assert!(check(folder).await.contains("FAULT"), "check says so");

    // The right one: it is shown from then on, and who was connected stays so.
    std::fs::write(folder.join("certificate.pem"), &good).expect("written");
    std::fs::write(&key, &good_key).expect("written");
    let second = until("the new certificate", SOON, async || {
        let shown = shown(&jobgate.connect(&[]).await.ok()?);
        (shown != first).then_some(shown)
    })
    .await;
    assert_ne!(second, first);
    assert_eq!(status(&mut early, health.as_bytes()).await, Some(200));
    let found = check(folder).await;
    assert!(found.contains("ok     tls") && !found.contains("FAULT"), "{found}");
    assert!(!jobgate.log().contains("PRIVATE"), "no key in the log");
}

/// What `jobgate check` says.
async fn check(folder: &Path) -> String {
    let output = command(folder).arg("check").output().await.expect("it runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_handshake_is_told_or_cut() {
    let jobgate = Tls::start().await;
    let plain = jobgate.request("/health/live");
    let silent = async {
        let begun = Instant::now();
        let mut stream = connect(&jobgate.base).await;
        // The beginning of one.
        stream.write_all(&[22, 3, 1, 2]).await.expect("it is sent");
        let heard = listen(&mut stream, SOON).await;
        (heard.is_closed, begun.elapsed())
    };
    let (heard, silent, nonsense) = tokio::join!(
        exchange(&jobgate.base, plain.as_bytes()),
        silent,
        exchange(&jobgate.base, &[22, 3, 1, 0, 4, 255, 255, 255, 255]),
    );
    assert_eq!(heard.statuses(), [400], "{heard:?}");
    assert!(heard.text.contains("HTTPS") && heard.is_closed, "{heard:?}");
    assert!(nonsense.is_closed, "{nonsense:?}");
    assert!(silent.0 && silent.1 < Duration::from_secs(14), "{silent:?}");

    // Without a verifier only this machine and its own pages, through TLS too.
    for (host, origin, expected) in [
        (address(&jobgate.base), String::new(), 200),
        (address(&jobgate.base), format!("Origin: {}\r\n", jobgate.base), 200),
        (address(&jobgate.base), "Origin: https://evil.example\r\n".to_owned(), 403),
        (address(&jobgate.base), format!("Origin: http://{}\r\n", address(&jobgate.base)), 403),
        ("evil.example", String::new(), 403),
    ] {
        let mut stream = jobgate.connect(&[]).await.expect("a handshake");
        let request = format!("GET /catalog HTTP/1.1\r\nHost: {host}\r\n{origin}\r\n");
        let answered = status(&mut stream, request.as_bytes()).await;
        assert_eq!(answered, Some(expected), "{host} {origin}");
    }
    assert!(jobgate.child.id().is_some());
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_no_start() {
    let folder = tempfile::tempdir().expect("a folder");
    for (what, certificate, key, said) in [
        ("nothing", None, None, "cannot be read"),
        ("no PEM", Some("x"), Some("y"), "no certificate as PEM"),
    ] {
        let write = |name: &str, text: Option<&str>| {
            if let Some(text) = text {
                std::fs::write(folder.path().join(name), text).expect("written");
            }
        };
        write("certificate.pem", certificate);
        write("key.pem", key);
        let output = command(folder.path()).output().await.expect("it runs");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{what}: {error}");
        assert!(error.contains(said), "{what}: {error}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_jobgate"))
        .args(["--tls-cert", "a.pem"])
        .output()
        .await
        .expect("it runs");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--tls-key"));
}
