//! The only home of rdkafka: client settings, producer, consumer, reader, admin.
//!
//! Everything that leaves this module is in the words of [`crate::domain`]; no rdkafka type
//! does. It knows nothing of HTTP, of the database, or of what a record means.
//!
//! To add another kind of client: build it from [`KafkaSettings::client`], so that the
//! cluster's security settings reach it. Let it be replaced where it has lost every broker
//! (`stranded`): one that only answers questions belongs in a `Kept`; one that holds something
//! tells of its brokers, and its owner looks.

mod admin;
mod consumer;
mod convert;
mod error;
mod groups;
mod kept;
mod producer;
mod ranges;
mod reader;
mod scan;
mod settings;
mod stranded;
mod topics;
mod trouble;

pub use admin::{Admin, TopicDrift, TopicReport};
pub use consumer::{Assignment, Commit, ConsumerEvent, GroupConsumer, Membership, Revocation};
pub use error::{KafkaFault, ProduceError};
pub use groups::{GroupIsLive, Groups};
pub use producer::{Counters, Delivery, Producer};
pub use reader::{Bounds, Reader, Tail, Tailed};
pub use scan::{Searched, Span, Step};
pub use settings::{InvalidProperty, KafkaSettings};
pub use topics::{PartitionState, TopicState};
