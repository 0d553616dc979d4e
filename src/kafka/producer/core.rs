//! What the three sides of a producer share: those who hand records over, the thread that sends
//! them, and Kafka's thread, which says what became of them. Owns no client.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::ProducerContext;

use super::delivery::{Delivery, Docket, Outcome, Parcel};
use super::gather::{Gather, Next};
use super::reachability::Reachability;
use crate::domain::clock::SharedClock;
use crate::domain::receipt::Place;
use crate::domain::record::OutgoingRecord;
use crate::kafka::error::ProduceError;
use crate::kafka::stranded::Brokers;

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

/// The shared part.
pub(super) struct Core {
    clock: SharedClock,
    pub(super) counters: Counters,
    reachability: Mutex<Reachability>,
    line: Mutex<Line>,
    /// Rings for the sender.
    bell: Condvar,
    /// Rings for those who wait until nothing is held.
    cleared: Condvar,
}

/// Records in the order in which they were handed over, and what the sender is at.
struct Line {
    gather: Gather<Parcel>,
    sender: Sender,
    /// The client may have failed for good.
    is_suspect: bool,
    is_closed: bool,
}

/// What the sender is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    /// It will look again by itself, before it rests.
    Busy,
    /// It looks again at this time.
    Until(Instant),
    /// It has nothing to look after.
    Resting,
}

/// What the sender is to do.
pub(super) enum Work {
    /// Send these, in this order.
    Send(Vec<Parcel>),
    /// Look whether the client has failed for good.
    Inspect,
    /// There will be no more.
    End,
}

impl Core {
    pub(super) fn new(clock: SharedClock) -> Self {
        let line = Line {
            gather: Gather::new(Instant::now()),
            sender: Sender::Busy,
            is_suspect: false,
            is_closed: false,
        };
        Self {
            clock,
            counters: Counters::default(),
            reachability: Mutex::new(Reachability::new()),
            line: Mutex::new(line),
            bell: Condvar::new(),
            cleared: Condvar::new(),
        }
    }

    /// Takes a record, to be sent in its turn.
    pub(super) fn hand_over(
        &self,
        record: OutgoingRecord,
        told: impl FnOnce(&Outcome) + Send + Sync + 'static,
    ) -> Delivery {
        let (parcel, delivery) = Parcel::new(record, told);
        let bytes = parcel.docket.bytes;
        let mut line = self.line();
        let refused = line.gather.offer(parcel, bytes, Instant::now());
        self.ring(line);
        if let Err(parcel) = refused {
            self.refuse(*parcel.docket, ProduceError::QueueFull);
        }
        delivery
    }

    /// Wakes the sender if there is something for it that it would not see by itself in time.
    fn ring(&self, mut line: MutexGuard<'_, Line>) {
        let is_called = line.is_suspect || line.is_closed;
        let has_work = match (line.sender, line.gather.due()) {
            (Sender::Busy, _) => false,
            (Sender::Until(until), Some(due)) => is_called || due < until,
            (Sender::Until(_), None) => is_called,
            (Sender::Resting, due) => is_called || due.is_some(),
        };
        if has_work {
            line.sender = Sender::Busy;
            drop(line);
            self.bell.notify_one();
        }
    }

