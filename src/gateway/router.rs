//! Every route, in one list.

use std::sync::Arc;

use axum::Router;
use axum::body::{Bytes, HttpBody as _};
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::routing::{MethodRouter, get};
use serde_json::Value;
use utoipa::OpenApi as _;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::access::{Guard, Routes};
use super::endpoints::{
    add_partitions, cancel_replay, cancel_scheduled_job, discard_dead_letter, enqueue_batch,
    enqueue_job, get_catalog, get_dead_letter, get_job_status, get_lag, get_metrics, get_replay,
    get_scheduled_job, get_stats, get_topics, health, list_audit, list_dead_letters,
    list_quarantines, list_replays, list_workers, pause_type, publish_batch, publish_event,
    rebuild_dead_letter_index, release_quarantine, replay_dead_letter, reset_offsets, start_replay,
    validate_payload,
};
use super::front::Front;
use super::limits::{Limits, RateLimit};
use super::problem::Problem;
use super::{Metrics, Readiness, Services, asyncapi, openapi};
use crate::auth::Scope::{AdminRead, AdminWrite, EventsWrite, JobsRead, JobsWrite};
use crate::auth::Verifier;

/// The routes, whom each serves, and what utoipa says of them.
pub(super) fn routes(guard: Option<Guard>, limits: Limits) -> Routes {
    Routes::new(openapi::Api::openapi(), guard, limits)
        .of_type(JobsWrite, "type", routes!(enqueue_job::enqueue_job))
        .of_type(JobsWrite, "type", routes!(enqueue_batch::enqueue_batch))
        .of_type(JobsWrite, "type", routes!(validate_payload::validate_job))
        .of_type(JobsRead, "type", routes!(get_job_status::get_job_status))
        .of_some_type(JobsRead, routes!(get_job_status::find_job))
        .of_some_type(JobsRead, routes!(get_scheduled_job::get_scheduled_job))
        .of_some_type(JobsWrite, routes!(cancel_scheduled_job::cancel_scheduled_job))
        .of_type(EventsWrite, "topic", routes!(publish_event::publish_event))
        .of_type(EventsWrite, "topic", routes!(publish_batch::publish_batch))
        .of_type(EventsWrite, "topic", routes!(validate_payload::validate_event))
        .any_caller(routes!(get_catalog::get_catalog))
        .scoped(AdminRead, routes!(list_dead_letters::list_dead_letters))
        .scoped(AdminRead, routes!(get_dead_letter::get_dead_letter))
        .scoped(AdminWrite, routes!(replay_dead_letter::replay_dead_letter))
        .scoped(AdminWrite, routes!(discard_dead_letter::discard_dead_letter))
        .scoped(AdminWrite, routes!(rebuild_dead_letter_index::rebuild_dead_letter_index))
        .scoped(AdminRead, routes!(get_lag::get_lag))
        .scoped(AdminRead, routes!(get_lag::get_group_lag))
        .scoped(AdminRead, routes!(get_stats::get_stats))
        .scoped(AdminRead, routes!(get_topics::list_topics))
        .scoped(AdminRead, routes!(get_topics::get_topic))
        .scoped(AdminWrite, routes!(add_partitions::add_partitions))
        .scoped(AdminWrite, routes!(reset_offsets::reset_offsets))
        .scoped(AdminWrite, routes!(start_replay::start_replay))
        .scoped(AdminRead, routes!(list_replays::list_replays))
        .scoped(AdminRead, routes!(get_replay::get_replay))
        .scoped(AdminWrite, routes!(cancel_replay::cancel_replay))
        .scoped(AdminRead, routes!(list_workers::list_workers))
        .scoped(AdminWrite, routes!(pause_type::pause_type))
        .scoped(AdminWrite, routes!(pause_type::resume_type))
        .scoped(AdminRead, routes!(list_quarantines::list_quarantines))
        .scoped(AdminWrite, routes!(release_quarantine::release_quarantine))
        .scoped(AdminRead, routes!(list_audit::list_audit))
        .open(routes!(get_metrics::get_metrics))
        .open(routes!(health::live))
        .open(routes!(health::ready))
}

/// What a worker serves: health and metrics, to anybody who watches over it.
pub fn worker_router(readiness: Readiness, metrics: Metrics) -> Front {
    let ready = get(health::ready).with_state(readiness);
    let metrics = get(get_metrics::get_metrics).with_state(metrics);
    let router = Router::new()
        .route("/health/live", get(health::live))
        .route("/health/ready", ready)
        .route("/metrics", metrics)
        .fallback(async || {
            let detail = "A worker serves /health/live, /health/ready and /metrics";
            Problem::not_found("no-such-path", detail)
        })
        .method_not_allowed_fallback(async || Problem::method_not_allowed());
    Front::open(router)
}

/// Serves a document. As text: read, it would be ten times as large.
fn served(document: &Value) -> MethodRouter {
    let text = Bytes::from(document.to_string());
    get(async move || ([(CONTENT_TYPE, "application/json")], text))
}

/// The whole HTTP surface.
///
/// Without a verifier it answers this machine alone. Each caller may send so many records a
/// second, if a rate is given.
pub fn router(
    services: Services,
    verifier: Option<Arc<Verifier>>,
    rate: Option<RateLimit>,
) -> Front {
    let operations = served(&openapi::document(&services.catalog));
    let topics = served(&asyncapi::async_document(&services.catalog));
    let answers_this_machine_alone = verifier.is_none();
    let (limits, catalog) = (Limits::new(rate), Arc::clone(&services.catalog));
    let guard = verifier.map(|verifier| Guard { verifier, catalog, limits: limits.clone() });
    let (router, _) = routes(guard, limits).split();
    let docs =
        SwaggerUi::new("/docs").config(Config::from("/openapi.json").try_it_out_enabled(true));
    let router = router
        .with_state(services)
        // The documents and the pages that show them need no token.
        .merge(docs)
        .route("/openapi.json", operations)
        .route("/asyncapi.json", topics)
        .fallback(async |request: Request| {
            let problem = Problem::not_found("no-such-path", "See /docs for the paths there are");
            unread(&request, problem)
        })
        .method_not_allowed_fallback(async |request: Request| {
            unread(&request, Problem::method_not_allowed())
        });
    // With a verifier neither Host nor Origin says anything: a browser adds no token by
    // itself, so a foreign page has none to abuse.
    if answers_this_machine_alone { Front::of_this_machine(router) } else { Front::open(router) }
}

/// A refusal that leaves the request's body unread, if it has one: the connection ends with it, and
/// the client is told so, lest it sends the next request there.
fn unread(request: &Request, problem: Problem) -> Problem {
    if request.body().is_end_stream() { problem } else { problem.closing() }
}
