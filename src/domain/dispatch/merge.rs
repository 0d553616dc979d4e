//! Merging: where one run does for several jobs of a key, those that wait behind the one that
//! starts join its attempt.
//!
//! They take no place of their own, neither in the process nor in a limit. But each is still a
//! job: it has its own attempts, its own end and its own offset. The attempt's ends are told one by
//! one, those that joined first, and the lane goes on when that of the first record is told.

use std::sync::Arc;

use super::Dispatcher;
use super::job::{Joined, Start, Suspicion, Ticket};
use super::lane::{Entry, Phase};

/// Bytes of all records in one attempt: they are read together, and take a multiple of this
/// then. One that is larger runs by itself.
const MERGED_BYTES_MAX: usize = 4 << 20;

impl<T> Dispatcher<T> {
    /// Lets those join that are next in the lane, in their order and without a gap: as many as
    /// their type says, the first one included.
    pub(super) fn join(&mut self, mut start: Start<T>, now_ms: i64) -> Start<T> {
        let leader = start.ticket;
        let most = self.kinds.get(leader.type_index).map_or(1, |state| state.kind.merged_max);
        // An accused job has to show by itself what it does.
        if most <= 1 || start.suspicion == Suspicion::Alone {
            return start;
        }
        let Some(partition) = self.current_mut(leader.lane) else { return start };
        let Some(lane) = partition.lanes.get_mut(&leader.lane.id) else { return start };
        let mut bytes = lane.first.size_bytes;
        for entry in lane.rest.iter_mut().take(most - 1) {
            bytes += entry.size_bytes;
            if !entry.may_join(now_ms) || bytes > MERGED_BYTES_MAX {
                break;
            }
            entry.begin(now_ms);
            start.also.push(Joined {
                ticket: Ticket { offset: entry.offset, probe: None, is_joined: true, ..leader },
                attempt: entry.attempts + 1,
                suspicion: entry.suspicion,
                item: Arc::clone(&entry.item),
            });
        }
        partition.busy += start.also.len();
        start
    }
}

impl<T> Entry<T> {
    /// Whether it could start now if it were the first of its lane, and needs not be alone.
    fn may_join(&self, now_ms: i64) -> bool {
        let is_ready = match self.phase {
            Phase::Waiting => true,
            Phase::RetryAt(at_ms) => at_ms <= now_ms,
            Phase::Running(_) | Phase::Leaving => false,
        };
        is_ready && self.suspicion != Suspicion::Alone
    }
}
