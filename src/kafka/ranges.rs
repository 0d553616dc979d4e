//! Questions about many partitions at once: which there are, where they begin and end, and
//! where in them a time is. One request for each broker, not one for each partition.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::metadata::MetadataPartition;
use rdkafka::{Offset, TopicPartitionList};

use super::error::KafkaFault;
use super::reader::{ASK_TIMEOUT, Bounds, Reader, blocking};
use crate::domain::dispatch::PartitionId;

/// How often stale answers are asked for again, and how many times: 1 s.
const STALE_LOOK: Duration = Duration::from_millis(100);
const STALE_LOOKS_MAX: u32 = 10;
/// What a client that has not heard of new partitions or leaders says.
const STALE: [Code; 4] = [
    Code::UnknownPartition,
    Code::UnknownTopicOrPartition,
    Code::NotLeaderForPartition,
    Code::LeaderNotAvailable,
];

/// What Kafka takes for a time that means the end, or the beginning.
const END: Offset = Offset::End;
const BEGINNING: Offset = Offset::Beginning;

impl Reader {
    /// Every partition of these topics, in their order. A topic that is missing is a fault.
    pub async fn partitions(&self, topics: &[&str]) -> Result<Vec<PartitionId>, KafkaFault> {
        let reader = self.clone();
        let topics: Vec<Arc<str>> = topics.iter().map(|topic| Arc::from(*topic)).collect();
        blocking(move || {
            let metadata = reader.question(|client| {
                client
                    .fetch_metadata(None, ASK_TIMEOUT)
                    .map_err(KafkaFault::failed("list its topics"))
            })?;
            let mut partitions = Vec::new();
            for topic in topics {
                let found = metadata.topics().iter().find(|found| found.name() == &*topic);
                let found = found
                    .filter(|found| !found.partitions().is_empty())
                    .ok_or_else(|| KafkaFault::MissingTopic { topic: topic.to_string() })?;
                let mut numbers: Vec<i32> =
                    found.partitions().iter().map(MetadataPartition::id).collect();
                numbers.sort_unstable();
                partitions.extend(
                    numbers
                        .into_iter()
                        .map(|partition| PartitionId { topic: Arc::clone(&topic), partition }),
                );
            }
            Ok(partitions)
        })
        .await
    }

    /// Where each of these partitions begins and ends.
    pub async fn bounds_of(
        &self,
        partitions: Vec<PartitionId>,
    ) -> Result<HashMap<PartitionId, Bounds>, KafkaFault> {
        let lows = self.ask(&partitions, BEGINNING).await?;
        let highs = self.ask(&partitions, END).await?;
        let mut bounds = HashMap::with_capacity(partitions.len());
        for id in partitions {
            let (Some(Some(low)), Some(Some(high))) = (lows.get(&id), highs.get(&id)) else {
                let what = format!("an answer on {}/{}", id.topic, id.partition);
                return Err(KafkaFault::Missing { what });
            };
            bounds.insert(id, Bounds { low: *low, high: *high });
        }
        Ok(bounds)
    }

    /// The first offset of each partition whose record is of this time or later; none where
    /// there is no such record.
    pub async fn offsets_since(
        &self,
        partitions: &[PartitionId],
        time_ms: i64,
    ) -> Result<HashMap<PartitionId, Option<i64>>, KafkaFault> {
        self.ask(partitions, Offset::Offset(time_ms.max(0))).await
    }

    /// Asks again where the client knows the partitions or their leaders no longer, or a new
    /// leader is not ready yet: that passes in a moment.
    async fn ask(
        &self,
        partitions: &[PartitionId],
        time: Offset,
    ) -> Result<HashMap<PartitionId, Option<i64>>, KafkaFault> {
        let asked: Arc<[PartitionId]> = partitions.into();
        let mut looks_left = STALE_LOOKS_MAX;
        loop {
            let (reader, asked) = (self.clone(), Arc::clone(&asked));
            let is_again = looks_left < STALE_LOOKS_MAX;
            let answer = blocking(move || {
                reader.question(|client| {
                    let learned = if is_again { refresh(client, &asked) } else { Ok(()) };
                    learned
                        .and_then(|()| ask_once(client, &asked, time))
                        .map_err(KafkaFault::failed("look up offsets"))
                })
            });
            match answer.await {
                Err(error) if looks_left > 0 && is_stale(&error) => looks_left -= 1,
                answer => return answer,
            }
            tokio::time::sleep(STALE_LOOK).await;
        }
    }
}

fn is_stale(error: &KafkaFault) -> bool {
    error.code().is_some_and(|code| STALE.contains(&code))
}

/// Has the client learn the partitions and leaders of these topics anew.
fn refresh(client: &BaseConsumer, partitions: &[PartitionId]) -> Result<(), KafkaError> {
    let topics: HashSet<&Arc<str>> = partitions.iter().map(|id| &id.topic).collect();
    for topic in topics {
        client.fetch_metadata(Some(topic), ASK_TIMEOUT)?;
    }
    Ok(())
}

pub(super) fn ask_once<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    partitions: &[PartitionId],
    time: Offset,
) -> Result<HashMap<PartitionId, Option<i64>>, KafkaError> {
    if partitions.is_empty() {
        return Ok(HashMap::new());
    }
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for id in partitions {
        list.add_partition_offset(&id.topic, id.partition, time)?;
    }
    let list = client.offsets_for_times(list, ASK_TIMEOUT)?;
    let mut offsets = HashMap::with_capacity(partitions.len());
    for element in list.elements() {
        element.error()?;
        let offset = match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        let id = PartitionId { topic: element.topic().into(), partition: element.partition() };
        offsets.insert(id, offset);
    }
    Ok(offsets)
}
