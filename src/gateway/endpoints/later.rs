//! Jobs for later: how a request says when, and how a delayed job looks.

use std::time::Duration;

use axum::extract::Query;
use axum::http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::super::problem::Problem;
use super::page::invalid;
use crate::domain::clock::{parse_rfc3339, rfc3339};
use crate::domain::receipt::Place;
use crate::domain::scheduled::Stage;
use crate::domain::status::JobState;
use crate::operations::{ScheduledReceipt, When};
use crate::store::ScheduledRow;

/// When a job is to run; at once without either.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct LaterQuery {
    /// After so long, for example `90s`, `10m`, `1h 30m` or `7days`; 1 ms to 365 days.
    #[param(example = "10m")]
    delay: Option<String>,
    /// At this time, RFC 3339 (write `+` as `%2B`), at most 365 days from now. One that is past
    /// means now.
    #[param(example = "2027-01-01T00:00:00Z", format = DateTime)]
    run_at: Option<String>,
}

impl LaterQuery {
    /// When the query of a request says that its job is to run.
    pub(super) fn read(uri: &Uri) -> Result<When, Problem> {
        let query = Query::<Self>::try_from_uri(uri).map_err(|error| {
            let detail = format!("This path takes delay or run_at: {}", error.body_text());
            Problem::bad_request("unknown-query-parameter", detail)
        })?;
        let Query(Self { delay, run_at }) = query;
        match (delay, run_at) {
            (Some(delay), None) => duration(&delay).map(When::After),
            (None, Some(run_at)) => time(&run_at).map(When::At),
            (Some(_), Some(_)) => {
                Err(invalid("Send delay or run_at, not both: each says when to run".to_owned()))
            }
            (None, None) => Err(invalid("Send delay or run_at, or no query at all".to_owned())),
        }
    }
}

fn duration(text: &str) -> Result<Duration, Problem> {
    humantime::parse_duration(text).map_err(|error| {
        invalid(format!("delay must be a duration, for example 90s, 10m or 1h 30m: {error}"))
    })
}

fn time(text: &str) -> Result<i64, Problem> {
    // A `+` that was not encoded has become a space.
    let with_offset = || parse_rfc3339(&text.replace(' ', "+"));
    parse_rfc3339(text).or_else(with_offset).ok_or_else(|| {
        let example = "2027-01-01T00:00:00Z or 2027-01-01T02:00:00%2B02:00";
        invalid(format!("run_at must be RFC 3339, for example {example}"))
    })
}

/// Proof that the database has the job, and when it will be sent.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(in super::super) struct ScheduledReceiptBody {
    /// The `message_id` that its record will have.
    pub(super) id: Uuid,
    /// The type.
    #[serde(rename = "type")]
    #[schema(example = "email.verification")]
    type_name: String,
    /// RFC 3339, UTC: when it is due.
    #[schema(example = "2025-01-01T00:10:00.000Z")]
    scheduled_for: String,
    /// Where to ask what became of it, and to cancel it (DELETE).
    #[schema(example = "/jobs/scheduled/0194208b-6e80-7000-8000-000000000000")]
    pub(super) status_url: String,
}

impl From<ScheduledReceipt> for ScheduledReceiptBody {
    fn from(receipt: ScheduledReceipt) -> Self {
        let ScheduledReceipt { id, type_name, due_ms } = receipt;
        Self { id, type_name, scheduled_for: rfc3339(due_ms), status_url: status_url(id) }
    }
}

/// A job that was put off, and what became of it.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct ScheduledJobBody {
    /// Its `message_id`.
    id: Uuid,
    /// Its type.
    #[serde(rename = "type")]
    #[schema(example = "email.verification")]
    type_name: String,
    /// `scheduled` (it waits for its time, or is being sent), `cancelled`, or, once it was sent,
    /// the state of its record: `queued`, `parked`, `succeeded`, `dead_lettered`, `skipped`,
    /// `expired`.
    #[schema(example = "scheduled")]
    state: &'static str,
    /// RFC 3339: when it is due, or was.
    scheduled_for: String,
    /// RFC 3339: when it was accepted.
    created_at: String,
    /// RFC 3339: when Kafka had it; null before that.
    sent_at: Option<String>,
    /// RFC 3339: when it was cancelled; null where it was not.
    cancelled_at: Option<String>,
    /// Its topic.
    topic: String,
    /// The partition, once it was sent.
    partition: Option<i32>,
    /// The offset, once it was sent.
    offset: Option<i64>,
    /// Where to ask again: its own path, and that of its record once it was sent.
    status_url: String,
}

