//! What is said of a job. Asks nobody.

use std::sync::Arc;

use uuid::Uuid;

use crate::domain::catalog::RecordType;
use crate::domain::clock::parse_rfc3339;
use crate::domain::receipt::Place;
use crate::domain::record::{Record, header};
use crate::domain::snapshot::{LastError, Now};
use crate::domain::status::JobState;
use crate::store::{IndexedLetter, Resolution};

/// What became of a job.
#[derive(Debug, Clone)]
pub struct JobStatus {
    /// Its id; none where retention has taken the record and no letter tells.
    pub id: Option<Uuid>,
    /// Its type.
    pub type_name: String,
    /// The topic of its type.
    pub topic: String,
    /// Where it stands; none as long as it has no record.
    pub place: Option<Place>,
    /// Whose it is.
    pub group: String,
    /// Who sent it; none where the record is gone or says nothing.
    pub producer: Option<String>,
    /// Its key, where that is known and text.
    pub key: Option<String>,
    /// What became of it.
    pub state: JobState,
    /// Attempts that were made, the one that runs included, where that is known.
    pub attempts: Option<i64>,
    /// When the attempt that runs began, milliseconds since the epoch.
    pub started_at_ms: Option<i64>,
    /// When the next attempt is due, milliseconds since the epoch.
    pub next_attempt_at_ms: Option<i64>,
    /// Why the last attempt failed, where another one is to come.
    pub last_error: Option<LastError>,
    /// Milliseconds since the epoch: the record's timestamp.
    pub produced_at_ms: Option<i64>,
    /// When it is due or was, if it was put off: milliseconds since the epoch.
    pub scheduled_for_ms: Option<i64>,
    /// Its dead letter, and what was done with that.
    pub letter: Option<(IndexedLetter, Option<Resolution>)>,
}

/// How a job has ended.
#[derive(Debug)]
pub(in super::super) struct JobEnd {
    pub(super) state: JobState,
    pub(super) letter: Option<(IndexedLetter, Option<Resolution>)>,
}

impl JobStatus {
    /// The status of a job whose record has just been acknowledged.
    pub fn queued(
        record_type: &RecordType,
        id: Uuid,
        (partition, offset): (i32, i64),
        key: String,
        produced_at_ms: Option<i64>,
    ) -> Self {
        let topic: Arc<str> = record_type.topic.name.as_str().into();
        let place = Place { topic, partition, offset };
        let status = describe(record_type, place, JobState::Queued, None, None);
        Self { id: Some(id), key: Some(key), produced_at_ms, ..status }
    }

    /// Whether nothing more becomes of it by itself.
    pub(in super::super) fn is_over(&self) -> bool {
        self.state.is_over()
    }

    /// The same job at its end.
    pub(in super::super) fn ended(self, JobEnd { state, letter }: JobEnd) -> Self {
        let attempts = letter.as_ref().map(|(letter, _)| letter.attempts);
        Self { state, attempts, letter, ..self.without_attempt() }
    }

    /// The same job, with nothing said of an attempt.
    pub(super) fn without_attempt(self) -> Self {
        let (started_at_ms, next_attempt_at_ms) = (None, None);
        Self { attempts: None, started_at_ms, next_attempt_at_ms, last_error: None, ..self }
    }
}

pub(super) fn describe(
    record_type: &RecordType,
    place: Place,
    state: JobState,
    record: Option<&Record>,
    letter: Option<(IndexedLetter, Option<Resolution>)>,
) -> JobStatus {
    let lettered = letter.as_ref().map(|(letter, _)| letter);
    let key = record.and_then(|record| String::from_utf8(record.key.clone()?).ok());
    JobStatus {
        id: record.map(Record::message_id).or(lettered.map(|letter| letter.message_id)),
        type_name: record_type.name.clone(),
        topic: place.topic.to_string(),
        place: Some(place),
        group: record_type.group.clone(),
        producer: None,
        key: key.or_else(|| lettered.and_then(|letter| letter.original_key.clone())),
        state,
        attempts: lettered.map(|letter| letter.attempts),
        started_at_ms: None,
        next_attempt_at_ms: None,
        last_error: None,
        produced_at_ms: record
            .and_then(|record| record.timestamp_ms)
            .or_else(|| lettered.and_then(|letter| letter.original_time_ms)),
        scheduled_for_ms: record
            .and_then(|record| parse_rfc3339(record.headers.text(header::SCHEDULED_FOR)?)),
        letter,
    }
}

/// What a worker says of the job, where that is what the job's state is.
pub(super) fn with_attempt(status: JobStatus, now: Option<Now<'_>>) -> JobStatus {
    match (status.state, now) {
        (JobState::Running, Some(Now::Running(running))) => JobStatus {
            attempts: Some(running.attempt.into()),
            started_at_ms: Some(running.started_at_ms),
            ..status
        },
        (JobState::Retrying, Some(Now::Retrying(retrying))) => JobStatus {
            attempts: Some(retrying.attempts.into()),
            next_attempt_at_ms: Some(retrying.next_attempt_at_ms),
            last_error: Some(retrying.last_error.clone()),
            ..status
        },
        _ => status,
    }
}
