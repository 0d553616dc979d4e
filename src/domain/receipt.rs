//! What a producer gets back for a record that is durable.

use std::sync::Arc;

use uuid::Uuid;

/// The place of a record in Kafka.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The topic; shared, since each of its records names it.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
}

/// Proof that every in-sync replica has the record, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The record's `message_id`.
    pub id: Uuid,
    /// The type it was sent as.
    pub type_name: String,
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
    /// The key, derived from the payload.
    pub key: String,
    /// Milliseconds since the epoch: the record's timestamp.
    pub produced_at_ms: i64,
}

impl Receipt {
    /// The receipt of a record that Kafka has acknowledged at this place.
    pub fn new(id: Uuid, type_name: &str, place: Place, key: &str, produced_at_ms: i64) -> Self {
        let Place { topic, partition, offset } = place;
        Self {
            id,
            type_name: type_name.to_owned(),
            topic,
            partition,
            offset,
            key: key.to_owned(),
            produced_at_ms,
        }
    }
}
