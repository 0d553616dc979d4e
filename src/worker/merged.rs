//! One attempt at several jobs of a key: those whose type says that one run does for all.

use std::iter;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::Runnable;
use super::attempt::{self, Terms};
use super::runner::{Ended, Runner};
use crate::domain::dispatch::{Start, Ticket};
use crate::domain::handler::{Failure, Job, Outcome};
use crate::domain::record::Record;

/// A job of the attempt.
struct Member {
    ticket: Ticket,
    attempt: u32,
    record: Arc<Record>,
}

impl Runner {
    /// Runs it to its end: those that joined first, and the first one last. None of them where
    /// nobody waits for the end any more.
    pub(super) async fn merged(&self, runnable: &Runnable, start: Start<Record>) -> Vec<Ended> {
        let Start { ticket, attempt, item: record, also, .. } = start;
        let first = Member { ticket, attempt, record };
        let joined = also.into_iter().map(|joined| Member {
            ticket: joined.ticket,
            attempt: joined.attempt,
            record: joined.item,
        });
        let members: Vec<Member> = iter::once(first).chain(joined).collect();
        let running: Vec<_> = members.iter().map(|_| runnable.counters.begin()).collect();
        let begun = Instant::now();
        let outcomes = tokio::select! {
            biased;
            outcomes = self.run_merged(runnable, &members) => outcomes,
            () = self.abandon.cancelled() => Vec::new(),
        };
        for _ in &members {
            runnable.counters.attempt_time.observe(begun.elapsed());
        }
        drop(running);
        let mut ended = Vec::with_capacity(members.len());
        for (Member { ticket, record, .. }, outcome) in members.into_iter().zip(outcomes) {
            if matches!(outcome, Outcome::Done | Outcome::AlreadyDone) {
                self.undertaker.resolve(&record, &self.abandon).await;
            }
            ended.push(Ended { ticket, record, outcome });
        }
        if !ended.is_empty() {
            ended.rotate_left(1);
        }
        ended
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
                [job] => vec![runnable.handler.run(job).await],
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
