//! One attempt at several jobs of a key: those whose type says that one run does for all.

use std::iter;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::Runnable;
use super::attempt::{self, Terms};
use super::runner::{Ended, Ending, Runner};
use super::slots::Place;
use crate::domain::dispatch::{Start, Suspicion, Ticket};
use crate::domain::handler::{Failure, Job, Outcome};
use crate::domain::record::Record;
use crate::store::ParkEnd;

/// A job of the attempt.
struct Member {
    ticket: Ticket,
    attempt: u32,
    suspicion: Suspicion,
    record: Arc<Record>,
}

/// All of an attempt's jobs, the first one first.
fn members_of(start: Start<Record>) -> Vec<Member> {
    let Start { ticket, attempt, suspicion, item: record, also, .. } = start;
    let first = Member { ticket, attempt, suspicion, record };
    let joined = also.into_iter().map(|joined| Member {
        ticket: joined.ticket,
        attempt: joined.attempt,
        suspicion: joined.suspicion,
        record: joined.item,
    });
    iter::once(first).chain(joined).collect()
}

impl Runner {
    /// Runs it to its end: those that joined first, and the first one last. None of them where
    /// nobody waits for the end any more.
    pub(super) async fn merged(self: Arc<Self>, start: Start<Record>, _place: Place) -> Vec<Ended> {
        let Some(runnable) = self.types.get(start.ticket.type_index()) else { return Vec::new() };
        let members = members_of(start);
        let running: Vec<_> = members.iter().map(|_| runnable.counters.begin()).collect();
        let begun = Instant::now();
        let outcomes: Vec<Option<Outcome>> = tokio::select! {
            biased;
            outcomes = self.run_merged(runnable, &members) => {
                outcomes.into_iter().map(Some).collect()
            }
            () = self.abandon.cancelled() => members.iter().map(|_| None).collect(),
        };
        for _ in &members {
            runnable.counters.attempt_time.observe(begun.elapsed());
        }
        drop(running);
        let mut ended = Vec::with_capacity(members.len());
        for (member, outcome) in members.into_iter().zip(outcomes) {
            let Member { ticket, attempt, suspicion, record } = member;
            if suspicion != Suspicion::None {
                self.clear(&record, attempt, outcome.as_ref()).await;
            }
            let Some(outcome) = outcome else { continue };
            if self.is_settled(&record, &outcome).await {
                ended.push(Ended { ticket, record, ending: Ending::Ran(outcome) });
            }
        }
        the_first_last(ended)
    }

    /// The key of some of them is quarantined, which types that ask for that do not come to: they
    /// run one by one. Those are put aside, and the others come again by themselves.
    pub(super) async fn park_apart(
        self: Arc<Self>,
        start: Start<Record>,
        _place: Place,
    ) -> Vec<Ended> {
        let Some(quarantines) = self.terms.quarantines() else { return Vec::new() };
        let mut ended = Vec::with_capacity(1 + start.also.len());
        for Member { ticket, record, .. } in members_of(start) {
            let is_parked = self.parks(&record)
                && tokio::select! {
                    biased;
                    end = quarantines.park(&self.group, &record) => {
                        matches!(end, Ok(ParkEnd::Parked))
                    }
                    () = self.abandon.cancelled() => return Vec::new(),
                };
            let ending = if is_parked {
                Ending::Parked
            } else {
                Ending::NotParked(Failure::new("quarantined", "its key is quarantined"))
            };
            ended.push(Ended { ticket, record, ending });
        }
        the_first_last(ended)
    }

    /// An outcome for each. What is wrong with one of the records is no other's fault.
    async fn run_merged(&self, runnable: &Runnable, members: &[Member]) -> Vec<Outcome> {
        let timeout = runnable.timeout.unwrap_or(self.attempt_timeout);
        let mut jobs: Vec<Job> = Vec::with_capacity(members.len());
        let mut refused: Vec<Option<Outcome>> = Vec::with_capacity(members.len());
        for Member { attempt, record, .. } in members {
            let terms = Terms { scope: &self.scope, attempt: *attempt, timeout };
            match attempt::checked_job_of(runnable, record, terms) {
                Ok(job) => {
                    jobs.push(job);
                    refused.push(None);
                }
                Err(outcome) => refused.push(Some(outcome)),
            }
        }
        let run = async {
            match &*jobs {
                [] => Vec::new(),
                [job] => vec![match attempt::span_of(runnable, &job.record) {
                    None => runnable.handler.run(job).await,
                    Some(span) => runnable.handler.run(job).instrument(span).await,
                }],
                jobs => runnable.handler.run_merged(jobs).await,
            }
        };
        let limited = AssertUnwindSafe(tokio::time::timeout(timeout, run)).catch_unwind();
        let ends = match limited.await {
            Ok(Ok(ends)) => ends,
            Ok(Err(_)) => vec![attempt::timed_out(timeout); jobs.len()],
            Err(panic) => vec![attempt::panicked(panic.as_ref()); jobs.len()],
        };
        let mut ends = ends.into_iter();
        let mut end_of_next = || {
            ends.next().unwrap_or_else(|| {
                let message = "the handler did not say what became of the job".to_owned();
                Outcome::Retry(Failure::new("no_outcome", message))
            })
        };
        refused.into_iter().map(|refused| refused.unwrap_or_else(&mut end_of_next)).collect()
    }
}

/// The key goes on when the end of the first one is told.
fn the_first_last(mut ended: Vec<Ended>) -> Vec<Ended> {
    if ended.first().is_some_and(|first| !first.ticket.is_joined()) {
        ended.rotate_left(1);
    }
    ended
}
