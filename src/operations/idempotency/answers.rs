//! Answers on their way to the database: those of many requests are written in one commit, and each
//! is given once it is written. Where the database does not take it, it is given all the same, since
//! what it says has been done; until it is written it is known here, so that whoever repeats its
//! request at this gateway finds it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::operations::insist::insist;
use crate::store::{AnsweredRequest, KeyScope, Reservation, Reserved, Store};

/// How long an answer waits for being written, where the database says nothing.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// What one commit writes: a few milliseconds of work.
const BATCH_MAX: usize = 512;
/// How long it is tried to write them: a database that restarts is back by then.
const TRIED_FOR: Duration = Duration::from_mins(1);

/// Answers that are not written down. Cheap to clone. There are no more of them than requests
/// whose rows could be reserved.
#[derive(Clone, Default)]
pub(super) struct Answers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    unwritten: Mutex<HashMap<KeyScope, Arc<Unwritten>>>,
    has_come: Notify,
}

struct Unwritten {
    answered: AnsweredRequest,
    /// Cancelled when it may be given.
    wait: CancellationToken,
}

impl Answers {
    /// Has it written down, and waits until it may be given.
    pub(super) async fn keep(&self, answered: AnsweredRequest) {
        let scope = answered.reservation.scope.clone();
        let wait = CancellationToken::new();
        let unwritten = Unwritten { answered, wait: wait.clone() };
        self.unwritten().insert(scope, Arc::new(unwritten));
        self.0.has_come.notify_one();
        if tokio::time::timeout(WAIT_MAX, wait.cancelled()).await.is_err() {
            wait.cancel();
        }
    }

    /// What a wish for the key of one of them is told that was given all the same.
    pub(super) fn told(&self, wish: &Reservation) -> Option<Reserved> {
        let unwritten = self.unwritten();
        let given = unwritten.get(&wish.scope).filter(|unwritten| unwritten.wait.is_cancelled());
        given.map(|given| given.answered.told(wish))
    }

    /// Writes them down until there are no more to come, and the last ones before that.
    pub(super) async fn write(
        self,
        store: Store,
        stop: CancellationToken,
        end: impl Future<Output = ()>,
    ) {
        let mut end = std::pin::pin!(end);
        loop {
            let is_over = tokio::select! {
                biased;
                () = self.0.has_come.notified() => false,
                () = end.as_mut() => true,
            };
            loop {
                let batch = self.batch();
                if batch.is_empty() {
                    break;
                }
                write(&store, &batch, &stop).await;
                self.forget(&batch);
            }
            if is_over {
                return;
            }
        }
    }

    fn batch(&self) -> Vec<Arc<Unwritten>> {
        self.unwritten().values().take(BATCH_MAX).cloned().collect()
    }

    fn forget(&self, written: &[Arc<Unwritten>]) {
        let mut unwritten = self.unwritten();
        for one in written {
            let scope = &one.answered.reservation.scope;
            // Under a key that is known for a short time there may be the next answer by now.
            if unwritten.get(scope).is_some_and(|kept| Arc::ptr_eq(kept, one)) {
                unwritten.remove(scope);
            }
        }
    }

    fn unwritten(&self) -> MutexGuard<'_, HashMap<KeyScope, Arc<Unwritten>>> {
        self.0.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where it fails for good, whoever repeats one of the requests at another gateway does it again,
/// under its id. A stop leaves time for one more try.
async fn write(store: &Store, batch: &[Arc<Unwritten>], stop: &CancellationToken) {
    let what = "answers are not written down";
    let attempt = || store.keep_answers(batch.iter().map(|unwritten| &unwritten.answered));
    let mut written = attempt().await;
    for unwritten in batch {
        unwritten.wait.cancel();
    }
    if written.is_err() {
        written = tokio::select! {
            biased;
            () = stop.cancelled() => attempt().await,
            written = insist(what, TRIED_FOR, attempt) => written,
        };
    }
    if let Err(error) = written {
        tracing::error!(%error, cause = ?error, answers = batch.len(), "{what}");
    }
}
