//! Many records of one type for one caller: handed over in their order, many on their way at
//! once, and each with an outcome of its own.
//!
//! The producer writes what is handed over in that order for each key, so a batch needs to wait
//! for no record before it hands the next one over.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, timeout_at};

use super::enqueue::{ANSWER_DEADLINE, Enqueue, EnqueueError, Marks, Sent};
use crate::domain::catalog::{Accepted, RecordType};
use crate::domain::receipt::{Place, Receipt};
use crate::kafka::ProduceError;

/// Records of one batch that are on their way at once: what a broker acknowledges in a few
/// tens of milliseconds at full speed. More would only be more to have in doubt after a crash.
const WINDOW_RECORDS_MAX: usize = 8_192;
/// Bytes of them. One record alone is taken whatever its size.
const WINDOW_BYTES_MAX: usize = 4 << 20;
/// What all batches of a process have on their way together, KiB. Below what the producer holds
/// at most before it sends (8 MiB): so no record of a batch is ever refused for want of room
/// there, while those that follow in its key are taken.
pub(super) const BATCHES_KIB_MAX: usize = 6 << 10;
/// What a record needs beside its value: its key, its headers and its place in the queue.
const RECORD_OVERHEAD_BYTES: usize = 512;

/// A record that every in-sync replica has.
pub struct Written {
    sent: Sent,
    place: Place,
}

impl Written {
    /// Its receipt: of a batch of millions, made only where somebody reads it.
    pub fn receipt(self, record_type: &RecordType) -> Receipt {
        self.sent.receipt(record_type, self.place)
    }
}

/// What became of a record, and which it was.
type Settled = (u64, Result<Place, ProduceError>);

/// Records that are on their way together.
pub struct Batch {
    enqueue: Enqueue,
    record_type: Arc<RecordType>,
    producer: Option<Box<str>>,
    tell: mpsc::UnboundedSender<Settled>,
    told: mpsc::UnboundedReceiver<Settled>,
    /// In the order in which they were handed over; none where the outcome is known.
    flights: VecDeque<Option<Flight>>,
    /// The number of the first of them.
    first: u64,
    records: usize,
    bytes: usize,
    /// Since when there has been no room.
    full_since: Option<Instant>,
}

struct Flight {
    index: u64,
    sent: Sent,
    bytes: usize,
    late_at: Instant,
}

/// Leave to hand one record over; it lasts until Kafka's client has let go of the record.
pub struct Room {
    bytes: usize,
    permit: OwnedSemaphorePermit,
}

