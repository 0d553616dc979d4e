//! The places of the process: all groups share them, and critical types keep a share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::domain::dispatch::{Leave, Shares};

/// How many jobs run at once in this process. Cheap to clone.
#[derive(Clone)]
pub struct Slots(Arc<Shared>);

struct Shared {
    taken: Mutex<Taken>,
    freed: Notify,
}

struct Taken {
    shares: Shares,
    /// Whether a job runs that must run alone; no second one does meanwhile.
    is_alone: bool,
    /// Whether somebody was turned away since a place was freed.
    is_wanted: bool,
}

/// A job's place, freed when it is dropped.
pub(super) struct Place {
    slots: Slots,
    is_critical: bool,
    is_alone: bool,
}

impl Slots {
    /// So many jobs at once.
    pub fn new(limit: usize) -> Self {
        let taken = Taken { shares: Shares::new(limit), is_alone: false, is_wanted: false };
        Self(Arc::new(Shared { taken: Mutex::new(taken), freed: Notify::new() }))
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which jobs may start now.
    pub(super) fn leave(&self) -> Leave {
        let mut taken = self.taken();
        let leave = Leave { alone: !taken.is_alone, ..taken.shares.leave() };
        // Somebody may go without, and asks again when a place is free.
        taken.is_wanted |= leave != Leave::ALL;
        leave
    }

    pub(super) fn take(&self, is_critical: bool, is_alone: bool) -> Place {
        let mut taken = self.taken();
        taken.shares.take(is_critical);
        taken.is_alone |= is_alone;
        Place { slots: self.clone(), is_critical, is_alone }
    }

    /// Resolves when a place has been freed that somebody went without.
    pub(super) fn freed(&self) -> Notified<'_> {
        self.0.freed.notified()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let is_wanted = {
            let mut taken = self.slots.taken();
            taken.shares.free(self.is_critical);
            if self.is_alone {
                taken.is_alone = false;
            }
            std::mem::take(&mut taken.is_wanted)
        };
        if is_wanted {
            self.slots.0.freed.notify_waiters();
        }
    }
}
