//! A dead letter: everything about a record that failed, and why.
//!
//! Its JSON is read by other systems too and may have been written by them (the Go system
//! wrote the same fields without `group`, `attempts` and `message_id`), so reading is
//! lenient and writing never drops a field.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::clock::{parse_rfc3339, rfc3339};
use super::handler::Failure;
use super::receipt::Place;
use super::record::{Headers, OutgoingRecord, Record, header};

/// The longest error that goes into a header, in characters; the value holds all of it.
const ERROR_HEADER_CHARS_MAX: usize = 512;
/// How many hexadecimal digits of the hash make a fingerprint: 64 bits tell any number of
/// errors apart that a person can look at.
const FINGERPRINT_DIGITS: usize = 16;

/// The value of a record in the dead-letter topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The topic of the record that failed.
    pub original_topic: String,
    /// Its partition.
    pub original_partition: i32,
    /// Its offset.
    pub original_offset: i64,
    /// Its key, byte for byte.
    #[serde(default)]
    pub original_key: Option<Bytes>,
    /// Its value, byte for byte, never parsed.
    #[serde(default)]
    pub original_value: Option<Bytes>,
    /// Its headers: a name has a value, or a list of values where it came more than once.
    #[serde(default)]
    pub original_headers: Map<String, Value>,
    /// Its timestamp, RFC 3339.
    #[serde(default)]
    pub original_timestamp: Option<String>,
    /// What went wrong, a sentence.
    pub error: String,
    /// A stable word for the kind of error.
    #[serde(default = "unknown_class")]
    pub error_class: String,
    /// The causes beneath the error, the nearest first.
    #[serde(default)]
    pub error_chain: Vec<String>,
    /// Attempts that were made.
    #[serde(default)]
    pub attempts: u32,
    /// The group that failed, the only one that runs a replay.
    #[serde(default)]
    pub group: Option<String>,
    /// The id of the record, which a replay keeps.
    #[serde(default)]
    pub message_id: Option<Uuid>,
    /// When it failed, RFC 3339.
    pub failed_at: String,
}

fn unknown_class() -> String {
    "unknown".to_owned()
}

/// Bytes in JSON: a string where they are UTF-8, else `{"base64": ".."}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Bytes {
    /// UTF-8.
    Text(String),
    /// Anything else, and text that escaping would swell beyond what the topic takes.
    Base64 {
        /// RFC 4648, with padding.
        base64: String,
    },
}

impl Bytes {
    /// Wraps bytes.
    pub fn new(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) if !swells(bytes) => Self::Text(text.to_owned()),
            _ => Self::Base64 { base64: STANDARD.encode(bytes) },
        }
    }

    /// The bytes; none where the base64 is not.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text.as_bytes().to_vec()),
            Self::Base64 { base64 } => STANDARD.decode(base64).ok(),
        }
    }
}

/// JSON writes a control character as six bytes. The dead-letter topic takes records four
/// times as large as the others, so text may at most double.
fn swells(bytes: &[u8]) -> bool {
    let escaped: usize = bytes
        .iter()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
            0..0x20 => 6,
            _ => 1,
        })
        .sum();
    escaped > 2 * bytes.len()
}

impl DeadLetter {
    /// The dead letter of a record that a group could not run.
    pub fn new(
        record: &Record,
        group: &str,
        failure: &Failure,
        attempts: u32,
        failed_at_ms: i64,
    ) -> Self {
        let Place { topic, partition, offset } = record.place.clone();
        let mut error_chain = failure.chain.clone();
        error_chain.extend(record.broken_headers.clone());
        Self {
            original_topic: topic.to_string(),
            original_partition: partition,
            original_offset: offset,
            original_key: record.key.as_deref().map(Bytes::new),
            original_value: record.value.as_deref().map(Bytes::new),
            original_headers: headers_to_json(&record.headers),
            original_timestamp: record.timestamp_ms.map(rfc3339),
            error: failure.message.clone(),
            error_class: failure.class.clone(),
            error_chain,
            attempts,
            group: Some(group.to_owned()),
            message_id: Some(record.message_id()),
            failed_at: rfc3339(failed_at_ms),
        }
    }

    /// The record that goes to the dead-letter topic, under the original key.
    pub fn to_record(&self, topic: &str) -> Result<OutgoingRecord, serde_json::Error> {
        let mut headers = Headers::new();
        headers.push(header::ORIGINAL_TOPIC, self.original_topic.as_str());
        let error: String = self.error.chars().take(ERROR_HEADER_CHARS_MAX).collect();
        headers.push(header::ERROR, error);
        if let Some(id) = self.message_id {
            headers.push(header::MESSAGE_ID, id.to_string());
        }
        Ok(OutgoingRecord {
            topic: topic.to_owned(),
            key: self.original_key.as_ref().and_then(Bytes::to_bytes),
            value: Some(serde_json::to_vec(self)?),
            headers,
            timestamp_ms: self.failed_at_ms().unwrap_or_default(),
        })
    }

    /// When it failed, in milliseconds since the epoch.
    pub fn failed_at_ms(&self) -> Option<i64> {
        parse_rfc3339(&self.failed_at)
    }

