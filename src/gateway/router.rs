//! Every route, in one list.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use tower_http::trace::TraceLayer;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::endpoints::{
    add_partitions, discard_dead_letter, enqueue_job, get_catalog, get_dead_letter, get_job_status,
    get_lag, get_metrics, get_stats, get_topics, health, list_audit, list_dead_letters,
    publish_event, rebuild_dead_letter_index, replay_dead_letter, reset_offsets, validate_payload,
};
use super::problem::Problem;
use super::{Services, loopback, openapi};

/// The routes, and what utoipa says of them.
pub(super) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::with_openapi(openapi::Api::openapi())
        .routes(routes!(enqueue_job::enqueue_job))
        .routes(routes!(validate_payload::validate_job))
        .routes(routes!(get_job_status::get_job_status))
        .routes(routes!(get_job_status::find_job))
        .routes(routes!(publish_event::publish_event))
        .routes(routes!(validate_payload::validate_event))
        .routes(routes!(get_catalog::get_catalog))
        .routes(routes!(list_dead_letters::list_dead_letters))
        .routes(routes!(get_dead_letter::get_dead_letter))
        .routes(routes!(replay_dead_letter::replay_dead_letter))
        .routes(routes!(discard_dead_letter::discard_dead_letter))
        .routes(routes!(rebuild_dead_letter_index::rebuild_dead_letter_index))
        .routes(routes!(get_lag::get_lag))
        .routes(routes!(get_lag::get_group_lag))
        .routes(routes!(get_stats::get_stats))
        .routes(routes!(get_topics::list_topics))
        .routes(routes!(get_topics::get_topic))
        .routes(routes!(add_partitions::add_partitions))
        .routes(routes!(reset_offsets::reset_offsets))
        .routes(routes!(list_audit::list_audit))
        .routes(routes!(get_metrics::get_metrics))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
}

/// The whole HTTP surface.
pub fn router(services: Services) -> Router {
    let document = openapi::document(&services.catalog);
    let (router, _) = routes().split_for_parts();
    let docs = SwaggerUi::new("/docs")
        .external_url_unchecked("/openapi.json", document)
        .config(Config::from("/openapi.json").try_it_out_enabled(true));
    router
        .with_state(services)
        .merge(docs)
        .fallback(async || Problem::not_found("no-such-path", "See /docs for the paths there are"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        // Bodies have their own bound, which reads on so that the answer arrives.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn(loopback::guard))
        .layer(TraceLayer::new_for_http())
}
