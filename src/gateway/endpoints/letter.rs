//! A dead letter on the wire.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::quarantine::QuarantineBody;
use crate::domain::clock::rfc3339;
use crate::store::IndexedLetter;

/// A dead letter, as lists show it.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct LetterBody {
    /// The partition of the dead-letter topic.
    partition: i32,
    /// The offset in it; the two name the letter.
    offset: i64,
    /// The id of the record that failed; a replay keeps it.
    message_id: Uuid,
    /// Its type; null where the original topic is not in the catalog.
    #[serde(rename = "type")]
    #[schema(example = "email.verification")]
    type_name: Option<String>,
    /// The group that failed.
    #[schema(example = "email-workers")]
    group: Option<String>,
    /// Where the record stood.
    original: OriginalBody,
    /// Attempts that were made.
    attempts: i64,
    /// What went wrong.
    error: ErrorBody,
    /// The same for errors of one kind.
    fingerprint: String,
    /// RFC 3339.
    failed_at: String,
    /// `open`, `replayed`, `resolved` or `discarded`.
    #[schema(example = "open")]
    state: &'static str,
}

/// Where a record stood.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct OriginalBody {
    /// The topic.
    topic: String,
    /// The partition.
    partition: i32,
    /// The offset.
    offset: i64,
    /// The key, where it is text.
    key: Option<String>,
    /// RFC 3339.
    timestamp: Option<String>,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct ErrorBody {
    /// A stable word for the kind of error.
    #[schema(example = "missing_data")]
    class: String,
    /// A sentence.
    message: String,
    /// The causes beneath it, the nearest first.
    chain: Vec<String>,
}

impl From<IndexedLetter> for LetterBody {
    fn from(letter: IndexedLetter) -> Self {
        Self {
            partition: letter.place.partition,
            offset: letter.place.offset,
            message_id: letter.message_id,
            type_name: letter.type_name,
            group: letter.group,
            original: OriginalBody {
                topic: letter.original.topic.to_string(),
                partition: letter.original.partition,
                offset: letter.original.offset,
                key: letter.original_key,
                timestamp: letter.original_time_ms.map(rfc3339),
            },
            attempts: letter.attempts,
            error: ErrorBody {
                class: letter.error_class,
                message: letter.error_message,
                chain: letter.error_chain,
            },
            fingerprint: letter.fingerprint,
            failed_at: rfc3339(letter.failed_at_ms),
            state: letter.state.as_str(),
        }
    }
}

/// A dead letter, whole.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct LetterDetailBody {
    /// What lists show.
    #[serde(flatten)]
    pub(super) summary: LetterBody,
    /// The original value: as JSON where it is JSON without loss, else as a string, else as
    /// `{"base64": ".."}`; null where there was none.
    pub(super) payload: Value,
    /// The original headers.
    pub(super) headers: serde_json::Map<String, Value>,
    /// Every dead letter of this message, the oldest first, with what was done.
    pub(super) history: Vec<HistoryBody>,
    /// The key that this letter holds; null where it holds none.
    pub(super) quarantine: Option<QuarantineBody>,
}

/// A dead letter in the history of a message.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct HistoryBody {
    /// The partition of the dead-letter topic.
    pub(super) partition: i32,
    /// The offset in it.
    pub(super) offset: i64,
    /// RFC 3339.
    pub(super) failed_at: String,
    /// What went wrong.
    pub(super) error: String,
    /// `open`, `replayed`, `resolved` or `discarded`.
    pub(super) state: &'static str,
    /// RFC 3339: when the state became what it is.
    pub(super) changed_at: Option<String>,
    /// Why it was discarded.
    pub(super) reason: Option<String>,
    /// The replay that sent it again.
    pub(super) replay_id: Option<Uuid>,
    /// Where the replayed record went: `topic/partition/offset`.
    pub(super) replayed_to: Option<String>,
}
