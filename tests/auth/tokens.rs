//! Tokens and keys of the tests' own making.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

pub(crate) const SECRET: &str = "a secret of the tests, which is long enough";
pub(crate) const SCOPES: [&str; 5] =
    ["jobs:write", "events:write", "jobs:read", "admin:read", "admin:write"];

/// Sound claims with these scopes.
pub(crate) fn claims(scope: &str) -> Value {
    json!({
        "iss": "jobgate", "aud": "jobgate", "sub": "tests", "exp": now_s() + 600, "scope": scope
    })
}

/// The header of a token with these claims, signed with the secret.
pub(crate) fn bearer(claims: &Value) -> String {
    sign(claims, "HS256", SECRET)
}

pub(crate) fn sign(claims: &Value, algorithm: &str, secret: &str) -> String {
    let message = format!("{}.{}", part(&json!({ "alg": algorithm })), part(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()));
    format!("Bearer {message}.{signature}")
}

pub(crate) fn part(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

/// The machine's time, as the started jobgate has it.
pub(crate) fn now_s() -> u64 {
    uuid::Uuid::now_v7().get_timestamp().map_or(0, |time| time.to_unix().0)
}

/// Files with the private and the public half of a fresh key.
pub(crate) fn key_pair(directory: &Path, algorithm: &str) -> (PathBuf, PathBuf) {
    let [private, public] =
        ["private", "public"].map(|half| directory.join(format!("{algorithm}.{half}.pem")));
    let mut generate = Command::new("openssl");
    generate.args(["genpkey", "-quiet", "-algorithm", algorithm, "-out"]).arg(&private);
    if algorithm == "EC" {
        generate.args(["-pkeyopt", "ec_paramgen_curve:P-256"]);
    }
    let mut extract = Command::new("openssl");
    extract.args(["pkey", "-pubout", "-in"]).arg(&private).arg("-out").arg(&public);
    for command in [&mut generate, &mut extract] {
        assert!(command.status().expect("openssl runs").success());
    }
    (private, public)
}
