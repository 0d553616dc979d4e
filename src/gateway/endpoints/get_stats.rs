//! `GET /admin/stats`: what all instances have counted.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::Services;
use super::super::problem::Problem;
use crate::domain::clock::rfc3339;
use crate::domain::counters::TypeTotals;
use crate::operations::{Instance, ProducerTotals, Report};

/// The statistics over all instances.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct StatsBody {
    /// What was written.
    producer: ProducerBody,
    /// What was read and run.
    consumer: ConsumerBody,
    /// By type; a type that nothing was counted of is not there.
    types: BTreeMap<String, TypeBody>,
    /// At most 100, the one seen last first; those that are gone keep their totals.
    instances: Vec<InstanceBody>,
}

/// What was written, dead letters and replays included.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct ProducerBody {
    /// Records acknowledged.
    messages: u64,
    /// Bytes of their keys and values.
    bytes: u64,
    /// Records that were not, or may not have been.
    errors: u64,
}

/// What was read and run.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct ConsumerBody {
    /// Records read; one that is read again counts again.
    messages: u64,
    /// Their bytes.
    bytes: u64,
    /// Records before all groups, now.
    lag: i64,
    /// Attempts that were made again.
    retries: u64,
    /// Dead letters written.
    dead_letters: u64,
}

/// What was counted of a type.
#[derive(Serialize, ToSchema)]
#[schema(as = TypeStats)]
pub(in super::super) struct TypeBody {
    /// Records acknowledged.
    enqueued: u64,
    /// Records that were not, or may not have been.
    enqueue_errors: u64,
    /// Records read.
    consumed: u64,
    /// Attempts begun.
    started: u64,
    /// Attempts that did what was asked.
    succeeded: u64,
    /// Attempts that had nothing to do, since the effect was there.
    already_done: u64,
    /// Attempts that did not.
    failed: u64,
    /// Attempts that were to be made again.
    retried: u64,
    /// Attempts that met an outage; the job waits and none of its attempts is spent.
    unavailable: u64,
    /// Records passed over, being for another group.
    passed: u64,
    /// Records put aside, their key being quarantined.
    parked: u64,
    /// Dead letters written.
    dead_lettered: u64,
}

/// An instance.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct InstanceBody {
    /// Its name.
    instance: String,
    /// RFC 3339.
    started_at: String,
    /// RFC 3339: when it last wrote its counters down.
    seen_at: String,
    /// Whether that is at most 15 s ago.
    alive: bool,
    /// Records written.
    produced: u64,
    /// Records read.
    consumed: u64,
    /// Attempts begun.
    started: u64,
}

impl From<ProducerTotals> for ProducerBody {
    fn from(ProducerTotals { messages, bytes, errors }: ProducerTotals) -> Self {
        Self { messages, bytes, errors }
    }
}

impl From<TypeTotals> for TypeBody {
    fn from(totals: TypeTotals) -> Self {
        Self {
            enqueued: totals.enqueued,
            enqueue_errors: totals.enqueue_errors,
            consumed: totals.consumed,
            started: totals.started,
            succeeded: totals.succeeded,
            already_done: totals.already_done,
            failed: totals.failed,
            retried: totals.retried,
            unavailable: totals.unavailable,
            passed: totals.passed,
            parked: totals.parked,
            dead_lettered: totals.dead_lettered,
        }
    }
}

impl From<Instance> for InstanceBody {
    fn from(instance: Instance) -> Self {
        let types = instance.totals.all_types();
        Self {
            instance: instance.name,
            started_at: rfc3339(instance.started_at_ms),
            seen_at: rfc3339(instance.seen_at_ms),
            alive: instance.is_alive,
            produced: instance.totals.producer.messages,
            consumed: types.consumed,
            started: types.started,
        }
    }
}

impl From<Report> for StatsBody {
    fn from(report: Report) -> Self {
        let all = report.totals.all_types();
        Self {
            producer: report.totals.producer.into(),
            consumer: ConsumerBody {
                messages: all.consumed,
                bytes: all.consumed_bytes,
                lag: report.lag_records,
                retries: all.retried,
                dead_letters: all.dead_lettered,
            },
            types: report.totals.types.into_iter().map(|(n, t)| (n, t.into())).collect(),
            instances: report.instances.into_iter().map(InstanceBody::from).collect(),
        }
    }
}

/// Statistics
///
/// Over all instances, also those that are gone. Each writes its counters down every 5 s;
/// those of the instance that answers are of now.
#[utoipa::path(
    get,
    path = "/admin/stats",
    tag = "operating",
    responses(
        (status = 200, description = "The statistics", body = StatsBody),
        (status = 503, description = "Kafka or the database is away", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn get_stats(
    State(services): State<Services>,
) -> Result<Json<StatsBody>, Problem> {
    Ok(Json(services.stats.report().await?.into()))
}
