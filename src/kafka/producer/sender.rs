//! The thread that hands records to the client library, in their order, and puts a new client
//! in the place of one that has failed for good.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};

use super::core::{Context, Core, Work};
use super::delivery::Parcel;
use crate::kafka::error::KafkaFault;
use crate::kafka::settings::KafkaSettings;

/// The client library's producer.
pub(super) type Client = ThreadedProducer<Context>;

/// Sends what is handed over, until the core is closed.
pub(super) struct Sender {
    pub(super) core: Arc<Core>,
    pub(super) client: Arc<ArcSwap<Client>>,
    pub(super) settings: KafkaSettings,
}

impl Sender {
    /// Runs the thread.
    pub(super) fn start(self) -> Result<(), KafkaFault> {
        std::thread::Builder::new()
            .name("kafka-sender".to_owned())
            .spawn(move || self.run())
            .map(drop)
            .map_err(|_| KafkaFault::Stopping)
    }

    fn run(self) {
        loop {
            match self.core.work() {
                Work::Send(parcels) => self.send(parcels),
                Work::Inspect => self.inspect(),
                Work::End => return,
            }
        }
    }

    fn send(&self, parcels: Vec<Parcel>) {
        let client = self.client.load();
        // Before any of them can be answered.
        self.core.sent(parcels.len());
        for parcel in parcels {
            let Parcel { topic, key, value, headers, timestamp_ms, docket } = parcel;
            let mut record = BaseRecord::<[u8], [u8], _>::with_opaque_to(&topic, docket)
                .timestamp(timestamp_ms)
                .headers(headers);
            record.key = key.as_deref();
            record.payload = value.as_deref();
            if let Err((error, record)) = client.send(record) {
                self.core.not_taken(*record.delivery_opaque, error);
            }
        }
    }

    /// An idempotent producer that has lost count refuses everything, and one that has forgotten
    /// every broker writes nothing: start a new one.
    fn inspect(&self) {
        let client = self.client.load();
        let reason = if let Some((code, reason)) = client.client().fatal_error() {
            format!("{code}: {reason}")
        } else if client.client().context().brokers.are_forgotten() {
            "it has forgotten every broker".to_owned()
        } else {
            return;
        };
        drop(client);
        match super::build(&self.settings, &self.core) {
            Ok(fresh) => {
                let broken = self.client.swap(Arc::new(fresh));
                tracing::error!(
                    reason,
                    "the Kafka producer failed for good; a new one is in place"
                );
                // Its end says of each record that it was given up, and takes a while.
                let end = std::thread::Builder::new().spawn(move || drop(broken));
                if let Err(error) = end {
                    tracing::warn!(%error, "a Kafka producer was ended by the sender itself");
                }
            }
            Err(error) => tracing::error!(%error, "no new Kafka producer could be made"),
        }
    }
}