impl Batch {
    /// An empty batch of records of this type, sent by `producer` or, without one, by this
    /// process.
    pub fn new(enqueue: Enqueue, record_type: Arc<RecordType>, producer: Option<&str>) -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        Self {
            enqueue,
            record_type,
            producer: producer.map(Into::into),
            tell,
            told,
            flights: VecDeque::new(),
            first: 0,
            records: 0,
            bytes: 0,
            full_since: None,
        }
    }

    /// Whether nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Records that are on their way.
    pub fn on_its_way(&self) -> usize {
        self.records
    }

    /// Room for a record whose value has this many bytes: none where there is no room now, and a
    /// refusal where there is no hope of any.
    pub fn room(&mut self, value_bytes: usize) -> Result<Option<Room>, EnqueueError> {
        if self.enqueue.is_away() {
            return Err(self.enqueue.refuse(&self.record_type, EnqueueError::Away));
        }
        if let Some(room) = self.try_room(value_bytes + RECORD_OVERHEAD_BYTES) {
            self.full_since = None;
            return Ok(Some(room));
        }
        let now = Instant::now();
        if *self.full_since.get_or_insert(now) + ANSWER_DEADLINE <= now {
            return Err(self.enqueue.refuse(&self.record_type, EnqueueError::Overloaded));
        }
        Ok(None)
    }

    fn try_room(&self, bytes: usize) -> Option<Room> {
        let is_full = self.records >= WINDOW_RECORDS_MAX || self.bytes + bytes > WINDOW_BYTES_MAX;
        if is_full && !self.is_empty() {
            return None;
        }
        let permits = kib(bytes);
        let permit = Arc::clone(&self.enqueue.batches).try_acquire_many_owned(permits).ok()?;
        Some(Room { bytes, permit })
    }

    /// Waits until it is worth while to ask for such room again, where nothing of this batch is
    /// on its way: the other batches have left some, or have not for too long.
    pub fn room_again(&self, value_bytes: usize) -> impl Future<Output = ()> + Send + use<> {
        let permits = kib(value_bytes + RECORD_OVERHEAD_BYTES);
        let batches = Arc::clone(&self.enqueue.batches);
        let until = self.full_since.unwrap_or_else(Instant::now) + ANSWER_DEADLINE;
        async move {
            let acquired = timeout_at(until, batches.acquire_many_owned(permits)).await;
            drop(acquired);
        }
    }

    /// Hands a record over, as marked but for who sends it. Its outcome comes under this index,
    /// unless it is refused at once.
    pub fn hand_over(
        &mut self,
        index: u64,
        accepted: Accepted,
        marks: Marks<'_>,
        room: Room,
    ) -> Result<(), EnqueueError> {
        let Room { bytes, permit } = room;
        let number = self.first + self.flights.len() as u64;
        let tell = self.tell.clone();
        let settled = move |outcome: &Result<Place, ProduceError>| {
            // Nobody listens any more to what became of a record whose batch was given up.
            drop(tell.send((number, outcome.clone())));
            drop(permit);
        };
        let marks = Marks { producer: self.producer.as_deref(), ..marks };
        let (sent, _) = self.enqueue.hand_over(&self.record_type, accepted, marks, settled)?;
        let late_at = Instant::now() + ANSWER_DEADLINE;
        self.flights.push_back(Some(Flight { index, sent, bytes, late_at }));
        self.records += 1;
        self.bytes += bytes;
        Ok(())
    }

    /// An outcome that is known now.
    pub fn try_next(&mut self) -> Option<(u64, Result<Written, EnqueueError>)> {
        while let Ok(settled) = self.told.try_recv() {
            if let Some(outcome) = self.settle(settled) {
                return Some(outcome);
            }
        }
        self.late()
    }

    /// The next outcome that becomes known; none if nothing is on its way. May be dropped and
    /// called again.
    pub async fn next(&mut self) -> Option<(u64, Result<Written, EnqueueError>)> {
        loop {
            if let Some(outcome) = self.try_next() {
                return Some(outcome);
            }
            let late_at = self.oldest()?.late_at;
            if let Ok(Some(settled)) = timeout_at(late_at, self.told.recv()).await
                && let Some(outcome) = self.settle(settled)
            {
                return Some(outcome);
            }
        }
    }

    fn settle(
        &mut self,
        (number, outcome): Settled,
    ) -> Option<(u64, Result<Written, EnqueueError>)> {
        // What was given up as late has its outcome already.
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let flight = self.flights.get_mut(at)?.take()?;
        self.landed(&flight);
        let id = flight.sent.id;
        let outcome = match outcome {
            Ok(place) => Ok(Written { sent: flight.sent, place }),
            Err(error) => Err(EnqueueError::from_produce(error, id)),
        };
        Some((flight.index, outcome))
    }

    fn late(&mut self) -> Option<(u64, Result<Written, EnqueueError>)> {
        if self.oldest()?.late_at > Instant::now() {
            return None;
        }
        let flight = self.flights.front_mut()?.take()?;
        self.landed(&flight);
        Some((flight.index, Err(EnqueueError::OutcomeUnknown { id: flight.sent.id })))
    }

    fn oldest(&self) -> Option<&Flight> {
        self.flights.front()?.as_ref()
    }

    /// Its outcome is known: those before the first that is on its way are forgotten.
    fn landed(&mut self, flight: &Flight) {
        self.records -= 1;
        self.bytes -= flight.bytes;
        while let Some(None) = self.flights.front() {
            self.flights.pop_front();
            self.first += 1;
        }
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX)
}
