//! Pausing a type: an operator writes it down, and each worker learns of it within two seconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use super::audit::{Audit, Deed};
use super::workers::Workers;
use crate::domain::actor::Actor;
use crate::domain::catalog::{Catalog, RecordType};
use crate::domain::clock::SharedClock;
use crate::domain::pause::TypePause;
use crate::domain::snapshot::PausedType;
use crate::store::{Store, StoreError};

/// How often each process looks: a worker starts jobs of a paused type for so long at most, and
/// what a statement takes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The pauses, by type.
type ByType = Arc<BTreeMap<String, TypePause>>;

/// Which types are paused, as last read. Cheap to clone, and to ask for every job.
#[derive(Debug, Clone)]
pub struct PausedTypes(watch::Receiver<ByType>);

impl PausedTypes {
    /// Whether nothing of this type may start now.
    pub fn is_paused(&self, type_name: &str) -> bool {
        self.0.borrow().contains_key(type_name)
    }

    /// The pause of this type.
    pub fn of(&self, type_name: &str) -> Option<TypePause> {
        self.0.borrow().get(type_name).cloned()
    }

    /// Resolves when a type was paused or resumed since this was last called on this value; what
    /// [`PausedTypes::is_paused`] says then is new. Never, once nobody looks any more.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Keeps [`PausedTypes`] fresh. Cheap to clone.
#[derive(Clone)]
pub struct PauseWatch {
    store: Store,
    known: Arc<watch::Sender<ByType>>,
    /// One reads at a time: what was read before must not be told after what was read later.
    turn: Arc<Mutex<()>>,
}

impl PauseWatch {
    /// Reads the pauses for the first time: no job may start before they are known.
    pub async fn open(store: Store) -> Result<Self, StoreError> {
        let (known, _) = watch::channel(ByType::default());
        let opened = Self { store, known: Arc::new(known), turn: Arc::default() };
        opened.look().await?;
        Ok(opened)
    }

    /// Which types are paused.
    pub fn paused(&self) -> PausedTypes {
        PausedTypes(self.known.subscribe())
    }

    /// Reads them once a second until stopped. While the database is away, the last known stay.
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
                tracing::debug!(%error, "the pauses of types stay as they are known");
            }
        }
    }

    async fn look(&self) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let rows = self.store.type_pauses().await?;
        let now: BTreeMap<String, TypePause> =
            rows.into_iter().map(|pause| (pause.type_name.clone(), pause)).collect();
        self.known.send_if_modified(|known| {
            let is_news = **known != now;
            if is_news {
                for name in now.keys().filter(|name| !known.contains_key(*name)) {
                    tracing::info!(job.r#type = name, "paused by an operator");
                }
                for name in known.keys().filter(|name| !now.contains_key(*name)) {
                    tracing::info!(job.r#type = name, "resumed by an operator");
                }
                *known = Arc::new(now);
            }
            is_news
        });
        Ok(())
    }
}

/// Pauses and resumes types. Cheap to clone.
#[derive(Clone)]
pub struct Pauses {
    store: Store,
    watch: PauseWatch,
    workers: Workers,
    audit: Audit,
    clock: SharedClock,
}

impl Pauses {
    /// The use case, on these parts.
    pub fn new(
        store: Store,
        watch: PauseWatch,
        workers: Workers,
        audit: Audit,
        clock: SharedClock,
    ) -> Self {
        Self { store, watch, workers, audit, clock }
    }

    /// The pause of a type, as last read.
    pub fn of(&self, type_name: &str) -> Option<TypePause> {
        self.watch.known.borrow().get(type_name).cloned()
    }

    /// The types of which nothing starts now, by group: those that an operator has paused, and
    /// those that the workers know to be in an outage.
    pub async fn by_group(
        &self,
        catalog: &Catalog,
    ) -> Result<BTreeMap<String, Vec<PausedType>>, StoreError> {
        let mut by_group = self.workers.outages().await?;
        // Known here whether or not a worker runs the group.
        for record_type in catalog.iter() {
            if let Some(pause) = self.of(&record_type.name) {
                by_group.entry(record_type.group.clone()).or_default().push(pause.shown());
            }
        }
        Ok(by_group)
    }

    /// Pauses a type. One that is paused stays as it is. Returns the pause that stands; none
    /// where somebody has resumed it meanwhile.
    pub async fn pause(
        &self,
        actor: &Actor,
        record_type: &RecordType,
        reason: Option<&str>,
    ) -> Result<Option<TypePause>, StoreError> {
        let type_name = &record_type.name;
        let pause = TypePause {
            type_name: type_name.clone(),
            paused_at_ms: self.clock.now_ms(),
            paused_by: actor.name().to_owned(),
            reason: reason.map(str::to_owned),
        };
        let work = async {
            self.store.pause_type(&pause).await?;
            self.standing(type_name).await
        };
        self.audit.around(actor, deed("pause_type", type_name, reason), work).await
    }

    /// Resumes a type. One that is not paused stays so. Returns the pause that stands: none,
    /// unless somebody has paused it meanwhile.
    pub async fn resume(
        &self,
        actor: &Actor,
        record_type: &RecordType,
        reason: Option<&str>,
    ) -> Result<Option<TypePause>, StoreError> {
        let type_name = &record_type.name;
        let work = async {
            self.store.resume_type(type_name).await?;
            self.standing(type_name).await
        };
        self.audit.around(actor, deed("resume_type", type_name, reason), work).await
    }

    /// Read anew, so that this process knows it at once.
    async fn standing(&self, type_name: &str) -> Result<Option<TypePause>, StoreError> {
        self.watch.look().await?;
        Ok(self.of(type_name))
    }
}

fn deed(action: &'static str, type_name: &str, reason: Option<&str>) -> Deed {
    let deed = Deed::new(action, type_name);
    match reason {
        Some(reason) => deed.because(reason),
        None => deed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Database;

    fn pause(name: &str) -> TypePause {
        TypePause {
            type_name: name.to_owned(),
            paused_at_ms: 1,
            paused_by: "ada".to_owned(),
            reason: None,
        }
    }

    async fn store(dir: &tempfile::TempDir) -> Store {
        Database::Sqlite(dir.path().join("t.db")).open().await.unwrap()
    }

    #[tokio::test]
    async fn a_pause_that_stands_is_known_from_the_start_and_a_change_is_heard_of() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir).await;
        store.pause_type(&pause("a")).await.unwrap();
        let watch = PauseWatch::open(store.clone()).await.unwrap();
        let mut paused = watch.paused();
        assert!(paused.is_paused("a") && !paused.is_paused("b"));

        let stop = CancellationToken::new();
        let tasks = tokio_util::task::TaskTracker::new();
        tasks.spawn(watch.run(stop.clone()));
        store.pause_type(&pause("b")).await.unwrap();
        paused.changed().await;
        assert!(paused.is_paused("b"));
        store.resume_type("a").await.unwrap();
        paused.changed().await;
        assert_eq!((paused.of("a"), paused.of("b")), (None, Some(pause("b"))));
        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn what_was_known_stays_while_the_database_is_away() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir).await;
        store.pause_type(&pause("a")).await.unwrap();
        let watch = PauseWatch::open(store.clone()).await.unwrap();
        let paused = watch.paused();
        store.close().await;
        assert!(watch.look().await.is_err());
        assert!(paused.is_paused("a"));
        assert!(PauseWatch::open(store).await.is_err(), "no job starts before they are known");
    }
}
