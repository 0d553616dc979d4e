//! Batches: many items of one type in one request, and an outcome for each.
//!
//! An array is read whole and answered whole ([`array`]); lines stream in both directions, with
//! bounded memory however long they are ([`stream`]). Which of them a request is, and which form
//! its answer has, is decided here.

mod allowance;
mod answers;
mod array;
mod ask;
mod items;
mod lines;
mod stream;

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::Services;
use super::body::{self, Coding, Form};
use super::cloud_events::is_binary;
use super::endpoints::produce::refuse_batch_options;
use super::limits::Bucket;
use super::problem::Problem;
use crate::domain::catalog::{Accepted, RecordKind, RecordType};
use crate::domain::cloud_event::{self, Attributes};
use crate::domain::fair_share::FairShares;
use crate::domain::id;
use crate::domain::trace::Trace;
use crate::operations::{Batch, Enqueue, Marks};

use allowance::{ANSWER_BYTES_MAX, Allowance};
use ask::AnswerForm;
pub(super) use ask::BatchHeaders;
pub(super) use items::{BatchBody, LineBody};

/// Where streams run, and what ends them: they outlive the call of their handler.
#[derive(Clone)]
pub struct Streams {
    tracker: TaskTracker,
    stop: CancellationToken,
    /// What of their answers, and of those of arrays, may wait to be read.
    answers: Arc<FairShares>,
}

impl Streams {
    /// Streams run on the tracker. At the stop they take no further line, and end once those
    /// that they took have their outcome.
    pub fn new(tracker: TaskTracker, stop: CancellationToken) -> Self {
        Self { tracker, stop, answers: FairShares::of(ANSWER_BYTES_MAX) }
    }
}

/// What all items of a batch have in common.
struct Plan {
    enqueue: Enqueue,
    record_type: Arc<RecordType>,
    producer: Option<Box<str>>,
    /// Where the caller has a rate: what its items count in.
    bucket: Option<Bucket>,
    /// What the ids follow from, where the caller wants that.
    key: Option<Box<str>>,
    /// That of the request.
    trace: Option<Trace>,
    /// Each item is a `CloudEvent` in its envelope.
    is_enveloped: bool,
    /// Only what is not accepted is answered.
    is_minimal: bool,
}

/// An item that may be handed over.
struct Checked {
    accepted: Accepted,
    marks: ItemMarks,
}

/// What an item bears of its own.
struct ItemMarks {
    id: Option<Uuid>,
    event: Option<Attributes>,
    trace: Option<Trace>,
}

impl ItemMarks {
    fn of(&self) -> Marks<'_> {
        let Self { id, event, trace } = self;
        Marks { producer: None, id: *id, event: event.as_ref(), trace: trace.as_ref() }
    }
}

/// Answers a batch of this type.
pub(super) async fn answer(
    services: &Services,
    record_type: &Arc<RecordType>,
    marks: Marks<'_>,
    request: Request,
) -> Result<Response, Problem> {
    let asked = match Asked::read(record_type, &request) {
        Ok(asked) => asked,
        Err(problem) => {
            body::discard(request).await;
            return Err(problem);
        }
    };
    let Asked { form, answer_form, coding, key, is_minimal } = asked;
    let plan = Plan {
        enqueue: services.enqueue.clone(),
        record_type: Arc::clone(record_type),
        producer: marks.producer.map(Into::into),
        bucket: request.extensions().get::<Bucket>().cloned(),
        key,
        trace: marks.trace.cloned(),
        is_enveloped: form == Form::Events,
        is_minimal,
    };
    let mut response = if let (Form::Lines(_), AnswerForm::Lines(name)) = (form, answer_form) {
        let Some(allowance) = plan.allowance(&services.streams, stream::ALLOWED_BYTES) else {
            // A stream may go on for ever: its end is not waited for.
            return Err(Problem::too_many_at_once().closing());
        };
        lines(stream::begin(plan, &services.streams, request, (coding, allowance)).await, name)
    } else {
        let body = body::read(request, body::ARRAY_BYTES_MAX).await?;
        let (plan, streams) = (&plan, &services.streams);
        match answer_form {
            AnswerForm::Json => array::answer(plan, streams, form, &body).await?,
            AnswerForm::Lines(name) => {
                lines(array::answer_lines(plan, streams, form, &body).await?, name)
            }
        }
    };
    if is_minimal {
        let applied = HeaderValue::from_static("return=minimal");
        response.headers_mut().insert("preference-applied", applied);
    }
    Ok(response)
}

