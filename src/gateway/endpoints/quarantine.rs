//! A quarantined key on the wire.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::catalog::Catalog;
use crate::domain::clock::rfc3339;
use crate::domain::dead_letter::Bytes;
use crate::store::QuarantineRow;

/// A key that is quarantined.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct QuarantineBody {
    /// The group that does not run its jobs.
    #[schema(example = "email-workers")]
    group: String,
    /// The type; null where the topic is not in the catalog.
    #[serde(rename = "type")]
    #[schema(example = "email.verification")]
    type_name: Option<String>,
    /// The topic.
    topic: String,
    /// The key: a string, or `{"base64": ".."}` where it is no text.
    key: Value,
    /// The job whose dead letter holds it.
    message_id: Uuid,
    /// That dead letter.
    letter: QuarantineLetterBody,
    /// RFC 3339.
    since: String,
    /// `held`, until somebody has decided about the letter; then `releasing`, until what was parked
    /// has run.
    #[schema(example = "held")]
    state: &'static str,
    /// Jobs that wait.
    parked: i64,
}

/// The place of a dead letter in the dead-letter topic.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct QuarantineLetterBody {
    /// The partition.
    partition: i32,
    /// The offset in it.
    offset: i64,
}

impl QuarantineBody {
    pub(super) fn new(row: QuarantineRow, catalog: &Catalog) -> Self {
        Self {
            type_name: catalog.by_topic(&row.topic).map(|found| found.name.clone()),
            group: row.group,
            topic: row.topic,
            // Strings always serialise.
            key: serde_json::to_value(Bytes::new(&row.key)).unwrap_or_default(),
            message_id: row.machine.message_id,
            letter: QuarantineLetterBody {
                partition: row.letter.partition,
                offset: row.letter.offset,
            },
            since: rfc3339(row.since_ms),
            state: row.machine.state.as_str(),
            parked: row.machine.parked(),
        }
    }
}
