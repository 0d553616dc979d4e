//! `CloudEvents` over HTTP: which of its modes a request is in, and the attributes of the one
//! that has them in its headers. What an event is, [`crate::domain::cloud_event`] knows.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderName, header};
use percent_encoding::percent_decode;

use super::body::{self, BODY_BYTES_MAX, Form};
use super::problem::Problem;
use crate::domain::catalog::{Accepted, RecordType, Refusal};
use crate::domain::cloud_event::{self, Attributes, Draft, Mode};

/// What every event has: one of them makes a request an event.
const REQUIRED: [HeaderName; 4] = [
    HeaderName::from_static("ce-specversion"),
    HeaderName::from_static("ce-id"),
    HeaderName::from_static("ce-type"),
    HeaderName::from_static("ce-source"),
];

/// The body of a request that publishes an event.
pub(super) enum EventBody {
    /// The payload alone.
    Payload(Bytes),
    /// The payload, with attributes in the headers.
    Binary(Draft, Bytes),
    /// The payload in an envelope.
    Structured(Bytes),
    /// Many of them, not read yet.
    Batch(Request),
}

impl<S: Send + Sync> FromRequest<S> for EventBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let form = match Form::of(request.headers()) {
            Ok(form) => form,
            Err(problem) => return Err(body::refuse(request, problem).await),
        };
        let draft = match form {
            Form::Events => return Ok(Self::Batch(request)),
            Form::Event => return Ok(Self::Structured(body::read(request, BODY_BYTES_MAX).await?)),
            Form::Lines(_) => {
                let problem = Problem::unsupported_media_type(
                    "Lines are taken by this path with /batch behind it",
                );
                return Err(body::refuse(request, problem).await);
            }
            Form::Json if is_binary(request.headers()) => Some(draft(request.headers())),
            Form::Json => None,
        };
        let body = body::read(request, BODY_BYTES_MAX).await?;
        Ok(match draft {
            None => Self::Payload(body),
            Some(draft) => Self::Binary(draft, body),
        })
    }
}

/// Whether the headers are those of an event.
pub(super) fn is_binary(headers: &HeaderMap) -> bool {
    REQUIRED.iter().any(|name| headers.contains_key(name))
}

/// Checks an event whose attributes were in the headers: all faults at once.
pub(super) fn accept(
    record_type: &RecordType,
    mut draft: Draft,
    body: &[u8],
) -> Result<(Accepted, Attributes), Refusal> {
    let accepted = match record_type.accept(body) {
        Err(refusal @ Refusal::NotJson { .. }) => return Err(refusal),
        Err(Refusal::Invalid(faults)) => {
            draft.further_faults(faults);
            None
        }
        Ok(accepted) => Some(accepted),
    };
    let attributes = draft.finish(record_type).map_err(Refusal::Invalid)?;
    // Without a payload there was a fault, and so no attributes either.
    let accepted = accepted.ok_or_else(|| Refusal::Invalid(Vec::new()))?;
    Ok((accepted, attributes))
}

/// The same of an event in its envelope.
pub(super) use cloud_event::accept as accept_structured;

fn draft(headers: &HeaderMap) -> Draft {
    let mut draft = Draft::new(Mode::Binary);
    if let Some(Ok(media_type)) = headers.get(header::CONTENT_TYPE).map(|value| value.to_str()) {
        draft.content_type(media_type);
    }
    for (name, value) in headers {
        if let Some(name) = name.as_str().strip_prefix("ce-") {
            draft.take(name, text(value.as_bytes()));
        }
    }
    draft
}

/// A value as it was before it became a header: out of its quotes, if it has any, and decoded
/// once.
fn text(value: &[u8]) -> Option<String> {
    let quoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let plain = match quoted {
        None => value.to_vec(),
        Some(quoted) => {
            let mut plain = Vec::with_capacity(quoted.len());
            let mut bytes = quoted.iter();
            while let Some(byte) = bytes.next() {
                let escaped = if *byte == b'\\' { bytes.next() } else { None };
                plain.push(*escaped.unwrap_or(byte));
            }
            plain
        }
    };
    percent_decode(&plain).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_unquoted_and_decoded_once() {
        for (value, expected) in [
            (&b"plain"[..], Some("plain")),
            (b"\"a \\\"b\\\" c\"", Some("a \"b\" c")),
            (b"Euro%20%E2%82%AC%20%F0%9F%98%80", Some("Euro \u{20ac} \u{1f600}")),
            (b"50%25%32%30", Some("50%20")),
            ("\u{e9}".as_bytes(), Some("\u{e9}")),
            (b"%ff", None),
        ] {
            assert_eq!(text(value).as_deref(), expected);
        }
    }
}
