//! What an endpoint's answer means, and how an attempt is written down.

use std::error::Error;
use std::time::Duration;

use super::endpoints::ASKED_LONGEST;
use crate::outbound::{Answer, SendError};

/// So much of an answer is kept: an endpoint's error message, and no page.
pub(super) const ANSWER_BYTES_MAX: usize = 4_096;
/// So much of what was sent is kept beside it.
const SENT_BYTES_MAX: usize = 16_384;
/// So much of an answer stands in a dead letter.
const QUOTE_CHARS_MAX: usize = 200;

/// What an attempt has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Met {
    /// It is delivered.
    Taken,
    /// The endpoint wants nothing any more.
    Gone,
    /// It was not sent: the URL leads to where none may.
    Forbidden,
    /// It is tried again, and the endpoint has asked to be left alone for so long, perhaps.
    Failed { asked: Option<Duration> },
}

/// What the answer, or its lack, means.
pub(super) fn met(result: &Result<Answer, SendError>, now_ms: i64) -> Met {
    match result {
        Ok(answer) => match answer.status {
            200..=299 => Met::Taken,
            410 => Met::Gone,
            429 | 502 | 503 | 504 => {
                let asked = answer.retry_after.map(|after| after.wait(now_ms).min(ASKED_LONGEST));
                Met::Failed { asked: asked.filter(|asked| !asked.is_zero()) }
            }
            _ => Met::Failed { asked: None },
        },
        Err(SendError::Refused { .. }) => Met::Forbidden,
        Err(_) => Met::Failed { asked: None },
    }
}

/// Why an attempt failed, in a sentence. It names the host and never the path.
pub(super) fn reason(result: &Result<Answer, SendError>) -> String {
    match result {
        Ok(answer) => {
            let hint = match answer.status {
                300..=399 => " (redirects are not followed: name the new address in webhooks.url)",
                _ => "",
            };
            let body = text(&answer.body);
            let quote: String = body.chars().take(QUOTE_CHARS_MAX).collect();
            let quote = quote.split_whitespace().collect::<Vec<_>>().join(" ");
            let colon = if quote.is_empty() { "" } else { ": " };
            format!("the endpoint answered {}{hint}{colon}{quote}", answer.status)
        }
        Err(error) => {
            let mut words = error.to_string();
            let mut cause = error.source();
            while let Some(inner) = cause {
                let inner_words = inner.to_string();
                if !words.contains(&inner_words) {
                    words = format!("{words}: {inner_words}");
                }
                cause = inner.source();
            }
            words
        }
    }
}

/// What was sent, as far as it is kept.
pub(super) fn sent(body: &[u8]) -> String {
    text(body.get(..SENT_BYTES_MAX).unwrap_or(body))
}

/// Bytes as a column of text takes them: PostgreSQL's knows no NUL.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::RetryAfter;

    fn answer(status: u16, retry_after_s: Option<u64>) -> Answer {
        let retry_after = retry_after_s.map(|wait| RetryAfter::Wait(Duration::from_secs(wait)));
        Answer { status, retry_after, body: b"no\n  \0 way".to_vec(), is_whole: true }
    }

    #[test]
    fn each_status_means_one_thing() {
        let asked = |seconds| Met::Failed { asked: Some(Duration::from_secs(seconds)) };
        let failed = Met::Failed { asked: None };
        for (status, retry_after, expected) in [
            (200, None, Met::Taken),
            (204, Some(9), Met::Taken),
            (299, None, Met::Taken),
            (301, None, failed.clone()),
            (308, Some(9), failed.clone()),
            (400, None, failed.clone()),
            (404, Some(9), failed.clone()),
            (410, None, Met::Gone),
            (429, Some(9), asked(9)),
            (429, None, failed.clone()),
            (500, Some(9), failed.clone()),
            (502, Some(9), asked(9)),
            (503, Some(u64::MAX), asked(86_400)),
            (504, Some(0), failed),
        ] {
            assert_eq!(met(&Ok(answer(status, retry_after)), 0), expected, "{status}");
        }
    }

    #[test]
    fn a_reason_quotes_the_answer_on_one_line() {
        let said = reason(&Ok(answer(500, None)));
        assert_eq!(said, "the endpoint answered 500: no \u{fffd} way");
        assert!(reason(&Ok(answer(302, None))).contains("webhooks.url"));
        let error =
            SendError::TimedOut { host: "a.example".into(), timeout: Duration::from_secs(15) };
        assert_eq!(reason(&Err(error)), "a.example did not answer within 15 s");
    }

    #[test]
    fn what_is_kept_is_cut_and_has_no_nul() {
        assert_eq!(sent(&vec![b'a'; 20_000]).len(), 16_384);
        assert_eq!(text(b"a\0b\xff"), "a\u{fffd}b\u{fffd}");
    }
}
