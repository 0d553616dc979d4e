//! `Prefer: wait=10` (RFC 7240): an answer that is held until the job has ended, or the time is up.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use utoipa::IntoParams;

use super::super::Services;
use crate::operations::{StatusError, Turn, WAIT_LONGEST};

/// What a client would like.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "the header is read by hand, and documented by this")]
pub(in super::super) struct PreferHeader {
    /// `wait=10`: hold the answer until the job has ended (`succeeded`, `dead_lettered`, `skipped`,
    /// `expired`, `cancelled`) or these seconds are over, 30 at most. `Preference-Applied` says that
    /// it was waited, and for how long at most; without that header (500 wait already) it was not.
    #[param(rename = "Prefer", required = false, example = "wait=10")]
    prefer: String,
}

const PREFER: HeaderName = HeaderName::from_static("prefer");
const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// For how long a client would like to wait, if it would. What else it prefers, and what is no
/// number of seconds, says nothing, as RFC 7240 has it.
pub(super) fn wait(headers: &HeaderMap) -> Option<Duration> {
    let first = headers.get_all(PREFER).iter().find_map(|value| {
        let preferences = value.to_str().ok()?.split(',');
        preferences.into_iter().find_map(seconds)
    });
    let wait = Duration::from_secs(first?).min(WAIT_LONGEST);
    (!wait.is_zero()).then_some(wait)
}

/// The seconds of `wait=10`, whose parameters say nothing.
fn seconds(preference: &str) -> Option<u64> {
    let (preference, _) = preference.split_once(';').unwrap_or((preference, ""));
    let (name, value) = preference.split_once('=')?;
    let value = value.trim().trim_matches('"');
    let is_wait = name.trim().eq_ignore_ascii_case("wait");
    is_wait.then(|| value.parse().ok()).flatten()
}

/// A request that waits, or does not.
pub(super) struct Wait(Option<(Duration, Turn)>);

impl Wait {
    /// Takes a place among those who wait, where the client would like to and there is one.
    pub(super) fn begin(services: &Services, headers: &HeaderMap) -> Self {
        let wait = wait(headers);
        Self(wait.and_then(|wait| Some((wait, services.waiting.begin(wait)?))))
    }

    /// The place.
    pub(super) fn turn(&self) -> Option<&Turn> {
        self.0.as_ref().map(|(_, turn)| turn)
    }

    /// Looks for the first time: those who wait do so a few at a time.
    pub(super) async fn look<T>(
        &self,
        look: impl Future<Output = Result<T, StatusError>>,
    ) -> Result<T, StatusError> {
        match self.turn() {
            Some(turn) => turn.first(look).await,
            None => look.await,
        }
    }

    /// The answer, which says so if it was waited.
    pub(super) fn answer(&self, body: impl IntoResponse) -> Response {
        let mut response = body.into_response();
        if let Some((wait, _)) = &self.0 {
            applied(&mut response, *wait);
        }
        response
    }
}

/// Says that it was waited.
pub(super) fn applied(response: &mut Response, wait: Duration) {
    let said = HeaderValue::try_from(format!("wait={}", wait.as_secs()));
    if let Ok(said) = said {
        response.headers_mut().insert(APPLIED, said);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&'static str]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(PREFER, HeaderValue::from_static(value));
        }
        wait(&headers).map(|wait| wait.as_secs())
    }

    #[test]
    fn a_wait_is_found_among_preferences_and_is_bounded() {
        assert_eq!(read(&["wait=10"]), Some(10));
        assert_eq!(read(&["respond-async, Wait = \"7\"; x=1"]), Some(7));
        assert_eq!(read(&["return=minimal", "wait=3"]), Some(3));
        assert_eq!(read(&["wait=2, wait=3"]), Some(2), "the first one counts");
        assert_eq!(read(&["wait=3600"]), Some(WAIT_LONGEST.as_secs()));
    }

    #[test]
    fn what_is_no_wait_says_nothing() {
        assert_eq!(read(&[]), None);
        for value in
            ["wait", "wait=", "wait=soon", "wait=-1", "wait=0", "waiting=5", "respond-async"]
        {
            assert_eq!(read(&[value]), None, "{value}");
        }
    }
}
