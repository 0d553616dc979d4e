//! Answers on their way to the database. An answer is given at once, and written some
//! milliseconds later, with others in one commit. Until then it is known here, so that whoever
//! repeats its request at this gateway finds it as if it were written.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::operations::insist::insist;
use crate::store::{AnsweredRequest, KeyScope, Reservation, Reserved, Store};

/// How long answers are gathered for one commit: so long after it was given an answer may be lost
/// if the gateway is killed.
const GATHERED_FOR: Duration = Duration::from_millis(5);
/// What one commit writes: a few milliseconds of work.
const BATCH_MAX: usize = 512;
/// How long it is tried to write them: a database that restarts is back by then.
const TRIED_FOR: Duration = Duration::from_mins(1);

/// Answers that were given and are not written down. Cheap to clone. There are no more of them
/// than requests whose rows could be reserved.
#[derive(Clone, Default)]
pub(super) struct Answers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    unwritten: Mutex<HashMap<KeyScope, Arc<AnsweredRequest>>>,
    has_come: Notify,
}

impl Answers {
    /// From now on it is known.
    pub(super) fn add(&self, answered: AnsweredRequest) {
        let scope = answered.reservation.scope.clone();
        self.unwritten().insert(scope, Arc::new(answered));
        self.0.has_come.notify_one();
    }

    /// What a wish for the key of one of them is told.
    pub(super) fn told(&self, wish: &Reservation) -> Option<Reserved> {
        self.unwritten().get(&wish.scope).map(|answered| answered.told(wish))
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
            if !is_over {
                tokio::time::sleep(GATHERED_FOR).await;
            }
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

    fn batch(&self) -> Vec<Arc<AnsweredRequest>> {
        self.unwritten().values().take(BATCH_MAX).cloned().collect()
    }

    fn forget(&self, written: &[Arc<AnsweredRequest>]) {
        let mut unwritten = self.unwritten();
        for answered in written {
            let scope = &answered.reservation.scope;
            // Under a key that is known for a short time there may be the next answer by now.
            if unwritten.get(scope).is_some_and(|kept| Arc::ptr_eq(kept, answered)) {
                unwritten.remove(scope);
            }
        }
    }

    fn unwritten(&self) -> MutexGuard<'_, HashMap<KeyScope, Arc<AnsweredRequest>>> {
        self.0.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where it fails, whoever repeats one of the requests does it again, under its id. A stop leaves
/// time for one more try.
async fn write(store: &Store, batch: &[Arc<AnsweredRequest>], stop: &CancellationToken) {
    let what = "answers are not written down";
    let attempt = || store.keep_answers(batch.iter().map(AsRef::as_ref));
    let written = tokio::select! {
        biased;
        () = stop.cancelled() => attempt().await,
        written = insist(what, TRIED_FOR, attempt) => written,
    };
    if let Err(error) = written {
        tracing::error!(%error, cause = ?error, answers = batch.len(), "{what}");
    }
}
