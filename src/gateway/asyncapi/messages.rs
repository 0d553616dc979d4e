//! A type's records as messages: its payload, its key and what they are known by.

use serde_json::{Value, json};

use super::super::schemas::{reference, schema_name, set};
use super::{BINDING, headers};
use crate::domain::catalog::RecordType;

/// Keywords that JSON Schema 2020-12 has, and draft-07 has not or reads otherwise.
const NOT_IN_DRAFT_07: [&str; 12] = [
    "$anchor",
    "$dynamicAnchor",
    "$dynamicRef",
    "$vocabulary",
    "dependentRequired",
    "dependentSchemas",
    "maxContains",
    "minContains",
    "prefixItems",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contentSchema",
];

/// The records of a type.
pub(super) fn message(record_type: &RecordType) -> Value {
    let RecordType { name, description, key, .. } = record_type;
    let mut message = json!({
        "name": name,
        "title": name,
        "summary": description,
        "contentType": "application/json",
        "headers": reference("schemas", &headers::schema_name(record_type)),
        "payload": reference("schemas", &schema_name(record_type)),
        "correlationId": {
            "description": "The id that the record keeps for ever, through retries, dead letters \
                and replays",
            "location": "$message.header#/message_id"
        },
        "bindings": { "kafka": {
            "key": {
                "type": "string",
                "description": format!("{key}, of the payload. What has the same key is run in \
                    order, one at a time.")
            },
            "bindingVersion": BINDING
        }}
    });
    let example = record_type.example();
    if !example.is_null() {
        let headers = headers::example(record_type);
        let examples = json!([{ "name": name, "headers": headers, "payload": example }]);
        set(&mut message, "examples", examples);
    }
    message
}

/// A payload's schema as this document may have it. `AsyncAPI`'s own schemas are those of draft-07,
/// which all its tools read; one that says what only 2020-12 can is named as that.
pub(super) fn in_its_form(schema: Value) -> Value {
    if is_read_alike(&schema) {
        return schema;
    }
    json!({ "schemaFormat": "application/schema+json;version=2020-12", "schema": schema })
}

/// Whether both dialects read it alike.
fn is_read_alike(schema: &Value) -> bool {
    match schema {
        Value::Array(items) => items.iter().all(is_read_alike),
        Value::Object(members) => {
            !members.keys().any(|name| NOT_IN_DRAFT_07.contains(&name.as_str()))
                && !has_more_than_a_reference(members)
                && members.values().all(is_read_alike)
        }
        _ => true,
    }
}

/// To draft-07, what stands beside a `$ref` says nothing.
fn has_more_than_a_reference(members: &serde_json::Map<String, Value>) -> bool {
    const SAY_NOTHING: [&str; 5] = ["$ref", "description", "title", "default", "examples"];
    members.contains_key("$ref") && !members.keys().all(|name| SAY_NOTHING.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_that_draft_07_would_read_otherwise_says_what_it_is() {
        for (schema, is_plain) in [
            (json!({ "type": "object", "$defs": { "a": { "const": 1 } } }), true),
            (json!({ "properties": { "a": { "$ref": "#/$defs/a", "title": "A" } } }), true),
            (json!({ "properties": { "a": { "$ref": "#/$defs/a", "minLength": 1 } } }), false),
            (json!({ "allOf": [{ "prefixItems": [{ "type": "string" }] }] }), false),
            (json!({ "unevaluatedProperties": false }), false),
        ] {
            let formed = in_its_form(schema.clone());
            assert_eq!(formed == schema, is_plain, "{schema}");
            assert!(is_plain || formed["schema"] == schema);
        }
    }
}
