//! What a process is made of: builds each part from the settings and the parts below it.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::operating::{Operated, Operating, SnapshotSource};
use super::settings::Settings;
use super::stop::Stop;
use super::{Types, job_limits, pushing, quarantined};
use crate::auth::Verifier;
use crate::domain::catalog::Catalog;
use crate::domain::clock::{SharedClock, SystemClock};
use crate::domain::counters::Counters;
use crate::domain::id::IdSource;
use crate::domain::snapshot::{About, Board, WorkerSnapshot};
use crate::gateway::{Metrics, Readiness, Services, Streams, UseCases};
use crate::kafka::{Groups, KafkaSettings, Producer, Reader};
use crate::mail::{MailSettings, MailTransport, Mailer};
use crate::operations::{
    AttemptLog, Enqueue, Idempotency, Indexer, PauseWatch, Quarantines, ReplayDesk, ReplayLetter,
    Schedule, Sender, Undertaker,
};
use crate::outbound::{Client, ClientSettings, Dns, Guard, Reach};
use crate::store::Store;
use crate::waitlist::{self, Site};
use crate::worker::{Handlers, Pool, PoolSettings, ReplayRunner, RunningLimit, Slots, WorkerParts};

/// What every role needs.
pub(super) struct Parts {
    pub(super) catalog: Arc<Catalog>,
    pub(super) clock: SharedClock,
    pub(super) ids: Arc<IdSource>,
    pub(super) kafka: KafkaSettings,
    pub(super) mailer: Arc<Mailer>,
    /// Where mails lead to.
    site: Site,
    /// Sends to the URLs of customers.
    webhook_client: Client,
    mail_dns: Option<Dns>,
    pub(super) producer: Producer,
    pub(super) reader: Reader,
    pub(super) store: Store,
    /// Puts jobs and retries off.
    schedule: Schedule,
    /// What this process counts.
    counters: Arc<Counters>,
    /// Where the groups of this process put what they do now.
    board: Board,
    /// Which types are paused.
    pauses: PauseWatch,
    /// Which keys are quarantined.
    quarantines: Quarantines,
    /// Names this process among all.
    instance: String,
    /// The places for jobs.
    slots: Slots,
    /// Types that have bounds of their own.
    limits: Arc<HashMap<String, RunningLimit>>,
    started_at_ms: i64,
    /// The `producer` header of what this process asks for itself.
    producer_name: Arc<str>,
    /// What pushes jobs to services of one's own.
    pushed: Handlers,
    /// What checks tokens, if there is a key to check them with.
    pub(super) verifier: Option<Arc<Verifier>>,
}

impl Parts {
    /// Opens the database and the clients of Kafka.
    pub(super) async fn open(
        settings: &Settings,
        types: Types,
        kafka: KafkaSettings,
    ) -> anyhow::Result<Self> {
        let clock: SharedClock = Arc::new(SystemClock);
        let pushed = pushing::handlers(settings, &types, &clock)?;
        let Types { catalog, .. } = types;
        let limits = Arc::new(job_limits::read(&settings.job_limits, &catalog)?);
        let quarantine = quarantined::read(&settings.quarantine, &catalog)?;
        let mailer = Arc::new(mailer(settings)?);
        let webhook_client = webhook_client(settings)?;
        let verifier =
            settings.tokens.verifier(Arc::clone(&clock), settings.dns_server)?.map(Arc::new);
        let database = settings.database()?;
        let store = database.open().await.with_context(|| format!("the database {database}"))?;
        let pauses = PauseWatch::open(store.clone()).await.context("the pauses of types")?;
        let producer = Producer::new(kafka.clone(), Arc::clone(&clock))?;
        let reader = Reader::new(kafka.clone())?;
        let ids = Arc::new(IdSource::new());
        let quarantines = Quarantines::open(
            store.clone(),
            Arc::clone(&catalog),
            quarantine,
            Arc::clone(&ids),
            Arc::clone(&clock),
        );
        let quarantines = quarantines.await.context("the quarantines of keys")?;
        let schedule = Schedule::new(
            Arc::clone(&catalog),
            store.clone(),
            Arc::clone(&ids),
            Arc::clone(&clock),
            &settings.producer,
        );
        let counters = Arc::new(Counters::new(catalog.iter().map(|t| t.name.as_str())));
        let started_at_ms = clock.now_ms();
        let instance = format!("{}-{}", std::process::id(), ids.next(started_at_ms));
        Ok(Self {
            catalog,
            clock,
            ids,
            kafka,
            mailer,
            site: settings.site_url.clone(),
            webhook_client,
            mail_dns: settings.fraud_mx.then(|| Dns::new(settings.dns_server)),
            producer,
            reader,
            store,
            schedule,
            counters,
            board: Board::default(),
            pauses,
            quarantines,
            instance,
            slots: Slots::new(settings.concurrency.into()),
            limits,
            started_at_ms,
            producer_name: settings.producer.as_str().into(),
            pushed,
            verifier,
        })
    }

