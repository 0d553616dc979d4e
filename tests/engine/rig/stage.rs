//! Kafka, the database and the jobs of one test.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use jobgate::broker::{BrokerSettings, LocalKafka, NodeCount};
use jobgate::domain::catalog::Catalog;
use jobgate::domain::clock::{SharedClock, SystemClock};
use jobgate::domain::counters::Counters;
use jobgate::domain::dispatch::PartitionId;
use jobgate::domain::id::IdSource;
use jobgate::domain::receipt::Receipt;
use jobgate::kafka::{Admin, Groups, KafkaSettings, Producer};
use jobgate::operations::{Enqueue, EnqueueError, Marks};
use jobgate::store::Database;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::plan::{KindPlan, Plan, Task, catalog};
use super::worker::Worker;

/// Keys whose jobs are sent at the same time.
const KEYS_AT_ONCE: usize = 64;
/// Connections of one process for its effects. PostgreSQL allows 100 for all.
const CONNECTIONS_MAX: u32 = 8;
/// Ends of a kept worker, beyond which there is no hope.
const ENDS_MAX: usize = 12;
/// How long a connection is waited for; a job then says that the database is away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// The tables of the effects, and a record of everything that is ever noted of attempts.
const TABLES: &str = "
    CREATE TABLE effect_claims (
        scope TEXT NOT NULL, message_id TEXT NOT NULL, PRIMARY KEY (scope, message_id)
    );
    CREATE TABLE effects (
        seq BIGSERIAL PRIMARY KEY, message_id TEXT NOT NULL, kind TEXT NOT NULL,
        key TEXT NOT NULL, number BIGINT NOT NULL
    );
    CREATE TABLE executions (
        id BIGSERIAL PRIMARY KEY, message_id TEXT NOT NULL, kind TEXT NOT NULL,
        campaign TEXT NOT NULL, key TEXT NOT NULL, number BIGINT NOT NULL,
        attempt BIGINT NOT NULL, instance TEXT NOT NULL, started_ms BIGINT NOT NULL,
        ended_ms BIGINT, outcome TEXT
    );
    CREATE TABLE attempts_noted (
        id BIGSERIAL PRIMARY KEY, message_id TEXT NOT NULL, attempts BIGINT NOT NULL,
        is_open BIGINT NOT NULL
    );
    CREATE FUNCTION keep_note() RETURNS trigger AS $$
        BEGIN
            INSERT INTO attempts_noted (message_id, attempts, is_open)
            VALUES (NEW.message_id, NEW.attempts, NEW.is_open);
            RETURN NEW;
        END
    $$ LANGUAGE plpgsql;
    CREATE TRIGGER keep_note AFTER INSERT OR UPDATE ON attempts
        FOR EACH ROW EXECUTE FUNCTION keep_note();
";

/// A job that was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) id: Uuid,
    pub(crate) task: Task,
    pub(crate) receipt: Receipt,
}

/// The parts of one test.
pub(crate) struct Stage {
    pub(crate) kafka: Mutex<LocalKafka>,
    pub(crate) plan: Plan,
    pub(crate) pool: PgPool,
    pub(crate) catalog: Arc<Catalog>,
    enqueue: Enqueue,
    groups: Groups,
    workers: AtomicU32,
    folder: tempfile::TempDir,
}

impl Stage {
    /// One node of Kafka and a database of its own, with these types.
    pub(crate) async fn new(kinds: Vec<KindPlan>) -> Self {
        let url = tokio::task::spawn_blocking(crate::postgres::fresh_database);
        Self::on(NodeCount::One, url.await.expect("a database"), kinds).await
    }

    /// So many nodes of Kafka, on this database.
    pub(crate) async fn on(nodes: NodeCount, database: String, kinds: Vec<KindPlan>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings =
            BrokerSettings { nodes, heap_mib: 256, ..BrokerSettings::new(folder.path()) };
        let kafka = LocalKafka::start(settings, |_| {}).await.expect("Kafka starts");
        let plan = Plan {
            brokers: kafka.bootstrap_servers().to_owned(),
            database,
            kinds,
            slots: 32,
            properties: Vec::new(),
            instance: None,
            groups: Vec::new(),
        };
        let catalog = catalog(&plan.kinds);
        let settings = KafkaSettings { brokers: plan.brokers.clone(), properties: Vec::new() };
        let topics: Vec<_> = catalog.topics().cloned().collect();
        let admin = Admin::new(&settings).expect("an admin");
        admin.ensure(&topics, true).await.expect("the topics are made");
        // jobgate's tables first: one of them is watched.
        let database: Database = plan.database.parse().expect("a database");
        drop(database.open().await.expect("jobgate's tables"));
        let pool = open_pool(&plan.database);
        sqlx::raw_sql(TABLES).execute(&pool).await.expect("the tables of the effects");

        let clock: SharedClock = Arc::new(SystemClock);
        let producer = Producer::new(settings.clone(), Arc::clone(&clock)).expect("a producer");
        producer.probe().await;
        TaskTracker::new().spawn(producer.clone().watch(CancellationToken::new()));
        let names = plan.kinds.iter().map(|kind| kind.name.as_str());
        let counters = Arc::new(Counters::new(names));
        let ids = Arc::new(IdSource::new());
        let enqueue = Enqueue::new(producer, ids, clock, "tests", counters);
        let groups = Groups::new(settings, &[]);
        let kafka = Mutex::new(kafka);
        Self { kafka, plan, pool, catalog, enqueue, groups, workers: AtomicU32::new(0), folder }
    }

