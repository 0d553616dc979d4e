//! `POST /admin/replays`: run a range of a topic once more.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::Services;
use super::super::body::{JsonBody, request};
use super::super::caller::Caller;
use super::super::problem::Problem;
use super::edge::{EdgeBody, EdgeSchema};
use super::reason;
use super::replay::{ReplayBody, SpanBody};
use crate::domain::fault::Fault;
use crate::domain::replay::Effects;
use crate::operations::{ReplayPlan, ReplayRequest};

/// The fastest that a replay may be asked to go, attempts in a second: above what a worker does.
const RATE_MAX: f64 = 100_000.0;
/// The slowest: one attempt in a thousand seconds.
const RATE_MIN: f64 = 0.001;
/// The longest group name; Kafka has no bound, the catalog has this one.
const GROUP_CHARS_MAX: usize = 249;
/// The longest key that can be asked for, bytes.
const KEY_BYTES_MAX: usize = 1_024;
/// More partitions than a topic of jobgate has.
const PARTITIONS_MAX: usize = 1_000;

/// What to replay, and how.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct StartRequest {
    /// A topic of the catalog, or the name of its type.
    #[schema(example = "waitlist.email.verification")]
    topic: String,
    /// Which partitions, at most 1,000; all unless given.
    #[schema(min_items = 1, max_items = 1000)]
    partitions: Option<Vec<i32>>,
    /// The first record.
    #[schema(value_type = EdgeSchema)]
    from: EdgeBody,
    /// What stands behind the last record; `latest`, the end at this moment, unless given.
    #[schema(value_type = Option<EdgeSchema>)]
    to: Option<EdgeBody>,
    /// The consumer group, none of the catalog; `replay-{id}` unless given, or the name of a
    /// handler that is no type's own.
    #[schema(max_length = 249, example = "analytics-rebuild")]
    group: Option<String>,
    /// What runs the records; that of the topic's type unless given. `analytics-rebuild` runs
    /// those of the event topics.
    #[schema(example = "analytics-rebuild")]
    handler: Option<String>,
    /// Only records with this key.
    #[schema(min_length = 1, max_length = 1024, pattern = r"^[^\x00]*$")]
    key: Option<String>,
    /// `once`, unless given: a job whose effect is there is counted as `already_done`. `again`:
    /// effects happen again, once for this replay; that is so for `analytics-rebuild`, unless
    /// `once` is given.
    effects: Option<EffectsBody>,
    /// The most attempts in a second, 0.001 to 100,000; as fast as it goes unless given.
    #[schema(minimum = 0.001, maximum = 100_000)]
    rate_per_second: Option<f64>,
    /// Whether what fails becomes a dead letter, of the group that runs the type, beside being
    /// listed here.
    #[serde(default)]
    dead_letters: bool,
    /// Tells what would be covered, and starts nothing.
    #[serde(default)]
    dry_run: bool,
    /// Why, for the audit: 1 to 1,000 characters.
    #[schema(min_length = 1, max_length = 1000, pattern = r"^[^\x00]*[^\s\x00][^\x00]*$")]
    reason: Option<String>,
}

/// What becomes of effects that are there.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ReplayEffects)]
pub(in super::super) enum EffectsBody {
    /// They stay alone.
    Once,
    /// They happen again.
    Again,
}

/// What a replay would cover.
#[derive(Serialize, ToSchema)]
#[schema(as = ReplayPlan)]
pub(in super::super) struct PlanBody {
    /// Nothing was started.
    dry_run: bool,
    /// The topic.
    topic: String,
    /// What would run its records.
    handler: String,
    /// How many offsets it would cover; some may hold no record.
    offsets: i64,
    /// By partition.
    partitions: Vec<SpanBody>,
}

impl From<ReplayPlan> for PlanBody {
    fn from(ReplayPlan { topic, handler, spans }: ReplayPlan) -> Self {
        let offsets = spans.iter().map(|span| span.to - span.from).sum();
        let partitions = spans.into_iter().map(SpanBody::from).collect();
        Self { dry_run: true, topic, handler, offsets, partitions }
    }
}

