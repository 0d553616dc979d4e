//! The thread that polls.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;

use super::context::{Context, ids};
use super::event::ConsumerEvent;
use crate::kafka::convert::record_in;

/// How long one poll waits for a record; also how soon a stop is noticed.
const POLL: Duration = Duration::from_millis(100);
/// How long the end of the membership may take.
pub(super) const CLOSE_WAIT: Duration = Duration::from_secs(8);
/// Records in one event, where so many are there: handing each over by itself costs more than
/// all the rest of its way.
const RECORDS_MAX: usize = 128;
/// Bytes of them, so that what lies between thread and owner stays small.
const RECORDS_BYTES_MAX: usize = 1 << 20;

/// Owns the client. Ends with the membership.
pub(super) struct Poller {
    client: Arc<BaseConsumer<Context>>,
    is_closing: Arc<AtomicBool>,
    last_topic: RefCell<Arc<str>>,
}

impl Poller {
    pub(super) fn new(client: Arc<BaseConsumer<Context>>, is_closing: Arc<AtomicBool>) -> Self {
        Self { client, is_closing, last_topic: RefCell::new(Arc::from("")) }
    }

    /// Polls until the membership is over.
    pub(super) fn run(self) {
        while !self.is_closing.load(Ordering::Acquire) {
            self.poll();
            if self.client.context().brokers.are_forgotten() {
                return self.strand();
            }
        }
        // The revocation runs inside of polls, and ends with an empty assignment.
        self.client.unsubscribe();
        let deadline = Instant::now() + CLOSE_WAIT;
        while Instant::now() < deadline && self.is_member() {
            self.poll();
        }
    }

    /// Nothing can be committed or left any more: the client just ends.
    fn strand(&self) {
        let context = self.client.context();
        let assigned = self.client.assignment().map_or_else(|_| Vec::new(), |list| ids(&list));
        if !assigned.is_empty() {
            let _ = context.tell(ConsumerEvent::Lost(assigned));
        }
        let _ = context.tell(ConsumerEvent::Stranded);
    }

    /// Records come in runs of one topic: its name is made once for each.
    fn topic_of(&self, message: &BorrowedMessage<'_>) -> Arc<str> {
        let mut last = self.last_topic.borrow_mut();
        if &**last != message.topic() {
            *last = message.topic().into();
        }
        Arc::clone(&last)
    }

    fn is_member(&self) -> bool {
        self.client.assignment().is_ok_and(|list| list.count() > 0)
    }

    /// Hands over what there is: waits for the first record, and takes those that have come
    /// with it.
    fn poll(&self) {
        let context = self.client.context();
        let (mut count, mut bytes, mut wait) = (0, 0, POLL);
        let other = loop {
            match self.client.poll(wait) {
                Some(Ok(message)) => {
                    let record = record_in(self.topic_of(&message), &message);
                    (count, bytes) = (count + 1, bytes + record.size_bytes());
                    context.hold(record);
                    if count == RECORDS_MAX || bytes >= RECORDS_BYTES_MAX {
                        break None;
                    }
                    wait = Duration::ZERO;
                }
                Some(Err(error)) => break Some(error),
                None => break None,
            }
        };
        if context.hand_over().is_err() {
            self.is_closing.store(true, Ordering::Release);
        }
        if let Some(error) = other {
            self.failed(error);
        }
    }

    fn failed(&self, error: KafkaError) {
        match error {
            KafkaError::MessageConsumptionFatal(_) => {
                let said = self.client.client().fatal_error().map(|(_, reason)| reason);
                let said = said.unwrap_or_else(|| error.to_string());
                let _ = self.client.context().tell(ConsumerEvent::Fatal(said));
                self.is_closing.store(true, Ordering::Release);
            }
            KafkaError::PartitionEOF(partition) => {
                let _ = self.client.context().tell(ConsumerEvent::End(partition));
            }
            error => {
                let context = self.client.context();
                context.troubles.heard(&context.group, &error, "");
            }
        }
    }
}
