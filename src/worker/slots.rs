//! The places of the process: all groups share them, critical types keep a share, and a job that
//! must run alone has the process for itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::domain::dispatch::{GroupNumber, Leave, Shares};

/// How many jobs run at once in this process. Cheap to clone.
#[derive(Clone)]
pub struct Slots(Arc<Shared>);

struct Shared {
    taken: Mutex<Taken>,
    freed: Notify,
}

struct Taken {
    shares: Shares,
    /// Whether somebody was turned away since a place was freed.
    is_wanted: bool,
}

/// A group's part in the places. What it wishes is withdrawn when it is dropped.
pub(super) struct Seat {
    slots: Slots,
    group: GroupNumber,
    has_wish: bool,
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
        let taken = Taken { shares: Shares::new(limit), is_wanted: false };
        Self(Arc::new(Shared { taken: Mutex::new(taken), freed: Notify::new() }))
    }

    /// A seat for one more group.
    pub(super) fn seat(&self) -> Seat {
        let group = self.taken().shares.add_group();
        Seat { slots: self.clone(), group, has_wish: false }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when somebody who was turned away may ask again.
    pub(super) fn freed(&self) -> Notified<'_> {
        self.0.freed.notified()
    }

    /// Those who were turned away are woken, if `change` says that they may get more now.
    fn change(&self, change: impl FnOnce(&mut Taken) -> bool) {
        let is_wanted = {
            let mut taken = self.taken();
            change(&mut taken) && std::mem::take(&mut taken.is_wanted)
        };
        if is_wanted {
            self.0.freed.notify_waiters();
        }
    }
}

impl Seat {
    pub(super) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Which jobs may start now.
    pub(super) fn leave(&self) -> Leave {
        let mut taken = self.slots.taken();
        let leave = taken.shares.leave(self.group);
        // Somebody may go without, and asks again when a place is free. Whoever goes without
        // being alone wishes for it.
        taken.is_wanted |= !(leave.critical && leave.other);
        leave
    }

    /// Whether there is a job that must run alone: then nothing else starts in this process until
    /// it has. Returns whether this is news, after which it may be worth asking again.
    pub(super) fn wish(&mut self, is_wished: bool) -> bool {
        if self.has_wish == is_wished {
            return false;
        }
        self.has_wish = is_wished;
        self.slots.change(|taken| {
            taken.shares.wish(self.group, is_wished);
            taken.is_wanted |= is_wished;
            !is_wished
        });
        true
    }

    pub(super) fn take(&mut self, is_critical: bool, is_alone: bool) -> Place {
        self.has_wish |= is_alone;
        self.slots.taken().shares.take(self.group, is_critical, is_alone);
        Place { slots: self.slots.clone(), is_critical, is_alone }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.wish(false);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.slots.change(|taken| {
            taken.shares.free(self.is_critical, self.is_alone);
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn who_waits_is_woken_when_a_wish_is_withdrawn_or_its_group_goes() {
        let slots = Slots::new(4);
        let (mut a, mut b) = (slots.seat(), slots.seat());
        let place = b.take(false, false);
        for round in 0..2 {
            let mut freed = Box::pin(slots.freed());
            freed.as_mut().enable();
            a.wish(true);
            assert_eq!(b.leave(), Leave::NONE);
            assert!((&mut freed).now_or_never().is_none(), "nothing has changed");
            if round == 0 {
                a.wish(false);
            } else {
                let mut gone = slots.seat();
                gone.wish(true);
                a.wish(false);
                assert_eq!(b.leave(), Leave::NONE, "there is another wish");
                freed = Box::pin(slots.freed());
                freed.as_mut().enable();
                drop(gone);
            }
            assert!(freed.now_or_never().is_some(), "it may ask again");
            assert!(b.leave().critical && b.leave().other);
        }
        drop(place);
        assert_eq!(b.leave(), Leave::ALL);
    }

    #[test]
    fn who_wishes_is_woken_when_the_last_other_job_has_ended() {
        let slots = Slots::new(4);
        let (mut a, mut b) = (slots.seat(), slots.seat());
        let place = b.take(false, false);
        let mut freed = Box::pin(slots.freed());
        freed.as_mut().enable();
        a.wish(true);
        drop(place);
        assert!(freed.now_or_never().is_some());
        assert!(a.leave().alone && !b.leave().alone);
    }
}
