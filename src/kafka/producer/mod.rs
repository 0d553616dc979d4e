//! Writes records, idempotently and with every in-sync replica's acknowledgement.

mod core;
mod delivery;
mod gather;
mod reachability;
mod sender;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::producer::Producer as _;
use tokio_util::sync::CancellationToken;

pub use self::core::Counters;
use self::core::{Context, Core};
pub use self::delivery::Delivery;
use self::reachability::State;
use self::sender::{Client, Sender};
use super::error::{KafkaFault, ProduceError};
use super::settings::{DELIVERY_TIMEOUT, KafkaSettings};
use super::stranded::TELLS_EVERY;
use crate::domain::clock::SharedClock;
use crate::domain::receipt::Place;
use crate::domain::record::OutgoingRecord;

/// The client library's queue, KiB: with what is held before it ([`gather::HELD_BYTES_MAX`]),
/// 64 MiB. Its default is 1 GiB.
const QUEUE_KIB_MAX: &str = "57344";
/// How a user sets it.
const QUEUE_PROPERTY: &str = "queue.buffering.max.kbytes";
/// The largest record this client sends, bytes: what the dead-letter topic takes, and room.
const RECORD_BYTES_MAX: &str = "9000000";
/// How often the reachability is looked at.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// How long Kafka may take to answer a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Writes records. Cheap to clone.
#[derive(Clone)]
pub struct Producer {
    shared: Arc<Shared>,
}

struct Shared {
    core: Arc<Core>,
    client: Arc<ArcSwap<Client>>,
    queue_bytes: usize,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.core.close();
    }
}

impl Producer {
    /// A producer for this cluster. It does not wait for the cluster to be there.
    pub fn new(settings: KafkaSettings, clock: SharedClock) -> Result<Self, KafkaFault> {
        let core = Arc::new(Core::new(clock));
        let client = Arc::new(ArcSwap::from_pointee(build(&settings, &core)?));
        let queue_bytes = queue_bytes(&settings);
        Sender { core: Arc::clone(&core), client: Arc::clone(&client), settings }.start()?;
        Ok(Self { shared: Arc::new(Shared { core, client, queue_bytes }) })
    }

    /// How many bytes of records may wait for Kafka before one is refused.
    pub fn queue_bytes(&self) -> usize {
        self.shared.queue_bytes
    }

    /// Writes a record and waits until every in-sync replica has it. A dropped future does not
    /// stop the record from being written.
    pub async fn send(&self, record: &OutgoingRecord) -> Result<Place, ProduceError> {
        self.hand_over(record.clone(), |_| {}).await
    }

    /// Writes a record, whether or not the answer is waited for. Records of one key are written
    /// in the order in which they are handed over. `told` hears what became of it, on Kafka's
    /// thread: it must not block.
    pub fn hand_over(
        &self,
        record: OutgoingRecord,
        told: impl FnOnce(&Result<Place, ProduceError>) + Send + Sync + 'static,
    ) -> Delivery {
        self.shared.core.hand_over(record, told)
    }

    /// Whether Kafka is known to be away, so that a record had better not be tried.
    pub fn is_away(&self) -> bool {
        self.state() == State::Away
    }

    /// Whether a record would be accepted now.
    pub fn is_ready(&self) -> bool {
        self.state() == State::Reachable
    }

    fn state(&self) -> State {
        let core = &self.shared.core;
        core.reachability().state(core.now_ms())
    }

    /// What the producer has done.
    pub fn counters(&self) -> &Counters {
        &self.shared.core.counters
    }

    /// Keeps asking Kafka whether it is there while that is in doubt. Runs until cancelled.
    pub async fn watch(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(PROBE_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut was_away = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if self.shared.client.load().client().context().brokers.are_forgotten() {
                self.shared.core.suspect();
            }
            if self.state() != State::Reachable {
                self.probe().await;
            }
            let is_away = self.is_away();
            match (was_away, is_away) {
                (false, true) => tracing::warn!("Kafka cannot be reached"),
                (true, false) => tracing::info!("Kafka is back"),
                _ => {}
            }
            was_away = is_away;
        }
    }

    /// Asks Kafka for its metadata once. Returns whether it answered.
    pub async fn probe(&self) -> bool {
        let client = self.shared.client.load_full();
        let answer = tokio::task::spawn_blocking(move || {
            // Asking for a topic makes it a question to one broker, not a list of all.
            client.client().fetch_metadata(Some("__consumer_offsets"), PROBE_TIMEOUT).is_ok()
        });
        let is_answered = answer.await.unwrap_or(false);
        let core = &self.shared.core;
        core.reachability().probed(is_answered, core.now_ms());
        is_answered
    }

    /// Waits until every record that was sent has its outcome, at most this long.
    pub async fn flush(&self, timeout: Duration) -> Result<(), KafkaFault> {
        let (core, client) = (Arc::clone(&self.shared.core), self.shared.client.load_full());
        let until = Instant::now() + timeout;
        let flush = move || {
            core.clear(timeout);
            client.flush(until.saturating_duration_since(Instant::now()))
        };
        tokio::task::spawn_blocking(flush)
            .await
            .map_err(|_| KafkaFault::Stopping)?
            .map_err(KafkaFault::failed("write what was on its way"))
    }
}

/// What the client's queue holds, by jobgate's setting or the user's.
fn queue_bytes(settings: &KafkaSettings) -> usize {
    let set = settings.properties.iter().rev().find(|(name, _)| name == QUEUE_PROPERTY);
    let kib = set.map_or(QUEUE_KIB_MAX, |(_, value)| value.as_str());
    kib.parse::<usize>().unwrap_or_default().saturating_mul(1 << 10)
}

fn build(settings: &KafkaSettings, core: &Arc<Core>) -> Result<Client, KafkaFault> {
    let config = settings.client(
        "producer",
        &[
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("partitioner", "murmur2_random"),
            ("compression.type", "lz4"),
            // What belongs together is gathered before it is sent.
            ("linger.ms", "0"),
            (DELIVERY_TIMEOUT.0, &DELIVERY_TIMEOUT.1.to_string()),
            ("message.max.bytes", RECORD_BYTES_MAX),
            (QUEUE_PROPERTY, QUEUE_KIB_MAX),
            TELLS_EVERY,
        ],
    );
    Client::from_config_and_context(&config, Context::new(core))
        .map_err(KafkaFault::failed("set up a producer"))
}

#[cfg(test)]
mod tests;
