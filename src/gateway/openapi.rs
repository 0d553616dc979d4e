//! The OpenAPI 3.1 document: what utoipa reads off the endpoints, and the catalog's types.

use serde_json::{Map, Value, json};
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

use super::router::routes;
use crate::domain::catalog::{Catalog, RecordKind, RecordType};

/// What stands at the head of the document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "jobgate",
        description = "Background jobs and events over HTTP, kept by Apache Kafka. A 202 or 201 \
                       means that every in-sync replica has the record. Errors are RFC 9457 \
                       problem documents.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "producing", description = "Enqueue jobs, publish events"),
        (name = "operating", description = "Dead letters, lag, statistics, topics, offsets, the audit"),
        (name = "health", description = "Is it alive, would it accept a job, what has it done")
    )
)]
pub(super) struct Api;

/// The document of this catalog.
pub fn document(catalog: &Catalog) -> Value {
    let (_, api): (_, Document) = routes().split_for_parts();
    let mut document = serde_json::to_value(api).unwrap_or_default();
    for record_type in catalog.iter() {
        let mut schema = record_type.schema().expose().clone();
        if let Some(schema) = schema.as_object_mut() {
            schema.remove("$schema");
            schema.insert("title".into(), record_type.name.clone().into());
        }
        if let Some(schemas) = document.pointer_mut("/components/schemas")
            && let Some(schemas) = schemas.as_object_mut()
        {
            schemas.insert(schema_name(record_type), schema);
        }
    }
    for (path, kind) in [
        ("/jobs/{type}", RecordKind::Job),
        ("/jobs/{type}/validate", RecordKind::Job),
        ("/events/{topic}", RecordKind::Event),
        ("/events/{topic}/validate", RecordKind::Event),
    ] {
        let types: Vec<&RecordType> =
            catalog.iter().map(AsRef::as_ref).filter(|found| found.kind == kind).collect();
        let pointer = format!("/paths/{}/post", path.replace('/', "~1"));
        if let Some(operation) = document.pointer_mut(&pointer) {
            describe(operation, &types);
        }
    }
    document
}

fn schema_name(record_type: &RecordType) -> String {
    format!("payload.{}", record_type.name)
}

/// Fills in the types that an operation takes: their names, schemas and examples.
fn describe(operation: &mut Value, types: &[&RecordType]) {
    let names: Vec<&str> = types.iter().map(|found| found.name.as_str()).collect();
    if let Some(schema) = operation.pointer_mut("/parameters/0/schema") {
        *schema = json!({ "type": "string", "examples": names });
    }
    let references: Vec<Value> = types
        .iter()
        .map(|found| json!({ "$ref": format!("#/components/schemas/{}", schema_name(found)) }))
        .collect();
    let examples: Map<String, Value> = types
        .iter()
        .map(|found| {
            let example = json!({ "summary": found.description, "value": found.example() });
            (found.name.clone(), example)
        })
        .collect();
    if let Some(body) = operation.pointer_mut("/requestBody/content") {
        *body = json!({
            "application/json": { "schema": { "anyOf": references }, "examples": examples }
        });
    }
}
