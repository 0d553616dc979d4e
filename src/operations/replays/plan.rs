//! Which records a replay covers.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{ReplayError, ReplayParts, ReplayPlan, ReplayRequest};
use crate::domain::clock::rfc3339;
use crate::domain::dispatch::PartitionId;
use crate::domain::replay::ReplaySpan;
use crate::kafka::Bounds;

/// One end of a replay.
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

impl Edge {
    pub(super) fn to_json(self) -> Value {
        match self {
            Self::Earliest => json!("earliest"),
            Self::Latest => json!("latest"),
            Self::Offset(offset) => json!({ "offset": offset }),
            Self::Timestamp(at_ms) => json!({ "timestamp": rfc3339(at_ms) }),
        }
    }
}

impl ReplayParts {
    pub(super) async fn plan(&self, request: &ReplayRequest) -> Result<ReplayPlan, ReplayError> {
        let record_type = self
            .catalog
            .by_topic(&request.topic)
            .or_else(|| self.catalog.by_name(&request.topic))
            .ok_or_else(|| ReplayError::UnknownTopic(request.topic.clone()))?;
        let topic = record_type.topic.name.clone();
        let handler = request.handler.clone().unwrap_or_else(|| record_type.name.clone());
        // A handler runs the type that it has its name from; its payload is checked against it.
        if handler != record_type.name || !self.handlers.contains(&handler) {
            let known = self.handlers.iter().cloned().collect();
            return Err(ReplayError::NoHandler { topic, known });
        }
        let of_workers = |group: &&String| self.catalog.groups().contains(&group.as_str());
        if let Some(group) = request.group.as_ref().filter(of_workers) {
            return Err(ReplayError::GroupOfWorkers(group.clone()));
        }
        let chosen = self.chosen(&topic, request.partitions.as_deref()).await?;
        let bounds = self.reader.bounds_of(chosen.clone()).await?;
        let from = self.offsets("from", request.from, &chosen, &bounds).await?;
        let to = self.offsets("to", request.to, &chosen, &bounds).await?;
        let spans = chosen
            .iter()
            .filter_map(|id| {
                let (from, to) = (*from.get(id)?, *to.get(id)?);
                // An end before the beginning covers nothing.
                let to = to.max(from);
                Some(ReplaySpan { partition: id.partition, from, to, position: from })
            })
            .collect();
        Ok(ReplayPlan { topic, handler, spans })
    }

    async fn chosen(
        &self,
        topic: &str,
        numbers: Option<&[i32]>,
    ) -> Result<Vec<PartitionId>, ReplayError> {
        let all = self.reader.partitions(&[topic]).await?;
        let Some(numbers) = numbers else { return Ok(all) };
        if let Some(unknown) = numbers.iter().find(|n| all.iter().all(|id| id.partition != **n)) {
            return Err(ReplayError::NoPartition(*unknown));
        }
        Ok(all.into_iter().filter(|id| numbers.contains(&id.partition)).collect())
    }

    async fn offsets(
        &self,
        edge: &'static str,
        at: Edge,
        chosen: &[PartitionId],
        bounds: &HashMap<PartitionId, Bounds>,
    ) -> Result<HashMap<PartitionId, i64>, ReplayError> {
        let since = match at {
            Edge::Timestamp(at_ms) => self.reader.offsets_since(chosen, at_ms).await?,
            _ => HashMap::new(),
        };
        let mut offsets = HashMap::with_capacity(chosen.len());
        for id in chosen {
            let Some(&bounds) = bounds.get(id) else { continue };
            let offset = match at {
                Edge::Earliest => bounds.low,
                Edge::Latest => bounds.high,
                Edge::Offset(offset) if (bounds.low..=bounds.high).contains(&offset) => offset,
                Edge::Offset(_) => {
                    let partition = id.partition;
                    return Err(ReplayError::OutOfBounds { edge, partition, bounds });
                }
                // What arrived since the bounds were read is not meant.
                Edge::Timestamp(_) => since
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
