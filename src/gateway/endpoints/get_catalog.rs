//! `GET /catalog`: every type, with its schema and an example.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::super::Services;
use crate::domain::catalog::{RecordKind, RecordType};
use crate::domain::retry::Order;

/// Every type of the catalog.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct CatalogBody {
    /// The types, in the order in which they were declared.
    items: Vec<TypeBody>,
    /// Always null: the catalog is one page.
    next_cursor: Option<String>,
    /// How many there are.
    total: usize,
}

/// A type.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct TypeBody {
    /// Its name, as in the path.
    #[serde(rename = "type")]
    #[schema(example = "email.verification")]
    name: String,
    /// `job` or `event`.
    kind: &'static str,
    /// What it is for.
    description: String,
    /// Its topic.
    topic: String,
    /// Partitions that a new topic gets.
    partitions: i32,
    /// How long records stay, milliseconds.
    retention_ms: u128,
    /// The group that runs it.
    group: String,
    /// How the key follows from the payload.
    #[schema(example = "{campaign_id}_{user_id}")]
    key: String,
    /// Whether its dead letters call for somebody at once.
    critical: bool,
    /// Whether an operator has paused it: its jobs are accepted, and wait.
    paused: bool,
    /// How often and how patiently it is tried.
    retry: RetryBody,
    /// JSON Schema 2020-12 of the payload.
    schema: Value,
    /// A payload that is valid; null where a catalog file's type names none.
    example: Value,
}

/// A retry policy.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct RetryBody {
    /// Attempts in all.
    attempts: u32,
    /// The wait before the second one, milliseconds.
    first_ms: u128,
    /// By how much each wait grows.
    factor: u32,
    /// The longest wait, milliseconds.
    longest_ms: u128,
    /// `strict`: the key waits; `relaxed`: a job that waits long leaves it.
    #[schema(example = "strict")]
    order: &'static str,
}

impl TypeBody {
    fn new(record_type: &RecordType, paused: bool) -> Self {
        let retry = record_type.retry;
        Self {
            name: record_type.name.clone(),
            kind: match record_type.kind {
                RecordKind::Job => "job",
                RecordKind::Event => "event",
            },
            description: record_type.description.clone(),
            topic: record_type.topic.name.clone(),
            partitions: record_type.topic.partitions,
            retention_ms: record_type.topic.retention.as_millis(),
            group: record_type.group.clone(),
            key: record_type.key.to_string(),
            critical: record_type.critical,
            paused,
            retry: RetryBody {
                attempts: retry.attempts,
                first_ms: retry.first.as_millis(),
                factor: retry.factor,
                longest_ms: retry.longest.as_millis(),
                order: match retry.order {
                    Order::Strict => "strict",
                    Order::Relaxed => "relaxed",
                },
            },
            schema: record_type.schema().expose().clone(),
            example: record_type.example(),
        }
    }
}

/// Every type
///
/// Topic, key, group, retry policy and schema of each, and whether it is paused.
#[utoipa::path(
    get,
    path = "/catalog",
    tag = "producing",
    responses(
        (status = 200, description = "The catalog", body = CatalogBody),
    )
)]
pub(in super::super) async fn get_catalog(State(services): State<Services>) -> Json<CatalogBody> {
    let paused = |name: &str| services.pauses.of(name).is_some();
    let types = services.catalog.iter();
    let items: Vec<TypeBody> = types.map(|t| TypeBody::new(t, paused(&t.name))).collect();
    Json(CatalogBody { total: items.len(), next_cursor: None, items })
}
