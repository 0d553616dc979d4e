//! What sets one membership of a group apart from another: which records it runs, and what
//! becomes of those that fail.

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::domain::handler::Failure;
use crate::domain::record::Record;
use crate::domain::replay::Fate;
use crate::operations::{Quarantines, Schedule, Undertaker};

/// What is to be done with a record that has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It runs.
    Run,
    /// It counts as finished and does not run.
    Pass,
    /// It is as if it had not come: no offset of it is committed.
    Ignore,
}

/// The terms of a membership. The loop in [`super::group`] asks and tells; none of the calls
/// but [`Terms::bury`] may wait.
pub(super) trait Terms: Send + Sync + 'static {
    /// A record has arrived.
    fn admit(&self, record: &Record) -> Admission;

    /// Puts away a record that has failed for good. Returns false if `stop` came first: then
    /// its offset stays open.
    fn bury<'a>(
        &'a self,
        record: &'a Record,
        failure: &'a Failure,
        attempts: u32,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, bool>;

    /// Writes the row that brings a record back for its next attempt. Returns false if `stop`
    /// came first: then its offset stays open.
    fn postpone<'a>(
        &'a self,
        record: &'a Record,
        attempts: u32,
        at_ms: i64,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, bool>;

    /// The keys that are quarantined; none where that is of no matter.
    fn quarantines(&self) -> Option<&Quarantines> {
        None
    }

    /// Partitions were given to this member. Returns whether records that are done above the
    /// group's commit are passed over.
    fn assigned(&self) -> bool {
        true
    }

    /// A record that was admitted to run has come to its end.
    fn settled(&self, _record: &Record, _fate: Fate) {}

    /// Everything of a partition below this offset is finished.
    fn reached(&self, _partition: i32, _offset: i64) {}

    /// A partition has no further record now.
    fn read_to_the_end(&self, _partition: i32) {}

    /// An outage pauses the type, or none does.
    fn waits_for(&self, _outage: Option<&str>) {}
}

/// The terms of a group of the catalog: it runs what is meant for it, and buries what fails.
pub(super) struct GroupTerms {
    pub(super) group: String,
    pub(super) undertaker: Undertaker,
    pub(super) schedule: Schedule,
    pub(super) quarantines: Quarantines,
}

impl Terms for GroupTerms {
    fn admit(&self, record: &Record) -> Admission {
        if record.is_for(&self.group) { Admission::Run } else { Admission::Pass }
    }

    fn bury<'a>(
        &'a self,
        record: &'a Record,
        failure: &'a Failure,
        attempts: u32,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let letter = self.undertaker.bury(record, &self.group, failure, attempts, stop).await;
            match letter {
                // Until the database has this, nothing else of the key may start.
                Some(place) => self.quarantines.buried(&self.group, record, &place, stop).await,
                None => false,
            }
        })
    }

    fn quarantines(&self) -> Option<&Quarantines> {
        Some(&self.quarantines)
    }

    fn postpone<'a>(
        &'a self,
        record: &'a Record,
        attempts: u32,
        at_ms: i64,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, bool> {
        Box::pin(self.schedule.postpone_until(record, (&self.group, attempts), at_ms, stop))
    }
}
