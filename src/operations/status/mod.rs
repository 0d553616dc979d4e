//! What became of a job: from its group's commit, the dead letters, the schedule, the record
//! itself and what the workers say of themselves. Nothing is written per job that is sent at once.

mod job_status;
mod search;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use uuid::Uuid;

pub(super) use self::job_status::JobEnd;
pub use self::job_status::JobStatus;
use self::job_status::{describe, with_attempt};
pub use self::search::SEARCH_RECORDS_MAX;
use super::dead_letters::{DeadLetters, LetterError};
use super::workers::Workers;
use crate::domain::catalog::{Catalog, RecordType};
use crate::domain::clock::SharedClock;
use crate::domain::dispatch::PartitionId;
use crate::domain::offset_map::DoneRanges;
use crate::domain::receipt::Place;
use crate::domain::record::{Record, header};
use crate::domain::scheduled::Stage;
use crate::domain::snapshot::{Now, WorkerSnapshot};
use crate::domain::status::{
    Above, Evidence, JobState, OffsetReset, is_reset_over, last_way_back_ms,
};
use crate::kafka::{Groups, KafkaFault, Reader};
use crate::store::{IndexedLetter, Resolution, ScheduledRow, Store, StoreError};

/// How long an answer may take in all, the search for an id included.
const DEADLINE: Duration = Duration::from_secs(5);
/// How many retries of a record are followed, each a record of its own: more than any retry
/// policy has attempts.
const RETRIES_FOLLOWED_MAX: usize = 20;

