//! Replay one dead letter: the record goes back to its topic, as it was or with a fixed
//! payload, for the group that failed alone.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::audit::Deed;
use super::dead_letters::{DeadLetters, LetterError};
use super::detached::run_detached;
use super::enqueue::{ANSWER_DEADLINE, EnqueueError};
use super::insist::insist;
use crate::domain::actor::Actor;
use crate::domain::catalog::{RecordType, Refusal};
use crate::domain::dead_letter::{Bytes, DeadLetter};
use crate::domain::fault::quoted;
use crate::domain::id::IdSource;
use crate::domain::receipt::{Place, Receipt};
use crate::domain::record::{OutgoingRecord, header};
use crate::kafka::{ProduceError, Producer};
use crate::store::{IndexedLetter, StoreError};

/// How long the database is asked to keep what became of a replay: as long as a replay that
/// was sent is not kept as such, the letter could be sent again.
const SETTLE_TIME: Duration = Duration::from_mins(10);

/// Why a dead letter was not replayed.
#[derive(Debug, Error)]
pub enum ReplayLetterError {
    /// The letter cannot be had, or is not open.
    #[error(transparent)]
    Letter(#[from] LetterError),
    /// The fixed payload is not valid; nothing was written.
    #[error("the payload is not valid")]
    Payload(Refusal),
    /// The letter is of no type of the catalog, or is no dead letter at all.
    #[error("{0}")]
    NotReplayable(String),
    /// The record was not written, or may not have been.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
}

impl From<StoreError> for ReplayLetterError {
    fn from(error: StoreError) -> Self {
        Self::Letter(error.into())
    }
}

/// A dead letter that was sent again.
#[derive(Debug)]
pub struct ReplayedLetter {
    /// The receipt of the new record. Its id is the one the message always had.
    pub receipt: Receipt,
    /// Names this replay; the new record carries it.
    pub replay_id: Uuid,
}

/// Sends dead letters again. Cheap to clone.
#[derive(Clone)]
pub struct ReplayLetter {
    letters: DeadLetters,
    producer: Producer,
    ids: Arc<IdSource>,
    tracker: TaskTracker,
}

impl ReplayLetter {
    /// The use case, on these parts.
    pub fn new(
        letters: DeadLetters,
        producer: Producer,
        ids: Arc<IdSource>,
        tracker: TaskTracker,
    ) -> Self {
        Self { letters, producer, ids, tracker }
    }

    /// Replays an open letter; `payload` is the fixed one, if it is to be fixed.
    ///
    /// The letter is claimed before the record is sent: a second call in the meantime is
    /// refused, and a crash in between leaves the letter open.
    pub async fn replay(
        &self,
        actor: &Actor,
        partition: i32,
        offset: i64,
        payload: Option<&[u8]>,
    ) -> Result<ReplayedLetter, ReplayLetterError> {
        let target = format!("{}/{partition}/{offset}", self.letters.topic());
        let detail = serde_json::json!({ "payload_fixed": payload.is_some() });
        let deed = Deed::new("replay_dead_letter", target).with(detail);
        let replay = self.send_again(partition, offset, payload);
        self.letters.audit.around(actor, deed, replay).await
    }

    async fn send_again(
        &self,
        partition: i32,
        offset: i64,
        payload: Option<&[u8]>,
    ) -> Result<ReplayedLetter, ReplayLetterError> {
        let (summary, letter) = self.letters.read(partition, offset).await?;
        let letter = letter
            .ok_or_else(|| ReplayLetterError::NotReplayable(summary.error_message.clone()))?;
        let record_type = self.letters.catalog.by_topic(&letter.original_topic).ok_or_else(|| {
            ReplayLetterError::NotReplayable(format!(
                "the topic {} is not in the catalog any more; discard the letter, or add the type",
                letter.original_topic
            ))
        })?;
        let group = &record_type.group;
        if let Some(other) = letter.group.as_ref().filter(|of_letter| *of_letter != group) {
            return Err(ReplayLetterError::NotReplayable(format!(
                "its group {} does not run the type {}; {group} does",
                quoted(other),
                record_type.name,
            )));
        }
        if self.producer.is_away() {
            return Err(EnqueueError::Away.into());
        }
        let now_ms = self.letters.clock.now_ms();
        let replay_id = self.ids.next(now_ms);
        let (record, key) = compose(&letter, &summary, record_type, payload, replay_id, now_ms)?;
        self.letters.claim(&summary, replay_id).await?;
        let place = self.send(&summary, record, replay_id).await?;
        let receipt = Receipt::new(summary.message_id, &record_type.name, place, &key, now_ms);
        Ok(ReplayedLetter { receipt, replay_id })
    }

