//! The quarantine of keys, as workers see it: which keys are quarantined, parking their jobs, and
//! what a job owes when it ends. What operators see and do stands in [`desk`].

mod desk;
mod known;

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::insist::insist_until;
use crate::domain::catalog::{Catalog, RecordType};
use crate::domain::clock::SharedClock;
use crate::domain::id::IdSource;
use crate::domain::quarantine::{Job, Numbered, Passage};
use crate::domain::receipt::Place;
use crate::domain::record::{Record, header};
use crate::store::{Changed, HeldBy, ParkEnd, ParkedBy, Store, StoreError};
pub use desk::{QuarantineDesk, QuarantineError};
use known::Known;

/// How often each worker looks for what others have changed. Its own changes it knows at once, and
/// those of the worker before it when it gets a partition; so this is how long a job that may run
/// again waits at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Rows that are read at once.
const PAGE: u16 = 5_000;

/// The quarantines, for those who run jobs. Cheap to clone.
#[derive(Clone)]
pub struct Quarantines {
    store: Store,
    clock: SharedClock,
    ids: Arc<IdSource>,
    catalog: Arc<Catalog>,
    /// The topics of the types that ask for it.
    asking: Arc<HashSet<String>>,
    known: Arc<RwLock<Known>>,
    /// One reads, or changes, at a time: what was read before must not be told after what was
    /// changed later.
    turn: Arc<Mutex<()>>,
}

impl Quarantines {
    /// Reads them for the first time: no job may start before they are known. A dead letter
    /// quarantines its key where its type says so, and for the types that are named here.
    pub async fn open(
        store: Store,
        catalog: Arc<Catalog>,
        named: HashSet<String>,
        ids: Arc<IdSource>,
        clock: SharedClock,
    ) -> Result<Self, StoreError> {
        let asks = |found: &&Arc<RecordType>| found.retry.quarantine || named.contains(&found.name);
        let asking = catalog.iter().filter(asks).map(|found| found.topic.name.clone()).collect();
        let opened = Self {
            store,
            clock,
            ids,
            asking: Arc::new(asking),
            catalog,
            known: Arc::default(),
            turn: Arc::default(),
        };
        opened.look().await?;
        Ok(opened)
    }

    /// Whether a dead letter of this topic quarantines its key.
    pub fn is_asked_for(&self, topic: &str) -> bool {
        self.asking.contains(topic)
    }

    /// When what is known was last read anew: everything that was committed before is known.
    pub fn read_at(&self) -> Option<Instant> {
        self.with_known(|known| known.read_at)
    }

