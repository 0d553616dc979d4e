//! The types of the catalog as operations: one for each, and the ones that take any of them.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::super::schemas::{reference, schema_name, set};
use super::{add, answers, cloud_events};
use crate::domain::catalog::{Catalog, RecordKind, RecordType};

/// The operation of a type, and where it belongs.
pub(super) struct TypeOperation {
    path: String,
    operation: Map<String, Value>,
    tag: String,
    about_tag: String,
    example: Option<(String, Value)>,
}

/// The paths that take one record of any type.
const OF_ANY_TYPE: [(&str, RecordKind); 2] =
    [("/jobs/{type}", RecordKind::Job), ("/events/{topic}", RecordKind::Event)];

/// Says which types the operations take that take any.
pub(super) fn describe(document: &mut Value, catalog: &Catalog) {
    for (path, kind) in OF_ANY_TYPE {
        let types: Vec<&RecordType> =
            catalog.iter().map(AsRef::as_ref).filter(|found| found.kind == kind).collect();
        let of_path =
            |end: &str| format!("/paths/{}/post", format!("{path}{end}").replace('/', "~1"));
        for end in ["", "/validate", "/batch"] {
            let Some(operation) = document.pointer_mut(&of_path(end)) else { continue };
            name_types(operation, &types);
            if end != "/batch" {
                let payload = json!({ "type": "object", "description": "The payload of the type" });
                describe_body(operation, &types, &payload);
            }
        }
    }
}

/// An operation for each type, made from that which takes any. What it has in common with them
/// goes to the components of the document.
pub(super) fn operations(document: &mut Value, catalog: &Catalog) -> Vec<TypeOperation> {
    let mut ids = operation_ids(document);
    let mut made = Vec::with_capacity(catalog.iter().len());
    for (path, kind) in OF_ANY_TYPE {
        let Some(template) = share(document, path) else { continue };
        for record_type in catalog.iter().filter(|found| found.kind == kind) {
            made.push(operation(&template, record_type, &mut ids));
        }
    }
    made
}

/// Puts them where they belong.
pub(super) fn insert(document: &mut Value, operations: Vec<TypeOperation>) {
    let mut tags = Vec::new();
    for TypeOperation { path, mut operation, tag, about_tag, example } in operations {
        let tag = json!({ "name": tag, "description": about_tag });
        if !tags.contains(&tag) {
            tags.push(tag);
        }
        let components = document.pointer_mut("/components").and_then(Value::as_object_mut);
        if let (Some((name, example)), Some(components)) = (example, components) {
            let examples = components.entry("examples").or_insert_with(|| json!({}));
            add(examples, "", Map::from_iter([(name, example)]));
        }
        operation.retain(|_, member| !member.is_null());
        add(document, "/paths", Map::from_iter([(path, json!({ "post": operation }))]));
    }
    if let Some(all) = document.pointer_mut("/tags").and_then(Value::as_array_mut) {
        // Behind that of producing.
        let place = all.len().min(1);
        all.splice(place..place, tags);
    }
}

fn operation_ids(document: &mut Value) -> HashSet<String> {
    let ids = super::all_operations(document)
        .filter_map(|operation| operation.get("operationId").and_then(Value::as_str));
    ids.map(str::to_owned).collect()
}

/// Moves the parameters and answers of the operation at this path to the components, where those
/// of each type lead too; returns what it has become.
fn share(document: &mut Value, path: &str) -> Option<Map<String, Value>> {
    let pointer = format!("/paths/{}/post", path.replace('/', "~1"));
    let mut operation = document.pointer(&pointer)?.as_object()?.clone();
    let id = operation.get("operationId")?.as_str()?.to_owned();
    let (mut parameters, mut responses) = (Map::new(), Map::new());
    for parameter in operation.get_mut("parameters")?.as_array_mut()? {
        if parameter.get("in").is_some_and(|place| place != "path") {
            let name = parameter.get("name").and_then(Value::as_str).unwrap_or_default();
            let name = format!("{id}.{name}");
            parameters.insert(name.clone(), parameter.take());
            *parameter = reference("parameters", &name);
        }
    }
    for (status, response) in operation.get_mut("responses")?.as_object_mut()? {
        let name = format!("{id}.{status}");
        responses.insert(name.clone(), response.take());
        *response = reference("responses", &name);
    }
    let components = document.get_mut("components")?;
    for (kind, members) in [("parameters", parameters), ("responses", responses)] {
        let object = components.as_object_mut()?.entry(kind).or_insert_with(|| json!({}));
        object.as_object_mut()?.extend(members);
    }
    *document.pointer_mut(&pointer)? = Value::Object(operation.clone());
    Some(operation)
}

