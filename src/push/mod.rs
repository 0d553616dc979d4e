//! HTTP push: makes any service a worker. A job is POSTed to its type's address, and the answer
//! says how it ended.
//!
//! Owns what is sent and what each answer means. Knows neither where types are declared nor the
//! pool that runs the attempts.

use std::time::Duration;

use url::Url;

/// Where the jobs of a type go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushSettings {
    /// The service.
    pub url: Url,
    /// How long its answer may take.
    pub timeout: Duration,
    /// The environment variable that holds the secret to sign with; none: nothing is signed.
    pub secret_env: Option<String>,
}
mod answer;
mod headers;
mod secret;
mod still_running;
pub use secret::Secret;
/// Stub.
pub struct Push(PushSettings);
impl Push {
    /// Stub.
    pub fn new(
        s: &PushSettings,
        _secret: Option<Secret>,
    ) -> Result<Self, std::convert::Infallible> {
        Ok(Self(s.clone()))
    }
}
impl crate::domain::handler::Handler for Push {
    fn run<'a>(
        &'a self,
        _job: &'a crate::domain::handler::Job,
    ) -> futures_util::future::BoxFuture<'a, crate::domain::handler::Outcome> {
        Box::pin(async { crate::domain::handler::Outcome::Done })
    }
}
