//! The payload schemas inside of a larger document: what they are called there, and how their
//! references lead.

use serde_json::{Map, Value, json};

use crate::domain::catalog::{Catalog, RecordType};

/// What the schema of a type is called among a document's components.
pub(super) fn schema_name(record_type: &RecordType) -> String {
    format!("payload.{}", record_type.name)
}

/// Leads to a component of a document.
pub(super) fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

/// Gives an object this member.
pub(super) fn set(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value.into());
    }
}

/// The schemas of all types, to stand among a document's components.
pub(super) fn payloads(catalog: &Catalog) -> Map<String, Value> {
    catalog.iter().map(|found| (schema_name(found), payload(found))).collect()
}

fn payload(record_type: &RecordType) -> Value {
    let mut schema = record_type.schema().expose().clone();
    rebase(&mut schema, &format!("#/components/schemas/{}", schema_name(record_type)));
    say_ip(&mut schema);
    if let Some(schema) = schema.as_object_mut() {
        // Both are of a schema that is a document by itself.
        schema.remove("$schema");
        schema.remove("$id");
        schema.insert("title".into(), record_type.name.clone().into());
    }
    schema
}

/// Has the format `ip`, which only jobgate knows, be one of the two that everybody does.
fn say_ip(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(say_ip),
        Value::Object(members) => {
            if members.get("format").is_some_and(|format| format == "ip")
                && !members.contains_key("anyOf")
            {
                members.remove("format");
                members.insert("anyOf".into(), json!([{ "format": "ipv4" }, { "format": "ipv6" }]));
            }
            members.values_mut().for_each(say_ip);
        }
        _ => {}
    }
}

/// Has the `$ref`s of a schema that point into it lead to where it now stands.
fn rebase(schema: &mut Value, place: &str) {
    /// Whatever stands in these is a value, not a schema.
    const VALUES: [&str; 4] = ["const", "default", "enum", "examples"];
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| rebase(item, place)),
        Value::Object(members) => {
            for (name, member) in
                members.iter_mut().filter(|(name, _)| !VALUES.contains(&name.as_str()))
            {
                match member {
                    Value::String(target) if name == "$ref" => {
                        if let Some(inside) = target.strip_prefix('#') {
                            *target = format!("{place}{inside}");
                        }
                    }
                    other => rebase(other, place),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_lead_into_the_document() {
        let mut schema = json!({
            "properties": {"a": {"$ref": "#/$defs/a"}, "b": {"anyOf": [{"$ref": "#"}]}},
            "$defs": {"a": {"enum": [{"$ref": "#/a word"}]}}
        });
        rebase(&mut schema, "#/components/schemas/x");
        let expected = json!({
            "properties": {
                "a": {"$ref": "#/components/schemas/x/$defs/a"},
                "b": {"anyOf": [{"$ref": "#/components/schemas/x"}]}
            },
            "$defs": {"a": {"enum": [{"$ref": "#/a word"}]}}
        });
        assert_eq!(schema, expected);
    }
}
