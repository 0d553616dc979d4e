//! What is out and could not be written down, such as a mail. A database that can be read and not
//! written (a full disk, a standby) would else have each probe send the same once more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

/// So many are remembered. A worker runs 32 jobs of a group at once, and those of an outage wait;
/// what is more than that has gone to another worker with its partition.
const JOBS_MAX: usize = 1_000;

/// By where the job is claimed and its id: what is to be written down.
pub(super) struct Unrecorded<T>(Mutex<HashMap<(Arc<str>, Uuid), T>>);

impl<T> Default for Unrecorded<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Unrecorded<T> {
    /// It is out.
    pub(super) fn add(&self, scope: &Arc<str>, id: Uuid, what: T) {
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if jobs.len() < JOBS_MAX {
            jobs.insert((Arc::clone(scope), id), what);
        }
    }

    /// What is to be written down, if this process has sent it.
    pub(super) fn get(&self, scope: &Arc<str>, id: Uuid) -> Option<T> {
        let jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.get(&(Arc::clone(scope), id)).cloned()
    }

    /// It is written down.
    pub(super) fn remove(&self, scope: &Arc<str>, id: Uuid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(Arc::clone(scope), id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_is_known_until_it_is_written_down() {
        let (unrecorded, group, replay) = (Unrecorded::default(), "group".into(), "replay".into());
        let id = Uuid::from_u128(1);
        unrecorded.add(&group, id, "ada@example.com");
        assert_eq!(unrecorded.get(&group, id), Some("ada@example.com"));
        assert_eq!(unrecorded.get(&replay, id), None);
        unrecorded.remove(&group, id);
        assert_eq!(unrecorded.get(&group, id), None);
        for number in 0..=JOBS_MAX {
            unrecorded.add(&group, Uuid::from_u128(number as u128), "x");
        }
        assert_eq!(unrecorded.get(&group, Uuid::from_u128(JOBS_MAX as u128)), None);
    }
}
