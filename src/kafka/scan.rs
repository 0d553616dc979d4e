//! Reading on from given offsets until something is found, with bounds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::convert::record_of;
use super::error::KafkaFault;
use super::reader::{ASK_TIMEOUT, Reader, TELLS_ENDS, build, timed_out};
use super::settings::KafkaSettings;
use crate::domain::dispatch::PartitionId;
use crate::domain::receipt::Place;
use crate::domain::record::Record;

/// After this long without a record, a search looks for partitions that have none left.
const SILENCE: Duration = Duration::from_millis(250);

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
    /// A partition has more records than are looked at: it may be there or not.
    Cut,
    /// The time was over first: it may be there or not.
    TimedOut,
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
        self.reading(move || first_of(&settings, &topic, &from)).await
    }

    /// Looks at the records of these spans, side by side, until one is found: at so many of
    /// each partition at most, for so long.
    pub async fn search(
        &self,
        spans: Vec<Span>,
        records_max: usize,
        time_max: Duration,
        look: impl FnMut(&Record) -> Step + Send + 'static,
    ) -> Result<Searched, KafkaFault> {
        let settings = self.settings.clone();
        self.reading(move || {
            let open: HashMap<PartitionId, Open> = spans
                .into_iter()
                .filter(|(_, from, end)| from < end)
                .map(|(id, from, end)| (id, Open { next: from, end, seen: 0 }))
                .collect();
            if open.is_empty() {
                return Ok(Searched::Nothing);
            }
            Search::begin(&settings, open, records_max)?.run(time_max, look)
        })
        .await
    }
}

/// What is still to be searched of a partition.
struct Open {
    next: i64,
    end: i64,
    seen: usize,
}

/// A search under way.
struct Search<'a> {
    settings: &'a KafkaSettings,
    client: BaseConsumer,
    open: HashMap<PartitionId, Open>,
    records_max: usize,
    /// Whether a partition had more records than are looked at.
    is_cut: bool,
}

impl<'a> Search<'a> {
    fn begin(
        settings: &'a KafkaSettings,
        open: HashMap<PartitionId, Open>,
        records_max: usize,
    ) -> Result<Self, KafkaFault> {
        let mut start = TopicPartitionList::with_capacity(open.len());
        for (id, open) in &open {
            let from = Offset::Offset(open.next);
            start.add_partition_offset(&id.topic, id.partition, from).map_err(search_failed)?;
        }
        let client = build(settings, "search", &[]).map_err(search_failed)?;
        client.assign(&start).map_err(search_failed)?;
        Ok(Self { settings, client, open, records_max, is_cut: false })
    }

    fn run(
        mut self,
        time_max: Duration,
        mut look: impl FnMut(&Record) -> Step,
    ) -> Result<Searched, KafkaFault> {
        let deadline = Instant::now() + time_max;
        let mut last_error = None;
        while !self.open.is_empty() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return match last_error {
                    Some(error) => Err(search_failed(error)),
                    None => Ok(Searched::TimedOut),
                };
            };
            let record = match self.client.poll(left.min(SILENCE)) {
                Some(Ok(message)) => record_of(&message),
                Some(Err(error)) => {
                    last_error = Some(error);
                    continue;
                }
                None => {
                    self.close_the_silent()?;
                    last_error = None;
                    continue;
                }
            };
            last_error = None;
            let Place { topic, partition, offset } = &record.place;
            let id = PartitionId { topic: Arc::clone(topic), partition: *partition };
            let Some(open) = self.open.get_mut(&id) else { continue };
            (open.next, open.seen) = (offset + 1, open.seen + 1);
            let is_last = open.next >= open.end;
            let is_full = open.seen >= self.records_max && !is_last;
            match look(&record) {
                Step::Found => return Ok(Searched::Found(Box::new(record))),
                Step::Enough => self.close(&id)?,
                Step::Next if is_last || is_full => {
                    self.is_cut |= is_full;
                    self.close(&id)?;
                }
                Step::Next => {}
            }
        }
        Ok(if self.is_cut { Searched::Cut } else { Searched::Nothing })
    }

    /// Behind the last record of a partition there may stand the ends of transactions, which
    /// no client is shown. Each topic is asked by itself: the end of a partition, as rdkafka
    /// tells it, names no topic.
    fn close_the_silent(&mut self) -> Result<(), KafkaFault> {
        let mut by_topic: HashMap<Arc<str>, Vec<(i32, i64)>> = HashMap::new();
        for (id, open) in &self.open {
            by_topic.entry(Arc::clone(&id.topic)).or_default().push((id.partition, open.next));
        }
        for (topic, from) in by_topic {
            for (partition, first) in first_of(self.settings, &topic, &from)? {
                if first.is_none() {
                    self.close(&PartitionId { topic: Arc::clone(&topic), partition })?;
                }
            }
        }
        Ok(())
    }

    fn close(&mut self, id: &PartitionId) -> Result<(), KafkaFault> {
        let mut done = TopicPartitionList::new();
        done.add_partition(&id.topic, id.partition);
        self.client.pause(&done).map_err(search_failed)?;
        self.open.remove(id);
        Ok(())
    }
}

fn search_failed(error: KafkaError) -> KafkaFault {
    KafkaFault::failed("search its records")(error)
}

fn first_of(
    settings: &KafkaSettings,
    topic: &str,
    from: &[(i32, i64)],
) -> Result<HashMap<i32, Option<Record>>, KafkaFault> {
    let failed = |error| KafkaFault::failed(format!("read {topic}"))(error);
    let mut found: HashMap<i32, Option<Record>> = HashMap::with_capacity(from.len());
    if from.is_empty() {
        return Ok(found);
    }
    // One record of each is wanted, not a thousand.
    let few = [TELLS_ENDS, ("queued.min.messages", "1")];
    let client = build(settings, "scan", &few).map_err(failed)?;
    let mut start = TopicPartitionList::with_capacity(from.len());
    for (partition, offset) in from {
        start.add_partition_offset(topic, *partition, Offset::Offset(*offset)).map_err(failed)?;
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
        done.add_partition(topic, partition);
        client.pause(&done).map_err(failed)?;
    }
    Ok(found)
}
