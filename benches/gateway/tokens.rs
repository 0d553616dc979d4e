//! The token of the load, and what both sides check it by.

use std::sync::Arc;
use std::time::Duration;

use jobgate::auth::{CallerName, Minter, Scopes, SigningKey};
use jobgate::domain::clock::SystemClock;

/// What both sides know.
pub(crate) const SECRET: &str = "a secret of the benchmarks, long enough";
/// What the token must be for; jobgate's default.
pub(crate) const AUDIENCE: &str = "jobgate";

/// An HS256 token that may enqueue.
pub(crate) fn token() -> String {
    let key = SigningKey::from_secret(SECRET.as_bytes()).expect("a key");
    let minter = Minter::new(key, "jobgate", AUDIENCE, Arc::new(SystemClock));
    let name = CallerName::try_from("bench").expect("a name");
    let scopes: Scopes = "jobs:write".parse().expect("scopes");
    minter.mint(&name, &scopes, Duration::from_secs(3_600)).expect("a token")
}
