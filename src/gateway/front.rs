//! What every request passes on its way to its route, whatever its path.
//!
//! One step around the router, not layers inside it: there each would cost every request a
//! copy of its route and several allocations.

use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use tower::Service as _;
use tracing::Instrument as _;

use super::loopback;
use super::problem::Problem;

/// The routes, and what stands before them. Cheap to clone.
#[derive(Clone)]
pub struct Front {
    router: Router,
    answers_this_machine_alone: bool,
}

impl Front {
    /// Every request goes to its route.
    pub(super) fn open(router: Router) -> Self {
        Self { router, answers_this_machine_alone: false }
    }

    /// Requests of this machine go to their routes, and no others.
    pub(super) fn of_this_machine(router: Router) -> Self {
        Self { router, answers_this_machine_alone: true }
    }

    /// Answers a request.
    pub(super) async fn answer(self, request: Request) -> Response {
        let span = tracing::debug_span!(
            "request",
            method = %request.method(),
            uri = %request.uri(),
        );
        let begun = Instant::now();
        let response = if span.is_disabled() {
            self.pass(request).await
        } else {
            self.pass(request).instrument(span).await
        };
        let (status, took) = (response.status().as_u16(), begun.elapsed());
        if response.status().is_server_error() {
            tracing::error!(status, ?took, "a request failed");
        } else {
            tracing::debug!(status, ?took, "answered");
        }
        response
    }

    async fn pass(mut self, request: Request) -> Response {
        if self.answers_this_machine_alone
            && let Err(problem) = loopback::check(request.headers())
        {
            return problem.into_response();
        }
        match self.router.call(request).await {
            Ok(response) => as_problem(response),
            Err(never) => match never {},
        }
    }
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