    /// Waits for what the sender is to do next.
    pub(super) fn work(&self) -> Work {
        let mut line = self.line();
        loop {
            line.sender = Sender::Busy;
            if std::mem::take(&mut line.is_suspect) {
                return Work::Inspect;
            }
            match line.gather.next(Instant::now()) {
                Next::Send(burst, mut parcels) => {
                    drop(line);
                    for parcel in &mut parcels {
                        parcel.docket.burst = burst;
                    }
                    return Work::Send(parcels);
                }
                Next::Wait(_) if line.is_closed => return Work::End,
                Next::Wait(None) => {
                    self.cleared.notify_all();
                    line.sender = Sender::Resting;
                    line = self.bell.wait(line).unwrap_or_else(PoisonError::into_inner);
                }
                Next::Wait(Some(due)) => {
                    line.sender = Sender::Until(due);
                    let left = due.saturating_duration_since(Instant::now());
                    let waited = self.bell.wait_timeout(line, left);
                    line = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// Has everything sent that was handed over, and waits until it is with the client.
    pub(super) fn clear(&self, timeout: Duration) {
        let mut line = self.line();
        line.gather.hurry();
        self.ring(line);
        let is_held = |line: &mut Line| line.sender != Sender::Resting;
        let waited = self.cleared.wait_timeout_while(self.line(), timeout, is_held);
        drop(waited);
    }

    /// The client may have failed for good.
    pub(super) fn suspect(&self) {
        let mut line = self.line();
        line.is_suspect = true;
        self.ring(line);
    }

    /// Ends the sender once it has sent what was handed over.
    pub(super) fn close(&self) {
        let mut line = self.line();
        line.is_closed = true;
        line.gather.hurry();
        self.ring(line);
    }

    /// The client library takes this many records now.
    pub(super) fn sent(&self, records: usize) {
        self.reachability().sent(records, self.clock.now_ms());
    }

    /// The client library did not take a record: that says nothing of Kafka.
    pub(super) fn not_taken(&self, docket: Docket, error: KafkaError) {
        self.reachability().not_taken();
        let burst = docket.burst;
        self.refuse(docket, ProduceError::from_delivery(error));
        let mut line = self.line();
        line.gather.settled(burst);
        line.is_suspect = true;
    }

    fn refuse(&self, docket: Docket, error: ProduceError) {
        self.counters.errors.fetch_add(1, Ordering::Relaxed);
        docket.settle(Err(error));
    }

    fn outcome(&self, delivered: &DeliveryResult<'_>, bytes: usize) -> Outcome {
        let now_ms = self.clock.now_ms();
        let counters = &self.counters;
        match delivered {
            Ok(message) if message.offset() < 0 => {
                // librdkafka takes a record for written because a later one was, although
                // the broker may have refused it: a partition whose leader has just come
                // takes the second request of a new producer without the first one.
                self.reachability().answered(now_ms);
                counters.errors.fetch_add(1, Ordering::Relaxed);
                Err(ProduceError::Unknown(None))
            }
            Ok(message) => {
                self.reachability().answered(now_ms);
                counters.messages.fetch_add(1, Ordering::Relaxed);
                counters.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                Ok(Place {
                    topic: message.topic().into(),
                    partition: message.partition(),
                    offset: message.offset(),
                })
            }
            Err((error, _)) => {
                let error = ProduceError::from_delivery(error.clone());
                counters.errors.fetch_add(1, Ordering::Relaxed);
                let mut reachability = self.reachability();
                match error {
                    ProduceError::TooLarge(_) | ProduceError::Refused(_) => {
                        reachability.answered(now_ms);
                    }
                    _ => reachability.given_up(),
                }
                Err(error)
            }
        }
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    pub(super) fn reachability(&self) -> MutexGuard<'_, Reachability> {
        self.reachability.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hears what librdkafka says, on librdkafka's own time.
pub(super) struct Context {
    core: Arc<Core>,
    pub(super) brokers: Brokers,
}

impl Context {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core), brokers: Brokers::default() }
    }
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.core.reachability().all_brokers_down();
        }
        tracing::debug!(%error, reason, "kafka producer");
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.brokers.told(statistics);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Docket>;

    fn delivery(&self, delivered: &DeliveryResult<'_>, docket: Box<Docket>) {
        let core = &self.core;
        let burst = docket.burst;
        let outcome = core.outcome(delivered, docket.bytes);
        let has_failed = outcome.is_err();
        docket.settle(outcome);
        let mut line = core.line();
        line.gather.settled(burst);
        line.is_suspect |= has_failed;
        core.ring(line);
    }
}
