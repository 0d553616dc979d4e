//! `GET /metrics`: this instance's counters, for Prometheus.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::super::Metrics;
use super::super::exposition::{Exposition, Kind};
use crate::domain::counters::TypeCounters;
use crate::operations::Stats;

/// The media type of the text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a counter of [`TypeCounters`] is as a sample.
type Read = fn(&TypeCounters) -> &AtomicU64;

/// Attempts by how they ended.
const OUTCOMES: [(&str, Read); 5] = [
    ("succeeded", |counters| &counters.succeeded),
    ("already_done", |counters| &counters.already_done),
    ("failed", |counters| &counters.failed),
    ("retried", |counters| &counters.retried),
    ("unavailable", |counters| &counters.unavailable),
];

/// Counters of one kind each.
const COUNTERS: [(&str, &str, Read); 6] = [
    ("jobgate_consumed_records_total", "Records read by the workers.", |c| &c.consumed),
    ("jobgate_consumed_bytes_total", "Bytes of the records read.", |c| &c.consumed_bytes),
    ("jobgate_passed_records_total", "Records passed over.", |c| &c.passed),
    ("jobgate_parked_records_total", "Records put aside in a quarantine.", |c| &c.parked),
    ("jobgate_attempts_started_total", "Attempts begun.", |c| &c.started),
    ("jobgate_dead_letters_total", "Dead letters acknowledged.", |c| &c.dead_lettered),
];

/// Metrics
///
/// Of this instance, in Prometheus's text format. The lag is sampled every 5 s, and absent
/// while Kafka does not answer.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "health",
    responses(
        (status = 200, description = "The metrics", body = String, content_type = "text/plain"),
    )
)]
pub(in super::super) async fn get_metrics(State(metrics): State<Metrics>) -> impl IntoResponse {
    let mut page = Exposition::default();
    page.metric("jobgate_build_info", Kind::Gauge, "The version that runs.");
    page.sample("jobgate_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    write_producer(&mut page, &metrics.stats);
    write_types(&mut page, &metrics);
    write_lag(&mut page, &metrics.stats);
    ([(header::CONTENT_TYPE, TEXT)], page.into_text())
}

fn write_producer(page: &mut Exposition, stats: &Stats) {
    let producer = stats.producer();
    for (name, help, value) in [
        ("jobgate_producer_records_total", "Records acknowledged.", producer.messages),
        ("jobgate_producer_bytes_total", "Bytes of the records acknowledged.", producer.bytes),
        ("jobgate_producer_errors_total", "Records without acknowledgement.", producer.errors),
    ] {
        page.metric(name, Kind::Counter, help);
        page.sample(name, &[], value);
    }
}

fn write_types(page: &mut Exposition, metrics: &Metrics) {
    let counters = metrics.stats.counters();
    let topic_of = |name: &str| {
        metrics.catalog.by_name(name).map_or("", |record_type| &record_type.topic.name)
    };
    let name = "jobgate_enqueued_records_total";
    page.metric(name, Kind::Counter, "Records asked for over HTTP, by outcome.");
    for (of_type, c) in counters.iter() {
        let labels =
            |outcome| [("type", of_type), ("topic", topic_of(of_type)), ("outcome", outcome)];
        page.sample(name, &labels("acknowledged"), c.enqueued.load(Relaxed));
        page.sample(name, &labels("error"), c.enqueue_errors.load(Relaxed));
    }
    for (name, help, read) in COUNTERS {
        page.metric(name, Kind::Counter, help);
        for (of_type, c) in counters.iter() {
            let labels = [("type", of_type), ("topic", topic_of(of_type))];
            page.sample(name, &labels, read(c).load(Relaxed));
        }
    }
    let name = "jobgate_attempts_total";
    page.metric(name, Kind::Counter, "Attempts that ended; retried ones have failed as well.");
    for (of_type, c) in counters.iter() {
        for (outcome, read) in OUTCOMES {
            let labels = [("type", of_type), ("topic", topic_of(of_type)), ("outcome", outcome)];
            page.sample(name, &labels, read(c).load(Relaxed));
        }
    }
    let name = "jobgate_running_attempts";
    page.metric(name, Kind::Gauge, "Attempts that run now.");
    for (of_type, c) in counters.iter() {
        page.sample(name, &[("type", of_type)], c.running.load(Relaxed));
    }
    let name = "jobgate_enqueue_duration_seconds";
    page.metric(name, Kind::Histogram, "From the call to Kafka's acknowledgement.");
    for (of_type, c) in counters.iter() {
        page.histogram(name, &[("type", of_type)], &c.enqueue_time.snapshot());
    }
    let name = "jobgate_attempt_duration_seconds";
    page.metric(name, Kind::Histogram, "How long attempts took.");
    for (of_type, c) in counters.iter() {
        page.histogram(name, &[("type", of_type)], &c.attempt_time.snapshot());
    }
}

fn write_lag(page: &mut Exposition, stats: &Stats) {
    let Some(sampled) = stats.lag().sampled() else { return };
    let name = "jobgate_group_lag_records";
    page.metric(name, Kind::Gauge, "Records before a group, sampled.");
    for lag in &sampled {
        let labels = [("group", lag.group.as_str()), ("topic", lag.topic.as_str())];
        page.sample(name, &labels, lag.lag_records);
    }
}
