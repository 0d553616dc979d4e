//! The headers of a type's records. The wire has bytes; each of these is UTF-8 text.

use serde_json::{Map, Value, json};

use super::super::schemas::set;
use crate::domain::catalog::{RecordKind, RecordType};
use crate::domain::record::header;

/// What the schema of a type's headers is called.
pub(super) fn schema_name(record_type: &RecordType) -> String {
    format!("headers.{}", record_type.name)
}

/// The headers that a record of this type may have. None is required: a valid record without any
/// is run, under an id that follows from its place.
pub(super) fn schema(record_type: &RecordType) -> Value {
    let mut properties = of_every_record();
    for (name, value) in &record_type.headers {
        properties.insert(name.clone(), json!({ "type": "string", "const": value }));
    }
    let is_event = record_type.kind == RecordKind::Event;
    if is_event {
        let content_type = "The media type of the value of what came as a CloudEvent";
        let content_type = json!({ "type": "string", "description": content_type });
        properties.insert(header::CONTENT_TYPE.into(), content_type);
    }
    let mut schema = json!({
        "type": "object",
        "title": format!("headers of {}", record_type.name),
        "description": "jobgate writes message_id, produced_at, producer and those that have one \
            value; the others where they apply. A record that another client writes needs none.",
        "properties": properties
    });
    if is_event {
        let attributes = json!({ format!("^{}[a-z0-9]{{1,64}}$", header::CLOUD_EVENT): {
            "description": "An attribute of the CloudEvent that it came as (the Kafka binding's \
                binary mode)",
            "type": "string"
        }});
        set(&mut schema, "patternProperties", attributes);
    }
    schema
}

/// The headers of a record that jobgate has just written.
pub(super) fn example(record_type: &RecordType) -> Value {
    let mut headers = Map::new();
    for (name, value) in [
        (header::MESSAGE_ID, "0194208b-6e80-7000-8000-000000000000"),
        (header::PRODUCED_AT, "2025-01-01T00:00:00.000Z"),
        (header::PRODUCER, "jobgate"),
    ] {
        headers.insert(name.to_owned(), value.into());
    }
    for (name, value) in &record_type.headers {
        headers.insert(name.clone(), value.as_str().into());
    }
    headers.into()
}

fn of_every_record() -> Map<String, Value> {
    let named = [
        (
            header::MESSAGE_ID,
            Some("uuid"),
            "The id that the record keeps for ever: a UUIDv7 whose time is the record's \
             timestamp, or a UUIDv5 where it follows from something",
        ),
        (header::PRODUCED_AT, Some("date-time"), "When it was accepted: the record's timestamp"),
        (header::PRODUCER, None, "Who sent it: the caller's name"),
        (header::TRACEPARENT, None, "The trace that it belongs to (W3C Trace Context)"),
        (header::TRACESTATE, None, "What tracing systems add to it (W3C Trace Context)"),
        (header::ATTEMPT, None, "The number of the attempt that it comes back for, from 1"),
        (header::REPLAY_ID, None, "The replay that sent it again"),
        (header::TARGET_GROUP, None, "Only this group runs it; others pass over it"),
        (header::SCHEDULED_FOR, Some("date-time"), "When it was due, of one that was put off"),
        (header::QUARANTINE, None, "The quarantine that it was parked in, and its number there"),
    ];
    let schemas = named.into_iter().map(|(name, format, description)| {
        let mut schema = json!({ "type": "string", "description": description });
        if let Some(format) = format {
            set(&mut schema, "format", format);
        }
        (name.to_owned(), schema)
    });
    schemas.collect()
}
