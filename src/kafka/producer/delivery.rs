//! A record on its way: what is sent, and what is to happen once it has its outcome.

use std::pin::Pin;
use std::task::{Context, Poll};

use rdkafka::message::OwnedHeaders;
use tokio::sync::oneshot;

use super::super::convert::headers_to;
use super::super::error::ProduceError;
use crate::domain::receipt::Place;
use crate::domain::record::OutgoingRecord;

/// What became of a record.
pub(super) type Outcome = Result<Place, ProduceError>;

/// A record as the client library takes it.
pub(super) struct Parcel {
    pub(super) topic: String,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: OwnedHeaders,
    pub(super) timestamp_ms: i64,
    pub(super) docket: Box<Docket>,
}

/// What goes with a record through the client library, and comes back with its outcome.
pub(super) struct Docket {
    /// Which burst it was sent in.
    pub(super) burst: u64,
    /// Bytes of its key and value.
    pub(super) bytes: usize,
    told: Box<dyn FnOnce(&Outcome) + Send + Sync>,
    answer: oneshot::Sender<Outcome>,
}

/// Waits for the outcome of a record. The record is written whether or not anybody waits.
#[derive(Debug)]
pub struct Delivery(oneshot::Receiver<Outcome>);

impl Parcel {
    /// Makes a record ready to be sent.
    pub(super) fn new(
        record: OutgoingRecord,
        told: impl FnOnce(&Outcome) + Send + Sync + 'static,
    ) -> (Self, Delivery) {
        let (answer, delivery) = oneshot::channel();
        let headers = headers_to(&record.headers);
        let OutgoingRecord { topic, key, value, timestamp_ms, .. } = record;
        let bytes = key.as_ref().map_or(0, Vec::len) + value.as_ref().map_or(0, Vec::len);
        let docket = Box::new(Docket { burst: 0, bytes, told: Box::new(told), answer });
        (Self { topic, key, value, headers, timestamp_ms, docket }, Delivery(delivery))
    }
}

impl Docket {
    /// Says what became of the record, to both who want to know.
    pub(super) fn settle(self, outcome: Outcome) {
        (self.told)(&outcome);
        // Nobody may wait any longer.
        drop(self.answer.send(outcome));
    }
}

impl Future for Delivery {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        // Without a word: the client was replaced while the record was on its way.
        Pin::new(&mut self.0)
            .poll(context)
            .map(|outcome| outcome.unwrap_or(Err(ProduceError::Unknown(None))))
    }
}
