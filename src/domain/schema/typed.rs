//! The schema of a Rust type: generated from its declaration, so that both never differ.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// The JSON Schema 2020-12 of a type. It stands by itself: without any `$ref`.
pub fn schema_of<T: JsonSchema>() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    tidy(&mut schema);
    schema
}

/// Gives generated schemas the plain shape that people and their tools read best: a list
/// of words is an `enum`, also one that may be null, and an integer says its range
/// instead of a machine type.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(members) => {
            members.values_mut().for_each(tidy);
            flatten_words(members);
            flatten_nullable(members);
            let is_numeric = |kind: &Value| kind.to_string().contains("integer");
            if members.get("type").is_some_and(is_numeric) {
                members.remove("format");
            }
        }
        _ => {}
    }
}

/// `oneOf` of words, each with its own description, becomes one `enum`.
fn flatten_words(schema: &mut Map<String, Value>) {
    let Some(branches) = schema.get("oneOf").and_then(Value::as_array) else { return };
    let mut words = Vec::new();
    for branch in branches {
        match (branch.get("const"), branch.get("enum").and_then(Value::as_array)) {
            (Some(word), _) if word.is_string() => words.push(word.clone()),
            (None, Some(listed)) if listed.iter().all(Value::is_string) => {
                words.extend(listed.iter().cloned());
            }
            _ => return,
        }
    }
    schema.remove("oneOf");
    schema.insert("type".to_owned(), json!("string"));
    schema.insert("enum".to_owned(), Value::Array(words));
}

/// `anyOf` of words and null becomes an `enum` with null in it.
fn flatten_nullable(schema: &mut Map<String, Value>) {
    let Some([words, null]) = schema.get("anyOf").and_then(Value::as_array).map(Vec::as_slice)
    else {
        return;
    };
    let Some(listed) = words.get("enum").and_then(Value::as_array) else { return };
    if null.get("type").is_none_or(|kind| kind != "null") {
        return;
    }
    let mut listed = listed.clone();
    listed.push(Value::Null);
    let description = words.get("description").cloned();
    schema.remove("anyOf");
    schema.insert("type".to_owned(), json!(["string", "null"]));
    schema.insert("enum".to_owned(), Value::Array(listed));
    if let Some(description) = description {
        schema.entry("description").or_insert(description);
    }
}