fn operation(
    template: &Map<String, Value>,
    record_type: &RecordType,
    ids: &mut HashSet<String>,
) -> TypeOperation {
    let name = &record_type.name;
    let (segment, verb, general, many) = match record_type.kind {
        RecordKind::Job => ("jobs", "enqueue", "/jobs/{type}", "jobs"),
        RecordKind::Event => ("events", "publish", "/events/{topic}", "events"),
    };
    let (tag, about_tag) = match name.split_once('.') {
        Some((family, _)) => {
            let about = format!("The {many} `{family}.*`, each with its payload");
            (format!("{family} {many}"), about)
        }
        None => (many.to_owned(), format!("The {many} whose names have one part")),
    };
    let mut operation = template.clone();
    operation.insert("operationId".into(), operation_id(verb, name, ids).into());
    operation.insert("tags".into(), json!([tag]));
    operation.insert("summary".into(), summary(record_type).into());
    operation.insert("description".into(), description(record_type, general).into());
    let is_of_path = |parameter: &Value| parameter.get("in").is_some_and(|place| place == "path");
    if let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) {
        parameters.retain(|parameter| !is_of_path(parameter));
    }
    // There is such a type.
    if let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) {
        responses.remove("404");
    }
    let mut operation = Value::Object(operation);
    describe_body(&mut operation, &[record_type], &reference("schemas", &schema_name(record_type)));
    if record_type.kind == RecordKind::Event {
        describe_envelopes(&mut operation, record_type);
    }
    let mut operation = match operation {
        Value::Object(operation) => operation,
        _ => Map::new(),
    };
    answers::add(&mut operation, Some(name));
    let example = example_of(record_type);
    TypeOperation { path: format!("/{segment}/{name}"), operation, tag, about_tag, example }
}

/// A word for the methods of generated clients: letters, digits and `_`. It stays while types are
/// added behind this one, even such as differ in a `.` or `-` alone.
fn operation_id(verb: &str, name: &str, ids: &mut HashSet<String>) -> String {
    let plain = format!("{verb}_{}", name.replace(['.', '-'], "_"));
    let mut id = plain.clone();
    let mut number = 2_usize;
    while !ids.insert(id.clone()) {
        id = format!("{plain}_{number}");
        number += 1;
    }
    id
}

fn summary(record_type: &RecordType) -> String {
    let said = record_type.description.lines().next().unwrap_or_default().trim();
    if said.is_empty() { record_type.name.clone() } else { said.trim_end_matches('.').to_owned() }
}

fn description(record_type: &RecordType, general: &str) -> String {
    let RecordType { description, topic, group, key, critical, .. } = record_type;
    let urgency = if *critical { " Its dead letters call for somebody at once." } else { "" };
    format!(
        "{description}\n\nTopic `{}`, key `{key}`, run by the group `{group}`.{urgency} A call \
         of `POST {general}`, which says what the answers mean.",
        topic.name
    )
    .trim()
    .to_owned()
}

/// Has the parameter for the type name those that there are.
fn name_types(operation: &mut Value, types: &[&RecordType]) {
    let names: Vec<&str> = types.iter().map(|found| found.name.as_str()).collect();
    if let Some(schema) = operation.pointer_mut("/parameters/0/schema") {
        *schema = json!({ "type": "string", "examples": names });
    }
}

/// Says what the body of an operation is that takes one payload of these types.
fn describe_body(operation: &mut Value, types: &[&RecordType], payload: &Value) {
    if let Some(body) = operation.pointer_mut("/requestBody/content/application~1json") {
        *body = json!({ "schema": payload, "examples": examples(types) });
    }
}

/// The same of the forms that an event may have beside its payload.
fn describe_envelopes(operation: &mut Value, record_type: &RecordType) {
    let event = reference("schemas", &cloud_events::schema_name(record_type));
    let many = json!({ "type": "array", "items": event, "minItems": 1 });
    let Some(content) = operation.pointer_mut("/requestBody/content") else { return };
    set(content, cloud_events::ONE, json!({ "schema": event }));
    set(content, cloud_events::MANY, json!({ "schema": many }));
}

fn examples(types: &[&RecordType]) -> Value {
    let of_types = types.iter().filter_map(|found| example_of(found));
    let examples: Map<String, Value> = of_types
        .map(|(name, _)| {
            let example = reference("examples", &name);
            (name, example)
        })
        .collect();
    examples.into()
}

/// A type of a catalog file may have none.
fn example_of(record_type: &RecordType) -> Option<(String, Value)> {
    let value = record_type.example();
    let summary = summary(record_type);
    (!value.is_null())
        .then(|| (record_type.name.clone(), json!({ "summary": summary, "value": value })))
}
