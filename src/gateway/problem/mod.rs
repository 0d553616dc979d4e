//! Errors on the wire: RFC 9457 problem documents with a stable `type`, a sentence that
//! says what to do, and nothing of the inside. What an error of a use case is to a caller stands
//! in [`causes`].

mod causes;

use std::borrow::Cow;
use std::num::NonZeroU16;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::{Scope, Scopes};
use crate::domain::fault::{Fault, quoted};

/// Seconds after which a client may try again when a part is away: recovery is noticed
/// within a second.
pub(super) const RETRY_AFTER_S: NonZeroU16 = NonZeroU16::MIN.saturating_add(1);

/// An error answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// `urn:jobgate:problem:<slug>`; clients decide by it.
    #[serde(rename = "type")]
    #[schema(example = "urn:jobgate:problem:invalid-payload")]
    urn: String,
    /// What kind of problem it is.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong here, and what to do.
    detail: Cow<'static, str>,
    /// Every fault of the payload.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FaultBody>,
    /// Where the outcome is unknown: the id that the record has if it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Uuid>,
    #[serde(skip)]
    retry_after_s: Option<NonZeroU16>,
    #[serde(skip)]
    closes: bool,
    #[serde(skip)]
    names_codings: bool,
    #[serde(skip)]
    challenge: Option<Box<HeaderValue>>,
}

/// A fault of a payload.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FaultBody {
    /// RFC 6901: where it is, or where the missing member should stand.
    #[schema(example = "/check_types/0")]
    pointer: String,
    /// What is wrong and what is expected.
    detail: String,
}

impl From<Fault> for FaultBody {
    fn from(Fault { pointer, detail }: Fault) -> Self {
        Self { pointer, detail }
    }
}

impl Problem {
    fn new(
        status: StatusCode,
        slug: &str,
        title: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            urn: format!("urn:jobgate:problem:{slug}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            id: None,
            retry_after_s: None,
            closes: false,
            names_codings: false,
            challenge: None,
        }
    }

    /// The client may try again after a moment.
    fn retryable(mut self) -> Self {
        self.retry_after_s = Some(RETRY_AFTER_S);
        self
    }