    /// Follows the dead letters into the database, if this instance has the lease.
    pub(super) fn indexer(&self) -> Indexer {
        Indexer::new(
            Arc::clone(&self.catalog),
            self.store.clone(),
            self.reader.clone(),
            Arc::clone(&self.clock),
            self.instance.clone(),
        )
    }

    /// Sends what is due, with those of the other instances.
    pub(super) fn sender(&self) -> Sender {
        let (store, producer) = (self.store.clone(), self.producer.clone());
        let (clock, counters) = (Arc::clone(&self.clock), Arc::clone(&self.counters));
        Sender::new(store, producer, clock, counters, &self.instance)
    }

    /// Runs the jobs.
    pub(super) fn pool(&self, settings: &Settings) -> Pool {
        Pool {
            parts: self.worker_parts(),
            counters: Arc::clone(&self.counters),
            groups: settings.groups.clone(),
            instance: settings.consumer_instance.clone(),
        }
    }

    /// Runs the replays.
    pub(super) fn replay_runner(
        &self,
        settings: &Settings,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> ReplayRunner {
        let groups = Groups::new(self.kafka.clone(), &[]);
        let clock = Arc::clone(&self.clock);
        let desk = ReplayDesk::new(self.store.clone(), groups, clock, &self.instance);
        let (tracker, stop) = (tracker.clone(), stop.clone());
        let named = waitlist::replay_handlers(&self.waitlist_parts());
        ReplayRunner::new(self.worker_parts(), named, desk, &settings.groups, tracker, stop)
    }

    fn worker_parts(&self) -> WorkerParts {
        let dlq_topic = &self.catalog.dead_letters().name;
        WorkerParts {
            kafka: self.kafka.clone(),
            catalog: Arc::clone(&self.catalog),
            handlers: Arc::new(self.handlers()),
            undertaker: Undertaker::new(
                self.producer.clone(),
                self.store.clone(),
                Arc::clone(&self.clock),
                dlq_topic,
            ),
            schedule: self.schedule.clone(),
            quarantines: self.quarantines.clone(),
            attempts: AttemptLog::new(self.store.clone(), Arc::clone(&self.clock)),
            slots: self.slots.clone(),
            board: self.board.clone(),
            paused: self.pauses.paused(),
            limits: Arc::clone(&self.limits),
            clock: Arc::clone(&self.clock),
            settings: PoolSettings::DEFAULT,
        }
    }

    fn handlers(&self) -> Handlers {
        let mut handlers = waitlist::handlers(&self.waitlist_parts());
        // A service of one's own takes the place of a built-in handler.
        let pushed = self.pushed.iter().map(|(name, push)| (name.clone(), Arc::clone(push)));
        handlers.extend(pushed);
        handlers
    }

    fn waitlist_parts(&self) -> waitlist::Parts {
        waitlist::Parts {
            catalog: Arc::clone(&self.catalog),
            store: self.store.clone(),
            mailer: Arc::clone(&self.mailer),
            site: self.site.clone(),
            webhook_client: self.webhook_client.clone(),
            mail_dns: self.mail_dns.clone(),
            clock: Arc::clone(&self.clock),
            producer_name: Arc::clone(&self.producer_name),
        }
    }

    /// What operators look through and act with, and what samples for them; each process keeps
    /// its counters, and those that serve the API watch the lag.
    pub(super) fn operating(
        &self,
        settings: &Settings,
        tracker: &TaskTracker,
        stop: &CancellationToken,
        stopping: &Stop,
    ) -> anyhow::Result<Operated> {
        let operating = Operating {
            kafka: &self.kafka,
            catalog: &self.catalog,
            store: &self.store,
            reader: &self.reader,
            producer: &self.producer,
            ids: &self.ids,
            clock: &self.clock,
            handlers: self.handlers().into_keys().collect(),
            named_handlers: waitlist::replay_handlers(&self.waitlist_parts())
                .into_iter()
                .map(|handler| (handler.name, handler.types))
                .collect(),
            tasks: tracker,
            stop,
            stopping: stopping.token(),
            watches_lag: settings.role.serves_api(),
            pauses: &self.pauses,
            quarantines: &self.quarantines,
            keys_kept: settings.idempotency_keys_kept,
            snapshots: settings.role.runs_jobs().then(|| self.snapshots(settings)),
        };
        Ok(operating.start(&self.counters, &self.instance)?)
    }

    /// What this worker says of itself: what its groups have put on the board.
    fn snapshots(&self, settings: &Settings) -> SnapshotSource {
        let about = About {
            consumer_instance: settings.consumer_instance.clone(),
            host: host(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let (board, clock) = (self.board.clone(), Arc::clone(&self.clock));
        let (instance, started_at_ms) = (self.instance.clone(), self.started_at_ms);
        Box::new(move || WorkerSnapshot {
            instance: instance.clone(),
            started_at_ms,
            seen_at_ms: clock.now_ms(),
            about: about.clone(),
            groups: board.groups(),
        })
    }

    /// What the endpoints call; work that outlives its request runs on the tracker.
    pub(super) fn services(
        &self,
        settings: &Settings,
        operated: Operated,
        (tracker, base_stop): (&TaskTracker, &CancellationToken),
        stop: &Stop,
        streams: Streams,
    ) -> Services {
        let enqueue = Enqueue::new(
            self.producer.clone(),
            Arc::clone(&self.ids),
            Arc::clone(&self.clock),
            &settings.producer,
            Arc::clone(&self.counters),
        );
        let idempotency = Idempotency::start(
            self.store.clone(),
            Arc::clone(&self.ids),
            Arc::clone(&self.clock),
            settings.idempotency_keys_kept,
            tracker,
            base_stop,
        );
        let (producer, stop) = (self.producer.clone(), stop.clone());
        let verifier = self.verifier.clone();
        let knows_callers = move || verifier.as_ref().is_none_or(|verifier| verifier.is_ready());
        Services::new(UseCases {
            catalog: Arc::clone(&self.catalog),
            enqueue,
            idempotency,
            schedule: self.schedule.clone(),
            replay_letter: ReplayLetter::new(
                operated.dead_letters.clone(),
                self.producer.clone(),
                Arc::clone(&self.ids),
                tracker.clone(),
            ),
            dead_letters: operated.dead_letters,
            statuses: operated.statuses,
            waiting: operated.waiting,
            lag: operated.stats.lag().clone(),
            stats: operated.stats,
            topics: operated.topics,
            reset_offsets: operated.reset_offsets,
            replays: operated.replays,
            audit: operated.audit,
            workers: operated.workers,
            pauses: operated.pauses,
            quarantines: operated.quarantines,
            streams,
            readiness: Readiness::new(move || {
                !stop.has_begun() && producer.is_ready() && knows_callers()
            }),
        })
    }

    /// What a worker shows of itself.
    pub(super) fn metrics(&self, operated: Operated) -> Metrics {
        Metrics { catalog: Arc::clone(&self.catalog), stats: operated.stats }
    }

    /// Starts what watches over Kafka.
    pub(super) async fn watch_kafka(&self, tracker: &TaskTracker, stop: &CancellationToken) {
        self.producer.probe().await;
        tracker.spawn(self.producer.clone().watch(stop.clone()));
    }
}

/// The name of this machine or container, where the system tells.
fn host() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// Sends to what customers have named, where the guard lets it.
fn webhook_client(settings: &Settings) -> anyhow::Result<Client> {
    let allowed = settings.webhook_allow_nets.iter().copied();
    let reach = Reach::Guarded(Guard::new(allowed));
    let agent = concat!("jobgate/", env!("CARGO_PKG_VERSION")).to_owned();
    let dns = Dns::new(settings.dns_server);
    Client::new(ClientSettings { reach, dns, agent }).context("webhooks")
}

/// Where mails go, by the settings.
pub(super) fn mailer(settings: &Settings) -> anyhow::Result<Mailer> {
    let transport = match settings.smtp_url()? {
        Some(url) => MailTransport::Smtp(url),
        None => MailTransport::Outbox(settings.data_dir.join("outbox")),
    };
    Mailer::new(MailSettings {
        transport,
        from: settings.mail_from.clone(),
        host: settings.mail_host.clone(),
        template_dir: settings.mail_templates.clone(),
    })
    .context("mail")
}
