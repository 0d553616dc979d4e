//! The `AsyncAPI` 3.0 document: the topics of the catalog as channels, for those who read or write
//! them with a Kafka client of their own.
//!
//! It is told from jobgate's side: jobgate sends what the gateway accepts, and receives what its
//! workers run. It names no server: where Kafka is, only whoever may ask it knows.

mod dead_letters;
mod headers;
mod messages;

use serde_json::{Map, Value, json};

use super::schemas::{self, reference, set};
use crate::domain::catalog::{Catalog, RecordKind, RecordType, TopicSpec};

/// The version of the bindings for Kafka.
const BINDING: &str = "0.5.0";

/// The document of this catalog.
pub fn async_document(catalog: &Catalog) -> Value {
    let types = || catalog.iter().map(AsRef::as_ref);
    let mut channels: Map<String, Value> =
        types().map(|found| (found.name.clone(), channel_of(found))).collect();
    channels.insert(dead_letters::NAME.into(), dead_letters::channel(catalog.dead_letters()));
    let mut operations: Map<String, Value> = types().flat_map(operations_of).collect();
    operations.extend(dead_letters::operations());
    let mut messages: Map<String, Value> =
        types().map(|found| (found.name.clone(), messages::message(found))).collect();
    messages.insert(dead_letters::NAME.into(), dead_letters::message());
    let mut components: Map<String, Value> = schemas::payloads(catalog)
        .into_iter()
        .map(|(name, it)| (name, messages::in_its_form(it)))
        .collect();
    components.extend(types().map(|found| (headers::schema_name(found), headers::schema(found))));
    components.extend(dead_letters::schemas());
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "jobgate",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The topics that jobgate writes and runs. Any Kafka client may read \
                them, and write jobs and events as they are described here: keys as the payload \
                has them, by the murmur2 partitioner. A payload is checked again before its job \
                runs; what is not valid becomes a dead letter. Over HTTP the same is in \
                /openapi.json.",
            "license": {
                "name": "Apache-2.0",
                "url": "https://www.apache.org/licenses/LICENSE-2.0"
            }
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages, "schemas": components }
    })
}

fn channel_of(record_type: &RecordType) -> Value {
    let RecordType { name, description, topic, .. } = record_type;
    let many = match record_type.kind {
        RecordKind::Job => "jobs",
        RecordKind::Event => "events",
    };
    channel(topic, name, name, &format!("The {many} `{name}`. {description}"))
}

/// The channel of a topic with one kind of message.
fn channel(topic: &TopicSpec, title: &str, message: &str, description: &str) -> Value {
    let mut settings = json!({
        "cleanup.policy": ["delete"],
        "retention.ms": u64::try_from(topic.retention.as_millis()).unwrap_or(u64::MAX)
    });
    if let Some(bytes) = topic.max_message_bytes {
        set(&mut settings, "max.message.bytes", bytes);
    }
    json!({
        "address": topic.name,
        "title": title,
        "description": description.trim(),
        "messages": { message: reference("messages", message) },
        "bindings": { "kafka": {
            "topic": topic.name,
            "partitions": topic.partitions,
            "topicConfiguration": settings,
            "bindingVersion": BINDING
        }}
    })
}

fn operations_of(record_type: &RecordType) -> [(String, Value); 2] {
    let name = &record_type.name;
    let (path, what) = match record_type.kind {
        RecordKind::Job => (format!("/jobs/{name}"), "the job"),
        RecordKind::Event => (format!("/events/{name}"), "the event"),
    };
    let sent = format!("Writes {what} that `POST {path}` has accepted");
    let run = format!("Runs {what}, in the group {}", record_type.group);
    [
        (format!("send.{name}"), operation("send", name, &sent, None)),
        (format!("receive.{name}"), operation("receive", name, &run, Some(&record_type.group))),
    ]
}

/// What jobgate does with the messages of a channel.
fn operation(action: &str, channel: &str, summary: &str, group: Option<&str>) -> Value {
    // A slash within a pointer is written otherwise, and no name has one.
    let place = format!("#/channels/{channel}");
    let mut operation = json!({
        "action": action,
        "channel": { "$ref": place },
        "summary": summary,
        "messages": [{ "$ref": format!("{place}/messages/{channel}") }]
    });
    if let Some(group) = group {
        let kafka = json!({
            "groupId": { "type": "string", "const": group },
            "bindingVersion": BINDING
        });
        set(&mut operation, "bindings", json!({ "kafka": kafka }));
    }
    operation
}
