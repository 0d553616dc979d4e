//! HTTP push: makes any service a worker. A job goes to the address of its type, and the answer
//! says how it ended.
//!
//! Owns what is sent and what each answer means. Knows neither where types are declared nor the
//! pool that runs the attempts; how a request leaves the house is `outbound`'s.

mod answer;
mod headers;
mod still_running;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::domain::clock::SharedClock;
use crate::domain::handler::{Failure, Handler, Job, Later, Outcome};
use crate::outbound::{Client, Post, SendError, Signer, TargetUrl, header};
use answer::{Answer, Verdict};
use still_running::StillRunning;

/// Bytes of an answer that are read: more than [`answer`] shows of any text.
const ANSWER_BYTES_MAX: usize = 8_192;

/// By how much the pool's own limit is above that of the answer, which says more of what happened.
const LIMIT_ABOVE: Duration = Duration::from_secs(5);

/// Where the jobs of a type go.
#[derive(Clone, PartialEq, Eq)]
pub struct PushSettings {
    /// The service.
    pub url: TargetUrl,
    /// How long its answer may take.
    pub timeout: Duration,
    /// The environment variable that holds the secret to sign with; none: nothing is signed.
    pub secret_env: Option<String>,
}

/// Runs the jobs of a type by pushing them.
pub struct Push {
    /// The type's own group, where effects are had once.
    group: Arc<str>,
    url: TargetUrl,
    timeout: Duration,
    signer: Option<Signer>,
    client: Client,
    clock: SharedClock,
    still_running: StillRunning,
}

impl Push {
    /// Pushes the jobs of a group over this client, which may reach whatever the operator has
    /// named.
    pub fn new(
        settings: &PushSettings,
        group: &str,
        signer: Option<Signer>,
        client: Client,
        clock: SharedClock,
    ) -> Self {
        let PushSettings { url, timeout, .. } = settings.clone();
        let (group, still_running) = (group.into(), StillRunning::default());
        Self { group, url, timeout, signer, client, clock, still_running }
    }

    /// What the effect is known by: the job's id, or, in a replay that asks for the effects again,
    /// one more effect of that job.
    fn effect_of(&self, job: &Job) -> String {
        if job.scope == self.group {
            job.id.to_string()
        } else {
            format!("{}/{}", job.id, job.scope)
        }
    }

    async fn push(&self, job: &Job) -> Outcome {
        let verdict = match self.send(job).await {
            Ok(answer) => answer.verdict(),
            Err(error) => Verdict::Ends(without_answer(&error)),
        };
        match verdict {
            Verdict::StillRunning(failure) => {
                match self.still_running.again(job.id, failure.retry_after) {
                    Some(after) => Outcome::Later(Later { failure, after, spends_attempt: false }),
                    None => Outcome::Retry(failure),
                }
            }
            Verdict::Ends(outcome) => {
                self.still_running.no_more(job.id);
                outcome
            }
        }
    }

    async fn send(&self, job: &Job) -> Result<Answer, SendError> {
        // A record without a value never gets here.
        let body = job.record.value.as_deref().unwrap_or_default();
        let effect = self.effect_of(job);
        let mut headers = headers::of(job, &effect);
        if let Some(signer) = &self.signer {
            let timestamp_s = self.clock.now_ms().div_euclid(1_000);
            let signature = signer.sign(&effect, timestamp_s, body);
            headers.push((header::ID, effect));
            headers.push((header::TIMESTAMP, timestamp_s.to_string()));
            headers.push((header::SIGNATURE, signature));
        }
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let post = Post {
            url: &self.url,
            headers: &headers,
            body,
            timeout: self.timeout,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        let answer = self.client.post(&post).await?;
        let retry_after = answer.retry_after.map(|after| after.wait(self.clock.now_ms()));
        Ok(Answer { status: answer.status, retry_after, body: answer.body })
    }
}

impl Handler for Push {
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Outcome> {
        Box::pin(self.push(job))
    }

    fn timeout(&self) -> Option<Duration> {
        Some(self.timeout.saturating_add(LIMIT_ABOVE))
    }
}

/// What it means that there is no answer.
fn without_answer(error: &SendError) -> Outcome {
    let failure = |class: &str| match error.source() {
        Some(source) => Failure::caused_by(class, error.to_string(), source),
        None => Failure::new(class, error.to_string()),
    };
    match error {
        // Nothing was sent, whatever the job: the service is away for all.
        SendError::NotFound { .. } | SendError::Connect { .. } | SendError::Tls { .. } => {
            Outcome::Unavailable(failure("service_away"))
        }
        // It may be the job that does this to the service.
        SendError::TimedOut { .. } => Outcome::Retry(failure("no_answer_in_time")),
        SendError::Answer { .. } => Outcome::Retry(failure("broken_answer")),
        SendError::Refused { .. } | SendError::Header => Outcome::Fail(failure("not_sendable")),
    }
}
