//! What a worker process is told: which types there are, and where everything is. And what a job
//! is told to do.

use std::sync::Arc;
use std::time::Duration;

use jobgate::domain::catalog::{
    Catalog, Declaration, PayloadType, RecordKind, RecordType, TopicSpec,
};
use jobgate::domain::retry::{Order, RetryPolicy};
use jobgate::worker::RunningLimit;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Where the dead letters go.
pub(crate) const DEAD_LETTERS: &str = "engine.dlq";

/// Everything a worker needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) brokers: String,
    /// PostgreSQL: jobgate's tables and those of the effects.
    pub(crate) database: String,
    pub(crate) kinds: Vec<KindPlan>,
    /// Places of the process.
    pub(crate) slots: usize,
    /// Properties of Kafka's client.
    pub(crate) properties: Vec<(String, String)>,
    /// A name that it keeps over restarts.
    pub(crate) instance: Option<String>,
    /// The groups it runs; none: all.
    pub(crate) groups: Vec<String>,
}

/// A type.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct KindPlan {
    pub(crate) name: String,
    pub(crate) partitions: i32,
    pub(crate) attempts: u32,
    /// Each wait between two attempts.
    pub(crate) wait_ms: u64,
    pub(crate) is_critical: bool,
    /// An attempt's time limit.
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) running: Option<usize>,
    pub(crate) running_per_prefix: Option<usize>,
    /// Jobs of a key that run at once.
    pub(crate) merged: usize,
    /// Whether a dead letter quarantines its key.
    pub(crate) quarantine: bool,
}

impl KindPlan {
    /// Six partitions, three attempts, short waits, no limits.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            partitions: 6,
            attempts: 3,
            wait_ms: 100,
            is_critical: false,
            timeout_ms: None,
            running: None,
            running_per_prefix: None,
            merged: 1,
            quarantine: false,
        }
    }

    pub(crate) fn topic(&self) -> String {
        format!("engine.{}", self.name)
    }

    pub(crate) fn group(&self) -> String {
        format!("{}-workers", self.name)
    }

    pub(crate) fn limit(&self) -> RunningLimit {
        RunningLimit { running: self.running, running_per_prefix: self.running_per_prefix }
    }

    fn declared(&self) -> RecordType {
        let wait = Duration::from_millis(self.wait_ms);
        let schema = json!({
            "type": "object",
            "properties": {
                "campaign": {"type": "string"},
                "key": {"type": "string"},
                "number": {"type": "integer"},
                "ms": {"type": "integer"},
                "deed": {"enum": ["effect", "abort", "retry", "hang", "fail"]},
                "times": {"type": "integer"},
            },
            "required": ["campaign", "key", "number", "ms", "deed", "times"],
        });
        let example = serde_json::to_value(Task::new("k", 1)).expect("JSON");
        RecordType::declare(Declaration {
            name: self.name.clone(),
            kind: RecordKind::Job,
            description: "Does as it is told.".to_owned(),
            topic: TopicSpec::new(self.topic(), self.partitions, Duration::from_hours(24)),
            group: self.group(),
            key: "{campaign}_{key}".to_owned(),
            retry: RetryPolicy {
                attempts: self.attempts,
                first: wait,
                factor: 1,
                longest: wait,
                order: Order::Strict,
                quarantine: self.quarantine,
            },
            critical: self.is_critical,
            headers: Vec::new(),
            constants: Vec::new(),
            payload: PayloadType::from_schema(schema, example),
        })
        .expect("a type")
    }
}

/// The catalog of these types.
pub(crate) fn catalog(kinds: &[KindPlan]) -> Arc<Catalog> {
    let letters = TopicSpec::dead_letters(DEAD_LETTERS, 1, Duration::from_hours(24));
    let types = kinds.iter().map(KindPlan::declared).collect();
    Arc::new(Catalog::new(types, letters).expect("a catalog"))
}

/// What a job does in its first attempts; afterwards it has its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Deed {
    Effect,
    /// Ends the process.
    Abort,
    /// Fails in a way that may pass.
    Retry,
    /// Never comes to an end by itself.
    Hang,
    /// Fails for good.
    Fail,
}

/// A job's payload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) campaign: String,
    pub(crate) key: String,
    /// Its place among the jobs of its key.
    pub(crate) number: i64,
    /// How long it takes before it does anything.
    pub(crate) ms: u64,
    pub(crate) deed: Deed,
    /// In so many attempts it does its deed.
    pub(crate) times: u32,
}

impl Task {
    /// One that has its effect at once.
    pub(crate) fn new(key: &str, number: i64) -> Self {
        let (campaign, key) = ("c".to_owned(), key.to_owned());
        Self { campaign, key, number, ms: 0, deed: Deed::Effect, times: 0 }
    }

    /// The same, slower.
    pub(crate) fn taking(self, ms: u64) -> Self {
        Self { ms, ..self }
    }

    /// The same, but for what it does first.
    pub(crate) fn first(self, deed: Deed, times: u32) -> Self {
        Self { deed, times, ..self }
    }

    /// One that ends the process whenever it runs.
    pub(crate) fn aborts(key: &str) -> Self {
        Self::new(key, 0).first(Deed::Abort, u32::MAX)
    }
}