    /// The original headers as they were.
    pub fn headers(&self) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in &self.original_headers {
            match value {
                Value::Array(values) => {
                    for value in values {
                        headers.push_raw(header::name(name), header_from_json(value));
                    }
                }
                value => headers.push_raw(header::name(name), header_from_json(value)),
            }
        }
        headers
    }

    /// The same for errors of the same kind: the class and the message without what
    /// differs from record to record (ids, numbers, addresses, quoted values).
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.error_class.as_bytes());
        hash.update([0]);
        hash.update(generalised(&self.error).as_bytes());
        hash.finalize().iter().take(FINGERPRINT_DIGITS / 2).fold(
            String::with_capacity(FINGERPRINT_DIGITS),
            |mut text, byte| {
                use std::fmt::Write as _;
                // Writing to a String cannot fail.
                let _ = write!(text, "{byte:02x}");
                text
            },
        )
    }
}

/// A word of an error message that names one record rather than a kind of error: it has a
/// digit, an `@`, or stands in quotes.
fn generalised(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    let mut is_quoted = false;
    for part in message.split('"') {
        if is_quoted {
            text.push('#');
        } else {
            for word in part.split_inclusive(char::is_whitespace) {
                if word.contains(|c: char| c.is_ascii_digit() || c == '@') {
                    text.push_str("# ");
                } else {
                    text.push_str(word);
                }
            }
        }
        is_quoted = !is_quoted;
    }
    text
}

fn headers_to_json(headers: &Headers) -> Map<String, Value> {
    let mut map = Map::new();
    for header in headers.iter() {
        let value = header.value.as_deref().map_or(Value::Null, |value| match Bytes::new(value) {
            Bytes::Text(text) => Value::String(text),
            Bytes::Base64 { base64 } => serde_json::json!({ "base64": base64 }),
        });
        match map.get_mut(&*header.name) {
            None => {
                map.insert(header.name.to_string(), value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    map
}

fn header_from_json(value: &Value) -> Option<Vec<u8>> {
    Bytes::deserialize(value).ok()?.to_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let mut headers = Headers::new();
        headers.push(header::MESSAGE_ID, "0193b8b2-7d51-7000-8000-000000000001");
        headers.push("x", "1");
        headers.push("x", vec![0xff]);
        headers.push_raw("none", None);
        Record {
            place: Place { topic: "waitlist.email.welcome".into(), partition: 3, offset: 9 },
            key: Some(b"c_u".to_vec()),
            value: Some(br#"{"a": 1.0}"#.to_vec()),
            headers,
            broken_headers: None,
            timestamp_ms: Some(1_735_689_600_000),
        }
    }

    fn letter(message: &str) -> DeadLetter {
        let failure =
            Failure { chain: vec!["cause".into()], ..Failure::new("missing_data", message) };
        DeadLetter::new(&record(), "email-workers", &failure, 2, 1_735_689_601_000)
    }

    /// The wire format: other systems read it, so it may only grow.
    #[test]
    fn the_wire_format_is_frozen() {
        let expected: Value =
            serde_json::from_str(include_str!("../../tests/fixtures/dead_letter.json")).unwrap();
        assert_eq!(serde_json::to_value(letter("it lacks a link")).unwrap(), expected);
    }

    #[test]
    fn it_holds_the_original_byte_for_byte() {
        let sent = letter("x").to_record("waitlist.dlq").unwrap();
        let read: DeadLetter = serde_json::from_slice(sent.value.as_deref().unwrap()).unwrap();
        let original = record();
        assert_eq!(read.original_key.unwrap().to_bytes(), original.key);
        assert_eq!(read.original_value.clone().unwrap().to_bytes(), original.value);
        let mut headers: Vec<_> = original.headers.iter().cloned().collect();
        headers.sort_by(|a, b| a.name.cmp(&b.name));
        let restored = letter("x").headers();
        assert_eq!(restored.iter().cloned().collect::<Vec<_>>(), headers);
        assert_eq!(sent.key.as_deref(), Some(&b"c_u"[..]));
        assert_eq!(sent.headers.text(header::ORIGINAL_TOPIC), Some("waitlist.email.welcome"));
        assert_eq!(sent.headers.text(header::ERROR), Some("x"));
    }

    #[test]
    fn bytes_that_are_not_text_or_would_swell_are_base64() {
        assert_eq!(Bytes::new(b"caf\xc3\xa9"), Bytes::Text("café".into()));
        for bytes in [&[0xff, 0xfe][..], &[1, 2, 3, 4][..]] {
            let wrapped = Bytes::new(bytes);
            assert!(matches!(wrapped, Bytes::Base64 { .. }));
            assert_eq!(wrapped.to_bytes().as_deref(), Some(bytes));
        }
    }

    #[test]
    fn a_letter_of_the_go_system_is_read() {
        let letter: DeadLetter = serde_json::from_str(
            r#"{"original_topic":"waitlist.email.welcome","original_partition":1,
                "original_offset":4,"original_key":"k","original_value":"{}",
                "original_headers":{"producer":"base-server"},
                "original_timestamp":"2025-01-01T00:00:00Z","error":"smtp: no",
                "failed_at":"2025-01-01T00:00:01Z"}"#,
        )
        .unwrap();
        assert_eq!((letter.group, letter.message_id, letter.attempts), (None, None, 0));
        assert_eq!(letter.error_class, "unknown");
    }

    #[test]
    fn errors_of_one_kind_share_a_fingerprint() {
        let same = ["user 17 at a@b.example is unknown", "user 4 at x@y.example is unknown"];
        assert_eq!(letter(same[0]).fingerprint(), letter(same[1]).fingerprint());
        assert_eq!(letter("not \"a\"").fingerprint(), letter("not \"b c\"").fingerprint());
        assert_ne!(letter("refused").fingerprint(), letter("too large").fingerprint());
        assert_eq!(letter("x").fingerprint().len(), FINGERPRINT_DIGITS);
    }
}