    /// The connection ends with this answer: what the client still sends is not read.
    pub(super) fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    pub(super) fn bad_request(slug: &str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, slug, "The request cannot be read", detail)
    }

    pub(super) fn invalid_payload(faults: Vec<Fault>) -> Self {
        let detail = match faults.len() {
            1 => "1 fault; see errors".to_owned(),
            count => format!("{count} faults; see errors"),
        };
        let errors = faults.into_iter().map(FaultBody::from).collect();
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self { errors, ..Self::new(status, "invalid-payload", "The payload is not valid", detail) }
    }

    pub(super) fn not_found(slug: &str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, slug, "There is no such thing", detail)
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "The path does not take this method",
            "The Allow header names the methods that it takes; see /docs",
        )
    }

    pub(super) fn forbidden(slug: &str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, slug, "Not from here", detail)
    }

    /// There is no token, or nothing that looks like one.
    pub(super) fn unauthenticated() -> Self {
        // RFC 6750, 3.1: who sent no token is told of no error.
        Self::refused_token("Send one token: Authorization: Bearer <token>").challenging("")
    }

    /// There is a token, and this sentence says why it does not count.
    pub(super) fn invalid_token(detail: &str) -> Self {
        let error = format!(r#", error="invalid_token", error_description="{}""#, quotable(detail));
        Self::refused_token(detail.to_owned()).challenging(&error)
    }

    fn refused_token(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "A valid token is needed", detail)
    }

    /// The token is valid, and not for this call, or not for this type of the catalog.
    pub(super) fn forbidden_scope(needed: Scope, of_type: Option<&str>, held: &Scopes) -> Self {
        let held = if held.is_empty() { "none".to_owned() } else { held.to_string() };
        let (words, narrowest) = match of_type {
            Some(name) => (format!("{needed} or {needed}:{name}"), format!("{needed}:{name}")),
            None => (needed.to_string(), needed.to_string()),
        };
        let detail = format!("This call needs a token with the scope {words}; this one has {held}");
        let error = format!(
            r#", error="insufficient_scope", error_description="{detail}", scope="{narrowest}""#
        );
        let title = "The token is not for this call";
        Self::new(StatusCode::FORBIDDEN, "forbidden-scope", title, detail).challenging(&error)
    }

    /// Whether the token is valid cannot be told now.
    pub(super) fn no_token_keys(issuer: &str) -> Self {
        Self::unavailable(
            "token-keys-unavailable",
            format!(
                "The token could not be checked: the keys of its issuer {issuer} cannot be read. \
                 It was not refused, and nothing was done. Send the request again later"
            ),
        )
    }

    /// Says how to get in (RFC 6750, 3).
    fn challenging(mut self, parameters: &str) -> Self {
        let challenge = format!(r#"Bearer realm="jobgate"{parameters}"#);
        self.challenge = HeaderValue::try_from(challenge).ok().map(Box::new);
        self
    }

    pub(super) fn request_timeout() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "request-timeout",
            "The body took too long",
            "Send the body without pauses: after 10 s, 16 KiB a second on the whole",
        )
        .closing()
    }

    pub(super) fn incomplete_body() -> Self {
        Self::bad_request("incomplete-body", "The body ended before its end").closing()
    }

    pub(super) fn corrupt_body() -> Self {
        let detail = "The body is not what its Content-Encoding says, or not all of it came";
        Self::bad_request("corrupt-body", detail)
    }

    pub(super) fn too_large(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "payload-too-large", "Too large", detail)
    }

    pub(super) fn unsupported_media_type(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "Not JSON by its Content-Type",
            detail,
        )
    }

    /// What cannot be, and what nobody but a developer can do anything about.
    pub(super) fn internal() -> Self {
        let title = "jobgate has made a mistake";
        let detail = "The operator finds more in the log";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", title, detail)
    }

    /// The body is packed in a way that is not known here; the answer says which are.
    pub(super) fn unknown_coding(detail: &'static str) -> Self {
        let title = "The Content-Encoding is not known";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self { names_codings: true, ..Self::new(status, "unknown-content-encoding", title, detail) }
    }

    pub(super) fn not_acceptable(detail: &'static str) -> Self {
        let title = "No form of the answer is acceptable";
        Self::new(StatusCode::NOT_ACCEPTABLE, "not-acceptable", title, detail)
    }

    fn conflict(slug: &str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, slug, "Not in this state", detail)
    }

    fn unavailable(slug: &str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, slug, "Not available now", detail).retryable()
    }

    pub(super) fn kafka_unavailable() -> Self {
        Self::unavailable(
            "kafka-unavailable",
            "Kafka cannot be reached; nothing was written. Send the request again later",
        )
    }

    /// More is asked of this process than it can answer soon.
    pub(super) fn overloaded() -> Self {
        Self::unavailable(
            "overloaded",
            "More is asked than can be answered soon; nothing was done. Send the request again \
             later",
        )
    }

    /// The caller has spent its rate.
    pub(super) fn rate_exceeded(rate: &str, again_in_s: u32) -> Self {
        let detail = format!(
            "This caller may send {rate}; nothing was done. Send the request again after \
             Retry-After"
        );
        let title = "Too much of this caller";
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate-exceeded", title, detail);
        Self {
            retry_after_s: NonZeroU16::new(again_in_s.try_into().unwrap_or(u16::MAX)),
            ..problem
        }
    }

    /// The caller has its share of the requests at once.
    pub(super) fn too_many_at_once() -> Self {
        Self::over_share(
            "This caller waits for as many answers as it may; nothing was done. Wait for some of \
             them, then send the request again",
        )
    }

    /// The caller has its share of something that others need as well.
    fn over_share(detail: &'static str) -> Self {
        let title = "Too much of this caller";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "over-share", title, detail).retryable()
    }

    fn unknown_group(group: &str) -> Self {
        let detail = format!("No type has the group {}; see GET /catalog", quoted(group));
        Self::not_found("unknown-group", detail)
    }

    fn unknown_change(detail: impl Into<Cow<'static, str>>) -> Self {
        let title = "The outcome is unknown";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "outcome-unknown", title, detail)
    }

    fn change_without_answer() -> Self {
        Self::unknown_change(
            "Kafka did not say in time what became of the change: it may have been made, or may \
             be made yet. Look before you ask for it again; GET /admin/audit has it too",
        )
    }

    /// A stream whose client does nothing.
    pub(super) fn idle_stream() -> Self {
        Self {
            detail: "Nothing was sent and nothing was read for 60 s; send on from next_index"
                .into(),
            ..Self::request_timeout()
        }
    }

    pub(super) fn stopping() -> Self {
        Self::unavailable(
            "stopping",
            "jobgate is stopping; send on from next_index, in a new request",
        )
    }

    pub(super) fn not_ready() -> Self {
        Self::unavailable(
            "not-ready",
            "Kafka is away, the workers have not joined yet, no issuer's keys for tokens could be \
             read, or jobgate is stopping",
        )
    }

    /// Its HTTP status.
    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// Bytes of the faults that it spells out.
    pub(super) fn fault_bytes(&self) -> usize {
        self.errors.iter().map(|fault| fault.pointer.len() + fault.detail.len()).sum()
    }

    /// Leaves the faults out, and says so.
    pub(super) fn omit_faults(&mut self) {
        let count = self.errors.len();
        if count > 0 {
            self.errors = Vec::new();
            self.detail = format!(
                "{count} faults; the answer names so many already that these are left out. Mend \
                 the others first"
            )
            .into();
        }
    }

    fn outcome_unknown(id: Uuid, detail: &'static str) -> Self {
        Self { id: Some(id), ..Self::unknown_change(detail) }
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let Self { retry_after_s, closes, names_codings, .. } = self;
        let challenge = self.challenge.take();
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        let problem_json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, problem_json);
        if let Some(seconds) = retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.get().into());
        }
        if names_codings {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd"));
        }
        if let Some(challenge) = challenge {
            headers.insert(header::WWW_AUTHENTICATE, *challenge);
        }
        if closes {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// A sentence as RFC 6750 lets it stand between quotes.
fn quotable(text: &str) -> String {
    text.chars()
        .map(|c| if matches!(c, ' '..='~') && !matches!(c, '"' | '\\') { c } else { '\'' })
        .collect()
}
