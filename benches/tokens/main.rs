//! What it takes to check a token, by its algorithm: the first time, when its signature is
//! checked, and from then on, when it is known by its hash. `scripts/bench` runs it.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark fails by panicking, and prints figures of a few digits"
)]

#[path = "../common/mod.rs"]
mod common;

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::figures::{median, micros_each, number, ratio, row, table};
use common::{Scale, machine};
use futures_util::FutureExt as _;
use jobgate::auth::{
    CallerName, IssuerSettings, KeySource, Minter, Scopes, SigningKey, Verifier, VerifyingKey,
};
use jobgate::domain::clock::SystemClock;

/// Callers of a gateway, each with a token of its own.
const TOKENS: usize = 500;
const SECRET: &[u8] = b"a secret of the benchmarks, long enough";

/// What a token costs, microseconds.
struct Round {
    first_us: f64,
    known_us: f64,
}

fn main() {
    let scale = Scale::of_arguments();
    println!("## Tokens\n\n{}", machine::describe());
    let secret = || (SigningKey::from_secret(SECRET), VerifyingKey::from_secret(SECRET));
    let kinds = [
        ("HS256", secret()),
        ("RS256, 2,048 bits", pair(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])),
        ("ES256", pair(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"])),
    ];
    let mut rows = vec![row(["algorithm", "first, us", "known, us", "times as fast"])];
    for (name, (signing, verifying)) in kinds {
        let (signing, verifying) = (signing.expect("a key"), verifying.expect("a key"));
        let tokens = tokens(signing);
        let rounds: Vec<Round> =
            (0..scale.pick(21, 3)).map(|_| measure(&verifying, &tokens)).collect();
        let first_us = median(&rounds, |round| round.first_us);
        let known_us = median(&rounds, |round| round.known_us);
        let faster = median(&rounds, |round| round.first_us / round.known_us);
        rows.push(row([name, &number(first_us), &number(known_us), &ratio(faster)]));
    }
    table("A token, checked by one thread", &rows);
}

/// All tokens by a verifier that knows none, and then by the same one again.
fn measure(key: &VerifyingKey, tokens: &[String]) -> Round {
    let issuer = IssuerSettings {
        name: None,
        issuer: "jobgate".into(),
        audience: "jobgate".into(),
        keys: KeySource::Key(key.clone()),
    };
    let verifier = Verifier::new(vec![issuer], Arc::new(SystemClock));
    let first_us = micros_each(pass(&verifier, tokens), tokens.len());
    Round { first_us, known_us: micros_each(pass(&verifier, tokens), tokens.len()) }
}

fn pass(verifier: &Verifier, tokens: &[String]) -> Duration {
    let begun = Instant::now();
    for token in tokens {
        let caller = verifier.verify(token).now_or_never().expect("the key is there");
        std::hint::black_box(caller.expect("a good token"));
    }
    begun.elapsed()
}

fn tokens(key: SigningKey) -> Vec<String> {
    let minter = Minter::new(key, "jobgate", "jobgate", Arc::new(SystemClock));
    let scopes: Scopes = "jobs:write events:write jobs:read".parse().expect("scopes");
    let token = |number: usize| {
        let name = CallerName::try_from(format!("service-{number}").as_str()).expect("a name");
        minter.mint(&name, &scopes, Duration::from_secs(3_600)).expect("a token")
    };
    (0..TOKENS).map(token).collect()
}

type Pair<E> = (Result<SigningKey, E>, Result<VerifyingKey, E>);

/// A key of OpenSSL's.
fn pair(options: &[&str]) -> Pair<jobgate::auth::KeyError> {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("private.pem");
    let mut generate = Command::new("openssl");
    generate.args(["genpkey", "-quiet"]).args(options).arg("-out").arg(&file);
    assert!(generate.status().expect("openssl").success());
    let public = Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&file).output();
    let private = std::fs::read(&file).expect("the private half");
    (SigningKey::from_pem(&private), VerifyingKey::from_pem(&public.expect("openssl").stdout))
}
