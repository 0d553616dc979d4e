//! A point in a topic, as an operator names it, and which offset of each partition it is.

use std::collections::HashMap;

use serde_json::{Value, json};
use thiserror::Error;

use crate::domain::clock::rfc3339;
use crate::domain::dispatch::PartitionId;
use crate::kafka::{Bounds, KafkaFault, Reader};

/// A point in a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// The oldest record that is left.
    Earliest,
    /// Behind the newest record at the time of asking.
    Latest,
    /// This offset of each partition.
    Offset(i64),
    /// The first record of this time or later, milliseconds since the epoch.
    Timestamp(i64),
}

/// Why a point is none of the topic.
#[derive(Debug, Error)]
pub enum EdgeError {
    /// The topic has no such partition.
    #[error("the topic has no partition {0}")]
    NoPartition(i32),
    /// The offset is not in a partition.
    #[error(
        "partition {partition} has the offsets {} to {}; name the partitions that have this one",
        .bounds.low, .bounds.high
    )]
    OutOfBounds {
        /// The partition.
        partition: i32,
        /// What it has.
        bounds: Bounds,
    },
    /// Kafka did not answer.
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
}

impl Edge {
    /// As an operator writes it.
    pub(super) fn to_json(self) -> Value {
        match self {
            Self::Earliest => json!("earliest"),
            Self::Latest => json!("latest"),
            Self::Offset(offset) => json!({ "offset": offset }),
            Self::Timestamp(at_ms) => json!({ "timestamp": rfc3339(at_ms) }),
        }
    }

    /// The offset of each of these partitions, which have these bounds.
    pub(super) async fn offsets(
        self,
        reader: &Reader,
        chosen: &[PartitionId],
        bounds: &HashMap<PartitionId, Bounds>,
    ) -> Result<HashMap<PartitionId, i64>, EdgeError> {
        let since = match self {
            Self::Timestamp(at_ms) => reader.offsets_since(chosen, at_ms).await?,
            _ => HashMap::new(),
        };
        let mut offsets = HashMap::with_capacity(chosen.len());
        for id in chosen {
            let Some(&bounds) = bounds.get(id) else { continue };
            let offset = match self {
                Self::Earliest => bounds.low,
                Self::Latest => bounds.high,
                Self::Offset(offset) if (bounds.low..=bounds.high).contains(&offset) => offset,
                Self::Offset(_) => {
                    return Err(EdgeError::OutOfBounds { partition: id.partition, bounds });
                }
                // What arrived since the bounds were read is not meant.
                Self::Timestamp(_) => since
                    .get(id)
                    .copied()
                    .flatten()
                    .map_or(bounds.high, |offset| offset.min(bounds.high)),
            };
            offsets.insert(id.clone(), offset);
        }
        Ok(offsets)
    }
}

/// These partitions of a topic; all of them where none are named.
pub(super) async fn partitions(
    reader: &Reader,
    topic: &str,
    numbers: Option<&[i32]>,
) -> Result<Vec<PartitionId>, EdgeError> {
    let all = reader.partitions(&[topic]).await?;
    let Some(numbers) = numbers else { return Ok(all) };
    if let Some(unknown) = numbers.iter().find(|n| all.iter().all(|id| id.partition != **n)) {
        return Err(EdgeError::NoPartition(*unknown));
    }
    Ok(all.into_iter().filter(|id| numbers.contains(&id.partition)).collect())
}
