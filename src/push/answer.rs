//! What an answer means for the job: the table of docs/push.md.

use std::time::Duration;

use crate::domain::handler::{Failure, Outcome};

/// Characters of an answer that go into a dead letter: what a person needs to see what the
/// service did not like, and little enough for lists of letters.
const SHOWN_CHARS_MAX: usize = 2_048;

/// What a service has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// What `Retry-After` says, from now.
    pub(super) retry_after: Option<Duration>,
    /// The beginning of the body.
    pub(super) body: Vec<u8>,
}

/// How the attempt ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As this outcome says.
    Ends(Outcome),
    /// The first attempt at the job still runs there.
    StillRunning(Failure),
}

impl Answer {
    pub(super) fn verdict(&self) -> Verdict {
        let failure = || self.failure();
        Verdict::Ends(match self.status {
            200..=299 => Outcome::Done,
            409 => return Verdict::StillRunning(failure().retry_after(self.retry_after)),
            429 | 503 => Outcome::Unavailable(failure().retry_after(self.retry_after)),
            // Mostly a matter of settings or of the moment, which somebody mends.
            401 | 403 | 404 | 408 | 425 | 500.. => Outcome::Retry(failure()),
            _ => Outcome::Fail(failure()),
        })
    }

    fn failure(&self) -> Failure {
        let message = match self.status {
            300..=399 => "the service answered with a redirect, which is not followed",
            401 | 403 => "the service refused the request: see its secret",
            404 => "the service knows no such address",
            409 => "the service says that the job still runs there",
            429 => "the service asks for fewer requests",
            503 => "the service is not available",
            400..=499 => "the service refused the job",
            _ => "the service failed",
        };
        let failure =
            Failure::new(format!("http_{}", self.status), format!("{message} ({})", self.status));
        let body = shown(&self.body);
        Failure { chain: (!body.is_empty()).then_some(body).into_iter().collect(), ..failure }
    }
}

/// A body as a person may see it: text, cut, on lines of its own, and no other control characters.
fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let is_hidden = |c: char| c.is_control() && c != '\n' && c != '\t';
    let plain = text.trim().chars().map(|c| if is_hidden(c) { '\u{fffd}' } else { c });
    let mut shown: String = plain.take(SHOWN_CHARS_MAX).collect();
    if text.trim().chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> Answer {
        Answer { status, retry_after: Some(Duration::from_secs(7)), body: b"why".to_vec() }
    }

    /// The word for a verdict.
    fn word(status: u16) -> &'static str {
        match answer(status).verdict() {
            Verdict::StillRunning(_) => "later",
            Verdict::Ends(Outcome::Done) => "done",
            Verdict::Ends(Outcome::Fail(_)) => "fail",
            Verdict::Ends(Outcome::Retry(_)) => "retry",
            Verdict::Ends(Outcome::Unavailable(_)) => "unavailable",
            Verdict::Ends(_) => "another",
        }
    }

    #[test]
    fn every_status_has_its_outcome() {
        for status in 200..=599 {
            let expected = match status {
                200..=299 => "done",
                409 => "later",
                429 | 503 => "unavailable",
                401 | 403 | 404 | 408 | 425 | 500..=599 => "retry",
                _ => "fail",
            };
            assert_eq!(word(status), expected, "{status}");
        }
    }

    #[test]
    fn a_failure_has_the_status_the_body_and_how_long_to_wait() {
        let Verdict::Ends(Outcome::Unavailable(failure)) = answer(503).verdict() else { panic!() };
        assert_eq!(failure.class, "http_503");
        assert_eq!(failure.chain, ["why"]);
        assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
        let Verdict::Ends(Outcome::Fail(failure)) = answer(422).verdict() else { panic!() };
        assert_eq!(failure.retry_after, None);
    }

    #[test]
    fn a_body_is_cut_and_safe_to_show() {
        assert_eq!(shown(b" a\x1b[31m\0b\xff\nc\t"), "a\u{fffd}[31m\u{fffd}b\u{fffd}\nc");
        let long = shown("é".repeat(5_000).as_bytes());
        assert_eq!(long.chars().count(), SHOWN_CHARS_MAX + 1);
        assert_eq!(shown(b" \n"), "");
    }
}
