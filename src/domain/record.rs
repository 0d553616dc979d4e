//! A Kafka record as jobgate sees it, and the names of its headers.

use std::borrow::Cow;

use uuid::Uuid;

use super::id;
use super::receipt::Place;
use super::trace::Trace;

/// The header names of the wire. Clients depend on them: never change one.
pub mod header {
    /// The id that a record keeps for ever, through retries, dead letters and replays.
    pub const MESSAGE_ID: &str = "message_id";
    /// RFC 3339, UTC, milliseconds; the record's timestamp says the same.
    pub const PRODUCED_AT: &str = "produced_at";
    /// Who sent it.
    pub const PRODUCER: &str = "producer";
    /// email, reward, position, fraud, webhook or analytics.
    pub const JOB_TYPE: &str = "job_type";
    /// The kind of an e-mail.
    pub const EMAIL_TYPE: &str = "email_type";
    /// The type of an event.
    pub const EVENT_TYPE: &str = "event_type";
    /// The replay that sent this record again.
    pub const REPLAY_ID: &str = "replay_id";
    /// Only this group runs the record; the others pass over it.
    pub const TARGET_GROUP: &str = "target_group";
    /// On a dead letter: the topic it came from.
    pub const ORIGINAL_TOPIC: &str = "original_topic";
    /// On a dead letter: what went wrong, in a line.
    pub const ERROR: &str = "error";
    /// The number of the attempt that a record comes back for, from 1.
    pub const ATTEMPT: &str = "attempt";
    /// On a record that was to be sent at a later time: when it was due, RFC 3339.
    pub const SCHEDULED_FOR: &str = "scheduled_for";
    /// The trace that a record belongs to (W3C Trace Context).
    pub const TRACEPARENT: &str = "traceparent";
    /// What the tracing systems add to it (W3C Trace Context).
    pub const TRACESTATE: &str = "tracestate";
    /// On a record that was parked while its key was quarantined: the quarantine, and its number
    /// there.
    pub const QUARANTINE: &str = "quarantine";
    /// The media type of a value that came as a `CloudEvent` (its Kafka binding).
    pub const CONTENT_TYPE: &str = "content-type";
    /// What stands before the name of an attribute of a `CloudEvent` (its Kafka binding). The
    /// attributes themselves are the event's own; [`super::super::cloud_event`] says which
    /// names there may be.
    pub const CLOUD_EVENT: &str = "ce_";

    const ALL: [&str; 16] = [
        MESSAGE_ID,
        PRODUCED_AT,
        PRODUCER,
        JOB_TYPE,
        EMAIL_TYPE,
        EVENT_TYPE,
        REPLAY_ID,
        TARGET_GROUP,
        ORIGINAL_TOPIC,
        ERROR,
        ATTEMPT,
        SCHEDULED_FOR,
        TRACEPARENT,
        TRACESTATE,
        QUARANTINE,
        CONTENT_TYPE,
    ];

    /// A name as records keep it: one of the above is not copied.
    pub fn name(name: &str) -> std::borrow::Cow<'static, str> {
        let own = ALL.iter().find(|own| **own == name);
        own.map_or_else(|| name.to_owned().into(), |own| (*own).into())
    }
}

/// A header. Kafka allows a name more than once, and a value of any bytes or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name; those of jobgate's own cost no allocation.
    pub name: Cow<'static, str>,
    /// The value.
    pub value: Option<Vec<u8>>,
}

/// The headers of a record, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<Header>);

impl Headers {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// No headers yet, and room for so many.
    pub fn with_capacity(headers: usize) -> Self {
        Self(Vec::with_capacity(headers))
    }

    /// Adds a header after those that are there.
    pub fn push(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Vec<u8>>) {
        self.push_raw(name, Some(value.into()));
    }

    /// Adds a header whose value may be missing.
    pub fn push_raw(&mut self, name: impl Into<Cow<'static, str>>, value: Option<Vec<u8>>) {
        self.0.push(Header { name: name.into(), value });
    }

    /// Adds those of a trace.
    pub fn push_trace(&mut self, trace: &Trace) {
        for (name, value) in trace.headers() {
            self.push(name, value.as_bytes());
        }
    }

    /// Puts one header of this name in place of all that had it.
    pub fn set(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.remove(name);
        self.push(header::name(name), value);
    }

    /// Takes out every header of this name.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|header| header.name != name);
    }

    /// The last value of this name that is text, as Kafka's `lastHeader` has it.
    pub fn text(&self, name: &str) -> Option<&str> {
        let header = self.0.iter().rev().find(|header| header.name == name)?;
        std::str::from_utf8(header.value.as_deref()?).ok()
    }

    /// All headers, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Header> {
        self.0.iter()
    }
}

/// A record to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingRecord {
    /// The topic; always one of the catalog.
    pub topic: String,
    /// The key, which chooses the partition by murmur2; none goes to any partition.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// The headers.
    pub headers: Headers,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it stands.
    pub place: Place,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// The value's bytes; none is what Kafka calls a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers that could be read.
    pub headers: Headers,
    /// Why not every header could be read, if so. Any client may write a header whose
    /// name is not UTF-8.
    pub broken_headers: Option<String>,
    /// Milliseconds since the epoch, where the record has a time.
    pub timestamp_ms: Option<i64>,
}

impl Record {
    /// The record's id: its header, or what follows from its place.
    pub fn message_id(&self) -> Uuid {
        self.headers
            .text(header::MESSAGE_ID)
            .and_then(|text| Uuid::parse_str(text).ok())
            .unwrap_or_else(|| {
                id::of_place(&self.place.topic, self.place.partition, self.place.offset)
            })
    }

    /// Whether this group is meant to run the record.
    pub fn is_for(&self, group: &str) -> bool {
        self.headers.text(header::TARGET_GROUP).is_none_or(|target| target == group)
    }

    /// How many bytes the record holds in memory, roughly.
    pub fn size_bytes(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|header| header.name.len() + header.value.as_ref().map_or(0, Vec::len))
            .sum();
        self.key.as_ref().map_or(0, Vec::len) + self.value.as_ref().map_or(0, Vec::len) + headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(headers: Headers) -> Record {
        Record {
            place: Place { topic: "t".into(), partition: 1, offset: 2 },
            key: None,
            value: None,
            headers,
            broken_headers: None,
            timestamp_ms: None,
        }
    }

    #[test]
    fn a_record_without_a_usable_id_gets_one_from_its_place() {
        let derived = id::of_place("t", 1, 2);
        assert_eq!(record(Headers::new()).message_id(), derived);
        let mut headers = Headers::new();
        headers.push(header::MESSAGE_ID, "not a uuid");
        assert_eq!(record(headers.clone()).message_id(), derived);
        let id = Uuid::from_u128(7);
        headers.push(header::MESSAGE_ID, id.to_string());
        assert_eq!(record(headers).message_id(), id, "the last header counts");
    }

    #[test]
    fn a_targeted_record_is_for_that_group_alone() {
        let mut headers = Headers::new();
        assert!(record(headers.clone()).is_for("a"));
        headers.set(header::TARGET_GROUP, "a");
        assert!(record(headers.clone()).is_for("a"));
        assert!(!record(headers).is_for("b"));
    }
}
