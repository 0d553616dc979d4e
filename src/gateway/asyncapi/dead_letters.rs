//! The dead letters' topic. Their JSON is [`crate::domain::dead_letter`]'s.

use serde_json::{Value, json};

use super::super::schemas::reference;
use super::{BINDING, channel as channel_of, operation};
use crate::domain::catalog::TopicSpec;
use crate::domain::record::header;

/// What channel and message are called: no type's name has a capital letter.
pub(super) const NAME: &str = "deadLetters";

/// Their channel.
pub(super) fn channel(topic: &TopicSpec) -> Value {
    let about = "What could not be run, with everything that is known of it. The topic is the \
        truth: /admin/dlq is an index of it.";
    channel_of(topic, "dead letters", NAME, about)
}

/// Jobgate writes them, and reads them into its index.
pub(super) fn operations() -> [(String, Value); 2] {
    let written = "Buries a record that could not be run, before its offset counts as finished";
    [
        (format!("send.{NAME}"), operation("send", NAME, written, None)),
        (
            format!("receive.{NAME}"),
            operation("receive", NAME, "Reads the dead letters into the index", None),
        ),
    ]
}

/// A dead letter.
pub(super) fn message() -> Value {
    json!({
        "name": NAME,
        "title": "dead letter",
        "summary": "A record that a group could not run, and why",
        "contentType": "application/json",
        "headers": reference("schemas", "headers.deadLetters"),
        "payload": reference("schemas", "payload.deadLetters"),
        "correlationId": {
            "description": "The id of the record, which a replay keeps",
            "location": "$message.header#/message_id"
        },
        "bindings": { "kafka": {
            "key": { "type": "string", "description": "The key of the record that failed." },
            "bindingVersion": BINDING
        }},
        "examples": [{ "name": "no-link", "headers": {
            header::ORIGINAL_TOPIC: "waitlist.email.welcome",
            header::ERROR: "it lacks a link",
            header::MESSAGE_ID: "0194208b-6e80-7000-8000-000000000000"
        }, "payload": {
            "original_topic": "waitlist.email.welcome",
            "original_partition": 3,
            "original_offset": 9,
            "original_key": "c_u",
            "original_value": "{\"a\": 1.0}",
            "original_headers": { "message_id": "0194208b-6e80-7000-8000-000000000000" },
            "original_timestamp": "2025-01-01T00:00:00.000Z",
            "error": "it lacks a link",
            "error_class": "missing_data",
            "error_chain": [],
            "attempts": 2,
            "group": "email-workers",
            "message_id": "0194208b-6e80-7000-8000-000000000000",
            "failed_at": "2025-01-01T00:00:01.000Z"
        }}]
    })
}

/// The schemas of its payload and headers.
pub(super) fn schemas() -> [(String, Value); 2] {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let headers = json!({
        "type": "object",
        "title": "headers of a dead letter",
        "properties": {
            header::ORIGINAL_TOPIC: text("The topic of the record that failed"),
            header::ERROR: text("What went wrong, in a line of at most 512 characters"),
            header::MESSAGE_ID: {
                "type": "string", "format": "uuid", "description": "The id of the record"
            }
        }
    });
    let base64 = json!({
        "type": "object",
        "properties": { "base64": { "type": "string", "contentEncoding": "base64" } },
        "required": ["base64"]
    });
    let bytes = |description: &str| json!({ "description": description, "anyOf": [{ "type": ["string", "null"] }, base64] });
    let time = |description: &str| json!({ "type": ["string", "null"], "format": "date-time", "description": description });
    let payload = json!({
        "type": "object",
        "title": "dead letter",
        "required": [
            "original_topic", "original_partition", "original_offset", "error", "failed_at"
        ],
        "properties": {
            "original_topic": text("The topic of the record that failed"),
            "original_partition": { "type": "integer", "description": "Its partition" },
            "original_offset": { "type": "integer", "description": "Its offset" },
            "original_key": bytes("Its key"),
            "original_value": bytes("Its value, byte for byte; as base64 where it is not UTF-8"),
            "original_headers": {
                "type": "object",
                "description": "Its headers: a value, or a list of values where a name came more \
                    than once"
            },
            "original_timestamp": time("Its timestamp"),
            "error": text("What went wrong, a sentence"),
            "error_class": text("A stable word for the kind of error"),
            "error_chain": {
                "type": "array",
                "items": { "type": "string" },
                "description": "The causes beneath the error, the nearest first"
            },
            "attempts": { "type": "integer", "minimum": 0, "description": "Attempts that were made" },
            "group": {
                "type": ["string", "null"],
                "description": "The group that failed, the only one that runs a replay"
            },
            "message_id": {
                "type": ["string", "null"], "format": "uuid",
                "description": "The id of the record, which a replay keeps"
            },
            "failed_at": { "type": "string", "format": "date-time", "description": "When it failed" }
        }
    });
    [("headers.deadLetters".to_owned(), headers), ("payload.deadLetters".to_owned(), payload)]
}
