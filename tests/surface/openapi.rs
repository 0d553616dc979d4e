//! The OpenAPI document: the exported file is the served one, it is sound, and Swagger UI
//! shows it without asking anybody else.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use serde_json::Value;

use crate::harness::{Jobgate, Options};
use crate::support::run_to_end;

/// Every route, as the router lists them.
const ROUTES: [(&str, &str); 36] = [
    ("post", "/jobs/{type}"),
    ("post", "/jobs/{type}/batch"),
    ("post", "/jobs/{type}/validate"),
    ("post", "/events/{topic}"),
    ("post", "/events/{topic}/batch"),
    ("post", "/events/{topic}/validate"),
    ("get", "/catalog"),
    ("get", "/admin/dlq"),
    ("get", "/admin/dlq/{partition}/{offset}"),
    ("post", "/admin/dlq/{partition}/{offset}/replay"),
    ("post", "/admin/dlq/{partition}/{offset}/discard"),
    ("post", "/admin/dlq/index/rebuild"),
    ("get", "/jobs/{type}/{partition}/{offset}"),
    ("get", "/jobs/by-id/{id}"),
    ("get", "/jobs/scheduled/{id}"),
    ("delete", "/jobs/scheduled/{id}"),
    ("get", "/admin/lag"),
    ("get", "/admin/lag/{group}"),
    ("get", "/admin/stats"),
    ("get", "/admin/topics"),
    ("get", "/admin/topics/{topic}"),
    ("post", "/admin/topics/{topic}/partitions"),
    ("post", "/admin/groups/{group}/offsets"),
    ("post", "/admin/replays"),
    ("get", "/admin/replays"),
    ("get", "/admin/replays/{id}"),
    ("post", "/admin/replays/{id}/cancel"),
    ("get", "/admin/workers"),
    ("post", "/admin/jobs/{type}/pause"),
    ("post", "/admin/jobs/{type}/resume"),
    ("get", "/admin/quarantines"),
    ("post", "/admin/quarantines/release"),
    ("get", "/admin/audit"),
    ("get", "/metrics"),
    ("get", "/health/live"),
    ("get", "/health/ready"),
];

/// Every type, with its path and what a good one is answered with.
const TYPES: [(&str, &str, u16); 14] = [
    ("email.verification", "/jobs/email.verification", 202),
    ("email.welcome", "/jobs/email.welcome", 202),
    ("email.position-update", "/jobs/email.position-update", 202),
    ("email.reward-earned", "/jobs/email.reward-earned", 202),
    ("email.milestone", "/jobs/email.milestone", 202),
    ("reward.delivery", "/jobs/reward.delivery", 202),
    ("position.recalculation", "/jobs/position.recalculation", 202),
    ("fraud.detection", "/jobs/fraud.detection", 202),
    ("webhook.delivery", "/jobs/webhook.delivery", 202),
    ("analytics.aggregation", "/jobs/analytics.aggregation", 202),
    ("user.signup", "/events/user.signup", 201),
    ("user.verified", "/events/user.verified", 201),
    ("referral.created", "/events/referral.created", 201),
    ("reward.earned", "/events/reward.earned", 201),
];

/// The file in the repository; empty where there is none.
fn exported() -> String {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.json");
    std::fs::read_to_string(file).unwrap_or_default()
}

#[tokio::test]
async fn the_exported_document_is_the_one_of_this_build() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = run_to_end(dir.path(), &["openapi"], &[]).await;
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).expect("text");
    assert!(
        printed == exported(),
        "openapi/openapi.json is not what this build says. If the change of the API is meant, \
         renew it: cargo run -- openapi > openapi/openapi.json"
    );
}

#[test]
fn the_exported_document_is_sound() {
    let document: Value = serde_json::from_str(&exported()).expect("JSON");
    let version = document["openapi"].as_str().expect("a version");
    assert!(version.starts_with("3.1."), "{version}");
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());

    let mut routes = BTreeSet::new();
    let mut operation_ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            routes.insert((method.as_str(), path.as_str()));
            let id = operation["operationId"].as_str().expect("an operationId");
            assert!(operation_ids.insert(id), "{id} names two operations");
            assert_parameters(path, operation, &document);
            for (status, response) in operation["responses"].as_object().expect("responses") {
                let content = &followed(&document, response)["content"];
                if status.starts_with(['4', '5']) {
                    let problem = &content["application/problem+json"]["schema"]["$ref"];
                    assert_eq!(problem, "#/components/schemas/Problem", "{status} of {id}");
                }
            }
        }
    }
    let of_types = TYPES.iter().map(|(_, path, _)| ("post", *path));
    let expected: BTreeSet<_> = of_types.chain(ROUTES).collect();
    assert_eq!(routes, expected, "every route, every type, and no other");
    for operation in operation_ids {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        assert!(operation.chars().all(is_word), "{operation} names a method");
    }

    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 14, "the payloads are referred to");
    for reference in references {
        let pointer = reference
            .strip_prefix('#')
            .unwrap_or_else(|| panic!("{reference} is outside of the document"));
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        // The 3.1 dialect is JSON Schema 2020-12: each schema must be one.
        let known = jsonschema::meta::is_valid(schema);
        assert!(known, "the schema {name} is none");
    }
}

