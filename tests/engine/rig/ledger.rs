//! What came of the jobs.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

use super::plan::DEAD_LETTERS;
use super::stage::{Sent, Stage};

/// An effect.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Effect {
    pub(crate) message_id: String,
    pub(crate) key: String,
    pub(crate) number: i64,
}

/// An execution, whatever came of it.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Execution {
    pub(crate) message_id: String,
    pub(crate) campaign: String,
    pub(crate) key: String,
    pub(crate) number: i64,
    pub(crate) attempt: i64,
    pub(crate) instance: String,
    pub(crate) started_ms: i64,
    /// None: its process ended first, or its time was over.
    pub(crate) ended_ms: Option<i64>,
    pub(crate) outcome: Option<String>,
}

/// The effects of a type, in the order in which they came about.
pub(crate) async fn effects(pool: &PgPool, kind: &str) -> Vec<Effect> {
    sqlx::query_as("SELECT message_id, key, number FROM effects WHERE kind = $1 ORDER BY seq")
        .bind(kind)
        .fetch_all(pool)
        .await
        .expect("the effects")
}

/// How many effects of a type there are; none while the database is away.
pub(crate) async fn count_effects(pool: &PgPool, kind: &str) -> Option<usize> {
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM effects WHERE kind = $1")
        .bind(kind)
        .fetch_one(pool)
        .await
        .ok()?;
    usize::try_from(count).ok()
}

/// The executions of a type, in the order in which they began.
pub(crate) async fn executions(pool: &PgPool, kind: &str) -> Vec<Execution> {
    sqlx::query_as(
        "SELECT message_id, campaign, key, number, attempt, instance, started_ms, ended_ms, outcome
         FROM executions WHERE kind = $1 ORDER BY id",
    )
    .bind(kind)
    .fetch_all(pool)
    .await
    .expect("the executions")
}

/// The executions of one job.
pub(crate) async fn executions_of(pool: &PgPool, kind: &str, id: Uuid) -> Vec<Execution> {
    let id = id.to_string();
    executions(pool, kind).await.into_iter().filter(|e| e.message_id == id).collect()
}

/// Rows of `attempts` now.
pub(crate) async fn attempts_now(pool: &PgPool) -> i64 {
    count(pool, "SELECT count(*) FROM attempts").await
}

/// Rows of `attempts` that were ever written.
pub(crate) async fn attempts_ever(pool: &PgPool) -> i64 {
    count(pool, "SELECT count(*) FROM attempts_noted").await
}

/// Attempts, by their number, that were ever written down before they started.
pub(crate) async fn noted_starts(pool: &PgPool, id: Uuid) -> Vec<i64> {
    sqlx::query_scalar(
        "SELECT attempts FROM attempts_noted WHERE message_id = $1 AND is_open = 1 ORDER BY id",
    )
    .bind(id.to_string())
    .fetch_all(pool)
    .await
    .expect("the notes")
}

async fn count(pool: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.expect("a count")
}

/// Each of these jobs has its effect, once; and no other job has one.
pub(crate) fn assert_one_effect_each(effects: &[Effect], jobs: &[Sent]) {
    let mut by_id: HashMap<&str, usize> = HashMap::new();
    for effect in effects {
        *by_id.entry(&effect.message_id).or_default() += 1;
    }
    let ids: Vec<String> = jobs.iter().map(|sent| sent.id.to_string()).collect();
    let lost: Vec<&Sent> =
        jobs.iter().filter(|sent| !by_id.contains_key(&*sent.id.to_string())).collect();
    assert!(lost.is_empty(), "{} have no effect, for example {:?}", lost.len(), lost[0]);
    let twice = by_id.iter().find(|(_, count)| **count > 1);
    assert!(twice.is_none(), "more than one effect: {twice:?}");
    assert_eq!(by_id.len(), ids.len(), "an effect of no job that was sent");
}

/// Effects of a key that came about before one that was sent earlier.
pub(crate) fn out_of_order(effects: &[Effect]) -> Vec<&Effect> {
    let mut last: HashMap<&str, i64> = HashMap::new();
    effects
        .iter()
        .filter(|effect| {
            let before = last.insert(&effect.key, effect.number);
            before.is_some_and(|before| before > effect.number)
        })
        .collect()
}

/// The most of these executions that ran at the same time.
pub(crate) fn most_at_once<'a>(executions: impl IntoIterator<Item = &'a Execution>) -> usize {
    let mut changes: BTreeMap<(i64, bool), usize> = BTreeMap::new();
    for execution in executions {
        let ended_ms = execution.ended_ms.unwrap_or(i64::MAX);
        // One that ends in the millisecond in which another starts has ended before.
        *changes.entry((execution.started_ms, true)).or_default() += 1;
        *changes.entry((ended_ms.max(execution.started_ms + 1), false)).or_default() += 1;
    }
    let (mut now, mut most) = (0, 0);
    for ((_, is_start), count) in changes {
        now = if is_start { now + count } else { now - count };
        most = most.max(now);
    }
    most
}

impl Stage {
    /// Every dead letter, as a client that is not jobgate reads it.
    pub(crate) async fn letters(&self) -> Vec<Value> {
        let brokers = self.plan.brokers.clone();
        tokio::task::spawn_blocking(move || read_letters(&brokers)).await.expect("it was read")
    }
}

/// The only partition of their topic, to its end.
fn read_letters(brokers: &str) -> Vec<Value> {
    let wait = Duration::from_secs(20);
    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "tests-letters")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let (low, high) = reader.fetch_watermarks(DEAD_LETTERS, 0, wait).expect("watermarks");
    let mut start = TopicPartitionList::new();
    start.add_partition_offset(DEAD_LETTERS, 0, Offset::Offset(low)).expect("a partition");
    reader.assign(&start).expect("assigned");
    let (mut letters, mut next) = (Vec::new(), low);
    let deadline = Instant::now() + Duration::from_mins(1);
    while next < high {
        assert!(Instant::now() < deadline, "the dead letters could not be read");
        let Some(Ok(message)) = reader.poll(Duration::from_secs(1)) else { continue };
        next = message.offset() + 1;
        letters.push(serde_json::from_slice(message.payload().expect("a value")).expect("JSON"));
    }
    letters
}
