//! Once under one key: a request that is sent again is not done again.
//!
//! A row of the database is reserved before anything is done, and says under which id; the answer
//! is written into it before it is given. So whoever repeats the request gets that answer, or the
//! request is done again under the same id, where nobody knows what became of the first attempt.
//! What a request is, and how it is answered, the caller knows.

mod answers;
mod desk;

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use self::answers::Answers;
use self::desk::{Desk, Unreserved};
use super::enqueue::ANSWER_DEADLINE;
use crate::domain::clock::{SharedClock, millis};
use crate::domain::id::IdSource;
use crate::domain::idempotency::IdempotencyKey;
use crate::store::{AnsweredRequest, KeptAnswer, KeyScope, Reservation, Reserved, Store};

/// How long an attempt that says nothing holds its key: a gateway that was killed keeps those who
/// try again for so long. Kafka's acknowledgement mostly takes a thousandth of it.
const LEASE: Duration = Duration::from_secs(5);
/// How often an attempt that waits for Kafka says that it is there: three times within the lease.
const RENEW_EVERY: Duration = Duration::from_millis(1_500);
/// How long a reservation is waited for. With the wait for Kafka it stays below the 10 s after
/// which many clients give up.
const RESERVE_MAX: Duration = Duration::from_secs(3);
/// When it is looked again whether a request that is in flight has its answer, before its twin is
/// told so: Kafka's acknowledgement takes some milliseconds, and so does the way of its answer into
/// the database.
const LOOKED_AGAIN_AFTER: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(60)];
/// How long the row of a failed attempt waits for being let go. After that the failure is told all
/// the same.
const LET_GO_MAX: Duration = Duration::from_secs(2);

/// A request with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedRequest {
    /// Who sends it; none where callers have no names.
    pub caller: Option<String>,
    /// The type that it is for.
    pub type_name: String,
    /// Its key.
    pub key: IdempotencyKey,
    /// Tells it from other requests.
    pub fingerprint: String,
    /// The id of what it asks for, where that follows from the request itself.
    pub id: Option<Uuid>,
}

/// An attempt failed.
#[derive(Debug)]
pub struct Undone<E> {
    /// Why.
    pub error: E,
    /// Whether what was asked for may have been done all the same.
    pub may_be_done: bool,
}

/// What a request is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The answer.
    pub answer: KeptAnswer,
    /// Whether it was given before.
    pub is_replayed: bool,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum KeyedError<E> {
    /// The first attempt is not over.
    #[error("the request with this key is still being answered")]
    InFlight,
    /// The key is that of another request.
    #[error("the key was used for another request")]
    OtherRequest,
    /// The database cannot say; nothing was done.
    #[error("the keys cannot be asked")]
    Away,
    /// More keys are asked for than the database answers; nothing was done.
    #[error("too many keys are asked for")]
    Overloaded,
    /// It is not known in time. The attempt goes on.
    #[error("the outcome is unknown")]
    OutcomeUnknown {
        /// The id it has if it is done.
        id: Uuid,
    },
    /// It failed.
    #[error("the attempt failed")]
    Failed(E),
}

/// Does requests once under their keys. Cheap to clone.
#[derive(Clone)]
pub struct Idempotency {
    desk: Desk,
    answers: Answers,
    store: Store,
    ids: Arc<IdSource>,
    clock: SharedClock,
    attempts: TaskTracker,
}

/// Where the caller hears of an attempt.
struct Told<E> {
    /// The attempt has begun, under this id.
    begun: oneshot::Sender<Uuid>,
    /// Its end.
    said: oneshot::Sender<Result<Said, KeyedError<E>>>,
}

impl Idempotency {
    /// The use case; keys are known for so long. Its work runs on the tracker, and ends after the
    /// stop with the attempts that have begun.
    pub fn start(
        store: Store,
        ids: Arc<IdSource>,
        clock: SharedClock,
        kept: Duration,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let desk = Desk::start(store.clone(), Arc::clone(&clock), kept, tracker, stop.clone());
        let (answers, attempts) = (Answers::default(), TaskTracker::new());
        let (under_way, stopped) = (attempts.clone(), stop.clone());
        let end = async move {
            stopped.cancelled().await;
            under_way.close();
            under_way.wait().await;
        };
        drop(tracker.spawn(answers.clone().write(store.clone(), stop.clone(), end)));
        Self { desk, answers, store, ids, clock, attempts }
    }

