//! List dead letters, read one whole, put one aside.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use uuid::Uuid;

use super::audit::{Audit, Deed};
use super::index;
use crate::domain::actor::Actor;
use crate::domain::catalog::Catalog;
use crate::domain::clock::SharedClock;
use crate::domain::dead_letter::DeadLetter;
use crate::domain::receipt::Place;
use crate::kafka::{Bounds, KafkaFault, Reader};
use crate::store::{
    Claim, Cursor, IndexProgress, IndexedLetter, LetterFilter, Page, QuarantineRow, Resolution,
    Store, StoreError,
};

/// How long a list waits for the index to reach the end of the topic, so that a letter
/// written before the question is in the answer.
const INDEX_WAIT: Duration = Duration::from_secs(3);
/// How often it looks.
const INDEX_LOOK: Duration = Duration::from_millis(25);
/// A claim of a replay that has no outcome after this was left by a crash. Twice as long as
/// the producer tries, so that no record of it can still be on its way.
const CLAIM_STALE: Duration = Duration::from_mins(1);
/// Letters of one message in a history: a message that fails this often is known.
const HISTORY_MAX: i64 = 100;

/// Why there is no answer about dead letters.
#[derive(Debug, Error)]
pub enum LetterError {
    /// There is no record at this place of the dead-letter topic (any more).
    #[error("there is no dead letter {partition}/{offset}")]
    NotFound {
        /// The partition asked for.
        partition: i32,
        /// The offset asked for.
        offset: i64,
    },
    /// The letter is not open any more.
    #[error("the dead letter is already {}", .0.state.as_str())]
    Settled(Box<Resolution>),
    /// A replay of the letter is under way.
    #[error("a replay of this dead letter is under way")]
    Busy,
    /// The index has not reached the end of the topic.
    #[error("the index of the dead letters is behind the topic")]
    IndexBehind,
    /// Kafka did not answer.
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A dead letter, whole.
#[derive(Debug)]
pub struct LetterDetail {
    /// What lists show.
    pub summary: IndexedLetter,
    /// What the topic holds; none where the record is no dead letter.
    pub letter: Option<DeadLetter>,
    /// The last dead letters of the same message, the oldest first, with what was done.
    pub history: Vec<(IndexedLetter, Option<Resolution>)>,
    /// The key that it holds, if it does.
    pub quarantine: Option<QuarantineRow>,
}

/// Reads and settles dead letters. Cheap to clone.
#[derive(Clone)]
pub struct DeadLetters {
    pub(super) catalog: Arc<Catalog>,
    pub(super) store: Store,
    reader: Reader,
    pub(super) clock: SharedClock,
    pub(super) audit: Audit,
}

impl DeadLetters {
    /// The use case, on these parts.
    pub fn new(
        catalog: Arc<Catalog>,
        store: Store,
        reader: Reader,
        clock: SharedClock,
        audit: Audit,
    ) -> Self {
        Self { catalog, store, reader, clock, audit }
    }

    /// A page of the letters that match, and how many do.
    pub async fn list(
        &self,
        filter: &LetterFilter,
        after: Option<Cursor>,
        limit: u16,
    ) -> Result<Page<IndexedLetter, Cursor>, LetterError> {
        self.ask_index(|| self.store.letters(self.topic(), filter, after, limit)).await
    }

    /// The letter at this place, whole.
    pub async fn get(&self, partition: i32, offset: i64) -> Result<LetterDetail, LetterError> {
        let (summary, letter) = self.read(partition, offset).await?;
        let (place, id) = (&summary.place, summary.message_id);
        let ask = || async move {
            let letters = self.store.letters_of_message(self.topic(), id, HISTORY_MAX).await?;
            Ok((letters, self.store.letter(place).await?))
        };
        let (mut letters, indexed) = self.ask_index(ask).await?;
        letters.reverse();
        let summary = indexed.filter(|letter| letter.message_id == id).unwrap_or(summary);
        let mut history = Vec::with_capacity(letters.len());
        for letter in letters {
            let resolution = self.store.resolution(&letter.place, letter.message_id).await?;
            history.push((letter, resolution));
        }
        let quarantine = self.store.quarantine_of(&summary.place, id).await?;
        Ok(LetterDetail { summary, letter, history, quarantine })
    }

