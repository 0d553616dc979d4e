//! What the machine holds, for those who look on.

use std::sync::Arc;

use super::super::handler::Failure;
use super::Dispatcher;
use super::job::PartitionId;
use super::kind::KindState;
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
    /// Jobs that are being put away: their dead letter, or the row that brings them back, is
    /// being written.
    pub leaving: usize,
    /// Records that wait until their type is no longer paused, by an outage or by somebody.
    pub parked: usize,
    /// Records that wait for a place, or for an earlier one of their key.
    pub waiting: usize,
}

impl<T> Dispatcher<T> {
    /// What there is.
    pub fn view(&self) -> View<'_, T> {
        let mut view = View {
            partitions: self.slots.keys().collect(),
            running: Vec::new(),
            retrying: Vec::new(),
            leaving: 0,
            parked: 0,
            waiting: 0,
        };
        for (id, slot) in &self.slots {
            let Some(partition) = self.partitions.get(*slot).and_then(Option::as_ref) else {
                continue;
            };
            let is_paused = self.kinds.get(partition.type_index).is_some_and(KindState::is_shut);
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
                    Phase::Leaving => view.leaving += 1,
                    Phase::Waiting if is_paused => view.parked += 1,
                    Phase::Waiting => view.waiting += 1,
                }
            }
        }
        view
    }
}
