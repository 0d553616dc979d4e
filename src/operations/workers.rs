//! What the workers do now, as each of them has written it down a moment ago.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::domain::clock::SharedClock;
use crate::domain::snapshot::{About, GroupSnapshot, PauseCause, PausedType, WorkerSnapshot};
use crate::store::{Page, SnapshotRow, Store, StoreError, WorkerCursor};

/// A worker that has been silent for longer is gone: twice its sign of life.
const ALIVE_WITHIN_MS: i64 = 10_000;
/// How long one that has gone without a word is still listed: what it did last is a trace.
pub(super) const LISTED_FOR: Duration = Duration::from_hours(1);
/// Workers that are asked for one job or one lag: more than run.
const WORKERS_MAX: u16 = 500;
/// How long what was read may serve further questions: many ask about their jobs, and a
/// worker writes half as often as this.
const READ_EVERY: Duration = Duration::from_millis(500);

/// A worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedWorker {
    /// What it said last.
    pub snapshot: WorkerSnapshot,
    /// Whether that was of late.
    pub is_alive: bool,
    /// How long ago it was, milliseconds.
    pub silent_ms: i64,
}

/// What was read, and when.
type Fresh = Option<(Instant, Arc<Vec<WorkerSnapshot>>)>;

/// Tells what the workers do now. Cheap to clone.
#[derive(Clone)]
pub struct Workers {
    store: Store,
    clock: SharedClock,
    /// One reads for all that ask meanwhile.
    fresh: Arc<Mutex<Fresh>>,
}

impl Workers {
    /// The use case, on these parts.
    pub fn new(store: Store, clock: SharedClock) -> Self {
        Self { store, clock, fresh: Arc::default() }
    }

    /// A page of the workers that are there, or were within the hour.
    pub async fn list(
        &self,
        after: Option<&WorkerCursor>,
        limit: u16,
    ) -> Result<Page<ListedWorker, WorkerCursor>, StoreError> {
        let now_ms = self.clock.now_ms();
        let listed_ms = i64::try_from(LISTED_FOR.as_millis()).unwrap_or(i64::MAX);
        let since_ms = now_ms.saturating_sub(listed_ms);
        let page = self.store.snapshots(since_ms, after, limit).await?;
        let items = page.items.into_iter().map(|row| {
            // Its clock may be a little ahead of this one.
            let silent_ms = (now_ms - row.seen_at_ms).max(0);
            let is_alive = silent_ms <= ALIVE_WITHIN_MS;
            Ok(ListedWorker { snapshot: read(row)?, is_alive, silent_ms })
        });
        let items = items.collect::<Result<_, StoreError>>()?;
        Ok(Page { items, next: page.next, total: page.total })
    }

    /// What every worker does that is not gone, as of half a second ago at most beside what it
    /// takes them to say so.
    pub async fn alive(&self) -> Result<Arc<Vec<WorkerSnapshot>>, StoreError> {
        let mut fresh = self.fresh.lock().await;
        if let Some((at, workers)) = &*fresh
            && at.elapsed() < READ_EVERY
        {
            return Ok(Arc::clone(workers));
        }
        let since_ms = self.clock.now_ms() - ALIVE_WITHIN_MS;
        let page = self.store.snapshots(since_ms, None, WORKERS_MAX).await?;
        let workers: Vec<WorkerSnapshot> =
            page.items.into_iter().map(read).collect::<Result<_, StoreError>>()?;
        let workers = Arc::new(workers);
        *fresh = Some((Instant::now(), Arc::clone(&workers)));
        Ok(workers)
    }

    /// The outages that the workers of each group know of: of several that say the same of a
    /// type, the one that has known it for longest.
    pub async fn outages(&self) -> Result<BTreeMap<String, Vec<PausedType>>, StoreError> {
        Ok(outages(&self.alive().await?))
    }
}

fn outages(workers: &[WorkerSnapshot]) -> BTreeMap<String, Vec<PausedType>> {
    let mut by_group: BTreeMap<String, Vec<PausedType>> = BTreeMap::new();
    for (group, snapshot) in workers.iter().flat_map(|worker| &worker.groups) {
        let of_group = by_group.entry(group.clone()).or_default();
        for outage in snapshot.paused.iter().filter(|p| p.cause == PauseCause::Outage) {
            match of_group.iter_mut().find(|known| known.type_name == outage.type_name) {
                None => of_group.push(outage.clone()),
                Some(known) if outage.since_ms < known.since_ms => *known = outage.clone(),
                Some(_) => {}
            }
        }
    }
    by_group
}

