//! What operators see of quarantines, and a release that decides nothing about the letter.

use thiserror::Error;

use crate::domain::actor::Actor;
use crate::domain::clock::SharedClock;
use crate::operations::audit::{Audit, Deed};
use crate::store::{Changed, Page, QuarantineRow, Store, StoreError, TimeCursor};

/// Why a key was not released.
#[derive(Debug, Error)]
pub enum QuarantineError {
    /// There is nothing to release.
    #[error("this key is not quarantined")]
    NotQuarantined,
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Lists and releases. Cheap to clone.
#[derive(Clone)]
pub struct QuarantineDesk {
    store: Store,
    audit: Audit,
    clock: SharedClock,
}

impl QuarantineDesk {
    /// The use case, on these parts.
    pub fn new(store: Store, audit: Audit, clock: SharedClock) -> Self {
        Self { store, audit, clock }
    }

    /// A page of the keys that are quarantined, the newest first.
    pub async fn list(
        &self,
        after: Option<TimeCursor>,
        limit: u16,
    ) -> Result<Page<QuarantineRow, TimeCursor>, StoreError> {
        self.store.quarantines(after, limit).await
    }

    /// A key goes on, whatever becomes of its dead letter.
    pub async fn release(
        &self,
        actor: &Actor,
        group: &str,
        topic: &str,
        key: &[u8],
        reason: &str,
    ) -> Result<Changed, QuarantineError> {
        let target = format!("{group}/{topic}/{}", String::from_utf8_lossy(key));
        let deed = Deed::new("release_quarantine", target.replace('\0', "\u{fffd}"));
        let release = async {
            let now_ms = self.clock.now_ms();
            let released = self.store.release_key(group, topic, key, now_ms).await?;
            released.ok_or(QuarantineError::NotQuarantined)
        };
        self.audit.around(actor, deed.because(reason), release).await
    }
}