    /// Does the work, unless that was done under this key. It is done to its end even if nobody
    /// waits any longer, and `work` gets the id that it is done under.
    pub async fn once<E: Send + 'static, F>(
        &self,
        request: KeyedRequest,
        work: impl FnOnce(Uuid) -> F + Send + 'static,
    ) -> Result<Said, KeyedError<E>>
    where
        F: Future<Output = Result<KeptAnswer, Undone<E>>> + Send + 'static,
    {
        let KeyedRequest { caller, type_name, key, fingerprint, id: own_id } = request;
        let (caller, key) = (caller.unwrap_or_default(), key.as_str().to_owned());
        let attempt = self.ids.next(self.clock.now_ms());
        let scope = KeyScope { caller, type_name, key };
        let wish = Reservation { scope, fingerprint, attempt };
        let (begun, has_begun) = oneshot::channel();
        let (said, answer) = oneshot::channel();
        let told = Told { begun, said };
        drop(self.attempts.spawn(self.clone().attempt(wish, work, told)));
        // Without a word: it did not begin, and there is an answer.
        let begun = has_begun.await;
        // Without a word: the process is ending.
        match (begun, tokio::time::timeout(ANSWER_DEADLINE, answer).await) {
            (_, Ok(Ok(said))) => said,
            (Ok(id), _) => Err(KeyedError::OutcomeUnknown { id: own_id.unwrap_or(id) }),
            (Err(_), _) => Err(KeyedError::Away),
        }
    }

    async fn attempt<E, F>(self, wish: Reservation, work: impl FnOnce(Uuid) -> F, told: Told<E>)
    where
        F: Future<Output = Result<KeptAnswer, Undone<E>>>,
    {
        let reserved = tokio::time::timeout(RESERVE_MAX, self.reserve(&wish)).await;
        let refused = match reserved.unwrap_or(Err(Unreserved::Failed)) {
            Ok(Reserved::Yours(id)) => return self.do_it(wish, id, work, told).await,
            Ok(Reserved::Answered(answer)) => Ok(Said { answer, is_replayed: true }),
            Ok(Reserved::InFlight) => Err(KeyedError::InFlight),
            Ok(Reserved::OtherRequest) => Err(KeyedError::OtherRequest),
            Err(Unreserved::Failed) => Err(KeyedError::Away),
            Err(Unreserved::Full) => Err(KeyedError::Overloaded),
        };
        drop(told.begun);
        drop(told.said.send(refused));
    }

    async fn reserve(&self, wish: &Reservation) -> Result<Reserved, Unreserved> {
        let mut looks = LOOKED_AGAIN_AFTER.into_iter();
        loop {
            if let Some(told) = self.answers.told(wish) {
                return Ok(told);
            }
            match (self.desk.reserve(wish.clone()).await, looks.next()) {
                (Ok(Reserved::InFlight), Some(wait)) => tokio::time::sleep(wait).await,
                (reserved, _) => return reserved,
            }
        }
    }

    async fn do_it<E, F>(
        self,
        held: Reservation,
        id: Uuid,
        work: impl FnOnce(Uuid) -> F,
        told: Told<E>,
    ) where
        F: Future<Output = Result<KeptAnswer, Undone<E>>>,
    {
        told.begun.send(id).ok();
        match self.holding(&held, work(id)).await {
            Ok(answer) => {
                let answered =
                    AnsweredRequest { reservation: held, message_id: id, answer: answer.clone() };
                self.answers.keep(answered).await;
                drop(told.said.send(Ok(Said { answer, is_replayed: false })));
            }
            Err(Undone { error, may_be_done }) => {
                // First the row: whoever is told to try again finds it free.
                let free = self.store.let_key_go(&held, may_be_done);
                match tokio::time::timeout(LET_GO_MAX, free).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "a key is held to its lease's end"),
                    Err(_) => tracing::warn!("a key is held to its lease's end"),
                }
                drop(told.said.send(Err(KeyedError::Failed(error))));
            }
        }
    }

    /// Waits for the work, and says meanwhile that it goes on.
    async fn holding<T>(&self, held: &Reservation, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            if let Ok(done) = tokio::time::timeout(RENEW_EVERY, work.as_mut()).await {
                return done;
            }
            let until_ms = self.clock.now_ms().saturating_add(millis(LEASE));
            if let Err(error) = self.store.hold_key(held, until_ms).await {
                tracing::debug!(%error, "a key is held no longer than its lease");
            }
        }
    }
}

#[cfg(test)]
mod tests;
