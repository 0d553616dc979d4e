//! The Kafka that this process stands on: an outside one, or one of its own.

use std::time::Duration;

use anyhow::Context as _;

use super::settings::{CreateTopics, Settings};
use super::stop::Stop;
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

    /// Stops a local Kafka, in the time that is left.
    pub(super) async fn stop(self, stop: &Stop) -> anyhow::Result<()> {
        match self.local {
            Some(local) => {
                let stopped = local.stop_within(stop.left()).await;
                stopped.context("the local Kafka did not stop well")
            }
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
    stop: &Stop,
) -> anyhow::Result<()> {
    let admin = Admin::new(kafka)?;
    let topics: Vec<TopicSpec> = catalog.topics().cloned().collect();
    let may_create = create == CreateTopics::Missing;
    let mut last = None;
    let attempts = async {
        loop {
            match admin.ensure(&topics, may_create).await {
                Ok(report) => return report,
                Err(error) => {
                    tracing::warn!(%error, cause = ?error, "waiting for Kafka");
                    last = Some(error);
                    tokio::time::sleep(KAFKA_RETRY).await;
                }
            }
        }
    };
    let report = tokio::select! {
        () = stop.begun() => return Ok(()),
        report = tokio::time::timeout(KAFKA_WAIT, attempts) => report.ok(),
    };
    let Some(report) = report else {
        let said = format!(
            "the topics at {} could not be looked at or made within {} s; is the address right, \
             and may this user do so?",
            kafka.brokers,
            KAFKA_WAIT.as_secs()
        );
        return Err(match last {
            Some(error) => anyhow::Error::new(error).context(said),
            None => anyhow::Error::msg(said),
        });
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
            remedy = drift.remedy(),
            "a topic is not as the catalog says; it is left as it is"
        );
    }
    Ok(())
}
