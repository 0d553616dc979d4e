//! The only home of rdkafka: client settings, producer, consumer, reader, admin.
//!
//! Everything that leaves this module is in the words of [`crate::domain`]; no rdkafka type
//! does. It knows nothing of HTTP, of the database, or of what a record means.
//!
//! To add another kind of client: build it from [`KafkaSettings::client`], so that the
//! cluster's security settings reach it.

mod admin;
mod consumer;
mod convert;
mod error;
mod producer;
mod reachability;
mod reader;
mod settings;

pub use admin::{Admin, TopicDrift, TopicReport};
pub use consumer::{ConsumerEvent, GroupConsumer, Revocation};
pub use error::{KafkaFault, ProduceError};
pub use producer::{Counters, Producer};
pub use reader::{Bounds, Reader, Tail};
pub use settings::{InvalidProperty, KafkaSettings};
