//! What the head of a producing request says, beside its path: read where it stands. A copy of
//! the headers would be kept for as long as Kafka takes, and with it the buffer that they came
//! in, in whose place the connection would need another one for each request.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::Uri;
use axum::http::request::Parts;

use super::super::cloud_events::is_binary;
use super::super::problem::Problem;
use super::later::LaterQuery;
use super::{keyed, prefer};
use crate::auth::Caller;
use crate::domain::idempotency::IdempotencyKey;
use crate::domain::trace::Trace;
use crate::operations::{Marks, When};

/// The head of a request for one record.
pub(in super::super) struct Head {
    /// Who calls, where callers have names.
    pub(super) caller: Option<Caller>,
    /// The trace that it belongs to.
    pub(super) trace: Option<Trace>,
    /// How long its answer may be held.
    pub(super) wait: Option<Duration>,
    key: Result<Option<IdempotencyKey>, Box<Problem>>,
    /// It has the headers of an event.
    is_event: bool,
    /// Its URI, if that has a query.
    asks: Option<Uri>,
}

impl<S: Sync> FromRequestParts<S> for Head {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let Parts { uri, headers, extensions, .. } = parts;
        Ok(Self {
            caller: extensions.remove(),
            trace: extensions.remove(),
            wait: prefer::wait(headers),
            key: keyed::key(headers).map_err(Box::new),
            is_event: is_binary(headers),
            asks: uri.query().is_some_and(|query| !query.is_empty()).then(|| uri.clone()),
        })
    }
}

impl Head {
    /// The caller's name.
    pub(super) fn producer(&self) -> Option<&str> {
        self.caller.as_ref().map(|caller| caller.name.as_str())
    }

    /// What its records bear.
    pub(super) fn marks(&self) -> Marks<'_> {
        Marks { producer: self.producer(), trace: self.trace.as_ref(), ..Marks::default() }
    }

    /// When the job of a request is to run; none for at once. Options that this build does not
    /// know are refused: ignoring one would be a lie.
    pub(super) fn when(&self) -> Result<Option<When>, Problem> {
        if self.is_event {
            return Err(Problem::bad_request(
                "not-an-event",
                "A job is no event, and takes no ce-* headers; send its payload without them",
            ));
        }
        self.asks.as_ref().map(LaterQuery::read).transpose()
    }

    /// An event has happened: it takes no options. One that was to be delayed would be published
    /// now.
    pub(super) fn refuse_options(&self) -> Result<(), Problem> {
        if self.asks.is_some() {
            return Err(Problem::bad_request(
                "unknown-query-parameter",
                "This path takes no query parameters: an event has happened, and cannot be put \
                 off with delay or run_at as a job can",
            ));
        }
        Ok(())
    }

    /// The key of a request, if it has one.
    pub(super) fn key(&mut self) -> Result<Option<IdempotencyKey>, Problem> {
        std::mem::replace(&mut self.key, Ok(None)).map_err(|problem| *problem)
    }

    /// What follows the `?` of its URI.
    pub(super) fn query(&self) -> &str {
        self.asks.as_ref().and_then(Uri::query).unwrap_or_default()
    }
}
