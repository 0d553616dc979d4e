//! Sends the day's requests, as a website would: many at once, each until it is accepted.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use indicatif::ProgressBar;
use serde_json::Value;

use super::DemoError;
use super::day::Post;
use crate::domain::clock::SharedClock;
use crate::outbound::{Client, Post as Request, SendError, TargetUrl};

/// Requests that are on their way at once.
const AT_ONCE: usize = 32;
/// How long one may take: longer than jobgate takes to say that it does not know.
const TIMEOUT: Duration = Duration::from_secs(15);
/// So much of an answer is read: a receipt, or a problem.
const ANSWER_BYTES_MAX: usize = 16 << 10;
/// How long a request is sent again while nobody answers, or the answer is to come back later.
const PATIENCE: Duration = Duration::from_mins(2);
const AGAIN: Duration = Duration::from_millis(500);

/// The jobgate that the day is sent to.
pub(super) struct Door {
    pub(super) client: Client,
    /// `http://127.0.0.1:8088`, without a slash at its end.
    pub(super) url: String,
    pub(super) token: Option<String>,
    pub(super) clock: SharedClock,
}

impl Door {
    /// Sends the events of a day, about in their order.
    pub(super) async fn publish_all(
        &self,
        posts: &[Post],
        bar: &ProgressBar,
    ) -> Result<(), DemoError> {
        let sent = stream::iter(posts).map(async |post| {
            let receipt = self.send(&format!("/events/{}", post.event), &post.payload).await;
            bar.inc(1);
            receipt.map(drop)
        });
        let mut sent = sent.buffer_unordered(AT_ONCE);
        while let Some(result) = sent.next().await {
            result?;
        }
        Ok(())
    }

    /// Sends a payload until it is accepted. A request whose outcome is not known is sent again
    /// too: what happened twice counts once. Returns the receipt.
    pub(super) async fn send(&self, path: &str, payload: &Value) -> Result<Value, DemoError> {
        let url: TargetUrl = format!("{}{path}", self.url).parse()?;
        let (body, authorization) = (payload.to_string(), self.authorization());
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(authorization.iter().map(|value| ("authorization", value.as_str())));
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let request = Request {
                url: &url,
                headers: &headers,
                body: body.as_bytes(),
                timeout: TIMEOUT,
                answer_bytes_max: ANSWER_BYTES_MAX,
            };
            let mut wait = AGAIN;
            let failed = match self.client.post(&request).await {
                Ok(answer) if (200..300).contains(&answer.status) => {
                    return Ok(serde_json::from_slice(&answer.body).unwrap_or_default());
                }
                Ok(answer) => {
                    let said = String::from_utf8_lossy(&answer.body).into_owned();
                    let now_ms = self.clock.now_ms();
                    wait = answer.retry_after.map_or(wait, |after| after.wait(now_ms));
                    let is_for_good = !matches!(answer.status, 408 | 429 | 500..=599);
                    let failed =
                        DemoError::Refused { path: path.into(), status: answer.status, said };
                    if is_for_good {
                        return Err(failed);
                    }
                    failed
                }
                Err(error @ (SendError::Refused { .. } | SendError::Header)) => {
                    return Err(error.into());
                }
                Err(error) => error.into(),
            };
            if tokio::time::Instant::now() + wait >= end {
                return Err(failed);
            }
            tokio::time::sleep(wait).await;
        }
    }

    fn authorization(&self) -> Option<String> {
        self.token.as_ref().map(|token| format!("Bearer {token}"))
    }
}
