//! The headers of a pushed job, beside those of its signature.

use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use crate::domain::handler::Job;
use crate::domain::record::header;

/// What a key may hold as it is: whatever else a header or a reader might take for something of
/// its own is percent-encoded.
const KEY: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'"').add(b',').add(b';').add(b'\\');

/// The headers of an attempt at an effect, in the order of docs/push.md.
pub(super) fn of(job: &Job, effect: &str) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("content-type", "application/json".to_owned()),
        // A string of structured fields, as draft-ietf-httpapi-idempotency-key-header has it.
        ("idempotency-key", format!("\"{effect}\"")),
        ("jobgate-job-type", job.type_name.to_string()),
        ("jobgate-attempt", job.attempt.to_string()),
    ];
    if let Some(key) = &job.record.key {
        headers.push(("jobgate-key", percent_encode(key, KEY).to_string()));
    }
    for name in [header::TRACEPARENT, header::TRACESTATE] {
        let value = job.record.headers.text(name).filter(|value| is_sendable(value));
        headers.extend(value.map(|value| (name, value.to_owned())));
    }
    headers
}

/// Any Kafka client may have written it.
fn is_sendable(value: &str) -> bool {
    value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value;
    use uuid::Uuid;

    use super::*;
    use crate::domain::handler::AttemptEnd;
    use crate::domain::receipt::Place;
    use crate::domain::record::{Headers, Record};

    fn headers_of(key: Option<&[u8]>, trace: &str) -> Vec<(&'static str, String)> {
        let mut headers = Headers::new();
        headers.push(header::TRACEPARENT, trace);
        let record = Record {
            place: Place { topic: "t".into(), partition: 1, offset: 2 },
            key: key.map(<[u8]>::to_vec),
            value: None,
            headers,
            broken_headers: None,
            timestamp_ms: None,
        };
        let job = Job {
            id: Uuid::from_u128(7),
            type_name: "invoice.render".into(),
            scope: "invoice-workers".into(),
            attempt: 3,
            payload: Value::Null,
            record: Arc::new(record),
            end: AttemptEnd::default(),
        };
        of(&job, "7/replay")
    }

    #[test]
    fn a_job_is_told_by_its_headers() {
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let headers = headers_of(Some("acme_7/é \n%".as_bytes()), trace);
        let expected = [
            ("content-type", "application/json"),
            ("idempotency-key", "\"7/replay\""),
            ("jobgate-job-type", "invoice.render"),
            ("jobgate-attempt", "3"),
            ("jobgate-key", "acme_7/%C3%A9%20%0A%25"),
            ("traceparent", trace),
        ];
        assert_eq!(headers, expected.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn what_no_header_can_hold_is_left_out() {
        let names: Vec<&str> =
            headers_of(None, "a\r\nx: y").into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            ["content-type", "idempotency-key", "jobgate-job-type", "jobgate-attempt"]
        );
    }
}
