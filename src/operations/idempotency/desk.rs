//! Where the rows of many requests are reserved together: what comes while a commit is under way
//! goes with the next one, and who is alone does not wait.

use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::LEASE;
use crate::domain::clock::{SharedClock, millis};
use crate::store::{KeyTimes, Reservation, Reserved, Store, StoreError};

/// What one commit reserves: half of what the connections of a process can ask for at once, and a
/// few milliseconds of work.
const BATCH_MAX: usize = 512;
/// What may wait for the next commit: two for each connection.
const WAITING_MAX: usize = 2_048;
/// How often a batch is written that two instances were in each other's way with.
const TRIES_MAX: usize = 3;

/// Why a row is not known to be reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Unreserved {
    /// The database did not do it; the log says why.
    #[error("the database did not take it")]
    Failed,
    /// Too much waits already.
    #[error("too much waits for the database")]
    Full,
}

/// Takes what is to be reserved. Cheap to clone.
#[derive(Clone)]
pub(super) struct Desk(mpsc::Sender<Ask>);

struct Ask {
    wish: Reservation,
    told: oneshot::Sender<Reserved>,
}

/// What writes.
struct Writer {
    store: Store,
    clock: SharedClock,
    /// How long a key is known.
    kept: Duration,
    asks: mpsc::Receiver<Ask>,
}

impl Desk {
    /// Opens it; what writes runs on the tracker until the stop.
    pub(super) fn start(
        store: Store,
        clock: SharedClock,
        kept: Duration,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (desk, asks) = mpsc::channel(WAITING_MAX);
        drop(tracker.spawn(Writer { store, clock, kept, asks }.run(stop)));
        Self(desk)
    }

    /// Reserves a row.
    pub(super) async fn reserve(&self, wish: Reservation) -> Result<Reserved, Unreserved> {
        let (told, outcome) = oneshot::channel();
        self.0.try_send(Ask { wish, told }).map_err(|_| Unreserved::Full)?;
        outcome.await.map_err(|_| Unreserved::Failed)
    }
}

impl Writer {
    async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            let taken = tokio::select! {
                biased;
                taken = self.asks.recv_many(&mut batch, BATCH_MAX) => taken,
                () = stop.cancelled() => return,
            };
            if taken == 0 {
                return;
            }
            // Whoever has gone would hold the row for nothing.
            batch.retain(|ask| !ask.told.is_closed());
            self.reserve(batch.drain(..)).await;
        }
    }

    /// Whoever asked hears nothing where it was not written.
    async fn reserve(&self, batch: impl Iterator<Item = Ask>) {
        let (wishes, told): (Vec<_>, Vec<_>) = batch.map(|Ask { wish, told }| (wish, told)).unzip();
        let mut tries = 0;
        let reserved = loop {
            tries += 1;
            let reserved = self.store.reserve_keys(&wishes, self.times()).await;
            let is_in_the_way = reserved.as_ref().is_err_and(StoreError::is_a_collision);
            if !is_in_the_way || tries == TRIES_MAX {
                break reserved;
            }
        };
        match reserved {
            Ok(reserved) => {
                for (told, reserved) in told.into_iter().zip(reserved) {
                    drop(told.send(reserved));
                }
            }
            Err(error) => {
                let requests = wishes.len();
                tracing::error!(%error, cause = ?error, requests, "the database takes no keys");
            }
        }
    }

    fn times(&self) -> KeyTimes {
        let now_ms = self.clock.now_ms();
        KeyTimes {
            now_ms,
            held_until_ms: now_ms.saturating_add(millis(LEASE)),
            forgotten_ms: now_ms.saturating_sub(millis(self.kept)),
        }
    }
}
