//! The terms of a replay: it runs the records of its spans, counts what becomes of them, and
//! lists those that fail.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::terms::{Admission, Terms};
use crate::domain::handler::Failure;
use crate::domain::record::Record;
use crate::domain::replay::{Fate, Tally};
use crate::operations::{ReplayDesk, TakenReplay, Undertaker};

/// Follows one replay.
pub(super) struct ReplayTerms {
    id: Uuid,
    key: Option<String>,
    desk: ReplayDesk,
    /// Buries what fails for the type's own group, whose replay of the letter can then run it.
    burial: Option<(Undertaker, String)>,
    tally: Mutex<Tally>,
    waits_for: Mutex<Option<String>>,
}

impl ReplayTerms {
    pub(super) fn new(
        taken: &TakenReplay,
        group_of_type: &str,
        desk: ReplayDesk,
        undertaker: &Undertaker,
    ) -> Self {
        let TakenReplay { replay, spans } = taken;
        let burial = replay.dead_letters.then(|| (undertaker.clone(), group_of_type.to_owned()));
        Self {
            id: replay.id,
            key: replay.key.clone(),
            desk,
            burial,
            tally: Mutex::new(Tally::new(spans.iter().copied(), replay.counts)),
            waits_for: Mutex::default(),
        }
    }

    /// How far it is.
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The outage that it waits for.
    pub(super) fn outage(&self) -> Option<String> {
        self.waits_for.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_wanted(&self, record: &Record) -> bool {
        self.key.as_ref().is_none_or(|key| record.key.as_deref() == Some(key.as_bytes()))
    }
}

impl Terms for ReplayTerms {
    /// Whom a record was once meant for (`target_group`) is of no matter here.
    fn admit(&self, record: &Record) -> Admission {
        let (partition, offset) = (record.place.partition, record.place.offset);
        let mut tally = self.tally();
        if !tally.arrived(partition, offset) {
            return Admission::Ignore;
        }
        if self.is_wanted(record) {
            return Admission::Run;
        }
        tally.settled(partition, offset, Fate::Skipped);
        Admission::Pass
    }

    fn bury<'a>(
        &'a self,
        record: &'a Record,
        failure: &'a Failure,
        attempts: u32,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let is_listed = self.desk.list_failure(self.id, record, failure, attempts, stop).await;
            match &self.burial {
                Some((undertaker, group)) if is_listed => {
                    undertaker.bury(record, group, failure, attempts, stop).await.is_some()
                }
                _ => is_listed,
            }
        })
    }

    /// The records of a replay stay where they are.
    fn postpone<'a>(
        &'a self,
        _: &'a Record,
        _: u32,
        _: i64,
        _: &'a CancellationToken,
    ) -> BoxFuture<'a, bool> {
        Box::pin(std::future::ready(false))
    }

    /// Its counts belong to its positions, so everything above them runs again.
    fn assigned(&self) -> bool {
        self.tally().restart();
        false
    }

    fn settled(&self, record: &Record, fate: Fate) {
        self.tally().settled(record.place.partition, record.place.offset, fate);
    }

    fn reached(&self, partition: i32, offset: i64) {
        self.tally().reached(partition, offset);
    }

    fn read_to_the_end(&self, partition: i32) {
        self.tally().read_to_the_end(partition);
    }

    fn waits_for(&self, outage: Option<&str>) {
        *self.waits_for.lock().unwrap_or_else(PoisonError::into_inner) = outage.map(str::to_owned);
    }
}