    /// Puts an open letter aside for this reason.
    pub async fn discard(
        &self,
        actor: &Actor,
        partition: i32,
        offset: i64,
        reason: &str,
    ) -> Result<(), LetterError> {
        let target = format!("{}/{partition}/{offset}", self.topic());
        let deed = Deed::new("discard_dead_letter", target).because(reason);
        self.audit.around(actor, deed, self.put_aside(partition, offset, reason)).await
    }

    async fn put_aside(
        &self,
        partition: i32,
        offset: i64,
        reason: &str,
    ) -> Result<(), LetterError> {
        let (summary, _) = self.read(partition, offset).await?;
        let now_ms = self.clock.now_ms();
        let (place, id) = (&summary.place, summary.message_id);
        match self.store.discard(place, id, reason, now_ms, stale_before_ms(now_ms)).await? {
            Claim::Taken => Ok(()),
            Claim::Busy => Err(LetterError::Busy),
            Claim::Settled(resolution) => Err(LetterError::Settled(Box::new(resolution))),
        }
    }

    /// Throws the index away; it is made again from the topic.
    pub async fn rebuild_index(&self, actor: &Actor) -> Result<(), LetterError> {
        let deed = Deed::new("rebuild_dead_letter_index", self.topic());
        let clear = async { Ok(self.store.clear_index(self.topic()).await?) };
        self.audit.around(actor, deed, clear).await
    }

    pub(super) fn topic(&self) -> &str {
        &self.catalog.dead_letters().name
    }

    /// The letter from the topic itself.
    pub(super) async fn read(
        &self,
        partition: i32,
        offset: i64,
    ) -> Result<(IndexedLetter, Option<DeadLetter>), LetterError> {
        let place = Place { topic: self.topic().into(), partition, offset };
        let partitions = self.reader.bounds(self.topic()).await?.len();
        if usize::try_from(partition).map_or(true, |partition| partition >= partitions) {
            return Err(LetterError::NotFound { partition, offset });
        }
        let record = self.reader.record(place).await.map_err(|error| match error {
            KafkaFault::Missing { .. } => LetterError::NotFound { partition, offset },
            error => LetterError::Kafka(error),
        })?;
        let letter = record.value.as_deref().and_then(|value| serde_json::from_slice(value).ok());
        Ok((index::read(&self.catalog, &record), letter))
    }

    /// Asks the index once it has everything that is in the topic now. Asks again if it was
    /// thrown away meanwhile: an answer out of half an index would call what failed done.
    pub(super) async fn ask_index<T, F>(&self, ask: impl Fn() -> F) -> Result<T, LetterError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let bounds = self.reader.bounds(self.topic()).await?;
        let asked = async {
            loop {
                let before = self.store.index_progress(self.topic()).await?;
                if is_reached(&before, &bounds) {
                    let answer = ask().await?;
                    let after = self.store.index_progress(self.topic()).await?;
                    if rebuilds(&before).eq(rebuilds(&after)) {
                        return Ok::<T, StoreError>(answer);
                    }
                }
                tokio::time::sleep(INDEX_LOOK).await;
            }
        };
        match tokio::time::timeout(INDEX_WAIT, asked).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(LetterError::IndexBehind),
        }
    }
}

fn is_reached(progress: &[IndexProgress], bounds: &[Bounds]) -> bool {
    (0_i32..).zip(bounds).all(|(partition, bounds)| {
        let found = progress.iter().find(|progress| progress.partition == partition);
        bounds.low == bounds.high || found.is_some_and(|found| found.next_offset >= bounds.high)
    })
}

fn rebuilds(progress: &[IndexProgress]) -> impl Iterator<Item = (i32, i64)> {
    progress.iter().map(|progress| (progress.partition, progress.rebuilds))
}

impl DeadLetters {
    /// Claims an open letter for a replay.
    pub(super) async fn claim(
        &self,
        letter: &IndexedLetter,
        replay_id: Uuid,
    ) -> Result<(), LetterError> {
        let now_ms = self.clock.now_ms();
        let (place, id, stale_ms) = (&letter.place, letter.message_id, stale_before_ms(now_ms));
        let claim = self.store.claim_replay(place, id, replay_id, now_ms, stale_ms).await?;
        match claim {
            Claim::Taken => Ok(()),
            Claim::Busy => Err(LetterError::Busy),
            Claim::Settled(resolution) => Err(LetterError::Settled(Box::new(resolution))),
        }
    }
}

/// A claim from before this was left by a crash.
fn stale_before_ms(now_ms: i64) -> i64 {
    now_ms - i64::try_from(CLAIM_STALE.as_millis()).unwrap_or(i64::MAX / 2)
}
