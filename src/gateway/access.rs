//! Who may call what: every route is added to [`Routes`], and says there whom it serves.
//!
//! With a verifier a route serves those whose token has its scope. Without one, jobgate
//! serves its own machine alone (see [`super::loopback`]) and every route is open to it.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::SecurityRequirement;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt as _};

use super::limits::{self, Limits};
use super::problem::Problem;
use super::{Services, body};
use crate::auth::{Caller, Scope, Verifier};

/// How the document calls the way to show a token.
pub(super) const SECURITY_SCHEME: &str = "token";

/// Routes, each with its rule. There is no way to add one without.
pub(super) struct Routes {
    router: OpenApiRouter<Services>,
    verifier: Option<Arc<Verifier>>,
    limits: Limits,
}

/// What a route asks of a token.
#[derive(Clone)]
struct Rule {
    verifier: Arc<Verifier>,
    /// None: any token that is valid.
    scope: Option<Scope>,
    limits: Limits,
}

impl Routes {
    pub(super) fn new(document: Document, verifier: Option<Arc<Verifier>>, limits: Limits) -> Self {
        Self { router: OpenApiRouter::with_openapi(document), verifier, limits }
    }

    /// Routes for callers whose token has this scope.
    pub(super) fn scoped(self, scope: Scope, routes: UtoipaMethodRouter<Services>) -> Self {
        self.guarded(Some(scope), routes)
    }

    /// Routes for every caller who has a valid token, whatever it is for.
    pub(super) fn any_caller(self, routes: UtoipaMethodRouter<Services>) -> Self {
        self.guarded(None, routes)
    }

    /// Routes that need no token.
    pub(super) fn open(mut self, mut routes: UtoipaMethodRouter<Services>) -> Self {
        declare(&mut routes, &[]);
        self.router = self.router.routes(routes);
        self
    }

    fn guarded(mut self, scope: Option<Scope>, mut routes: UtoipaMethodRouter<Services>) -> Self {
        let scopes: Vec<&str> = scope.iter().map(|scope| scope.as_str()).collect();
        declare(&mut routes, &[SecurityRequirement::new(SECURITY_SCHEME, scopes)]);
        if let Some(verifier) = self.verifier.clone() {
            let limits = self.limits.clone();
            routes = routes.layer(from_fn_with_state(Rule { verifier, scope, limits }, guard));
        } else if self.limits.has_rate() {
            let limits = self.limits.clone();
            routes = routes.layer(from_fn_with_state(limits, limits::by_address));
        }
        self.router = self.router.routes(routes);
        self
    }

    pub(super) fn split(self) -> (Router<Services>, Document) {
        self.router.split_for_parts()
    }
}

/// Writes the rule into the document, from which the rest of it follows.
fn declare((_, paths, _): &mut UtoipaMethodRouter<Services>, security: &[SecurityRequirement]) {
    for operation in paths.paths.values_mut().flat_map(operations) {
        operation.security = Some(security.to_vec());
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, options, head, patch, trace, query, .. } = item;
    [get, put, post, delete, options, head, patch, trace, query].into_iter().flatten()
}

/// Lets a request pass whose token the rule accepts; its [`Caller`] goes with it.
async fn guard(State(rule): State<Rule>, mut request: Request, next: Next) -> Response {
    match rule.caller(request.headers()) {
        Ok(caller) => {
            let admitted = match rule.limits.admit(caller.name.as_str(), &mut request) {
                Ok(admitted) => admitted,
                Err(refused) => {
                    body::discard(request).await;
                    return *refused;
                }
            };
            request.extensions_mut().insert(caller);
            let mut response = next.run(request).await;
            admitted.describe(response.headers_mut());
            response
        }
        Err(problem) => {
            body::discard(request).await;
            problem.into_response()
        }
    }
}

impl Rule {
    fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let caller = self.verifier.verify(bearer(headers)?).map_err(|error| {
            tracing::debug!(%error, "a token was refused");
            Problem::invalid_token(&format!("The token is refused: {error}"))
        })?;
        match self.scope {
            Some(scope) if !caller.scopes.contains(scope) => {
                Err(Problem::forbidden_scope(scope, &caller.scopes))
            }
            _ => Ok(caller),
        }
    }
}

/// The token of a request.
fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Problem::unauthenticated());
    };
    match value.to_str().ok().and_then(|text| text.split_once(' ')) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(Problem::unauthenticated()),
    }
}
