//! What all instances have counted. Each writes its own counters down every few seconds;
//! an instance that is gone keeps its totals.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::lag::{Lag, LagError};
use crate::domain::clock::SharedClock;
use crate::domain::counters::{Counters, TypeTotals};
use crate::kafka::Producer;
use crate::store::{InstanceRow, PAST, Store, StoreError};

/// How often an instance writes its counters down: what a crash makes uncounted.
const WRITE_EVERY: Duration = Duration::from_secs(5);
/// An instance is alive that has written within three of these.
const ALIVE_WITHIN_MS: i64 = 15_000;
/// After this long an instance's row joins the one of the past. It would count twice if it
/// came back, so the time is far beyond any pause of a process.
const PAST_AFTER: Duration = Duration::from_hours(7 * 24);
/// Instances that are listed: more than run, with those that ended of late.
const INSTANCES_MAX: usize = 100;

/// Why there are no statistics.
#[derive(Debug, Error)]
pub enum StatsError {
    /// The lag, a part of them, cannot be told.
    #[error(transparent)]
    Lag(#[from] LagError),
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What producers have done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProducerTotals {
    /// Records acknowledged, dead letters and replays included.
    pub messages: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Records that were not, or may not have been.
    pub errors: u64,
}

/// What instances have counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Their producers.
    pub producer: ProducerTotals,
    /// By type; a type that nothing was counted of is not there.
    pub types: BTreeMap<String, TypeTotals>,
}

impl Totals {
    fn add(&mut self, other: &Self) {
        self.producer.messages += other.producer.messages;
        self.producer.bytes += other.producer.bytes;
        self.producer.errors += other.producer.errors;
        for (name, totals) in &other.types {
            self.types.entry(name.clone()).or_default().add(totals);
        }
    }

    /// Over all types.
    pub fn all_types(&self) -> TypeTotals {
        let mut sum = TypeTotals::default();
        self.types.values().for_each(|totals| sum.add(totals));
        sum
    }
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// Milliseconds since the epoch.
    pub started_at_ms: i64,
    /// When it last wrote its counters down.
    pub seen_at_ms: i64,
    /// Whether that was of late.
    pub is_alive: bool,
    /// What it has counted.
    pub totals: Totals,
}

/// The statistics.
#[derive(Debug)]
pub struct Report {
    /// Over all instances, also those that are gone.
    pub totals: Totals,
    /// Records before all groups, now.
    pub lag_records: i64,
    /// The one seen last first.
    pub instances: Vec<Instance>,
}

/// Adds up what instances count. Cheap to clone.
#[derive(Clone)]
pub struct Stats {
    counters: Arc<Counters>,
    producer: Producer,
    lag: Lag,
    store: Store,
    clock: SharedClock,
    instance: Arc<str>,
    started_at_ms: i64,
}

impl Stats {
    /// The use case, for the instance of this name.
    pub fn new(
        counters: Arc<Counters>,
        producer: Producer,
        lag: Lag,
        store: Store,
        clock: SharedClock,
        instance: &str,
    ) -> Self {
        let started_at_ms = clock.now_ms();
        let instance = instance.into();
        Self { counters, producer, lag, store, clock, instance, started_at_ms }
    }

    /// This instance's counters, to be read live.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// This instance's producer.
    pub fn producer(&self) -> ProducerTotals {
        let counters = self.producer.counters();
        ProducerTotals {
            messages: counters.messages.load(Relaxed),
            bytes: counters.bytes.load(Relaxed),
            errors: counters.errors.load(Relaxed),
        }
    }

    /// The lag of the groups as last sampled; none where Kafka did not answer.
    pub fn lag(&self) -> &Lag {
        &self.lag
    }

    /// The statistics over all instances. This one's counters are those of now.
    pub async fn report(&self) -> Result<Report, StatsError> {
        let lag_records = self.lag.total().await?;
        let mut rows = self.store.counters().await?;
        let own = self.row();
        rows.retain(|row| row.instance != own.instance);
        rows.insert(0, own);
        let now_ms = self.clock.now_ms();
        let mut totals = Totals::default();
        let mut instances = Vec::with_capacity(rows.len());
        for row in rows {
            let counted = read(&row.counters)?;
            totals.add(&counted);
            if row.instance != PAST {
                instances.push(Instance {
                    name: row.instance,
                    started_at_ms: row.started_at_ms,
                    seen_at_ms: row.seen_at_ms,
                    is_alive: now_ms - row.seen_at_ms <= ALIVE_WITHIN_MS,
                    totals: counted,
                });
            }
        }
        instances.truncate(INSTANCES_MAX);
        Ok(Report { totals, lag_records, instances })
    }

    /// Writes this instance's counters down until stopped, and a last time then.
    pub async fn keep(self, stop: CancellationToken) {
        let sum = |parts: Vec<String>| {
            let mut totals = Totals::default();
            parts.iter().filter_map(|part| read(part).ok()).for_each(|part| totals.add(&part));
            written(&totals)
        };
        if let Err(error) = self.store.fold_counters(self.clock.now_ms(), PAST_AFTER, sum).await {
            tracing::debug!(%error, "the counters of past instances stay as they are");
        }
        let mut ticks = tokio::time::interval(WRITE_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let is_last = tokio::select! {
                () = stop.cancelled() => true,
                _ = ticks.tick() => false,
            };
            if let Err(error) = self.store.put_counters(&self.row()).await {
                tracing::warn!(%error, "the counters were not written down");
            }
            if is_last {
                return;
            }
        }
    }

    fn row(&self) -> InstanceRow {
        let totals = Totals { producer: self.producer(), types: self.counters.snapshot() };
        InstanceRow {
            instance: self.instance.as_ref().to_owned(),
            started_at_ms: self.started_at_ms,
            seen_at_ms: self.clock.now_ms(),
            counters: written(&totals),
        }
    }
}

fn written(totals: &Totals) -> String {
    // Maps of text to numbers always serialise.
    serde_json::to_string(totals).unwrap_or_default()
}

fn read(counters: &str) -> Result<Totals, StoreError> {
    serde_json::from_str(counters).map_err(|_| StoreError::Corrupt { what: "counter" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_add_up_also_when_they_count_different_types() {
        let one = r#"{"producer":{"messages":2,"bytes":10},"types":{"a":{"started":1}}}"#;
        let two = r#"{"producer":{"messages":3,"errors":1},"types":{"a":{"started":4},"b":{"retried":1}}}"#;
        let mut sum = Totals::default();
        for part in [one, two] {
            sum.add(&read(part).unwrap());
        }
        assert_eq!(sum.producer, ProducerTotals { messages: 5, bytes: 10, errors: 1 });
        assert_eq!(sum.types["a"].started, 5);
        assert_eq!(sum.all_types().retried, 1);
        assert_eq!(read(&written(&sum)).unwrap(), sum);
        assert!(read("?").is_err());
    }
}
