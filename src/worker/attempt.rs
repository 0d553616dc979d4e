//! One attempt at one job: read the record, check the payload, run the handler within its
//! time limit and behind a panic boundary.

use std::any::Any;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt as _;
use tracing::{Instrument as _, Span};

use super::Runnable;
use crate::domain::catalog::Refusal;
use crate::domain::fault::Fault;
use crate::domain::handler::{AttemptEnd, Failure, Job, Outcome};
use crate::domain::record::Record;
use crate::domain::trace::Trace;

/// How many faults of a payload go into the error of a dead letter.
const FAULTS_SHOWN_MAX: usize = 10;

/// What an attempt is made on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms<'a> {
    /// Where its effect is claimed.
    pub(super) scope: &'a Arc<str>,
    /// Its number, from 1.
    pub(super) attempt: u32,
    /// How long it may take.
    pub(super) timeout: Duration,
}

/// Runs one attempt. It always comes to an end, whatever the record holds.
pub(super) async fn run(runnable: &Runnable, record: Arc<Record>, terms: Terms<'_>) -> Outcome {
    match span_of(runnable, &record) {
        None => run_bare(runnable, record, terms).await,
        // Apart, since it makes every attempt larger.
        Some(span) => Box::pin(run_bare(runnable, record, terms)).instrument(span).await,
    }
}

/// What names the trace of a record in all that is said while it runs.
pub(super) fn span_of(runnable: &Runnable, record: &Record) -> Option<Span> {
    let trace = Trace::of(&record.headers)?;
    let (job_type, trace_id) = (&*runnable.name, trace.id());
    Some(tracing::info_span!("job", job.id = %record.message_id(), job_type, trace_id))
}

async fn run_bare(runnable: &Runnable, record: Arc<Record>, terms: Terms<'_>) -> Outcome {
    let attempt = async {
        let job = match job_of(runnable, record, terms) {
            Ok(job) => job,
            Err(failure) => return Outcome::Fail(failure),
        };
        let mut running = runnable.handler.run(&job);
        // A timer costs more than a short attempt does.
        if let Some(outcome) = at_once(&mut running).await {
            return outcome;
        }
        let limited = tokio::time::timeout(terms.timeout, running).await;
        limited.unwrap_or_else(|_| timed_out(terms.timeout))
    };
    // What checks the payload is behind the boundary too: a report that never came would hold
    // the key, and a place among the running, for ever.
    AssertUnwindSafe(attempt).catch_unwind().await.unwrap_or_else(|panic| panicked(panic.as_ref()))
}

/// The job in a record, behind the panic boundary; or how the attempt ends without one.
pub(super) fn checked_job_of(
    runnable: &Runnable,
    record: &Arc<Record>,
    terms: Terms<'_>,
) -> Result<Job, Outcome> {
    let read = AssertUnwindSafe(|| job_of(runnable, Arc::clone(record), terms));
    let read = std::panic::catch_unwind(read).map_err(|panic| panicked(panic.as_ref()))?;
    read.map_err(Outcome::Fail)
}

/// Its time is over.
pub(super) fn timed_out(limit: Duration) -> Outcome {
    let message = format!("the attempt took longer than {} s", limit.as_secs());
    Outcome::Retry(Failure::new("timeout", message))
}

/// It has ended in a panic.
pub(super) fn panicked(panic: &(dyn Any + Send)) -> Outcome {
    Outcome::Retry(Failure::new("panic", panic_message(panic)))
}

/// What it comes to when it is looked at once, if it has come to something by then.
pub(super) async fn at_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    poll_fn(|context| match future.poll_unpin(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// The job in a record. Any client may have written it, so anything may be wrong.
fn job_of(runnable: &Runnable, record: Arc<Record>, terms: Terms<'_>) -> Result<Job, Failure> {
    let Some(value) = record.value.as_deref() else {
        return Err(Failure::new("no_value", "the record has no value (a tombstone)"));
    };
    let payload = runnable.record_type.read(value).map_err(|refusal| match refusal {
        Refusal::NotJson { detail } => Failure::new("not_json", detail),
        Refusal::Invalid(faults) => invalid(&faults),
    })?;
    Ok(Job {
        id: record.message_id(),
        type_name: Arc::clone(&runnable.name),
        scope: Arc::clone(terms.scope),
        attempt: terms.attempt,
        payload,
        record,
        end: AttemptEnd::default(),
    })
}

fn invalid(faults: &[Fault]) -> Failure {
    let mut chain: Vec<String> = faults
        .iter()
        .take(FAULTS_SHOWN_MAX)
        .map(|fault| format!("{}: {}", fault.pointer, fault.detail))
        .collect();
    if let Some(more) = faults.len().checked_sub(FAULTS_SHOWN_MAX).filter(|more| *more > 0) {
        chain.push(format!("and {more} more"));
    }
    let message = format!("the payload is not valid: {}", chain.join("; "));
    Failure { chain, ..Failure::new("invalid_payload", message) }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let said = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", said.unwrap_or("without a message"))
}