/// Replay a topic
///
/// Runs a range of a topic once more, under a consumer group of its own, which no other group
/// notices. The next worker that is free takes it; it goes on after a crash. Records once meant
/// for one group (`target_group`) run like any other. What fails is listed.
#[utoipa::path(
    post,
    path = "/admin/replays",
    tag = "operating",
    request_body = StartRequest,
    responses(
        (status = 200, description = "A dry run: what it would cover", body = PlanBody),
        (status = 202, description = "Queued", body = ReplayBody,
         headers(("Location" = String, description = "Where to ask how far it is"))),
        (status = 400, description = "Not JSON, or not such a request", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "The catalog has no such topic", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The group is in use, or 100 replays have not ended", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "It cannot be replayed like this; every fault is named", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Kafka or the database is away", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The outcome is not known yet; GET /admin/replays tells", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in super::super) async fn start_replay(
    State(services): State<Services>,
    Caller(actor): Caller,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let usage = "Send {\"topic\": \"..\", \"from\": \"earliest\"}";
    let request: StartRequest = request(&body, usage)?;
    let is_dry_run = request.dry_run;
    let request = checked(request)?;
    if is_dry_run {
        let plan = services.replays.plan(&request).await?;
        return Ok(Json(PlanBody::from(plan)).into_response());
    }
    let started = services.replays.start(actor, request).await?;
    let location = [(header::LOCATION, format!("/admin/replays/{}", started.replay.id))];
    let body = ReplayBody::from(started.replay);
    Ok((StatusCode::ACCEPTED, location, Json(body)).into_response())
}

/// The request, or all of its faults.
fn checked(request: StartRequest) -> Result<ReplayRequest, Problem> {
    let from = request.from.edge("/from");
    let to = request.to.unwrap_or(EdgeBody::Latest).edge("/to");
    let mut faults: Vec<Fault> =
        [from.as_ref().err(), to.as_ref().err()].into_iter().flatten().cloned().collect();
    let mut fault = |pointer: &str, detail: String| {
        faults.push(Fault { pointer: pointer.to_owned(), detail });
    };
    if request.group.as_deref().is_some_and(|group| !is_group(group)) {
        let detail = format!("must be 1 to {GROUP_CHARS_MAX} of A-Z, a-z, 0-9, '.', '-', '_'");
        fault("/group", detail);
    }
    let is_key = |key: &str| !key.is_empty() && key.len() <= KEY_BYTES_MAX && !key.contains('\0');
    if request.key.as_deref().is_some_and(|key| !is_key(key)) {
        fault("/key", format!("must have 1 to {KEY_BYTES_MAX} bytes, and no NUL"));
    }
    let partitions = request.partitions.as_ref().map_or(1, Vec::len);
    if !(1..=PARTITIONS_MAX).contains(&partitions) {
        fault("/partitions", format!("must name 1 to {PARTITIONS_MAX} partitions"));
    }
    let is_rate = |rate: &f64| (RATE_MIN..=RATE_MAX).contains(rate);
    if request.rate_per_second.as_ref().is_some_and(|rate| !is_rate(rate)) {
        fault("/rate_per_second", format!("must be {RATE_MIN} to {RATE_MAX}"));
    }
    let (Ok(from), Ok(to), true) = (from, to, faults.is_empty()) else {
        return Err(Problem::invalid_payload(faults));
    };
    let reason = request.reason.as_deref().map(reason::checked).transpose()?.map(str::to_owned);
    Ok(ReplayRequest {
        topic: request.topic,
        partitions: request.partitions,
        from,
        to,
        group: request.group,
        handler: request.handler,
        key: request.key,
        effects: request.effects.map(|effects| match effects {
            EffectsBody::Again => Effects::Again,
            EffectsBody::Once => Effects::Once,
        }),
        rate_per_second: request.rate_per_second,
        dead_letters: request.dead_letters,
        reason,
    })
}

fn is_group(group: &str) -> bool {
    (1..=GROUP_CHARS_MAX).contains(&group.len())
        && group.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}
