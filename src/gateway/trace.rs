//! The trace of a request: `traceparent` and `tracestate` among its headers. What is valid there,
//! [`crate::domain::trace`] knows.

use axum::http::{HeaderMap, HeaderName};

use crate::domain::record::header;
use crate::domain::trace::Trace;

const PARENT: HeaderName = HeaderName::from_static(header::TRACEPARENT);
const STATE: HeaderName = HeaderName::from_static(header::TRACESTATE);

/// The trace that a request belongs to. It has one parent: two are none.
pub(super) fn of(headers: &HeaderMap) -> Option<Trace> {
    // Most have none, and pay for one look.
    let parent = headers.get(PARENT)?.to_str().ok()?;
    if headers.get_all(PARENT).iter().nth(1).is_some() {
        return None;
    }
    let states: Result<Vec<&str>, _> =
        headers.get_all(STATE).iter().map(|state| state.to_str()).collect();
    Trace::read(parent, states.unwrap_or_default())
}