fn lines(body: axum::body::Body, name: &'static str) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(name))], body).into_response()
}

/// What the head of a request asks for.
struct Asked {
    form: Form,
    answer_form: AnswerForm,
    coding: Coding,
    key: Option<Box<str>>,
    is_minimal: bool,
}

impl Asked {
    fn read(record_type: &RecordType, request: &Request) -> Result<Self, Problem> {
        let headers = request.headers();
        refuse_batch_options(request.uri())?;
        let form = form(record_type, headers)?;
        if is_binary(headers) {
            return Err(Problem::bad_request(
                "not-an-event",
                "A batch takes no ce-* headers; many events are one \
                 application/cloudevents-batch+json",
            ));
        }
        Ok(Self {
            form,
            answer_form: ask::answer_form(headers, form)?,
            coding: Coding::of(headers)?,
            key: ask::key(headers)?,
            is_minimal: ask::is_minimal(headers),
        })
    }
}

fn form(record_type: &RecordType, headers: &HeaderMap) -> Result<Form, Problem> {
    let form = Form::of(headers)?;
    match form {
        Form::Event => Err(Problem::unsupported_media_type(
            "This path takes many events: send application/cloudevents-batch+json here, or this \
             one event to the path without /batch",
        )),
        Form::Events if record_type.kind == RecordKind::Job => {
            Err(Problem::unsupported_media_type(
                "A job is no event: send its payload as application/json or application/x-ndjson",
            ))
        }
        _ => Ok(form),
    }
}

impl Plan {
    fn batch(&self) -> Batch {
        let record_type = Arc::clone(&self.record_type);
        Batch::new(self.enqueue.clone(), record_type, self.producer.as_deref())
    }

    /// Leave to hold answers of so many bytes.
    fn allowance(&self, streams: &Streams, bytes: usize) -> Option<Allowance> {
        Allowance::open(&streams.answers, self.producer.as_deref(), bytes)
    }

    /// What an item that was accepted is answered with.
    fn accepted(&self) -> StatusCode {
        match self.record_type.kind {
            RecordKind::Job => StatusCode::ACCEPTED,
            RecordKind::Event => StatusCode::CREATED,
        }
    }

    fn check(&self, index: u64, text: &[u8]) -> Result<Checked, Problem> {
        // The request was let in as one record.
        if let Some(bucket) = self.bucket.as_ref().filter(|_| index > 0) {
            bucket.charge(1);
        }
        if text.len() > body::BODY_BYTES_MAX {
            return Err(too_long());
        }
        if self.is_enveloped {
            let (accepted, event) = cloud_event::accept(&self.record_type, text)?;
            // One request brings events of many traces.
            let trace = event.trace().or_else(|| self.trace.clone());
            let marks = ItemMarks { id: Some(event.message_id()), event: Some(event), trace };
            return Ok(Checked { accepted, marks });
        }
        let accepted = self.record_type.accept(text)?;
        let id = self.key.as_deref().map(|key| {
            let RecordType { kind, name, .. } = &*self.record_type;
            let path = match kind {
                RecordKind::Job => format!("/jobs/{name}/batch"),
                RecordKind::Event => format!("/events/{name}/batch"),
            };
            let caller = self.producer.as_deref().unwrap_or_default();
            id::of_item(caller, &path, key, index, &accepted.payload.to_string())
        });
        let marks = ItemMarks { id, event: None, trace: self.trace.clone() };
        Ok(Checked { accepted, marks })
    }
}

/// An item is larger than the body of one record may be.
fn too_long() -> Problem {
    let bytes_max = body::BODY_BYTES_MAX;
    Problem::too_large(format!("An item may have at most {bytes_max} bytes (1 MiB)"))
}