/// What a `$ref` leads to, or what stands there itself.
pub(crate) fn followed<'v>(document: &'v Value, value: &'v Value) -> &'v Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).expect("it leads somewhere"),
        None => value,
    }
}

/// Each `{name}` of the path is declared, and nothing else as a path parameter.
fn assert_parameters(path: &str, operation: &Value, document: &Value) {
    let in_path: BTreeSet<&str> =
        path.split('{').skip(1).filter_map(|part| part.split('}').next()).collect();
    let declared: BTreeSet<&str> = operation["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|parameter| followed(document, parameter))
        .filter(|parameter| parameter["in"] == "path")
        .map(|parameter| {
            assert_eq!(parameter["required"], true, "{path}");
            parameter["name"].as_str().expect("a name")
        })
        .collect();
    assert_eq!(in_path, declared, "{path}");
}

pub(crate) fn collect_references<'v>(value: &'v Value, references: &mut Vec<&'v str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, references)),
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(reference) if name == "$ref" => references.push(reference),
                    member => collect_references(member, references),
                }
            }
        }
        _ => {}
    }
}

/// Whose payload is the type's, and whose example is accepted.
async fn each_type_is_an_operation_of_its_own(jobgate: &Jobgate, document: &Value) {
    for (name, path, status) in TYPES {
        let operation = &document["paths"][path]["post"];
        let body = &operation["requestBody"]["content"]["application/json"];
        let schema = &body["schema"];
        assert_eq!(schema["$ref"], format!("#/components/schemas/payload.{name}"));
        let text = operation["description"].as_str().expect("a description");
        let kind = path.split('/').nth(1).expect("jobs or events");
        for scope in [format!("{kind}:write"), format!("{kind}:write:{name}")] {
            assert!(text.contains(&format!("`{scope}`")), "{scope}: {text}");
        }
        assert!(operation["summary"].as_str().is_some_and(|said| said.len() > 10), "{name}");
        assert!(operation["responses"].get("404").is_none(), "there is such a type");

        let mut whole = document.clone();
        whole["$ref"] = schema["$ref"].clone();
        let schema = jsonschema::draft202012::new(&whole).expect("a schema");
        let examples = body["examples"].as_object().expect("examples");
        assert_eq!(examples.len(), 1, "{name}");
        for example in examples.values() {
            let example = &followed(document, example)["value"];
            assert!(schema.is_valid(example), "{example}");
            let answer = jobgate.post(path, example).await;
            assert_eq!(answer.status.as_u16(), status, "{name}: {}", answer.text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documents_are_served_and_swagger_asks_nobody_else() {
    let jobgate = Jobgate::start(Options::default()).await;
    let served = jobgate.get("/openapi.json").await;
    assert_eq!(served.status, StatusCode::OK);
    let document: Value = serde_json::from_str(&exported()).expect("JSON");
    assert!(served.json() == document, "renew: cargo run -- openapi > openapi/openapi.json");

    each_type_is_an_operation_of_its_own(&jobgate, &document).await;

    // Each declared route exists: it answers something else than "no such path".
    for (method, path) in ROUTES {
        let path = path
            .replace("{type}", "email.verification")
            .replace("{topic}", "user.signup")
            .replace("{partition}", "0")
            .replace("{offset}", "0");
        let method = method.to_uppercase().parse().expect("a method");
        let answer = jobgate.client().request(method, jobgate.url(&path)).send().await;
        let text = answer.expect("an answer").text().await.expect("its text");
        assert!(!text.contains("no-such-path") && !text.contains("not-allowed"), "{path}: {text}");
    }

    let page = jobgate.get("/docs").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    assert!(page.headers["content-type"].to_str().expect("text").starts_with("text/html"));
    assert!(page.text.contains("swagger-ui"), "{}", page.text);
    let mut assets = 0;
    for attribute in ["src=\"", "href=\""] {
        for rest in page.text.split(attribute).skip(1) {
            let link = rest.split('"').next().expect("a link");
            assert!(!link.contains("//"), "the page asks {link}");
            let link = link.strip_prefix("./").unwrap_or(link);
            let path = if link.starts_with('/') { link.into() } else { format!("/docs/{link}") };
            let asset = jobgate.get(&path).await;
            assert_eq!(asset.status, StatusCode::OK, "{path}");
            assert!(!asset.text.is_empty(), "{path}");
            assets += 1;
        }
    }
    assert!(assets >= 3, "scripts and styles are served: {assets}");
    let start = jobgate.get("/docs/swagger-initializer.js").await;
    assert!(start.text.contains("\"/openapi.json\""), "{}", start.text);
    assert!(!start.text.contains("https://"), "{}", start.text);
}
