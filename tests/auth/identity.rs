//! Identity providers of the tests' own: keys that sign, and an HTTP server that publishes them,
//! counts who asks, and can be away.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::tokens::{key_pair, part};

/// A key of an issuer.
pub(super) struct Key {
    pub(super) kid: String,
    pair: Pair,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

impl Key {
    pub(super) fn rsa(kid: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self::rsa_in(dir.path(), kid)
    }

    /// One whose halves are files in this directory.
    pub(super) fn rsa_in(directory: &Path, kid: &str) -> Self {
        let (private, _) = key_pair(directory, "RSA");
        let pem = std::fs::read(private).expect("PEM");
        let der = rustls_pki_types::PrivatePkcs8KeyDer::from_pem_slice(&pem).expect("a key");
        let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).expect("a key of RSA");
        Self { kid: kid.to_owned(), pair: Pair::Rsa(Box::new(pair)) }
    }

    pub(super) fn p256(kid: &str) -> Self {
        Self { kid: kid.to_owned(), pair: Pair::P256(curve(&ECDSA_P256_SHA256_FIXED_SIGNING)) }
    }

    pub(super) fn p384(kid: &str) -> Self {
        Self { kid: kid.to_owned(), pair: Pair::P384(curve(&ECDSA_P384_SHA384_FIXED_SIGNING)) }
    }

    pub(super) fn ed(kid: &str) -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key of Ed25519");
        Self { kid: kid.to_owned(), pair: Pair::Ed(pair) }
    }

    /// What its tokens are signed with, where nothing else is said.
    pub(super) fn algorithm(&self) -> &'static str {
        match &self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::P256(_) => "ES256",
            Pair::P384(_) => "ES384",
            Pair::Ed(_) => "EdDSA",
        }
    }

    /// Its public half.
    pub(super) fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let numbers = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({ "kty": "RSA", "n": encode(&numbers.n), "e": encode(&numbers.e) })
            }
            Pair::P256(pair) => point("P-256", pair, 32),
            Pair::P384(pair) => point("P-384", pair, 48),
            Pair::Ed(pair) => {
                let x = encode(pair.public_key().as_ref());
                json!({ "kty": "OKP", "crv": "Ed25519", "x": x })
            }
        };
        jwk["use"] = "sig".into();
        jwk["kid"] = self.kid.as_str().into();
        jwk
    }

    /// Its public half with another member, or without it.
    pub(super) fn jwk_with(&self, name: &str, value: Value) -> Value {
        let mut jwk = self.jwk();
        jwk[name] = value;
        jwk.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
        jwk
    }

    /// A token of it.
    pub(super) fn token(&self, claims: &Value) -> String {
        self.signed(&json!({ "alg": self.algorithm(), "kid": self.kid }), &claims.to_string())
    }

    /// A token of these texts, signed as the header says, or in the key's own way.
    pub(super) fn signed(&self, header: &Value, payload: &str) -> String {
        let message = format!("{}.{}", part(header), encode(payload.as_bytes()));
        let (bytes, random) = (message.as_bytes(), SystemRandom::new());
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let padding: &dyn signature::RsaEncoding = match header["alg"].as_str() {
                    Some("RS384") => &signature::RSA_PKCS1_SHA384,
                    Some("RS512") => &signature::RSA_PKCS1_SHA512,
                    Some("PS256") => &signature::RSA_PSS_SHA256,
                    Some("PS384") => &signature::RSA_PSS_SHA384,
                    Some("PS512") => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, bytes, &mut signature).expect("a signature");
                signature
            }
            Pair::P256(pair) | Pair::P384(pair) => {
                pair.sign(&random, bytes).expect("a signature").as_ref().to_vec()
            }
            Pair::Ed(pair) => pair.sign(bytes).as_ref().to_vec(),
        };
        format!("{message}.{}", encode(&signature))
    }
}

fn curve(algorithm: &'static signature::EcdsaSigningAlgorithm) -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
    EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).expect("a key of the curve")
}

fn point(name: &str, pair: &EcdsaKeyPair, size: usize) -> Value {
    let (x, y) = pair.public_key().as_ref()[1..].split_at(size);
    json!({ "kty": "EC", "crv": name, "x": encode(x), "y": encode(y) })
}

/// Publishes keys over HTTP.
pub(super) struct KeyServer {
    address: std::net::SocketAddr,
    shared: Arc<Shared>,
    running: Option<JoinSet<()>>,
}

struct Shared {
    answer: Mutex<String>,
    asked: AtomicUsize,
}

impl KeyServer {
    /// One that publishes these.
    pub(super) async fn start(keys: &[Value]) -> Self {
        let shared = Shared { answer: Mutex::default(), asked: AtomicUsize::new(0) };
        let address = ([127, 0, 0, 1], 0).into();
        let mut server = Self { address, shared: Arc::new(shared), running: None };
        server.publish(keys);
        server.come_back().await;
        server
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/keys?tenant=secret", self.address)
    }

    /// Publishes these from now on.
    pub(super) fn publish(&self, keys: &[Value]) {
        *self.shared.answer.lock().expect("the answer") = json!({ "keys": keys }).to_string();
    }

    /// How often it was asked.
    pub(super) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// Nobody listens any more.
    pub(super) async fn go_away(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.shutdown().await;
        }
    }

    /// It listens at the same address again.
    pub(super) async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("the address");
        self.address = listener.local_addr().expect("an address");
        let shared = Arc::clone(&self.shared);
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, Arc::clone(&shared)));
            }
        });
        self.running = Some(running);
    }
}

async fn answer(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut request = Vec::new();
    let mut buffer = [0; 4_096];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(read @ 1..) => request.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    }
    let body = shared.answer.lock().expect("the answer").clone();
    shared.asked.fetch_add(1, Ordering::SeqCst);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/jwk-set+json\r\nconnection: close";
    let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.ok();
}
