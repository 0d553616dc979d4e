//! The OpenAPI 3.1 document: what utoipa reads off the endpoints, and the catalog's types.

use serde_json::{Map, Value, json};
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

use super::access::SECURITY_SCHEME;
use super::limits::Limits;
use super::router::routes;
use crate::auth::Scope;
use crate::domain::catalog::{Catalog, RecordKind, RecordType};

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
        (name = "producing", description = "Enqueue jobs, publish events"),
        (name = "operating", description = "Dead letters, replays, lag, statistics, topics, offsets, the audit"),
        (name = "health", description = "Is it alive, would it accept a job, what has it done")
    )
)]
pub(super) struct Api;

/// The document of this catalog.
pub fn document(catalog: &Catalog) -> Value {
    let (_, api): (_, Document) = routes(None, Limits::new(None)).split();
    let mut document = serde_json::to_value(api).unwrap_or_default();
    add_common_answers(&mut document);
    for record_type in catalog.iter() {
        let mut schema = record_type.schema().expose().clone();
        rebase(&mut schema, &format!("#/components/schemas/{}", schema_name(record_type)));
        if let Some(schema) = schema.as_object_mut() {
            // Both are of a schema that is a document by itself.
            schema.remove("$schema");
            schema.remove("$id");
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

/// Adds what is true of every operation and so stands in none of the endpoints: how to show a
/// token, the scope that it needs, and the answers that come before a handler runs. All of it
/// follows from the operation's `security` and from whether it takes a body.
fn add_common_answers(document: &mut Value) {
    if let Some(components) = document.pointer_mut("/components").and_then(Value::as_object_mut) {
        components.insert(
            "securitySchemes".into(),
            json!({ SECURITY_SCHEME: {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "A signed token (JWT) with exp, iss, aud, sub and scope; `jobgate \
                    token` makes one. A jobgate that has no key to check tokens with takes none, \
                    and serves its own machine alone."
            }}),
        );
        components.insert(
            "responses".into(),
            json!({
                "Unauthenticated": {
                    "description": "No token, or one that is not valid",
                    "headers": { "WWW-Authenticate": {
                        "description": "Bearer, and what is wrong with the token (RFC 6750)",
                        "schema": { "type": "string" }
                    }},
                    "content": problem_content()
                },
                "TooMany": refused_for_now("More than the caller's rate, or its share of what is \
                    answered and written at once"),
                "Overloaded": refused_for_now("More is asked than can be answered soon"),
                "BodyTimeout": refusal("The body took too long"),
                "TooLarge": refusal("Over 1 MiB"),
                "NotJson": refusal("Not JSON by its Content-Type"),
            }),
        );
    }
    let Some(paths) = document.pointer_mut("/paths").and_then(Value::as_object_mut) else { return };
    let items = paths.values_mut().filter_map(Value::as_object_mut);
    for operation in items.flat_map(Map::values_mut).filter_map(Value::as_object_mut) {
        add_answers(operation);
    }
}

fn add_answers(operation: &mut Map<String, Value>) {
    const LOCAL: &str = "Without a key for tokens: not from this machine";
    let token = operation.get("security").and_then(|all| all.get(0)?.get(SECURITY_SCHEME));
    let scope = token.and_then(|scopes| scopes.get(0)).and_then(Value::as_str);
    let needs = match (token, scope) {
        (None, _) => "Needs no token.".to_owned(),
        (Some(_), None) => "Needs a token, of any scope.".to_owned(),
        (Some(_), Some(scope)) if is_by_type(scope) => format!(
            "Needs a token with the scope `{scope}`, or with that scope for the type, such as \
             `{scope}:email.*`."
        ),
        (Some(_), Some(scope)) => format!("Needs a token with the scope `{scope}`."),
    };
    let forbidden = match scope {
        Some(scope) => format!("The token has no scope `{scope}`. {LOCAL}"),
        None => LOCAL.to_owned(),
    };
    let is_limited = token.is_some();
    let mut answers = vec![("403", refusal(&forbidden))];
    if is_limited {
        answers.push(("401", common("Unauthenticated")));
        answers.push(("429", common("TooMany")));
    }
    // Where it is there, it says what else may be away.
    let declared = operation.get("responses").and_then(Value::as_object);
    if token.is_some() && declared.is_some_and(|all| !all.contains_key("503")) {
        answers.push(("503", refusal("The keys of the token's issuer cannot be read")));
    }
    if operation.contains_key("requestBody") {
        answers.push(("408", common("BodyTimeout")));
        answers.push(("413", common("TooLarge")));
        answers.push(("415", common("NotJson")));
    }
    let text = operation.get("description").and_then(Value::as_str).unwrap_or_default();
    let text = format!("{text}\n\n{needs}").trim().to_owned();
    operation.insert("description".into(), text.into());
    if let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) {
        responses.extend(answers.into_iter().map(|(status, answer)| (status.to_owned(), answer)));
        if is_limited {
            responses.entry("503").or_insert_with(|| common("Overloaded"));
        }
    }
}

fn is_by_type(scope: &str) -> bool {
    Scope::ALL.into_iter().any(|known| known.is_by_type() && known.as_str() == scope)
}

fn common(name: &str) -> Value {
    json!({ "$ref": format!("#/components/responses/{name}") })
}

fn refusal(description: &str) -> Value {
    json!({ "description": description, "content": problem_content() })
}

/// A refusal that says when to come back.
fn refused_for_now(description: &str) -> Value {
    let mut answer = refusal(description);
    if let Some(answer) = answer.as_object_mut() {
        answer.insert(
            "headers".into(),
            json!({ "Retry-After": {
                "description": "Seconds after which to try again",
                "schema": { "type": "integer" }
            }}),
        );
    }
    answer
}

fn problem_content() -> Value {
    json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } })
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
        // A type of a catalog file may have none.
        .filter(|found| !found.example().is_null())
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
