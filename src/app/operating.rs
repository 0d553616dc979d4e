//! The parts that operators look through and act with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::catalog::Catalog;
use crate::domain::clock::SharedClock;
use crate::domain::counters::Counters;
use crate::domain::id::IdSource;
use crate::domain::snapshot::WorkerSnapshot;
use crate::kafka::{Admin, Groups, KafkaFault, KafkaSettings, Producer, Reader};
use crate::operations::{
    Audit, DeadLetters, Lag, PauseWatch, Pauses, QuarantineDesk, Quarantines, ReplayParts, Replays,
    Reporter, ResetOffsets, ResetParts, Stats, Statuses, Sweeper, Topics, Waiting, Workers,
};
use crate::store::Store;

/// What they stand on.
pub(super) struct Operating<'a> {
    pub(super) kafka: &'a KafkaSettings,
    pub(super) catalog: &'a Arc<Catalog>,
    pub(super) store: &'a Store,
    pub(super) reader: &'a Reader,
    pub(super) producer: &'a Producer,
    pub(super) ids: &'a Arc<IdSource>,
    pub(super) clock: &'a SharedClock,
    /// The names of the handlers that workers of this build have.
    pub(super) handlers: BTreeSet<String>,
    /// Those that are no type's own, with the types whose records each runs.
    pub(super) named_handlers: BTreeMap<String, BTreeSet<String>>,
    /// Where they run, with the other parts that the gateway and the workers stand on.
    pub(super) tasks: &'a TaskTracker,
    pub(super) stop: &'a CancellationToken,
    /// Tells that the process is about to stop: who waits is answered.
    pub(super) stopping: &'a CancellationToken,
    /// Whether this process samples the lag.
    pub(super) watches_lag: bool,
    /// Knows which types are paused.
    pub(super) pauses: &'a PauseWatch,
    /// Knows which keys are quarantined.
    pub(super) quarantines: &'a Quarantines,
    /// How long keys of requests are known.
    pub(super) keys_kept: Duration,
    /// Says what this process does now, if it runs jobs.
    pub(super) snapshots: Option<SnapshotSource>,
}

/// Says what this process does now.
pub(super) type SnapshotSource = Box<dyn Fn() -> WorkerSnapshot + Send + Sync>;

/// What became of them.
pub(super) struct Operated {
    pub(super) audit: Audit,
    pub(super) dead_letters: DeadLetters,
    pub(super) statuses: Statuses,
    pub(super) waiting: Waiting,
    pub(super) stats: Stats,
    pub(super) topics: Topics,
    pub(super) reset_offsets: ResetOffsets,
    pub(super) replays: Replays,
    pub(super) workers: Workers,
    pub(super) pauses: Pauses,
    pub(super) quarantines: QuarantineDesk,
}

impl Operating<'_> {
    /// Builds them, and starts what samples the lag, keeps the counters, reports what runs,
    /// looks for pauses and sweeps old rows.
    #[expect(clippy::too_many_lines, reason = "one part after the other, each on those above it")]
    pub(super) fn start(
        self,
        counters: &Arc<Counters>,
        instance: &str,
    ) -> Result<Operated, KafkaFault> {
        let audit = Audit::new(self.store.clone(), Arc::clone(self.ids), Arc::clone(self.clock));
        let dead_letters = DeadLetters::new(
            Arc::clone(self.catalog),
            self.store.clone(),
            self.reader.clone(),
            Arc::clone(self.clock),
            audit.clone(),
        );
        let groups = Groups::new(self.kafka.clone(), &self.catalog.groups());
        let workers = Workers::new(self.store.clone(), Arc::clone(self.clock));
        let statuses = Statuses::new(
            Arc::clone(self.catalog),
            self.store.clone(),
            self.reader.clone(),
            groups.clone(),
            dead_letters.clone(),
            workers.clone(),
            Arc::clone(self.clock),
            self.kafka.gives_up_after(),
        );
        let waiting = Waiting::new(
            statuses.clone(),
            self.store.clone(),
            groups.clone(),
            self.tasks.clone(),
            self.stopping.clone(),
        );
        let lag = Lag::new(
            Arc::clone(self.catalog),
            self.reader.clone(),
            groups.clone(),
            Arc::clone(self.clock),
        );
        if self.watches_lag {
            self.tasks.spawn(lag.clone().watch(self.stop.clone()));
        }
        let stats = Stats::new(
            Arc::clone(counters),
            self.producer.clone(),
            lag,
            self.store.clone(),
            Arc::clone(self.clock),
            instance,
        );
        self.tasks.spawn(stats.clone().keep(self.stop.clone()));
        self.tasks.spawn(self.pauses.clone().run(self.stop.clone()));
        if let Some(source) = self.snapshots {
            self.tasks.spawn(self.quarantines.clone().run(self.stop.clone()));
            self.tasks.spawn(Reporter::new(self.store.clone(), source).run(self.stop.clone()));
        }
        let pauses = Pauses::new(
            self.store.clone(),
            self.pauses.clone(),
            workers.clone(),
            audit.clone(),
            Arc::clone(self.clock),
        );
        let quarantines =
            QuarantineDesk::new(self.store.clone(), audit.clone(), Arc::clone(self.clock));
        let letters_kept = self.catalog.dead_letters().retention;
        let clock = Arc::clone(self.clock);
        let sweeper =
            Sweeper::new(self.store.clone(), clock, instance, letters_kept, self.keys_kept);
        self.tasks.spawn(sweeper.run(self.stop.clone()));
        let topics = Topics::new(
            Arc::clone(self.catalog),
            Arc::new(Admin::new(self.kafka)?),
            self.reader.clone(),
            audit.clone(),
            self.tasks.clone(),
        );
        let reset_offsets = ResetOffsets::new(ResetParts {
            catalog: Arc::clone(self.catalog),
            store: self.store.clone(),
            reader: self.reader.clone(),
            groups: groups.clone(),
            audit: audit.clone(),
            ids: Arc::clone(self.ids),
            clock: Arc::clone(self.clock),
            tracker: self.tasks.clone(),
        });
        let replays = Replays::new(ReplayParts {
            catalog: Arc::clone(self.catalog),
            handlers: self.handlers.clone(),
            named_handlers: self.named_handlers.clone(),
            store: self.store.clone(),
            reader: self.reader.clone(),
            groups,
            audit: audit.clone(),
            ids: Arc::clone(self.ids),
            clock: Arc::clone(self.clock),
            tracker: self.tasks.clone(),
        });
        Ok(Operated {
            audit,
            dead_letters,
            statuses,
            waiting,
            stats,
            topics,
            reset_offsets,
            replays,
            workers,
            pauses,
            quarantines,
        })
    }
}
