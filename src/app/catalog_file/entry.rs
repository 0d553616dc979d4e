//! `[[job]]` and `[[event]]`: a type of the file's own.

use std::time::Duration;

use serde_json::Value;

use super::fields::Fields;
use super::retry::RetryChanges;
use super::schemas::Schemas;
use super::{bounds, handler};
use crate::domain::catalog::{
    CatalogError, Declaration, PayloadType, RecordKind, RecordType, Refusal, TopicSpec, key_faults,
};
use crate::domain::key::KeyTemplate;
use crate::domain::record::header;
use crate::domain::retry::RetryPolicy;
use crate::domain::schema::PayloadSchema;
use crate::push::PushSettings;

/// What a table may say.
const FIELDS: [&str; 11] = [
    "type",
    "description",
    "topic",
    "partitions",
    "retention",
    "group",
    "key",
    "schema",
    "critical",
    "handler",
    "retry",
];

// What a type has where its table does not say.

/// As the built-in types of medium load.
const PARTITIONS: i32 = 5;
/// A job is run within days, or by a replay.
const JOB_RETENTION: Duration = Duration::from_hours(24 * 7);
/// An event is what others may still want to know next year.
const EVENT_RETENTION: Duration = Duration::from_hours(24 * 365);

/// A type and, if it has one, its handler.
pub(super) struct Entry {
    pub(super) record_type: RecordType,
    pub(super) push: Option<PushSettings>,
}

/// Reads a table; None where something is wrong with it.
pub(super) fn read(kind: RecordKind, fields: &Fields<'_>, schemas: &Schemas<'_>) -> Option<Entry> {
    let faults_before = fields.faults();
    fields.refuse_others(&FIELDS);
    let name = fields.required_text("type", "invoice.render");
    let key = fields.required_text("key", "{account_id}").and_then(|text| key(text, fields));
    let schema = fields
        .required_text("schema", "schemas/invoice.render.json")
        .and_then(|path| schemas.read(path).map_err(|reason| fields.fault("schema", reason)).ok());
    let checked = schema.clone().and_then(|schema| {
        let compiled = PayloadSchema::compile(schema);
        compiled
            .map_err(|error| fields.fault("schema", format_args!("cannot be used: {error}")))
            .ok()
    });
    if let (Some(key), Some(schema)) = (&key, &checked) {
        for (field, reason) in key_faults(schema, key) {
            fields.fault("key", format_args!("is made of {field:?}, which {reason}"));
        }
    }
    let retry = RetryChanges::read(fields).applied(RetryPolicy::DEFAULT, fields);
    let push = handler::read(fields);
    let partitions = fields.number("partitions", &bounds::PARTITIONS).unwrap_or(PARTITIONS);
    let retention = fields.duration("retention", &bounds::RETENTION);
    let (topic, group) = (fields.text("topic"), fields.text("group"));
    let (description, critical) = (fields.text("description"), fields.flag("critical"));
    if fields.faults() > faults_before {
        return None;
    }

    let (name, key, schema) = (name?, key?, schema?);
    let (type_header, retention_unsaid, group_unsaid) = match kind {
        RecordKind::Job => (header::JOB_TYPE, JOB_RETENTION, workers_of(name)),
        RecordKind::Event => (header::EVENT_TYPE, EVENT_RETENTION, format!("{name}-processor")),
    };
    let retention = retention.unwrap_or(retention_unsaid);
    let examples = schema.get("examples").and_then(Value::as_array).cloned().unwrap_or_default();
    let declaration = Declaration {
        name: name.to_owned(),
        kind,
        description: description.unwrap_or("A type of the catalog file.").to_owned(),
        topic: TopicSpec::new(topic.unwrap_or(name), partitions, retention),
        group: group.map_or(group_unsaid, str::to_owned),
        key: key.to_string(),
        retry,
        critical: critical.unwrap_or_default(),
        headers: vec![(type_header.to_owned(), name.to_owned())],
        constants: Vec::new(),
        payload: PayloadType::from_schema(schema, examples.first().cloned().unwrap_or_default()),
    };
    match RecordType::declare(declaration) {
        Ok(record_type) => {
            check_examples(&record_type, &examples, fields);
            Some(Entry { record_type, push })
        }
        Err(error) => {
            fields.fault_of_all(said(&error));
            None
        }
    }
}

/// An error of the catalog with what is beneath it.
pub(super) fn said(error: &CatalogError) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The group of the type's family, as the built-in types have it.
fn workers_of(name: &str) -> String {
    format!("{}-workers", name.split('.').next().unwrap_or(name))
}

fn key(text: &str, fields: &Fields<'_>) -> Option<KeyTemplate> {
    let read = KeyTemplate::parse(text);
    read.map_err(|error| fields.fault("key", format_args!("cannot be read: {error}"))).ok()
}

/// What documents show must work.
fn check_examples(record_type: &RecordType, examples: &[Value], fields: &Fields<'_>) {
    for (at, example) in examples.iter().enumerate() {
        let detail = match record_type.accept(example.to_string().as_bytes()) {
            Ok(_) => continue,
            Err(Refusal::NotJson { detail }) => detail,
            Err(Refusal::Invalid(faults)) => {
                let faults =
                    faults.iter().map(|fault| format!("{} {}", fault.pointer, fault.detail));
                faults.collect::<Vec<_>>().join("; ")
            }
        };
        fields.fault(
            "schema",
            format_args!("has an example that is not valid: examples/{at}: {}", detail.trim()),
        );
    }
}
