//! The Kafka that this process stands on: an outside one, or one of its own.

use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::settings::{CreateTopics, Settings};
use super::welcome;
use crate::broker::{BrokerSettings, LocalKafka};
use crate::domain::catalog::{Catalog, TopicSpec};
use crate::kafka::{Admin, KafkaSettings};

/// How long a start waits for Kafka to answer its first questions.
const KAFKA_WAIT: Duration = Duration::from_secs(60);
/// How long it waits between two of them.
const KAFKA_RETRY: Duration = Duration::from_millis(500);

/// A cluster that is there.
pub(super) struct Cluster {
    /// How to talk to it.
    pub(super) kafka: KafkaSettings,
    local: Option<LocalKafka>,
}

impl Cluster {
    /// Starts a local Kafka unless an outside one is named.
    pub(super) async fn start(settings: &Settings) -> anyhow::Result<Self> {
        let properties = settings.kafka_properties()?;
        if let Some(brokers) = settings.kafka_brokers.clone() {
            return Ok(Self { kafka: KafkaSettings { brokers, properties }, local: None });
        }
        let broker_settings = BrokerSettings {
            kafka_home: settings.kafka_home.clone(),
            ..BrokerSettings::new(&settings.data_dir)
        };
        let local = LocalKafka::start(broker_settings, welcome::progress)
            .await
            .context("the local Kafka could not be started")?;
        let brokers = local.bootstrap_servers().to_owned();
        Ok(Self { kafka: KafkaSettings { brokers, properties }, local: Some(local) })
    }

    /// Starts a local Kafka again whenever it dies; resolves only if that fails.
    pub(super) async fn keep(&mut self) -> anyhow::Error {
        let Some(local) = &mut self.local else { return std::future::pending().await };
        loop {
            let exit = local.exited().await;
            tracing::error!(status = exit.status, "the local Kafka ended; starting it again");
            if let Err(error) = local.restart_node(exit.node).await {
                return anyhow::Error::new(error).context("the local Kafka is lost");
            }
        }
    }

    /// Stops a local Kafka.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        match self.local {
            Some(local) => local.stop().await.context("the local Kafka did not stop well"),
            None => Ok(()),
        }
    }
}

/// Makes the missing topics and reports what has drifted. Waits for a Kafka that is still
/// starting.
pub(super) async fn prepare_topics(
    kafka: &KafkaSettings,
    catalog: &Catalog,
    create: CreateTopics,
    stop: &CancellationToken,
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
    let report = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        report = tokio::time::timeout(KAFKA_WAIT, attempts) => report.with_context(|| {
            format!("Kafka at {} did not answer; is the address right?", kafka.brokers)
        })?,
    };
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
