//! Writes records, idempotently and with every in-sync replica's acknowledgement.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rdkafka::ClientContext;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use tokio_util::sync::CancellationToken;

use super::convert::headers_to;
use super::error::{KafkaFault, ProduceError};
use super::reachability::{Reachability, State};
use super::settings::KafkaSettings;
use crate::domain::clock::SharedClock;
use crate::domain::receipt::Place;
use crate::domain::record::OutgoingRecord;

/// How long librdkafka tries to deliver a record. Longer than any HTTP deadline, so that a
/// broker's restart costs no record; a short time would make more unknown outcomes.
const DELIVERY_TIMEOUT_MS: &str = "30000";
/// The queue towards Kafka, KiB. librdkafka's default is 1 GiB.
const QUEUE_KIB_MAX: &str = "65536";
/// The largest record this client sends, bytes: what the dead-letter topic takes, and room.
const RECORD_BYTES_MAX: &str = "9000000";
/// How often the reachability is looked at.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// How long Kafka may take to answer a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// What the producer has done since it started.
#[derive(Debug, Default)]
pub struct Counters {
    /// Records acknowledged.
    pub messages: AtomicU64,
    /// Bytes of their keys and values.
    pub bytes: AtomicU64,
    /// Records that were not.
    pub errors: AtomicU64,
}

/// Writes records. Cheap to clone.
#[derive(Clone)]
pub struct Producer {
    shared: Arc<Shared>,
}

struct Shared {
    settings: KafkaSettings,
    clock: SharedClock,
    client: ArcSwap<Client>,
    reachability: Arc<Mutex<Reachability>>,
    counters: Counters,
}

type Client = FutureProducer<Context>;

/// Hears what librdkafka says of the connection.
struct Context {
    reachability: Arc<Mutex<Reachability>>,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            locked(&self.reachability).all_brokers_down();
        }
        tracing::debug!(%error, reason, "kafka producer");
    }
}

fn locked(reachability: &Mutex<Reachability>) -> std::sync::MutexGuard<'_, Reachability> {
    reachability.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Producer {
    /// A producer for this cluster. It does not wait for the cluster to be there.
    pub fn new(settings: KafkaSettings, clock: SharedClock) -> Result<Self, KafkaFault> {
        let reachability = Arc::new(Mutex::new(Reachability::new()));
        let client = build(&settings, &reachability)?;
        let shared = Shared {
            settings,
            clock,
            client: ArcSwap::from_pointee(client),
            reachability,
            counters: Counters::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Writes a record and waits until every in-sync replica has it.
    ///
    /// Run it on a task of its own where the caller may go away: a dropped future does not
    /// stop the record from being written.
    pub async fn send(&self, record: &OutgoingRecord) -> Result<Place, ProduceError> {
        let shared = &self.shared;
        let client = shared.client.load_full();
        let mut future = FutureRecord::<[u8], [u8]>::to(&record.topic)
            .timestamp(record.timestamp_ms)
            .headers(headers_to(&record.headers));
        future.key = record.key.as_deref();
        future.payload = record.value.as_deref();
        // What the client library refuses by itself says nothing of Kafka.
        let delivery =
            client.send_result(future).map_err(|(error, _)| self.failed(&client, error))?;
        locked(&shared.reachability).sent(shared.clock.now_ms());
        match delivery.await {
            Ok(Ok(delivered)) => {
                locked(&shared.reachability).answered(shared.clock.now_ms());
                if delivered.offset < 0 {
                    // librdkafka takes a record for written because a later one was, although
                    // the broker may have refused it: a partition whose leader has just come
                    // takes the second request of a new producer without the first one.
                    shared.counters.errors.fetch_add(1, Ordering::Relaxed);
                    return Err(ProduceError::Unknown(None));
                }
                let bytes = record.key.as_ref().map_or(0, Vec::len)
                    + record.value.as_ref().map_or(0, Vec::len);
                shared.counters.messages.fetch_add(1, Ordering::Relaxed);
                shared.counters.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                Ok(Place {
                    topic: record.topic.as_str().into(),
                    partition: delivered.partition,
                    offset: delivered.offset,
                })
            }
            Ok(Err((error, _))) => {
                let error = self.failed(&client, error);
                let mut reachability = locked(&shared.reachability);
                match error {
                    ProduceError::TooLarge(_) | ProduceError::Refused(_) => {
                        reachability.answered(shared.clock.now_ms());
                    }
                    _ => reachability.given_up(),
                }
                Err(error)
            }
            // The client was replaced while the record was on its way.
            Err(_) => {
                locked(&shared.reachability).given_up();
                shared.counters.errors.fetch_add(1, Ordering::Relaxed);
                Err(ProduceError::Unknown(None))
            }
        }
    }

    fn failed(&self, client: &Arc<Client>, error: KafkaError) -> ProduceError {
        self.shared.counters.errors.fetch_add(1, Ordering::Relaxed);
        if let Some((code, reason)) = client.client().fatal_error() {
            self.replace(client, &format!("{code}: {reason}"));
        }
        ProduceError::from_delivery(error)
    }

    /// An idempotent producer that has lost count refuses everything: start a new one.
    fn replace(&self, broken: &Arc<Client>, reason: &str) {
        match build(&self.shared.settings, &self.shared.reachability) {
            Ok(fresh) => {
                let previous = self.shared.client.compare_and_swap(broken, Arc::new(fresh));
                if Arc::ptr_eq(&previous, broken) {
                    tracing::error!(
                        reason,
                        "the Kafka producer failed for good; a new one is in place"
                    );
                }
            }
            Err(error) => tracing::error!(%error, "no new Kafka producer could be made"),
        }
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
        locked(&self.shared.reachability).state(self.shared.clock.now_ms())
    }

    /// What the producer has done.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
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
        locked(&self.shared.reachability).probed(is_answered, self.shared.clock.now_ms());
        is_answered
    }

    /// Waits until every record that was sent has its outcome, at most this long.
    pub async fn flush(&self, timeout: Duration) -> Result<(), KafkaFault> {
        let client = self.shared.client.load_full();
        tokio::task::spawn_blocking(move || client.flush(timeout))
            .await
            .map_err(|_| KafkaFault::Stopping)?
            .map_err(KafkaFault::failed("write what was on its way"))
    }
}

fn build(
    settings: &KafkaSettings,
    reachability: &Arc<Mutex<Reachability>>,
) -> Result<Client, KafkaFault> {
    let config = settings.client(
        "producer",
        &[
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("partitioner", "murmur2_random"),
            ("compression.type", "lz4"),
            ("linger.ms", "1"),
            ("message.timeout.ms", DELIVERY_TIMEOUT_MS),
            ("message.max.bytes", RECORD_BYTES_MAX),
            ("queue.buffering.max.kbytes", QUEUE_KIB_MAX),
        ],
    );
    let context = Context { reachability: Arc::clone(reachability) };
    Client::from_config_and_context(&config, context)
        .map_err(KafkaFault::failed("set up a producer"))
}

#[cfg(test)]
#[path = "producer_test.rs"]
mod tests;
