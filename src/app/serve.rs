//! Run the service: start the parts from the bottom up, stop them from the top down.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::settings::{CreateTopics, Settings};
use super::welcome;
use crate::auth::Verifier;
use crate::broker::{BrokerSettings, LocalKafka};
use crate::domain::catalog::{Catalog, TopicSpec};
use crate::domain::clock::{SharedClock, SystemClock};
use crate::domain::handler::Handler;
use crate::domain::id::IdSource;
use crate::gateway::{self, Services};
use crate::kafka::{Admin, KafkaSettings, Producer, Reader};
use crate::mail::{MailSettings, MailTransport, Mailer};
use crate::operations::{DeadLetters, Enqueue, Indexer, Replay, Undertaker};
use crate::store::Store;
use crate::waitlist::email::EmailKind;
use crate::waitlist::send_email::SendEmail;
use crate::worker::{Handlers, Pool, PoolSettings};

/// How long a start waits for Kafka to answer its first questions.
const KAFKA_WAIT: Duration = Duration::from_mins(1);
/// How long it waits between two of them.
const KAFKA_RETRY: Duration = Duration::from_millis(500);
/// How long answers that are under way may take once the stop has come: the deadline of an
/// enqueue, and a little.
const GATEWAY_DRAIN: Duration = Duration::from_secs(6);
/// How long the workers and the index may take: they drain for 15 s themselves.
const WORKER_DRAIN: Duration = Duration::from_secs(17);
/// How long the records that are under way may take.
const FLUSH: Duration = Duration::from_secs(2);

/// Serves until SIGTERM or Ctrl-C, then drains, flushes, commits and closes within 25 s. A
/// second signal ends it at once.
pub(super) async fn serve(settings: Settings, catalog: Arc<Catalog>) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let verifier = settings.tokens.verifier(Arc::new(SystemClock))?.map(Arc::new);
    anyhow::ensure!(
        verifier.is_some() || settings.listen.ip().is_loopback(),
        "{} is not a loopback address: without a key to check tokens with, jobgate serves this \
         machine alone. Set JOBGATE_JWT_SECRET or JOBGATE_JWT_PUBLIC_KEY, or use \
         --listen 127.0.0.1:{}",
        settings.listen,
        settings.listen.port()
    );
    KafkaSettings::check(&settings.kafka_properties)?;
    log_settings(&settings, verifier.as_deref());
    tokio::select! {
        result = start_and_serve(&settings, catalog, verifier, signals.first()) => result,
        () = signals.second() => anyhow::bail!("stopped at once by a second signal"),
    }
}

async fn start_and_serve(
    settings: &Settings,
    catalog: Arc<Catalog>,
    verifier: Option<Arc<Verifier>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    // The address first: a second jobgate by mistake must not touch anything.
    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("{} cannot be served on", settings.listen))?;
    std::fs::create_dir_all(&settings.data_dir)
        .with_context(|| format!("{} cannot be made", settings.data_dir.display()))?;

    let started = tokio::select! {
        started = start_kafka(settings) => started?,
        () = stop.cancelled() => return Ok(()),
    };
    let (mut local, kafka) = started;
    let served = run(settings, catalog, &kafka, listener, verifier, &stop, local.as_mut()).await;
    if let Some(local) = local {
        local.stop().await.context("the local Kafka did not stop well")?;
    }
    served
}

/// An outside Kafka, or one of our own.
async fn start_kafka(settings: &Settings) -> anyhow::Result<(Option<LocalKafka>, KafkaSettings)> {
    let properties = settings.kafka_properties.clone();
    if let Some(brokers) = settings.kafka_brokers.clone() {
        return Ok((None, KafkaSettings { brokers, properties }));
    }
    let broker_settings = BrokerSettings {
        kafka_home: settings.kafka_home.clone(),
        ..BrokerSettings::new(&settings.data_dir)
    };
    let local = LocalKafka::start(broker_settings, welcome::progress)
        .await
        .context("the local Kafka could not be started")?;
    let brokers = local.bootstrap_servers().to_owned();
    Ok((Some(local), KafkaSettings { brokers, properties }))
}

