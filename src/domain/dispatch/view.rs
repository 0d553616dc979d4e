//! What the machine holds, for those who look on.

use std::sync::Arc;

use super::super::handler::Failure;
use super::Dispatcher;
use super::job::PartitionId;
use super::lane::Phase;

/// A job that runs, or waits for its next attempt.
#[derive(Debug)]
pub struct JobView<'a, T> {
    /// Its partition.
    pub partition: &'a PartitionId,
    /// Its offset.
    pub offset: i64,
    /// The record.
    pub item: &'a Arc<T>,
    /// Attempts that have ended and count.
    pub attempts: u32,
    /// Milliseconds since the epoch: when the attempt that runs has started, or when the
    /// next one starts.
    pub at_ms: i64,
    /// How the last attempt ended.
    pub last_error: Option<&'a Failure>,
}

/// What the machine holds.
#[derive(Debug)]
pub struct View<'a, T> {
    /// Partitions that it has.
    pub partitions: Vec<&'a PartitionId>,
    /// Jobs that run.
    pub running: Vec<JobView<'a, T>>,
    /// Jobs that wait for a time.
    pub retrying: Vec<JobView<'a, T>>,
    /// Records that wait for anything else: a place, their key, or their type.
    pub waiting: usize,
}

impl<T> Dispatcher<T> {
    /// What there is.
    pub fn view(&self) -> View<'_, T> {
        let mut view = View {
            partitions: self.slots.keys().collect(),
            running: Vec::new(),
            retrying: Vec::new(),
            waiting: 0,
        };
        for (id, slot) in &self.slots {
            let Some(partition) = self.partitions.get(*slot).and_then(Option::as_ref) else {
                continue;
            };
            for entry in partition.entries() {
                let job = |at_ms| JobView {
                    partition: id,
                    offset: entry.offset,
                    item: &entry.item,
                    attempts: entry.attempts,
                    at_ms,
                    last_error: entry.last_error.as_deref(),
                };
                match entry.phase {
                    Phase::Running(since_ms) => view.running.push(job(since_ms)),
                    Phase::RetryAt(at_ms) => view.retrying.push(job(at_ms)),
                    Phase::Waiting | Phase::Leaving => view.waiting += 1,
                }
            }
        }
        view
    }
}
