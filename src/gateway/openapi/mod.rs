//! The OpenAPI 3.1 document: what utoipa reads off the endpoints, and the catalog's types, each of
//! which is an operation of its own.
//!
//! `/jobs/email.verification` is matched before `/jobs/{type}` (so OpenAPI 3.1 has it), and a
//! generator of clients makes a method of it that takes the type's own payload. The path with the
//! parameter stays for clients that send any type; batches and validation have that one alone,
//! or the document would have four times as many operations that differ in a schema.

mod answers;
mod cloud_events;
mod links;
mod types;

use serde_json::{Map, Value};
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

use super::limits::Limits;
use super::router::routes;
use super::schemas;
use crate::domain::catalog::Catalog;

/// What stands at the head of the document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "jobgate",
        description = "Background jobs and events over HTTP, kept by Apache Kafka. A 202 or 201 \
                       means that every in-sync replica has the record, or, for a job that is \
                       put off, that the database has it. Errors are RFC 9457 problem documents.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "producing", description = "Enqueue jobs, publish events: of any type, many at once, and what became of them"),
        (name = "operating", description = "Dead letters, replays, lag, statistics, topics, offsets, the audit"),
        (name = "health", description = "Is it alive, would it accept a job, what has it done")
    )
)]
pub(super) struct Api;

/// The document of this catalog.
pub fn document(catalog: &Catalog) -> Value {
    let (_, api): (_, Document) = routes(None, Limits::new(None)).split();
    let mut document = serde_json::to_value(api).unwrap_or_default();
    add(&mut document, "/components/schemas", schemas::payloads(catalog));
    add(&mut document, "/components/schemas", cloud_events::schemas(catalog));
    add(&mut document, "/components", answers::components());
    types::describe(&mut document, catalog);
    let operations = types::operations(&mut document, catalog);
    for operation in all_operations(&mut document) {
        answers::add(operation, None);
    }
    types::insert(&mut document, operations);
    links::add(&mut document);
    all_operations(&mut document).for_each(not_null);
    document
}

/// A body that may be missing is not one that may be null.
fn not_null(operation: &mut Map<String, Value>) {
    let schema = operation
        .get_mut("requestBody")
        .and_then(|body| body.pointer_mut("/content/application~1json/schema"));
    if let Some(schema) = schema
        && let Some([body, null]) = schema.get("oneOf").and_then(Value::as_array).map(Vec::as_slice)
        && null.get("type").is_some_and(|kind| kind == "null")
    {
        *schema = body.clone();
    }
}

/// Adds these members to the object at this place.
fn add(document: &mut Value, pointer: &str, members: Map<String, Value>) {
    if let Some(object) = document.pointer_mut(pointer).and_then(Value::as_object_mut) {
        object.extend(members);
    }
}

/// Every operation that the document has.
fn all_operations(document: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let paths = document.pointer_mut("/paths").and_then(Value::as_object_mut);
    let items = paths.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut);
    items.flat_map(Map::values_mut).filter_map(Value::as_object_mut)
}