/// The parts between Kafka and the signal to stop.
async fn run(
    settings: &Settings,
    catalog: Arc<Catalog>,
    kafka: &KafkaSettings,
    listener: TcpListener,
    verifier: Option<Arc<Verifier>>,
    stop: &CancellationToken,
    local: Option<&mut LocalKafka>,
) -> anyhow::Result<()> {
    let clock: SharedClock = Arc::new(SystemClock);
    let ids = Arc::new(IdSource::new());
    let mailer = Arc::new(mailer(settings)?);
    let database = settings.data_dir.join("jobgate.db");
    let store = Store::open_sqlite(&database)
        .await
        .with_context(|| format!("the database {}", database.display()))?;
    tokio::select! {
        ready = prepare_topics(kafka, &catalog, settings.create_topics) => ready?,
        () = stop.cancelled() => return Ok(()),
    }

    // Three circles, stopped from the outside in: what takes work, what does it, what both need.
    let (gateway_tasks, worker_tasks, base_tasks) =
        (TaskTracker::new(), TaskTracker::new(), TaskTracker::new());
    let (worker_stop, base_stop) = (CancellationToken::new(), CancellationToken::new());

    let producer = Producer::new(kafka.clone(), Arc::clone(&clock))?;
    producer.probe().await;
    base_tasks.spawn(producer.clone().watch(base_stop.clone()));
    let reader = Reader::new(kafka.clone())?;
    let instance = format!("{}-{}", std::process::id(), ids.next(clock.now_ms()));
    let indexer = Indexer::new(
        Arc::clone(&catalog),
        store.clone(),
        reader.clone(),
        Arc::clone(&clock),
        instance,
    );
    base_tasks.spawn(indexer.run(base_stop.clone()));

    let dlq_topic = &catalog.dead_letters().name;
    let pool = Pool {
        kafka: kafka.clone(),
        catalog: Arc::clone(&catalog),
        handlers: handlers(&mailer, &clock),
        undertaker: Undertaker::new(producer.clone(), store.clone(), Arc::clone(&clock), dlq_topic),
        clock: Arc::clone(&clock),
        settings: PoolSettings::DEFAULT,
    };
    pool.start(&worker_tasks, &worker_stop).context("the workers could not be started")?;

    let dead_letters =
        DeadLetters::new(Arc::clone(&catalog), store.clone(), reader, Arc::clone(&clock));
    let services = Services {
        catalog: Arc::clone(&catalog),
        enqueue: Enqueue::new(
            producer.clone(),
            Arc::clone(&ids),
            clock,
            &settings.producer,
            base_tasks.clone(),
        ),
        replay: Replay::new(dead_letters.clone(), producer.clone(), ids, base_tasks.clone()),
        dead_letters,
    };
    let (address, takes_tokens) = (listener.local_addr()?, verifier.is_some());
    let router = gateway::router(services, verifier);
    gateway_tasks.spawn(gateway::serve(listener, router, gateway_tasks.clone(), stop.clone()));
    welcome::welcome(address, &kafka.brokers, &mailer, &settings.data_dir, takes_tokens);

    let failure = watch(stop, local).await;
    stop.cancel();
    tracing::info!("stopping: no new requests, finishing what runs");
    drain("gateway", &gateway_tasks, GATEWAY_DRAIN).await;
    worker_stop.cancel();
    drain("workers", &worker_tasks, WORKER_DRAIN).await;
    if let Err(error) = producer.flush(FLUSH).await {
        tracing::warn!(%error, "some records have no acknowledgement");
    }
    base_stop.cancel();
    drain("index", &base_tasks, FLUSH).await;
    store.close().await;
    tracing::info!("stopped");
    failure
}

