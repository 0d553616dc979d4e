//! The `AsyncAPI` document: the exported file is the served one, and it is true of the topics.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Jobgate, Options};
use crate::openapi::{collect_references, followed};
use crate::support::run_to_end;

/// How the dead letters are called in it.
const DEAD_LETTERS: &str = "deadLetters";

fn exported() -> String {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/asyncapi.json");
    std::fs::read_to_string(file).unwrap_or_default()
}

fn document() -> Value {
    serde_json::from_str(&exported()).expect("JSON")
}

/// The names of an object's members.
fn names(object: &Value) -> BTreeSet<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[tokio::test]
async fn the_exported_document_is_the_one_of_this_build() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = run_to_end(dir.path(), &["asyncapi"], &[]).await;
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).expect("text");
    assert!(
        printed == exported(),
        "openapi/asyncapi.json is not what this build says. If the change is meant, renew it: \
         cargo run -- asyncapi > openapi/asyncapi.json"
    );
}

#[test]
fn the_exported_document_is_sound() {
    let document = document();
    assert_eq!(document["asyncapi"], "3.0.0");
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("into the document");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }

    let channels = names(&document["channels"]);
    assert_eq!(channels, names(&document["components"]["messages"]));
    let both = |name: &&str| ["send", "receive"].map(|action| format!("{action}.{name}"));
    let expected: BTreeSet<String> = channels.iter().flat_map(both).collect();
    assert!(names(&document["operations"]).into_iter().eq(&expected), "both of each channel");
    for (name, operation) in document["operations"].as_object().expect("operations") {
        let (action, channel) = name.split_once('.').expect("two parts");
        assert_eq!(operation["action"], action);
        assert_eq!(operation["channel"]["$ref"], format!("#/channels/{channel}"));
        // A message of the operation is one of its channel.
        let message = format!("#/channels/{channel}/messages/{channel}");
        assert_eq!(operation["messages"], json!([{ "$ref": message }]));
    }
    for (name, message) in document["components"]["messages"].as_object().expect("messages") {
        assert_eq!(message["correlationId"]["location"], "$message.header#/message_id", "{name}");
        for (part, prefix) in [("payload", "payload"), ("headers", "headers")] {
            let place = format!("#/components/schemas/{prefix}.{name}");
            assert_eq!(message[part]["$ref"], place);
            let schema = schema(&document, &place);
            for example in message["examples"].as_array().expect("examples") {
                let wrong: Vec<String> =
                    schema.iter_errors(&example[part]).map(|fault| fault.to_string()).collect();
                assert!(wrong.is_empty(), "{name}: {wrong:?}");
            }
        }
    }
    let letter: Value =
        serde_json::from_str(include_str!("../fixtures/dead_letter.json")).expect("JSON");
    let place = "#/components/schemas/payload.deadLetters";
    assert!(schema(&document, place).is_valid(&letter));
    let described = &document["components"]["schemas"]["payload.deadLetters"]["properties"];
    assert_eq!(names(described), names(&letter), "each member of a dead letter is described");
    assert!(!schema(&document, place).is_valid(&json!({ "original_topic": 7 })));
}

/// The schema at this place of the document, as the draft that the document's schemas are of.
fn schema(document: &Value, place: &str) -> jsonschema::Validator {
    // A schema of its own, beside the components that it refers to.
    let whole = json!({ "allOf": [{ "$ref": place }], "components": document["components"] });
    jsonschema::draft7::options().should_validate_formats(true).build(&whole).expect("a schema")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_served_and_true_of_the_topics() {
    let jobgate = Jobgate::start(Options::default()).await;
    let served = jobgate.get("/asyncapi.json").await;
    assert_eq!(served.status, StatusCode::OK);
    assert_eq!(served.headers["content-type"], "application/json");
    let document = served.json();
    assert!(document == self::document(), "renew: cargo run -- asyncapi > openapi/asyncapi.json");

    let catalog = jobgate.get("/catalog").await.json();
    let types = catalog["items"].as_array().expect("types");
    assert_eq!(types.len() + 1, names(&document["channels"]).len(), "each type, and dead letters");
    for one in types {
        let name = one["type"].as_str().expect("a name");
        let channel = &document["channels"][name];
        let kafka = &channel["bindings"]["kafka"];
        assert_eq!((&channel["address"], &kafka["topic"]), (&one["topic"], &one["topic"]));
        assert_eq!(kafka["partitions"], one["partitions"], "{name}");
        assert_eq!(kafka["topicConfiguration"]["retention.ms"], one["retention_ms"], "{name}");
        let message = followed(&document, &channel["messages"][name]);
        assert_eq!(message["examples"][0]["payload"], one["example"], "{name}");
        let key = message["bindings"]["kafka"]["key"]["description"].as_str().expect("a text");
        assert!(key.starts_with(one["key"].as_str().expect("a key")), "{key}");
        let run = &document["operations"][format!("receive.{name}")];
        assert_eq!(run["bindings"]["kafka"]["groupId"]["const"], one["group"], "{name}");
    }
    // What Kafka has is what the document says.
    for (name, channel) in document["channels"].as_object().expect("channels") {
        let topic = channel["address"].as_str().expect("a topic");
        let found = jobgate.get(&format!("/admin/topics/{topic}")).await.json();
        let kafka = &channel["bindings"]["kafka"];
        assert_eq!(found["partitions"], kafka["partitions"], "{name}: {found}");
        let retention = kafka["topicConfiguration"]["retention.ms"].to_string();
        assert_eq!(found["settings"]["retention.ms"], retention, "{name}");
        let is_dead = name == DEAD_LETTERS;
        assert_eq!(topic == "waitlist.dlq", is_dead, "{name}");
    }
}