    /// Looks once a second until stopped. While the database is away, what is known stays.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let looked = async {
                ticks.tick().await;
                self.look().await
            };
            let looked = tokio::select! {
                () = stop.cancelled() => return,
                looked = looked => looked,
            };
            if let Err(error) = looked {
                tracing::debug!(%error, "the quarantines stay as they are known");
            }
        }
    }

    /// Reads what has changed.
    pub async fn look(&self) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let begun = Instant::now();
        // First: what changes meanwhile makes the next look read everything once more.
        let changes = self.store.quarantine_changes().await?;
        let is_same = self.change_known(|known| {
            let is_same = known.changes == Some(changes);
            if is_same {
                known.read_at = Some(begun);
            }
            is_same
        });
        if is_same {
            return Ok(());
        }
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.quarantines(after, PAGE).await?;
            rows.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let fresh = Known::new(rows, changes, begun);
        self.change_known(|known| *known = fresh);
        Ok(())
    }

    /// Whether a job may run, or is to be parked.
    pub fn passage(&self, group: &str, record: &Record) -> Passage {
        let passage = self.with_known(|known| {
            let key = record.key.as_deref()?;
            let quarantine = known.of(group, &record.place.topic, key)?;
            Some(quarantine.passage(Job::of(record)))
        });
        passage.unwrap_or(Passage::Runs)
    }

    /// Parks a job. Once this has said so, its offset may be committed.
    pub async fn park(&self, group: &str, record: &Record) -> Result<ParkEnd, StoreError> {
        let Some(key) = record.key.as_deref() else { return Ok(ParkEnd::Runs) };
        let of_topic = self.catalog.by_topic(&record.place.topic);
        let type_name = of_topic.map_or("", |found| found.name.as_str());
        let by = ParkedBy { group, type_name, record, key };
        let end = self.store.park(by, self.clock.now_ms()).await?;
        if end == ParkEnd::Runs {
            // It was released or lifted a moment ago, which the next look would tell.
            self.look().await?;
        }
        Ok(end)
    }

    /// A job has become this dead letter, which holds its key from now on, if its type asks for
    /// that. Returns false if the stop came first: then its offset must stay open.
    pub async fn buried(
        &self,
        group: &str,
        record: &Record,
        letter: &Place,
        stop: &CancellationToken,
    ) -> bool {
        let key = record.key.as_deref().filter(|_| self.is_asked_for(&record.place.topic));
        let Some(key) = key else {
            // The type asked for it once: what it has left goes on.
            return self.succeeded(group, record, stop).await;
        };
        let id = self.ids.next(self.clock.now_ms());
        let hold = async || {
            let _turn = self.turn.lock().await;
            let by = HeldBy { id, group, record, key, letter };
            let changed = self.store.hold(by, self.clock.now_ms()).await?;
            self.heard(&changed);
            Ok(changed)
        };
        let changed = insist_until(stop, hold, |error| log_wait(record, error)).await;
        for Changed { row, .. } in changed.iter().flatten().filter(|it| !it.is_lifted) {
            tracing::warn!(
                job.id = %row.machine.message_id,
                topic = row.topic,
                group,
                parked = row.machine.parked(),
                "its key is quarantined until somebody has decided about the dead letter"
            );
        }
        changed.is_some()
    }

    /// Whether the end of this job may be the end of a quarantine, or of a part of it.
    pub fn is_owed(&self, group: &str, record: &Record) -> bool {
        self.with_known(|known| {
            let Some(of_group) = known.of_group(group) else { return false };
            let key = record.key.as_deref();
            let of_key = key.and_then(|key| of_group.of(&record.place.topic, key));
            let is_its = |id| of_key.is_some_and(|quarantine| quarantine.id == id);
            let is_cause = of_key.is_some_and(|it| it.message_id == record.message_id());
            let is_released = Numbered::of(record).is_some_and(|it| is_its(it.quarantine));
            // The replay of a letter may have another key than its job had.
            is_cause || is_released || record.headers.text(header::REPLAY_ID).is_some()
        })
    }

    /// A job has come to its end, and what it owes to its key is paid: what it was the cause of is
    /// released, and a released one is the last or not. Returns false if the stop came first: then
    /// its offset must stay open.
    pub async fn succeeded(&self, group: &str, record: &Record, stop: &CancellationToken) -> bool {
        if !self.is_owed(group, record) {
            return true;
        }
        let message_id = record.message_id();
        let pay = async || {
            let _turn = self.turn.lock().await;
            if let Some(numbered) = Numbered::of(record) {
                let changed = self.store.released_ended(numbered).await?;
                self.heard(changed.as_slice());
            }
            let now_ms = self.clock.now_ms();
            let changed = self.store.release_message(group, message_id, now_ms).await?;
            self.heard(&changed);
            Ok(())
        };
        insist_until(stop, pay, |error| log_wait(record, error)).await.is_some()
    }

    fn heard(&self, changed: &[Changed]) {
        for Changed { row, .. } in changed.iter().filter(|changed| changed.is_lifted) {
            let (topic, group) = (&row.topic, &row.group);
            tracing::info!(quarantine = %row.machine.id, topic, group, "a key is free again");
        }
        self.change_known(|known| changed.iter().for_each(|changed| known.heard(changed)));
    }

    fn with_known<T>(&self, ask: impl FnOnce(&Known) -> T) -> T {
        ask(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change_known<T>(&self, act: impl FnOnce(&mut Known) -> T) -> T {
        act(&mut self.known.write().unwrap_or_else(PoisonError::into_inner))
    }
}

fn log_wait(record: &Record, error: &StoreError) {
    tracing::warn!(
        job.id = %record.message_id(),
        %error,
        "a key waits for the database, which keeps its quarantine"
    );
}