/// Why a status cannot be told.
#[derive(Debug, Error)]
pub enum StatusError {
    /// There is no such record, or not yet.
    #[error("there is no record at {topic}/{partition}/{offset}")]
    NotFound {
        /// The topic of the type.
        topic: String,
        /// The partition asked for.
        partition: i32,
        /// The offset asked for.
        offset: i64,
    },
    /// No record of this id is in any topic of the catalog.
    #[error("there is no record with the id {0}")]
    UnknownId(Uuid),
    /// The same, and the producer may be trying to write one until this time, milliseconds since
    /// the epoch; none where it tries for ever.
    #[error("there is no record with the id {0} yet")]
    NotYet(Uuid, Option<i64>),
    /// The id carries no time, so there is nowhere to look.
    #[error("the id {0} is not a UUIDv7")]
    NoTime(Uuid),
    /// The bound of the search came before its end.
    #[error("the id {0} was not among the first {SEARCH_RECORDS_MAX} records since its time")]
    SearchCut(Uuid),
    /// The parts took too long together.
    #[error("the status took longer than {} s", DEADLINE.as_secs())]
    TimedOut,
    /// The dead letters cannot be asked.
    #[error(transparent)]
    Letter(#[from] LetterError),
    /// Kafka did not answer.
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A record that its group's commit has passed, or calls done.
#[derive(Debug)]
pub(super) struct PassedRecord {
    pub(super) id: PartitionId,
    pub(super) offset: i64,
    /// Whether the commit itself is behind it.
    pub(super) is_below: bool,
}

/// Tells what became of jobs. Cheap to clone.
#[derive(Clone)]
pub struct Statuses {
    catalog: Arc<Catalog>,
    store: Store,
    reader: Reader,
    groups: Groups,
    letters: DeadLetters,
    workers: Workers,
    clock: SharedClock,
    /// How long the producer tries to write a record.
    gives_up_after: Duration,
}

impl Statuses {
    /// The use case, on these parts; the producer tries to write a record for so long.
    #[expect(clippy::too_many_arguments, reason = "all that a status is worked out from")]
    pub fn new(
        catalog: Arc<Catalog>,
        store: Store,
        reader: Reader,
        groups: Groups,
        letters: DeadLetters,
        workers: Workers,
        clock: SharedClock,
        gives_up_after: Duration,
    ) -> Self {
        Self { catalog, store, reader, groups, letters, workers, clock, gives_up_after }
    }

    /// The type of a job.
    pub(super) fn type_of(&self, status: &JobStatus) -> Option<Arc<RecordType>> {
        self.catalog.by_name(&status.type_name).cloned()
    }

    /// What became of the record at this place.
    pub async fn get(
        &self,
        record_type: &RecordType,
        partition: i32,
        offset: i64,
    ) -> Result<JobStatus, StatusError> {
        let status = self.follow(record_type, partition, offset);
        tokio::time::timeout(DEADLINE, status).await.map_err(|_| StatusError::TimedOut)?
    }

    /// What became of the job with this id: of one that was put off the schedule tells where it
    /// is, the record of any other is found by the time inside the id.
    pub async fn find(&self, id: Uuid) -> Result<JobStatus, StatusError> {
        let found = async {
            // A job that was sent at once can be found without the schedule.
            let row = self.store.scheduled(id).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "an id is not looked up in the schedule");
                None
            });
            if let Some(row) = row {
                return self.of_scheduled(row).await;
            }
            if let Some(found) = self.keyed(id).await? {
                return Ok(found);
            }
            let record = self.search(id).await?;
            let Place { topic, partition, offset } = record.place;
            let record_type = self.catalog.by_topic(&topic).ok_or_else(|| self.not_there(id))?;
            self.follow(record_type, partition, offset).await
        };
        tokio::time::timeout(DEADLINE, found).await.map_err(|_| StatusError::TimedOut)?
    }

    /// A job that was sent under an `Idempotency-Key`: its answer says where it is. Its record may
    /// be younger than its id by hours, where it was sent again.
    async fn keyed(&self, id: Uuid) -> Result<Option<JobStatus>, StatusError> {
        let place = self.store.place_of_keyed(id).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "an id is not looked up among those of keys");
            None
        });
        let Some((type_name, partition, offset)) = place else { return Ok(None) };
        let Some(record_type) = self.catalog.by_name(&type_name) else { return Ok(None) };
        let status = match self.follow(record_type, partition, offset).await {
            Err(StatusError::NotFound { .. }) => return Ok(None),
            status => status?,
        };
        // A topic that was made anew has other records at the same places.
        Ok(Some(status).filter(|status| status.id.is_none_or(|found| found == id)))
    }

    /// What became of a job that was put off; of one that was sent, the state of its record.
    pub async fn scheduled(&self, row: ScheduledRow) -> Result<JobState, StatusError> {
        let status = tokio::time::timeout(DEADLINE, self.of_scheduled(row)).await;
        Ok(status.map_err(|_| StatusError::TimedOut)??.state)
    }

    /// How the jobs of these records have ended, whose group has passed them by commits that were
    /// read before this is asked, and whose records are known to be for the group. One question
    /// to the index for all, and none to Kafka for each. None of one that is put off, or parked:
    /// it takes a look of its own.
    pub(super) async fn ends(
        &self,
        group: &str,
        passed: &[PassedRecord],
    ) -> Result<Vec<Option<JobEnd>>, StatusError> {
        let ask = || async {
            let mut resets: HashMap<&PartitionId, Vec<OffsetReset>> = HashMap::new();
            let mut ends = Vec::with_capacity(passed.len());
            for PassedRecord { id, offset, is_below } in passed {
                let (partition, offset) = (id.partition, *offset);
                let place = Place { topic: Arc::clone(&id.topic), partition, offset };
                if self.store.retry_of(group, &place).await?.is_some() {
                    ends.push(None);
                    continue;
                }
                if !resets.contains_key(id) {
                    resets.insert(id, self.store.resets(group, &id.topic, partition).await?);
                }
                let resets = resets.get(id).map(Vec::as_slice).unwrap_or_default();
                let way_back_ms = last_way_back_ms(offset, resets).unwrap_or(i64::MIN);
                let letter = self.letter(&place, group, None).await?;
                let letter = letter.filter(|(letter, _)| letter.failed_at_ms >= way_back_ms);
                let evidence = Evidence {
                    offset,
                    commit: is_below.then_some(offset + 1),
                    above: Some(Above::Done),
                    low: 0,
                    has_letter: letter.is_some(),
                    is_reset_over: is_reset_over(offset, resets),
                    is_for_group: true,
                };
                ends.push(Some(JobEnd { state: evidence.state(), letter }));
            }
            Ok(ends)
        };
        Ok(self.letters.ask_index(ask).await?)
    }

    /// The status of a job that its group had not passed a moment ago, by what the workers say.
    pub(super) async fn unfinished(&self, known: JobStatus) -> JobStatus {
        let (Some(record_type), Some(place)) = (self.type_of(&known), known.place.clone()) else {
            return known;
        };
        let workers = match self.workers.alive().await {
            Ok(workers) => workers,
            Err(error) => {
                tracing::debug!(%error, "what the workers do is not known");
                return known;
            }
        };
        let now = in_hand(&workers, &record_type, &place, known.id);
        let state = match now {
            Some(Now::Running(_)) => JobState::Running,
            Some(Now::Retrying(_)) => JobState::Retrying,
            None => JobState::Queued,
        };
        with_attempt(JobStatus { state, ..known.without_attempt() }, now)
    }

    async fn of_scheduled(&self, row: ScheduledRow) -> Result<JobStatus, StatusError> {
        let id = row.message_id;
        let record_type = self.catalog.by_name(&row.type_name).ok_or(StatusError::UnknownId(id))?;
        let state = match row.stage {
            Stage::Sent { place: Place { partition, offset, .. }, .. } => {
                let status = self.follow(record_type, partition, offset).await?;
                return Ok(JobStatus {
                    id: status.id.or(Some(id)),
                    producer: status.producer.or(Some(row.producer)),
                    scheduled_for_ms: status.scheduled_for_ms.or(Some(row.due_ms)),
                    ..status
                });
            }
            Stage::Cancelled { .. } => JobState::Cancelled,
            Stage::Parked => JobState::Parked,
            Stage::Waiting | Stage::OnItsWay => JobState::Scheduled,
        };
        Ok(JobStatus {
            id: Some(id),
            type_name: row.type_name,
            topic: row.topic,
            place: None,
            group: record_type.group.clone(),
            producer: Some(row.producer),
            key: row.key.and_then(|key| String::from_utf8(key).ok()),
            state,
            attempts: None,
            started_at_ms: None,
            next_attempt_at_ms: None,
            last_error: None,
            produced_at_ms: None,
            scheduled_for_ms: Some(row.due_ms),
            letter: None,
        })
    }

    /// What became of the record at this place, and of the retries that it was put off for: a
    /// group that puts a record off, or parks it, passes it, as if it had succeeded.
    async fn follow(
        &self,
        record_type: &RecordType,
        partition: i32,
        offset: i64,
    ) -> Result<JobStatus, StatusError> {
        let mut status = self.work_out(record_type, partition, offset).await?;
        let mut last = status.place.clone();
        for _ in 0..RETRIES_FOLLOWED_MAX {
            let Some(place) = last.filter(|_| status.state == JobState::Succeeded) else { break };
            let Some(retry) = self.store.retry_of(&record_type.group, &place).await? else { break };
            let place = match retry.stage {
                Stage::Sent { place, .. } => place,
                Stage::Parked => {
                    status.state = JobState::Parked;
                    break;
                }
                _ => {
                    status.scheduled_for_ms = Some(retry.due_ms);
                    status.state = JobState::Scheduled;
                    break;
                }
            };
            if !retry.is_parking {
                status.scheduled_for_ms = Some(retry.due_ms);
            }
            let later = self.work_out(record_type, place.partition, place.offset).await?;
            let JobStatus { state, attempts, letter, .. } = later;
            status = JobStatus { state, attempts, letter, ..status };
            last = Some(place);
        }
        Ok(status)
    }

    async fn work_out(
        &self,
        record_type: &RecordType,
        partition: i32,
        offset: i64,
    ) -> Result<JobStatus, StatusError> {
        let RecordType { group, topic, .. } = record_type;
        let place = Place { topic: topic.name.as_str().into(), partition, offset };
        let not_found = || StatusError::NotFound { topic: topic.name.clone(), partition, offset };
        let id = PartitionId { topic: topic.name.as_str().into(), partition };
        if !self.reader.partitions(&[&topic.name]).await?.contains(&id) {
            return Err(not_found());
        }
        // In this order: what a worker says is older than the commit that passes its record;
        // and a letter is in its topic before that commit, so what the commit has passed and
        // the index does not have has not failed.
        let workers = self.workers.alive().await?;
        let commit = self.groups.commits(group, vec![id.clone()]).await?.remove(&id).flatten();
        let bounds = self.reader.bounds_of(vec![id.clone()]).await?;
        let bounds = bounds.get(&id).copied().ok_or_else(not_found)?;
        if !(0..bounds.high).contains(&offset) {
            return Err(not_found());
        }
        let record = if offset < bounds.low { None } else { self.read(&place).await? };
        let ask = || self.letter(&place, group, record.as_ref());
        let letter = self.letters.ask_index(ask).await?;
        let producer = match (&record, &letter) {
            (Some(record), _) => record.headers.text(header::PRODUCER).map(str::to_owned),
            (None, Some((letter, _))) => self.producer_in(letter).await?,
            (None, None) => None,
        };
        let resets = self.store.resets(group, &topic.name, partition).await?;
        let way_back_ms = last_way_back_ms(offset, &resets).unwrap_or(i64::MIN);
        let letter = letter.filter(|(letter, _)| letter.failed_at_ms >= way_back_ms);
        let id_of_record = record.as_ref().map(Record::message_id);
        let now = in_hand(&workers, record_type, &place, id_of_record);
        let is_done = commit
            .as_ref()
            .is_some_and(|commit| DoneRanges::decode(commit.offset, &commit.note).contains(offset));
        let evidence = Evidence {
            offset,
            commit: commit.map(|commit| commit.offset),
            above: if is_done { Some(Above::Done) } else { now.map(Above::from) },
            low: bounds.low,
            has_letter: letter.is_some(),
            is_reset_over: is_reset_over(offset, &resets),
            is_for_group: record.as_ref().is_none_or(|record| record.is_for(group)),
        };
        let state = evidence.state();
        let letter = letter.filter(|_| state == JobState::DeadLettered);
        let status = describe(record_type, place, state, record.as_ref(), letter);
        Ok(with_attempt(JobStatus { producer, ..status }, now))
    }

    /// Who sent the record that a letter is of: where retention has taken the record, only its
    /// letter tells.
    async fn producer_in(&self, letter: &IndexedLetter) -> Result<Option<String>, StatusError> {
        let Place { partition, offset, .. } = letter.place;
        match self.letters.read(partition, offset).await {
            Ok((_, Some(letter))) => Ok(letter.headers().text(header::PRODUCER).map(str::to_owned)),
            Ok((_, None)) | Err(LetterError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The record; none where retention took it a moment ago. A hole in the log is no record.
    async fn read(&self, place: &Place) -> Result<Option<Record>, StatusError> {
        match self.reader.record(place.clone()).await {
            Ok(record) => Ok(Some(record)),
            Err(KafkaFault::Missing { .. }) => {
                let Place { topic, partition, offset } = place.clone();
                Err(StatusError::NotFound { topic: topic.to_string(), partition, offset })
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn letter(
        &self,
        place: &Place,
        group: &str,
        record: Option<&Record>,
    ) -> Result<Option<(IndexedLetter, Option<Resolution>)>, StoreError> {
        let dlq_topic = &self.catalog.dead_letters().name;
        let letter = self.store.letter_of(dlq_topic, place, group).await?;
        // A topic that was made anew has other records at the same places.
        let is_its = |letter: &IndexedLetter| {
            record.is_none_or(|record| record.message_id() == letter.message_id)
        };
        let Some(letter) = letter.filter(is_its) else { return Ok(None) };
        let resolution = self.store.resolution(&letter.place, letter.message_id).await?;
        Ok(Some((letter, resolution)))
    }
}

/// What the workers do with a record; after a rebalance two may name it, and the one that spoke
/// last has it.
fn in_hand<'a>(
    workers: &'a [WorkerSnapshot],
    record_type: &RecordType,
    place: &Place,
    id: Option<Uuid>,
) -> Option<Now<'a>> {
    let RecordType { group, name, .. } = record_type;
    // A topic that was made anew has other records at the same places.
    let is_its = |now: &Now<'_>| id.is_none_or(|id| id == now.job().id);
    workers
        .iter()
        .filter_map(|worker| {
            let now = worker.job(group, name, place.partition, place.offset).filter(is_its)?;
            Some((worker.seen_at_ms, now))
        })
        .max_by_key(|(seen_at_ms, _)| *seen_at_ms)
        .map(|(_, now)| now)
}
