//! What every request passes on its way to its route, whatever its path.
//!
//! One step around the router, not layers inside it: there each would cost every request a
//! copy of its route and several allocations.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::HttpBody as _;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use tower::Service as _;
use tracing::Instrument as _;

use super::door::Presence;
use super::limits::{Load, Peer, REQUESTS_MAX, Seat};
use super::problem::Problem;
use super::{framing, loopback, trace};

/// The routes, and what stands before them. Cheap to clone.
#[derive(Clone)]
pub struct Front {
    router: Router,
    answers_this_machine_alone: bool,
    /// `http` or `https`.
    scheme: &'static str,
    load: Arc<Load>,
}

impl Front {
    /// Every request goes to its route.
    pub(super) fn open(router: Router) -> Self {
        Self::new(router, false)
    }

    /// Requests of this machine go to their routes, and no others.
    pub(super) fn of_this_machine(router: Router) -> Self {
        Self::new(router, true)
    }

    fn new(router: Router, answers_this_machine_alone: bool) -> Self {
        Self { router, answers_this_machine_alone, scheme: "http", load: Load::new(REQUESTS_MAX) }
    }

    /// The same, for connections of this scheme.
    pub(super) fn speaking(&self, scheme: &'static str) -> Self {
        Self { scheme, ..self.clone() }
    }

    /// Answers a request that comes from this address.
    pub(super) async fn answer(
        self,
        mut request: Request,
        from: IpAddr,
        presence: &Arc<Presence>,
    ) -> Response {
        let mut place = match self.load.enter() {
            None if !is_watch(request.uri().path()) => match self.load.wait().await {
                None => return Problem::overloaded().into_response(),
                place => place,
            },
            place => place,
        };
        // A place that may have to wait for its client is one that can be left.
        let _seated = if request.body().is_end_stream() {
            None
        } else {
            place.take().map(|place| {
                let seat = Seat::new(&self.load, place, presence);
                let seated = seat.hold();
                request.extensions_mut().insert(seat);
                seated
            })
        };
        let trace = trace::of(request.headers());
        // A trace is worth naming in all that is said of the request.
        let span = match &trace {
            None => tracing::debug_span!(
                "request",
                method = %request.method(),
                uri = %request.uri(),
            ),
            Some(trace) => tracing::info_span!(
                "request",
                method = %request.method(),
                path = request.uri().path(),
                trace_id = trace.id(),
            ),
        };
        if let Some(trace) = trace {
            request.extensions_mut().insert(trace);
        }
        let begun = Instant::now();
        let response = if span.is_disabled() {
            self.pass(request, from).await
        } else {
            self.pass(request, from).instrument(span.clone()).await
        };
        let _within = span.enter();
        let (status, took) = (response.status().as_u16(), begun.elapsed());
        if response.status().is_server_error() {
            tracing::error!(status, ?took, "a request failed");
        } else {
            tracing::debug!(status, ?took, "answered");
        }
        response
    }

    async fn pass(mut self, mut request: Request, from: IpAddr) -> Response {
        if let Err(problem) = framing::check(&request) {
            return problem.into_response();
        }
        if self.answers_this_machine_alone {
            if let Err(problem) = loopback::check(&request, self.scheme) {
                return problem.into_response();
            }
            // Callers have no other name.
            request.extensions_mut().insert(Peer(from));
        }
        match self.router.call(request).await {
            Ok(response) => as_problem(response),
            Err(never) => match never {},
        }
    }
}

/// What those ask who watch over this process. They are answered however much there is to do.
fn is_watch(path: &str) -> bool {
    path.starts_with("/health/") || path == "/metrics"
}

/// What axum and Swagger UI refuse by themselves is a problem like any other.
fn as_problem(response: Response) -> Response {
    let problem = match response.status() {
        StatusCode::BAD_REQUEST => {
            Problem::bad_request("invalid-path", "The path is not percent-encoded UTF-8")
        }
        StatusCode::NOT_FOUND => {
            Problem::not_found("no-such-path", "See /docs for the paths there are")
        }
        _ => return response,
    };
    let content_type = response.headers().get(CONTENT_TYPE);
    if content_type.is_some_and(|value| value == "application/problem+json") {
        return response;
    }
    problem.into_response()
}
