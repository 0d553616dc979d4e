//! The types of the jobs: a key and nothing else, so that the engine is what costs.

use std::time::Duration;

use jobgate::domain::catalog::{
    Catalog, Declaration, PayloadType, RecordKind, RecordType, TopicSpec,
};
use jobgate::domain::retry::RetryPolicy;
use serde_json::{Value, json};

use crate::common::jobs::JobType;

/// Longer than any run.
const RETENTION: Duration = Duration::from_hours(24);

/// Many keys in one partition.
pub(crate) const KEYS: JobType =
    JobType { name: "bench.keys", catalog: |group| catalog("bench.keys", 1, group) };
/// A key for each job, in as many partitions as types mostly have.
pub(crate) const CLAIMS: JobType =
    JobType { name: "bench.claims", catalog: |group| catalog("bench.claims", 10, group) };
/// One partition, whose first job may be stuck.
pub(crate) const STUCK: JobType =
    JobType { name: "bench.stuck", catalog: |group| catalog("bench.stuck", 1, group) };

/// A payload with this key.
pub(crate) fn payload(key: &str) -> Value {
    json!({ "key": key })
}

/// The key in a payload.
pub(crate) fn key_of(payload: &Value) -> &str {
    payload["key"].as_str().expect("a valid payload")
}

fn catalog(name: &str, partitions: i32, group: &str) -> Catalog {
    let schema = json!({
        "type": "object",
        "properties": { "key": { "type": "string", "minLength": 1 } },
        "required": ["key"],
        "additionalProperties": false,
    });
    let record_type = RecordType::declare(Declaration {
        name: name.to_owned(),
        kind: RecordKind::Job,
        description: "A job of the benchmark.".to_owned(),
        topic: TopicSpec::new(name, partitions, RETENTION),
        group: group.to_owned(),
        key: "{key}".to_owned(),
        retry: RetryPolicy::DEFAULT,
        critical: false,
        headers: Vec::new(),
        constants: Vec::new(),
        payload: PayloadType::from_schema(schema, payload("k1")),
    });
    let dead_letters = TopicSpec::dead_letters("bench.dlq", 1, RETENTION);
    Catalog::new(vec![record_type.expect("a type")], dead_letters).expect("a catalog")
}