impl ScheduledJobBody {
    /// This row, whose job is in this state.
    pub(super) fn new(row: ScheduledRow, state: JobState) -> Self {
        let id = row.message_id;
        let ScheduledRow { type_name, topic, due_ms, created_at_ms, stage, .. } = row;
        let (place, sent_at_ms, cancelled_at_ms) = match stage {
            Stage::Sent { place, at_ms } => (Some(place), Some(at_ms), None),
            Stage::Cancelled { at_ms } => (None, None, Some(at_ms)),
            Stage::Waiting | Stage::OnItsWay | Stage::Parked => (None, None, None),
        };
        let place = place.as_ref();
        Self {
            id,
            state: state.as_str(),
            scheduled_for: rfc3339(due_ms),
            created_at: rfc3339(created_at_ms),
            sent_at: sent_at_ms.map(rfc3339),
            cancelled_at: cancelled_at_ms.map(rfc3339),
            topic,
            partition: place.map(|place| place.partition),
            offset: place.map(|place| place.offset),
            status_url: place.map_or_else(|| status_url(id), |place| record_url(&type_name, place)),
            type_name,
        }
    }
}

/// Where a delayed job is.
pub(super) fn status_url(id: Uuid) -> String {
    format!("/jobs/scheduled/{id}")
}

/// Where the status of a record is.
pub(in super::super) fn record_url(type_name: &str, place: &Place) -> String {
    format!("/jobs/{type_name}/{}/{}", place.partition, place.offset)
}

/// The id in a path.
pub(super) fn scheduled_id(text: &str) -> Result<Uuid, Problem> {
    Uuid::parse_str(text)
        .map_err(|_| Problem::not_found("unknown-id", "An id is a UUID, as the receipt has it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<When, String> {
        let uri: Uri = format!("/jobs/email.welcome?{query}").parse().unwrap();
        LaterQuery::read(&uri)
            .map_err(|problem| serde_json::to_value(problem).unwrap()["detail"].to_string())
    }

    #[test]
    fn a_delay_is_a_duration_and_a_time_is_rfc_3339() {
        assert_eq!(read("delay=10m"), Ok(When::After(Duration::from_mins(10))));
        assert_eq!(read("delay=1h%2030m"), Ok(When::After(Duration::from_mins(90))));
        let new_year = Ok(When::At(1_735_689_600_000));
        assert_eq!(read("run_at=2025-01-01T00:00:00Z"), new_year);
        assert_eq!(read("run_at=2025-01-01T02:00:00%2B02:00"), new_year);
        assert_eq!(read("run_at=2025-01-01T02:00:00+02:00"), new_year, "a + that is a space");
    }

    #[test]
    fn what_says_no_time_is_refused_with_what_to_do() {
        for (query, words) in [
            ("delay=soon", "for example 90s, 10m"),
            ("delay=-5s", "for example 90s, 10m"),
            ("delay=10", "for example 90s, 10m"),
            ("delay=", "for example 90s, 10m"),
            ("run_at=tomorrow", "must be RFC 3339"),
            ("run_at=2025-01-01", "must be RFC 3339"),
            ("delay=1s&run_at=2025-01-01T00:00:00Z", "not both"),
            ("delay=1s&delay=2s", "delay or run_at"),
            ("dealy=1s", "delay or run_at"),
            ("x", "delay or run_at"),
        ] {
            let refused = read(query).expect_err(query);
            assert!(refused.contains(words), "{query}: {refused}");
        }
    }
}
