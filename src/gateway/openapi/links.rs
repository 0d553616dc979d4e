//! Where an answer leads: with what stands in a receipt, the calls that say what became of it.

use serde_json::{Map, Value, json};

use super::add as add_members;

/// Adds the links to the answers that hold a receipt.
pub(super) fn add(document: &mut Value) {
    let place = json!({
        "type": "$response.body#/type",
        "partition": "$response.body#/partition",
        "offset": "$response.body#/offset"
    });
    let id = json!({ "id": "$response.body#/id" });
    let mut links = Map::new();
    for (name, operation, parameters, description) in [
        ("status", "get_job_status", &place, "What became of it, by its place"),
        ("found", "find_job", &id, "What became of it, by its id"),
        ("scheduled", "get_scheduled_job", &id, "What became of one that was put off"),
        ("cancel", "cancel_scheduled_job", &id, "Cancel one that was put off"),
    ] {
        let link = json!({
            "operationId": operation, "parameters": parameters, "description": description
        });
        links.insert(name.to_owned(), link);
    }
    let of_event = ["status", "found"];
    let of_event: Map<String, Value> =
        links.iter().filter(|(name, _)| of_event.contains(&name.as_str())).map(owned).collect();
    for (answer, links) in [("enqueue_job.202", links), ("publish_event.201", of_event)] {
        let members = Map::from_iter([("links".to_owned(), Value::Object(links))]);
        add_members(document, &format!("/components/responses/{answer}"), members);
    }
}

fn owned((name, link): (&String, &Value)) -> (String, Value) {
    (name.clone(), link.clone())
}
