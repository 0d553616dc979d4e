//! Reading on from given offsets until something is found, with bounds.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::convert::{reading, record_of};
use super::error::KafkaFault;
use super::reader::{ASK_TIMEOUT, Reader, blocking};
use super::settings::KafkaSettings;
use crate::domain::dispatch::PartitionId;
use crate::domain::record::Record;

/// The part of a partition to be searched: from the first offset up to the second.
pub type Span = (PartitionId, i64, i64);

/// What a search makes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// This is it.
    Found,
    /// Go on.
    Next,
    /// What is sought cannot stand further on in this partition.
    Enough,
}

/// How a search ended.
#[derive(Debug)]
pub enum Searched {
    /// It was found.
    Found(Box<Record>),
    /// It is not there.
    Nothing,
    /// The bound came first: it may be there or not.
    GaveUp,
}

impl Reader {
    /// The first record at or behind an offset of each of these partitions of one topic;
    /// none where only the end stands there.
    pub async fn first_records(
        &self,
        topic: &str,
        from: Vec<(i32, i64)>,
    ) -> Result<HashMap<i32, Option<Record>>, KafkaFault> {
        let settings = self.settings.clone();
        let topic = topic.to_owned();
        blocking(move || {
            let failed = |error| KafkaFault::failed(format!("read {topic}"))(error);
            let mut found: HashMap<i32, Option<Record>> = HashMap::with_capacity(from.len());
            if from.is_empty() {
                return Ok(found);
            }
            // One record of each is wanted, not a thousand.
            let few = [("enable.partition.eof", "true"), ("queued.min.messages", "1")];
            let client = build(&settings, &few).map_err(failed)?;
            let mut start = TopicPartitionList::with_capacity(from.len());
            for (partition, offset) in &from {
                start
                    .add_partition_offset(&topic, *partition, Offset::Offset(*offset))
                    .map_err(failed)?;
            }
            client.assign(&start).map_err(failed)?;
            let deadline = Instant::now() + ASK_TIMEOUT;
            while found.len() < from.len() {
                let left = deadline.checked_duration_since(Instant::now());
                let left = left.ok_or_else(|| failed(timed_out()))?;
                let partition = match client.poll(left) {
                    Some(Ok(message)) => {
                        let partition = message.partition();
                        found.entry(partition).or_insert_with(|| Some(record_of(&message)));
                        partition
                    }
                    Some(Err(KafkaError::PartitionEOF(partition))) => {
                        found.entry(partition).or_insert(None);
                        partition
                    }
                    Some(Err(_)) | None => continue,
                };
                let mut done = TopicPartitionList::new();
                done.add_partition(&topic, partition);
                client.pause(&done).map_err(failed)?;
            }
            Ok(found)
        })
        .await
    }

    /// Looks at the records of these spans, side by side, until one is found. Gives up
    /// after this many records, or this time.
    pub async fn search(
        &self,
        spans: Vec<Span>,
        records_max: usize,
        time_max: Duration,
        mut look: impl FnMut(&Record) -> Step + Send + 'static,
    ) -> Result<Searched, KafkaFault> {
        let settings = self.settings.clone();
        blocking(move || {
            let failed = |error| KafkaFault::failed("search its records")(error);
            let mut open: HashSet<PartitionId> = HashSet::new();
            let mut ends: HashMap<PartitionId, i64> = HashMap::new();
            let mut start = TopicPartitionList::with_capacity(spans.len());
            for (id, from, end) in spans.into_iter().filter(|(_, from, end)| from < end) {
                start
                    .add_partition_offset(&id.topic, id.partition, Offset::Offset(from))
                    .map_err(failed)?;
                ends.insert(id.clone(), end);
                open.insert(id);
            }
            if open.is_empty() {
                return Ok(Searched::Nothing);
            }
            let client = build(&settings, &[]).map_err(failed)?;
            client.assign(&start).map_err(failed)?;
            let deadline = Instant::now() + time_max;
            let mut seen = 0_usize;
            while !open.is_empty() {
                let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                    return Ok(Searched::GaveUp);
                };
                let Some(Ok(message)) = client.poll(left) else { continue };
                let id =
                    PartitionId { topic: message.topic().into(), partition: message.partition() };
                if !open.contains(&id) {
                    continue;
                }
                if seen == records_max {
                    return Ok(Searched::GaveUp);
                }
                seen += 1;
                let record = record_of(&message);
                let step = look(&record);
                if step == Step::Found {
                    return Ok(Searched::Found(Box::new(record)));
                }
                let is_last = ends.get(&id).is_none_or(|end| record.place.offset + 1 >= *end);
                if step == Step::Enough || is_last {
                    let mut done = TopicPartitionList::new();
                    done.add_partition(&id.topic, id.partition);
                    client.pause(&done).map_err(failed)?;
                    open.remove(&id);
                }
            }
            Ok(Searched::Nothing)
        })
        .await
    }
}

fn build(
    settings: &KafkaSettings,
    properties: &[(&str, &str)],
) -> Result<BaseConsumer, KafkaError> {
    let mut config = reading(settings, "scan");
    config.set("group.id", "jobgate-reader").set("auto.offset.reset", "earliest");
    for (name, value) in properties {
        config.set(*name, *value);
    }
    config.create()
}

fn timed_out() -> KafkaError {
    KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut)
}
