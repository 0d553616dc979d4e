//! Which records a replay covers.

use super::super::edge::{self, Edge};
use super::{ReplayError, ReplayParts, ReplayPlan, ReplayRequest};
use crate::domain::replay::ReplaySpan;

impl ReplayParts {
    pub(super) async fn plan(&self, request: &ReplayRequest) -> Result<ReplayPlan, ReplayError> {
        let record_type = self
            .catalog
            .by_topic(&request.topic)
            .or_else(|| self.catalog.by_name(&request.topic))
            .ok_or_else(|| ReplayError::UnknownTopic(request.topic.clone()))?;
        let topic = record_type.topic.name.clone();
        let handler = request.handler.clone().unwrap_or_else(|| record_type.name.clone());
        let known = self.handlers_of(&record_type.name);
        if !known.contains(&handler) {
            return Err(ReplayError::NoHandler { handler, topic, known });
        }
        if request.dead_letters && handler != record_type.name {
            return Err(ReplayError::NoLetters(handler));
        }
        let of_workers = |group: &&String| self.catalog.groups().contains(&group.as_str());
        if let Some(group) = request.group.as_ref().filter(of_workers) {
            return Err(ReplayError::GroupOfWorkers(group.clone()));
        }
        let chosen = edge::partitions(&self.reader, &topic, request.partitions.as_deref()).await;
        let chosen = chosen.map_err(|error| ReplayError::of_edge("partitions", error))?;
        let bounds = self.reader.bounds_of(chosen.clone()).await?;
        let offsets = async |edge: Edge, member| {
            let offsets = edge.offsets(&self.reader, &chosen, &bounds).await;
            offsets.map_err(|error| ReplayError::of_edge(member, error))
        };
        let from = offsets(request.from, "from").await?;
        let to = offsets(request.to, "to").await?;
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

    /// What runs the records of a type: the handler that has its name from it, and others that
    /// say they can. Either gets a payload that was checked against the type.
    fn handlers_of(&self, type_name: &str) -> Vec<String> {
        let own = self.handlers.get(type_name);
        let others = self.named_handlers.iter().filter(|(_, types)| types.contains(type_name));
        own.into_iter().chain(others.map(|(name, _)| name)).cloned().collect()
    }
}