    /// Starts a worker.
    pub(crate) fn worker(&self) -> Worker {
        self.worker_of(&self.plan)
    }

    /// Starts a worker with a plan of its own.
    pub(crate) fn worker_of(&self, plan: &Plan) -> Worker {
        let number = self.workers.fetch_add(1, Ordering::Relaxed);
        Worker::start(plan, &self.folder().join(format!("worker-{number}.log")))
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Sends a job, and waits until it is acknowledged.
    pub(crate) async fn send(&self, kind: &str, task: Task) -> Sent {
        self.try_send(kind, &task).await.map(|receipt| sent(task, receipt)).expect("it is accepted")
    }

    /// Sends a job.
    pub(crate) async fn try_send(&self, kind: &str, task: &Task) -> Result<Receipt, EnqueueError> {
        let record_type = self.catalog.job(kind).expect("a type");
        let payload = serde_json::to_vec(task).expect("JSON");
        let accepted = record_type.accept(&payload).expect("a valid payload");
        self.enqueue.enqueue(record_type, accepted, Marks::default()).await
    }

    /// Sends jobs: those of a key one after the other, keys side by side.
    pub(crate) async fn send_all(
        &self,
        kind: &str,
        tasks: impl IntoIterator<Item = Task>,
    ) -> Vec<Sent> {
        let mut by_key: BTreeMap<(String, String), Vec<Task>> = BTreeMap::new();
        for task in tasks {
            by_key.entry((task.campaign.clone(), task.key.clone())).or_default().push(task);
        }
        let sending = stream::iter(by_key.into_values()).map(|tasks| async move {
            let mut all = Vec::with_capacity(tasks.len());
            for task in tasks {
                all.push(self.send(kind, task).await);
            }
            all
        });
        sending.buffer_unordered(KEYS_AT_ONCE).concat().await
    }

    /// How many records of a type its group has left to finish.
    pub(crate) async fn left(&self, kind: &str, sent: usize) -> i64 {
        let kind = self.plan.kinds.iter().find(|known| known.name == kind).expect("a type");
        let topic: Arc<str> = kind.topic().into();
        let partitions = (0..kind.partitions)
            .map(|partition| PartitionId { topic: Arc::clone(&topic), partition })
            .collect();
        let committed = self.groups.committed(&kind.group(), partitions).await;
        let done: i64 = committed.unwrap_or_default().values().flatten().sum();
        i64::try_from(sent).expect("a count") - done
    }

    /// Waits until the group of a type has finished all of its records.
    pub(crate) async fn until_committed(&self, kind: &str, sent: usize, limit: Duration) {
        let begun = Instant::now();
        while self.left(kind, sent).await > 0 {
            assert!(begun.elapsed() < limit, "{} left", self.left(kind, sent).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Keeps one worker running: started again whenever it ends, until `is_over`. Returns the
    /// worker and how often it ended.
    pub(crate) async fn keep_running(
        &self,
        plan: &Plan,
        limit: Duration,
        mut is_over: impl AsyncFnMut() -> bool,
    ) -> (Worker, usize) {
        let begun = Instant::now();
        let mut worker = self.worker_of(plan);
        let mut ends = 0;
        loop {
            let pause = tokio::time::sleep(Duration::from_millis(100));
            tokio::select! {
                _ = worker.ended() => {
                    ends += 1;
                    worker = self.worker_of(plan);
                }
                () = pause => {}
            }
            if is_over().await {
                return (worker, ends);
            }
            let is_late = begun.elapsed() > limit || ends > ENDS_MAX;
            assert!(!is_late, "not over after {:?} and {ends} ends", begun.elapsed());
        }
    }
}

pub(crate) fn sent(task: Task, receipt: Receipt) -> Sent {
    Sent { id: receipt.id, task, receipt }
}

/// Connections to the tables of the effects.
pub(crate) fn open_pool(url: &str) -> PgPool {
    let options: PgConnectOptions = url.parse().expect("a URL");
    // A frozen worker would hold a claim for as long as it is frozen.
    let options = options.options([
        ("idle_in_transaction_session_timeout", "3s"),
        ("lock_timeout", "6s"),
        ("statement_timeout", "8s"),
    ]);
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS_MAX);
    pool.acquire_timeout(ACQUIRE_TIMEOUT).connect_lazy_with(options)
}
