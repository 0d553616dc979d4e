//! Who may call what: every route is added to [`Routes`], and says there whom it serves.
//!
//! With a verifier a route serves those whose token has its scope. Without one, jobgate
//! serves its own machine alone (see [`super::loopback`]) and every route is open to it.
//!
//! A token may have a scope for some types alone. Where the path names the type, it is held
//! against that here; where the type shows only later, the handler does ([`Held`]).

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::{RequestExt as _, Router};
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::SecurityRequirement;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt as _};

use super::limits::{self, Limits};
use super::problem::Problem;
use super::{Services, body};
use crate::auth::{Caller, Scope, Verifier, VerifyError};
use crate::domain::catalog::Catalog;

/// How the document calls the way to show a token.
pub(super) const SECURITY_SCHEME: &str = "token";

/// Routes, each with its rule. There is no way to add one without.
pub(super) struct Routes {
    router: OpenApiRouter<Services>,
    guard: Option<Guard>,
    limits: Limits,
}

/// What the rules are asked of.
#[derive(Clone)]
pub(super) struct Guard {
    /// Says who calls.
    pub(super) verifier: Arc<Verifier>,
    /// Says what a path names.
    pub(super) catalog: Arc<Catalog>,
    /// Says whether the caller has not called too often.
    pub(super) limits: Limits,
}

/// Whom a route serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Those who have the scope.
    Scope(Scope),
    /// Those who have it for the type of this parameter of the path.
    OfType(Scope, &'static str),
    /// Those who have it for some type; the handler looks whether it is the right one.
    OfSomeType(Scope),
    /// Everybody whose token is valid.
    AnyCaller,
}

impl Routes {
    pub(super) fn new(document: Document, guard: Option<Guard>, limits: Limits) -> Self {
        Self { router: OpenApiRouter::with_openapi(document), guard, limits }
    }

    /// Routes for callers whose token has this scope.
    pub(super) fn scoped(self, scope: Scope, routes: UtoipaMethodRouter<Services>) -> Self {
        self.guarded(Rule::Scope(scope), routes)
    }

    /// Routes for callers whose token has this scope for the type that this parameter
    /// of the path names.
    pub(super) fn of_type(
        self,
        scope: Scope,
        parameter: &'static str,
        routes: UtoipaMethodRouter<Services>,
    ) -> Self {
        self.guarded(Rule::OfType(scope, parameter), routes)
    }

    /// Routes whose path names no type, for callers whose token has this scope for the type that
    /// the answer is about: the handler asks [`Held`], and answers what is of another type as what
    /// is not there.
    pub(super) fn of_some_type(self, scope: Scope, routes: UtoipaMethodRouter<Services>) -> Self {
        self.guarded(Rule::OfSomeType(scope), routes)
    }

    /// Routes for every caller who has a valid token, whatever it is for.
    pub(super) fn any_caller(self, routes: UtoipaMethodRouter<Services>) -> Self {
        self.guarded(Rule::AnyCaller, routes)
    }

    /// Routes that need no token.
    pub(super) fn open(mut self, mut routes: UtoipaMethodRouter<Services>) -> Self {
        declare(&mut routes, &[]);
        self.router = self.router.routes(routes);
        self
    }

    fn guarded(mut self, rule: Rule, mut routes: UtoipaMethodRouter<Services>) -> Self {
        let scopes: Vec<&str> = rule.scope().iter().map(|scope| scope.as_str()).collect();
        declare(&mut routes, &[SecurityRequirement::new(SECURITY_SCHEME, scopes)]);
        if let Some(guard) = self.guard.clone() {
            routes = routes.layer(from_fn_with_state((guard, rule), pass));
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
async fn pass(
    State((guard, rule)): State<(Guard, Rule)>,
    mut request: Request,
    next: Next,
) -> Response {
    match guard.caller(rule, &mut request).await {
        Ok(caller) => {
            let admitted = match guard.limits.admit(caller.name.as_str(), &mut request) {
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
    const fn scope(self) -> Option<Scope> {
        match self {
            Self::Scope(scope) | Self::OfType(scope, _) | Self::OfSomeType(scope) => Some(scope),
            Self::AnyCaller => None,
        }
    }
}

impl Guard {
    async fn caller(&self, rule: Rule, request: &mut Request) -> Result<Caller, Problem> {
        let token = bearer(request.headers())?;
        let caller = self.verifier.verify(token).await.map_err(refusal)?;
        let Some(scope) = rule.scope().filter(|scope| !caller.scopes.contains(*scope)) else {
            return Ok(caller);
        };
        if !caller.scopes.contains_for_some(scope) {
            return Err(Problem::forbidden_scope(scope, None, &caller.scopes));
        }
        match rule {
            Rule::OfSomeType(_) => Ok(caller),
            Rule::OfType(_, parameter) => {
                let named = named(request, parameter).await;
                let known = named.as_deref().and_then(|name| self.type_name(scope, name));
                // A name that is none is held against the scopes too: who may not write a type
                // is not told whether there is one.
                let name = known.or(named.as_deref()).unwrap_or_default();
                if caller.scopes.contains_for(scope, name) {
                    return Ok(caller);
                }
                Err(Problem::forbidden_scope(scope, known, &caller.scopes))
            }
            Rule::Scope(_) | Rule::AnyCaller => {
                Err(Problem::forbidden_scope(scope, None, &caller.scopes))
            }
        }
    }

    /// The name of a type, of which an event's whole topic is another form.
    fn type_name(&self, scope: Scope, named: &str) -> Option<&str> {
        let found = match scope {
            Scope::EventsWrite => self.catalog.event(named),
            _ => self.catalog.by_name(named),
        };
        found.map(|found| found.name.as_str())
    }
}

/// What stands at this place of the path.
async fn named(request: &mut Request, parameter: &str) -> Option<String> {
    let all = request.extract_parts::<RawPathParams>().await.ok()?;
    all.iter().find(|(name, _)| *name == parameter).map(|(_, value)| value.to_owned())
}

fn refusal(error: VerifyError) -> Problem {
    match error {
        VerifyError::Refused(error) => {
            tracing::debug!(%error, "a token was refused");
            Problem::invalid_token(&format!("The token is refused: {error}"))
        }
        VerifyError::NoKeys(issuer) => Problem::no_token_keys(&issuer),
    }
}

/// What a caller may see and do of the types that a path does not name. Without tokens all.
pub(super) struct Held(Option<Caller>);

impl<S: Sync> FromRequestParts<S> for Held {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<Caller>().cloned()))
    }
}

impl Held {
    /// Whether the caller has this scope for this type.
    pub(super) fn has(&self, scope: Scope, type_name: &str) -> bool {
        self.0.as_ref().is_none_or(|caller| caller.scopes.contains_for(scope, type_name))
    }

    /// Whether the caller has this scope for some types alone.
    pub(super) fn is_narrow(&self, scope: Scope) -> bool {
        self.0.as_ref().is_some_and(|caller| !caller.scopes.contains(scope))
    }

    /// Whether the caller may be shown a job of this type from this producer: it sees what it has
    /// sent itself, and an operator everything.
    pub(super) fn may_see(&self, type_name: &str, producer: Option<&str>) -> bool {
        let is_whose = |caller: &Caller| {
            caller.scopes.contains(Scope::AdminRead) || producer == Some(caller.name.as_str())
        };
        self.has(Scope::JobsRead, type_name) && self.0.as_ref().is_none_or(is_whose)
    }

    /// The caller's name.
    pub(super) fn producer(&self) -> Option<&str> {
        self.0.as_ref().map(|caller| caller.name.as_str())
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
