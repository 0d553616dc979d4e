//! `GET /admin/dlq/{partition}/{offset}`: a dead letter, whole.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::super::Services;
use super::super::problem::Problem;
use super::letter::{HistoryBody, LetterBody, LetterDetailBody};
use super::quarantine::QuarantineBody;
use crate::domain::clock::rfc3339;
use crate::domain::dead_letter::Bytes;
use crate::domain::json;
use crate::operations::LetterDetail;
use crate::store::{IndexedLetter, Resolution};

/// Read a dead letter
///
/// Whole, with its payload, headers and history. Partition and offset are its own place in
/// the dead-letter topic.
#[utoipa::path(
    get,
    path = "/admin/dlq/{partition}/{offset}",
    tag = "operating",
    params(
        ("partition" = i32, Path, description = "The partition of the dead-letter topic"),
        ("offset" = i64, Path, description = "The offset in it"),
    ),
    responses(
        (status = 200, description = "The dead letter", body = LetterDetailBody),
        (status = 404, description = "No such dead letter", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Kafka or the database is away", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn get_dead_letter(
    State(services): State<Services>,
    place: Result<Path<(i32, i64)>, PathRejection>,
) -> Result<Json<LetterDetailBody>, Problem> {
    let (partition, offset) = letter_path(place)?;
    let LetterDetail { summary, letter, history, quarantine } =
        services.dead_letters.get(partition, offset).await?;
    let (payload, headers) = match letter {
        Some(letter) => (payload(letter.original_value), letter.original_headers),
        None => (Value::Null, serde_json::Map::new()),
    };
    let history = history.into_iter().map(|(letter, done)| past(letter, done)).collect();
    let quarantine = quarantine.map(|row| QuarantineBody::new(row, &services.catalog));
    let summary = LetterBody::from(summary);
    Ok(Json(LetterDetailBody { summary, payload, headers, history, quarantine }))
}

/// The place of a dead letter in a path.
pub(super) fn letter_path(
    place: Result<Path<(i32, i64)>, PathRejection>,
) -> Result<(i32, i64), Problem> {
    place.map(|Path(place)| place).map_err(|_| {
        Problem::not_found(
            "no-such-dead-letter",
            "A dead letter is named by two numbers, its partition and its offset in the \
             dead-letter topic; GET /admin/dlq lists what there is",
        )
    })
}

/// As JSON only where that loses nothing: a payload that is shown is a payload to be fixed
/// and sent back.
fn payload(value: Option<Bytes>) -> Value {
    match value {
        None => Value::Null,
        Some(Bytes::Base64 { base64 }) => json!({ "base64": base64 }),
        Some(Bytes::Text(text)) => match json::parse_object(text.as_bytes()) {
            Ok(parsed) if parsed.faults.is_empty() => parsed.value,
            _ => Value::String(text),
        },
    }
}

fn past(letter: IndexedLetter, done: Option<Resolution>) -> HistoryBody {
    let (changed_at, reason, replay_id, replayed_to) = match done {
        None => (None, None, None, None),
        Some(done) => {
            let to = done.receipt.map(|to| format!("{}/{}/{}", to.topic, to.partition, to.offset));
            (Some(rfc3339(done.changed_at_ms)), done.reason, done.replay_id, to)
        }
    };
    HistoryBody {
        partition: letter.place.partition,
        offset: letter.place.offset,
        failed_at: rfc3339(letter.failed_at_ms),
        error: letter.error_message,
        state: letter.state.as_str(),
        changed_at,
        reason,
        replay_id,
        replayed_to,
    }
}
