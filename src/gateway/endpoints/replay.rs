//! A replay as it is shown.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::clock::rfc3339;
use crate::domain::replay::ReplaySpan;
use crate::store::ReplayRow;

/// A replay.
#[derive(Serialize, ToSchema)]
#[schema(as = Replay)]
pub(in super::super) struct ReplayBody {
    /// Names it.
    id: Uuid,
    /// `queued`, `running`, `cancelling`, `cancelled`, `completed` or `failed`.
    #[schema(example = "running")]
    state: &'static str,
    /// The topic.
    #[schema(example = "waitlist.email.verification")]
    topic: String,
    /// What runs its records.
    #[schema(example = "email.verification")]
    handler: String,
    /// The consumer group that it runs under.
    group: String,
    /// `once`: effects that are there stay alone. `again`: they happen again.
    effects: &'static str,
    /// Only records with this key.
    key: Option<String>,
    /// The most attempts in a second.
    rate_per_second: Option<f64>,
    /// Whether its failures become dead letters too.
    dead_letters: bool,
    /// Why, as the caller said.
    reason: Option<String>,
    /// Who started it.
    created_by: String,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339: when a worker first took it.
    started_at: Option<String>,
    /// RFC 3339.
    finished_at: Option<String>,
    /// What became of the records that it has passed.
    counts: CountsBody,
    /// How many offsets it covers; some may hold no record.
    offsets: i64,
    /// How many of them it has passed.
    offsets_done: i64,
    /// Records that come to their end in a second, over the last 15 s.
    records_per_second: f64,
    /// When it will be done at that pace, in seconds; null while that cannot be said.
    eta_seconds: Option<i64>,
    /// The outage that it waits for.
    waits_for: Option<String>,
    /// The worker that runs it.
    worker: Option<String>,
    /// Why it failed.
    error: Option<String>,
}

/// What became of records.
#[derive(Serialize, ToSchema)]
#[schema(as = ReplayCounts)]
pub(in super::super) struct CountsBody {
    /// They ran.
    done: i64,
    /// Their effect was there before.
    already_done: i64,
    /// They failed for good; GET /admin/replays/{id} lists them.
    failed: i64,
    /// They have another key.
    skipped: i64,
}

/// How far a replay is in a partition.
#[derive(Serialize, ToSchema)]
#[schema(as = ReplayPartition)]
pub(in super::super) struct SpanBody {
    /// The partition.
    partition: i32,
    /// The first offset.
    from: i64,
    /// The offset behind the last.
    to: i64,
    /// Everything below has come to its end.
    position: i64,
}

impl From<ReplaySpan> for SpanBody {
    fn from(ReplaySpan { partition, from, to, position }: ReplaySpan) -> Self {
        Self { partition, from, to, position }
    }
}

impl From<ReplayRow> for ReplayBody {
    fn from(replay: ReplayRow) -> Self {
        let left = replay.offsets - replay.offsets_done;
        let eta_seconds = match replay.per_1000_s {
            _ if !replay.state.is_open() => None,
            0 => None,
            pace => Some(left.saturating_mul(1_000) / pace),
        };
        #[expect(clippy::cast_precision_loss, reason = "a pace is far below 2^52")]
        let records_per_second = replay.per_1000_s as f64 / 1_000.0;
        Self {
            id: replay.id,
            state: replay.state.as_str(),
            topic: replay.topic,
            handler: replay.handler,
            group: replay.group,
            effects: replay.effects.as_str(),
            key: replay.key,
            rate_per_second: replay.rate_per_second,
            dead_letters: replay.dead_letters,
            reason: replay.reason,
            created_by: replay.created_by,
            created_at: rfc3339(replay.created_at_ms),
            started_at: replay.started_at_ms.map(rfc3339),
            finished_at: replay.finished_at_ms.map(rfc3339),
            counts: CountsBody {
                done: replay.counts.done,
                already_done: replay.counts.already_done,
                failed: replay.counts.failed,
                skipped: replay.counts.skipped,
            },
            offsets: replay.offsets,
            offsets_done: replay.offsets_done,
            records_per_second,
            eta_seconds,
            waits_for: replay.waits_for,
            worker: replay.holder,
            error: replay.error,
        }
    }
}