    async fn send(
        &self,
        letter: &IndexedLetter,
        record: OutgoingRecord,
        replay_id: Uuid,
    ) -> Result<Place, ReplayLetterError> {
        let (producer, letters) = (self.producer.clone(), self.letters.clone());
        let letter_place = letter.place.clone();
        let id = letter.message_id;
        let tracker = self.tracker.clone();
        let work = async move {
            let sent = producer.send(&record).await;
            let outcome = match &sent {
                Ok(place) => Some(Some(place.clone())),
                // It may have been written: the claim stays until it is stale.
                Err(ProduceError::Unknown(_)) => None,
                Err(_) => Some(None),
            };
            let Some(receipt) = outcome else { return sent };
            let settle = move || {
                let (letters, place) = (letters.clone(), letter_place.clone());
                let receipt = receipt.clone();
                async move {
                    let (store, now_ms) = (&letters.store, letters.clock.now_ms());
                    match &receipt {
                        Some(at) => store.settle_replay(&place, replay_id, at, now_ms).await,
                        None => store.abandon_replay(&place, replay_id).await,
                    }
                }
            };
            // The caller need not wait for a database that is away.
            if let Err(error) = settle().await {
                tracing::warn!(job.id = %id, %error, "a replay is not recorded yet");
                tracker.spawn(async move {
                    if let Err(error) = insist("a replay's record", SETTLE_TIME, settle).await {
                        tracing::error!(job.id = %id, %error, "a replay was not recorded");
                    }
                });
            }
            sent
        };
        match run_detached(&self.tracker, ANSWER_DEADLINE, work).await {
            Some(Ok(place)) => Ok(place),
            Some(Err(error)) => Err(EnqueueError::from_produce(error, id).into()),
            None => Err(EnqueueError::OutcomeUnknown { id }.into()),
        }
    }
}

/// The record to send, and its key as text.
fn compose(
    letter: &DeadLetter,
    summary: &IndexedLetter,
    record_type: &RecordType,
    payload: Option<&[u8]>,
    replay_id: Uuid,
    now_ms: i64,
) -> Result<(OutgoingRecord, String), ReplayLetterError> {
    let unreadable =
        || ReplayLetterError::NotReplayable("its original bytes cannot be read".to_owned());
    let (key, value) = match payload {
        Some(payload) => {
            let accepted = record_type.accept(payload).map_err(ReplayLetterError::Payload)?;
            (Some(accepted.key.into_bytes()), Some(accepted.value))
        }
        None => (bytes(letter.original_key.as_ref()), bytes(letter.original_value.as_ref())),
    };
    if payload.is_none() && value.is_none() && letter.original_value.is_some() {
        return Err(unreadable());
    }
    let mut headers = letter.headers();
    headers.set(header::MESSAGE_ID, summary.message_id.to_string());
    headers.set(header::REPLAY_ID, replay_id.to_string());
    // Other groups on the topic have run the record already.
    headers.set(header::TARGET_GROUP, record_type.group.as_str());
    // It has its attempts anew, those included that it had left its place for.
    headers.remove(header::ATTEMPT);
    // It was parked before it failed, perhaps: that is over.
    headers.remove(header::QUARANTINE);
    let key_text = String::from_utf8_lossy(key.as_deref().unwrap_or_default()).into_owned();
    let record = OutgoingRecord {
        topic: letter.original_topic.clone(),
        key,
        value,
        headers,
        // The time of the replay: under its first one, retention might take it at once.
        timestamp_ms: now_ms,
    };
    Ok((record, key_text))
}

fn bytes(wrapped: Option<&Bytes>) -> Option<Vec<u8>> {
    wrapped.and_then(Bytes::to_bytes)
}
