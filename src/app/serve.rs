//! Run the service: start the parts from the bottom up, stop them from the top down.

use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cluster::{self, Cluster};
use super::handles;
use super::parts::Parts;
use super::quarantined;
use super::settings::Settings;
use super::signals::Signals;
use super::stop::Stop;
use super::{Types, pushing, welcome};
use crate::gateway::{self, Readiness, Streams};
use crate::worker::RunningPool;

// The bounds of a stop. Those that follow on each other add up to 18 s, which leaves 6 s for a
// local Kafka.

/// How long requests are still taken once the stop has come, while `/health/ready` says no: a
/// balancer that asks every second sends nothing here any more when the address closes.
const UNREADY: Duration = Duration::from_secs(2);
/// How long answers that are under way may take after that: the deadline of an enqueue, and a
/// little.
const GATEWAY_DRAIN: Duration = Duration::from_secs(6);
/// How long the workers may take, beside the gateway: they drain for less themselves.
const WORKER_DRAIN: Duration = Duration::from_secs(12);
/// How long the records that are under way may take, the index, and the database, each.
const FLUSH: Duration = Duration::from_secs(2);

/// Serves until SIGTERM or Ctrl-C, then drains, flushes, commits and closes within 25 s. A
/// second signal ends it at once.
pub(super) async fn serve(settings: Settings, types: Types) -> anyhow::Result<()> {
    let signals = Signals::listen()?;
    settings.check()?;
    // Before anything is started.
    quarantined::read(&settings.quarantine, &types.catalog)?;
    pushing::secrets(&settings, &types)?;
    log_settings(&settings)?;
    handles::ask_for_enough();
    tokio::select! {
        result = start_and_serve(&settings, types, signals.stop) => result,
        () = signals.second.cancelled() => anyhow::bail!("stopped at once by a second signal"),
    }
}

async fn start_and_serve(settings: &Settings, types: Types, stop: Stop) -> anyhow::Result<()> {
    // The address first: a second jobgate by mistake must not touch anything.
    let listener = gateway::listen(settings.listen)
        .with_context(|| format!("{} cannot be served on", settings.listen))?;
    std::fs::create_dir_all(&settings.data_dir)
        .with_context(|| format!("{} cannot be made", settings.data_dir.display()))?;
    let mut cluster = tokio::select! {
        cluster = Cluster::start(settings) => cluster?,
        () = stop.begun() => return Ok(()),
    };
    let served = run(settings, types, listener, &stop, &mut cluster).await;
    cluster.stop(&stop).await?;
    served
}

/// From the first question to Kafka to the last commit.
async fn run(
    settings: &Settings,
    types: Types,
    listener: TcpListener,
    stop: &Stop,
    cluster: &mut Cluster,
) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    let kafka = cluster.kafka.clone();
    let parts = Parts::open(settings, types, kafka.clone()).await?;
    cluster::prepare_topics(&kafka, &parts.catalog, settings.create_topics, stop).await?;
    if stop.has_begun() {
        return Ok(());
    }

    // Three circles: what takes work and what does it, which stop together, and what both need,
    // which stops after them.
    let (gateway_tasks, worker_tasks, base_tasks) =
        (TaskTracker::new(), TaskTracker::new(), TaskTracker::new());
    let (gateway_stop, worker_stop, base_stop) =
        (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());

    parts.watch_kafka(&base_tasks, &base_stop).await;
    // It takes what others have put off, as the workers take jobs.
    worker_tasks.spawn(parts.sender().run(worker_stop.clone()));
    let pool = if settings.role.runs_jobs() {
        let started = parts.pool(settings).start(&worker_tasks, &worker_stop);
        let started = started.context("the workers could not be started")?;
        worker_tasks.spawn(parts.replay_runner(settings, &worker_tasks, &worker_stop).run());
        Some(started)
    } else {
        None
    };
    let operated = parts.operating(settings, &base_tasks, &base_stop, stop)?;
    let router = if settings.role.serves_api() {
        base_tasks.spawn(parts.indexer().run(base_stop.clone()));
        if let Some(verifier) = &parts.verifier {
            verifier.start(&base_tasks, &base_stop);
        }
        let streams = Streams::new(gateway_tasks.clone(), gateway_stop.clone());
        let bases = (&base_tasks, &base_stop);
        let services = parts.services(settings, operated, bases, stop, streams);
        gateway::router(services, parts.verifier.clone(), settings.door.rate_limit)
    } else {
        let (pool, stop) = (pool.clone(), stop.clone());
        let is_joined = move || pool.as_ref().is_some_and(RunningPool::is_joined);
        let readiness = Readiness::new(move || !stop.has_begun() && is_joined());
        gateway::worker_router(readiness, parts.metrics(operated))
    };
    let connections = gateway_tasks.clone();
    let door = settings.door.door()?;
    gateway_tasks.spawn(door.serve(listener, router, connections, gateway_stop.clone()));
    welcome::welcome(settings, &parts, address);

    let ended = tokio::select! {
        () = stop.begun() => Ok(()),
        error = cluster.keep() => Err(error),
        () = lost(pool) => Err(anyhow::anyhow!("a group is lost for good; the log says why")),
    };
    stop.begin();
    tracing::info!("stopping: not ready any more, finishing what runs");
    worker_stop.cancel();
    let gateway = async {
        tokio::time::sleep(UNREADY.min(stop.left())).await;
        gateway_stop.cancel();
        drain("gateway", &gateway_tasks, GATEWAY_DRAIN.min(stop.left())).await;
    };
    let workers = drain("workers", &worker_tasks, WORKER_DRAIN.min(stop.left()));
    tokio::join!(gateway, workers);
    if let Err(error) = parts.producer.flush(FLUSH.min(stop.left())).await {
        tracing::warn!(%error, "some records have no acknowledgement");
    }
    base_stop.cancel();
    drain("index", &base_tasks, FLUSH.min(stop.left())).await;
    if tokio::time::timeout(FLUSH.min(stop.left()), parts.store.close()).await.is_err() {
        tracing::warn!(part = "database", "did not end in time");
    }
    tracing::info!("stopped");
    ended
}

async fn lost(pool: Option<RunningPool>) {
    match pool {
        Some(pool) => pool.lost().await,
        None => std::future::pending().await,
    }
}

async fn drain(name: &str, tasks: &TaskTracker, limit: Duration) {
    tasks.close();
    if tokio::time::timeout(limit, tasks.wait()).await.is_err() {
        tracing::warn!(part = name, "did not end in time");
    }
}

fn log_settings(settings: &Settings) -> anyhow::Result<()> {
    let properties = settings.kafka_properties()?;
    let properties: Vec<&str> = properties.iter().map(|(name, _)| name.as_str()).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        role = ?settings.role,
        listen = %settings.listen,
        scheme = settings.door.scheme(),
        auth = settings.tokens.kinds()?,
        data_dir = %settings.data_dir.display(),
        kafka = settings.kafka_brokers.as_deref().unwrap_or("local"),
        kafka_properties = ?properties,
        database = %settings.database()?,
        mail = if settings.smtp_url()?.is_some() { "smtp" } else { "outbox" },
        catalog = settings.catalog.as_ref().map_or("built-in".into(), |file| file.to_string_lossy()).as_ref(),
        dlq_topic = settings.dlq_topic,
        producer = settings.producer,
        "settings"
    );
    for warning in settings.warnings()? {
        tracing::warn!("{}: {}", warning.said, warning.remedy);
    }
    Ok(())
}
