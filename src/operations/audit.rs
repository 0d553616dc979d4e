//! Every admin's write goes through here: an entry before the deed, its outcome after. What
//! cannot be written down is not done.

use std::fmt::Display;
use std::sync::Arc;

use serde_json::Value;

use crate::domain::actor::Actor;
use crate::domain::clock::SharedClock;
use crate::domain::id::IdSource;
use crate::store::{AuditEntry, Page, Store, StoreError, TimeCursor};

/// What somebody is about to do.
#[derive(Debug)]
pub struct Deed {
    /// A stable word, for example `discard_dead_letter`.
    pub action: &'static str,
    /// To what.
    pub target: String,
    /// Why, in the caller's words.
    pub reason: Option<String>,
    /// What else was asked for; never a payload.
    pub detail: Value,
}

impl Deed {
    /// A deed without reason or detail.
    pub fn new(action: &'static str, target: impl Into<String>) -> Self {
        Self { action, target: target.into(), reason: None, detail: Value::Null }
    }

    /// Why.
    #[must_use]
    pub fn because(mut self, reason: &str) -> Self {
        self.reason = Some(reason.to_owned());
        self
    }

    /// What else was asked for.
    #[must_use]
    pub fn with(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }
}

/// Writes down and lists who did what. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    store: Store,
    ids: Arc<IdSource>,
    clock: SharedClock,
}

impl Audit {
    /// The use case, on these parts.
    pub fn new(store: Store, ids: Arc<IdSource>, clock: SharedClock) -> Self {
        Self { store, ids, clock }
    }

    /// Does it, provided that it could be written down. An entry that stays `begun` is of a
    /// deed whose caller went away, or that a crash cut off.
    pub async fn around<T, E: Display + From<StoreError>>(
        &self,
        actor: &Actor,
        deed: Deed,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let at_ms = self.clock.now_ms();
        let entry = AuditEntry {
            id: self.ids.next(at_ms),
            at_ms,
            actor: actor.name().to_owned(),
            action: deed.action.to_owned(),
            target: deed.target,
            reason: deed.reason,
            detail: deed.detail,
            outcome: "begun".to_owned(),
        };
        self.store.begin_audit(&entry).await?;
        let result = work.await;
        let outcome = match &result {
            Ok(_) => "done".to_owned(),
            Err(error) => error.to_string(),
        };
        if let Err(error) = self.store.end_audit(entry.id, &outcome).await {
            tracing::error!(%error, audit = %entry.id, outcome, "an outcome was not audited");
        }
        result
    }

    /// A page of entries, the newest first.
    pub async fn list(
        &self,
        after: Option<TimeCursor>,
        limit: u16,
    ) -> Result<Page<AuditEntry, TimeCursor>, StoreError> {
        self.store.audit(after, limit).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::ManualClock;
    use crate::store::Database;

    async fn audit() -> (Audit, Store, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let store = Database::Sqlite(dir.path().join("t.db")).open().await.unwrap();
        let clock = Arc::new(ManualClock::at_ms(1_735_689_600_000));
        (Audit::new(store.clone(), Arc::new(IdSource::new()), clock), store, dir)
    }

    #[tokio::test]
    async fn a_deed_is_written_down_with_its_outcome() {
        let (audit, _store, _dir) = audit().await;
        let ada = Actor::new("ada");
        let deed = Deed::new("discard", "dlq/0/1").because("old");
        let done: Result<i32, StoreError> = audit.around(&ada, deed, async { Ok(7) }).await;
        assert_eq!(done.unwrap(), 7);
        let failing = async { Err(StoreError::Corrupt { what: "thing" }) };
        let failed: Result<(), StoreError> =
            audit.around(&ada, Deed::new("replay", "dlq/0/2"), failing).await;
        assert!(failed.is_err());
        let page = audit.list(None, 1).await.unwrap();
        assert_eq!((page.total, page.items[0].action.as_str()), (2, "replay"));
        assert_eq!(page.items[0].outcome, "the database holds an unreadable thing");
        let page = audit.list(page.next, 1).await.unwrap();
        assert_eq!((page.items[0].outcome.as_str(), page.next), ("done", None));
        assert_eq!(page.items[0].reason.as_deref(), Some("old"));
    }

    #[tokio::test]
    async fn what_cannot_be_written_down_is_not_done() {
        let (audit, store, _dir) = audit().await;
        store.close().await;
        let mut is_done = false;
        let work = async {
            is_done = true;
            Ok::<(), StoreError>(())
        };
        assert!(audit.around(&Actor::loopback(), Deed::new("x", "y"), work).await.is_err());
        assert!(!is_done);
    }
}