/// Waits for the stop; a local Kafka that dies is started again.
async fn watch(stop: &CancellationToken, local: Option<&mut LocalKafka>) -> anyhow::Result<()> {
    let Some(local) = local else {
        stop.cancelled().await;
        return Ok(());
    };
    loop {
        let exit = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            exit = local.exited() => exit,
        };
        tracing::error!(status = exit.status, "the local Kafka ended; starting it again");
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            again = local.restart_node(exit.node) => again.context("the local Kafka is lost")?,
        }
    }
}

async fn drain(name: &str, tasks: &TaskTracker, limit: Duration) {
    tasks.close();
    if tokio::time::timeout(limit, tasks.wait()).await.is_err() {
        tracing::warn!(part = name, "did not end in time");
    }
}

fn mailer(settings: &Settings) -> anyhow::Result<Mailer> {
    let transport = match &settings.smtp_url {
        Some(url) => MailTransport::Smtp(url.clone()),
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

fn handlers(mailer: &Arc<Mailer>, clock: &SharedClock) -> Handlers {
    EmailKind::ALL
        .into_iter()
        .map(|kind| {
            let handler = SendEmail::new(kind, Arc::clone(mailer), Arc::clone(clock));
            (kind.job_type(), Arc::new(handler) as Arc<dyn Handler>)
        })
        .collect()
}

/// Makes the missing topics and reports what has drifted. Waits for a Kafka that is still
/// starting.
async fn prepare_topics(
    kafka: &KafkaSettings,
    catalog: &Catalog,
    create: CreateTopics,
) -> anyhow::Result<()> {
    let admin = Admin::new(kafka)?;
    let topics: Vec<TopicSpec> = catalog.topics().cloned().collect();
    let may_create = create == CreateTopics::Missing;
    let attempts = async {
        loop {
            match admin.ensure(&topics, may_create).await {
                Ok(report) => return report,
                Err(error) => {
                    tracing::warn!(%error, cause = ?error, "waiting for Kafka");
                    tokio::time::sleep(KAFKA_RETRY).await;
                }
            }
        }
    };
    let report = tokio::time::timeout(KAFKA_WAIT, attempts).await.with_context(|| {
        format!("Kafka at {} did not answer; is the address right?", kafka.brokers)
    })?;
    anyhow::ensure!(
        report.missing.is_empty(),
        "these topics are missing, and --create-topics=never: {}",
        report.missing.join(", ")
    );
    if !report.created.is_empty() {
        let count = report.created.len();
        tracing::info!(count, replication = report.replication, "topics made");
    }
    if report.replication < 3 {
        tracing::warn!(
            replication = report.replication,
            "fewer than three brokers: a record is only as safe as the disks of these"
        );
    }
    for drift in report.drift {
        tracing::warn!(
            topic = drift.topic,
            setting = drift.setting,
            declared = drift.declared,
            actual = drift.actual,
            "a topic is not as the catalog says; it is left as it is"
        );
    }
    Ok(())
}

fn log_settings(settings: &Settings, verifier: Option<&Verifier>) {
    let properties: Vec<&str> =
        settings.kafka_properties.iter().map(|(name, _)| name.as_str()).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        role = ?settings.role,
        listen = %settings.listen,
        auth = verifier.map_or("none", Verifier::algorithm),
        data_dir = %settings.data_dir.display(),
        kafka = settings.kafka_brokers.as_deref().unwrap_or("local"),
        kafka_properties = ?properties,
        mail = if settings.smtp_url.is_some() { "smtp" } else { "outbox" },
        dlq_topic = settings.dlq_topic,
        producer = settings.producer,
        "settings"
    );
}

/// SIGTERM and Ctrl-C.
struct Signals {
    first: CancellationToken,
    second: CancellationToken,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (first, second) = (CancellationToken::new(), CancellationToken::new());
        let tokens = [first.clone(), second.clone()];
        TaskTracker::new().spawn(async move {
            for token in tokens {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                token.cancel();
            }
        });
        Ok(Self { first, second })
    }

    fn first(&self) -> CancellationToken {
        self.first.clone()
    }

    async fn second(&mut self) {
        self.second.cancelled().await;
    }
}