/// What stands in a row's JSON.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Written {
    about: About,
    groups: BTreeMap<String, GroupSnapshot>,
}

pub(super) fn written(snapshot: &WorkerSnapshot) -> String {
    let WorkerSnapshot { about, groups, .. } = snapshot;
    let written = Written { about: about.clone(), groups: groups.clone() };
    // Maps of text to texts and numbers always serialise.
    serde_json::to_string(&written).unwrap_or_default()
}

fn read(row: SnapshotRow) -> Result<WorkerSnapshot, StoreError> {
    let Written { about, groups } = serde_json::from_str(&row.snapshot)
        .map_err(|_| StoreError::Corrupt { what: "snapshot of a worker" })?;
    let SnapshotRow { instance, started_at_ms, seen_at_ms, .. } = row;
    Ok(WorkerSnapshot { instance, started_at_ms, seen_at_ms, about, groups })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::ManualClock;
    use crate::store::Database;

    fn worker(instance: &str, seen_at_ms: i64, paused: Vec<PausedType>) -> WorkerSnapshot {
        let group = GroupSnapshot { paused, ..GroupSnapshot::default() };
        let about = About { host: Some("h".to_owned()), ..About::default() };
        WorkerSnapshot {
            instance: instance.to_owned(),
            started_at_ms: 1,
            seen_at_ms,
            about,
            groups: BTreeMap::from([("g".to_owned(), group)]),
        }
    }

    fn row(snapshot: &WorkerSnapshot) -> SnapshotRow {
        SnapshotRow {
            instance: snapshot.instance.clone(),
            started_at_ms: snapshot.started_at_ms,
            seen_at_ms: snapshot.seen_at_ms,
            snapshot: written(snapshot),
        }
    }

    #[tokio::test]
    async fn a_worker_that_is_silent_is_gone_and_later_forgotten() {
        const NOW: i64 = 1_735_689_600_000;
        let dir = tempfile::tempdir().unwrap();
        let store = Database::Sqlite(dir.path().join("t.db")).open().await.unwrap();
        let workers = Workers::new(store.clone(), Arc::new(ManualClock::at_ms(NOW)));
        let ages_ms = [("d", -500), ("c", 10_000), ("b", 10_001), ("a", 3_600_001)];
        for (name, age_ms) in ages_ms {
            store.put_snapshot(&row(&worker(name, NOW - age_ms, Vec::new()))).await.unwrap();
        }
        let page = workers.list(None, 2).await.unwrap();
        let shown = |page: &Page<ListedWorker, WorkerCursor>| -> Vec<(String, bool, i64)> {
            let shown = |w: &ListedWorker| (w.snapshot.instance.clone(), w.is_alive, w.silent_ms);
            page.items.iter().map(shown).collect()
        };
        assert_eq!(shown(&page), [("d".into(), true, 0), ("c".into(), true, 10_000)]);
        assert_eq!(page.total, 3);
        assert_eq!(page.items[1].snapshot, worker("c", NOW - 10_000, Vec::new()));
        let page = workers.list(page.next.as_ref(), 2).await.unwrap();
        assert_eq!(shown(&page), [("b".into(), false, 10_001)]);
        assert_eq!(page.next, None);
        let alive = workers.alive().await.unwrap();
        let alive: Vec<&str> = alive.iter().map(|worker| worker.instance.as_str()).collect();
        assert_eq!(alive, ["d", "c"]);
    }

    #[test]
    fn an_outage_that_several_workers_know_of_is_said_once() {
        let outage = |since_ms| PausedType::by_outage("a", since_ms, "away");
        let operator = PausedType::by_operator("a", 9, "ada", None);
        let workers = [
            worker("1", 0, vec![outage(5)]),
            worker("2", 0, vec![outage(3), operator.clone()]),
            worker("3", 0, vec![operator]),
        ];
        assert_eq!(outages(&workers), BTreeMap::from([("g".to_owned(), vec![outage(3)])]));
    }
}
