//! The place of a request that still has a body to come. It is given back while the client keeps
//! jobgate waiting: a body that drips in takes nothing from those whose requests are there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::door::{Awaited, Presence};
use super::load::{Away, Load, Place};

/// The place of a request. Cheap to clone: the clones are one.
#[derive(Clone)]
pub(in super::super) struct Seat(Arc<Inner>);

struct Inner {
    load: Arc<Load>,
    presence: Arc<Presence>,
    at: Mutex<At>,
}

/// Where the request is.
enum At {
    Here {
        _place: Place,
    },
    Away {
        _leave: Away,
        _awaited: Awaited,
    },
    /// It has its answer; or it never needed a place.
    Over,
}

/// A seat until the answer is there, or nobody waits for it any more.
pub(in super::super) struct Seated(Seat);

/// There is no place to come back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct NoPlace;

impl Seat {
    /// Of a request on this connection that has this place.
    pub(in super::super) fn new(load: &Arc<Load>, place: Place, presence: &Arc<Presence>) -> Self {
        let (load, presence) = (Arc::clone(load), Arc::clone(presence));
        Self(Arc::new(Inner { load, presence, at: Mutex::new(At::Here { _place: place }) }))
    }

    /// Holds it for as long as the request is being answered.
    pub(in super::super) fn hold(&self) -> Seated {
        Seated(self.clone())
    }

    /// Gives the place back: the client is waited for.
    pub(in super::super) fn leave(&self) {
        let mut at = self.at();
        if matches!(*at, At::Here { .. })
            && let Some(leave) = self.0.load.go_away()
        {
            *at = At::Away { _leave: leave, _awaited: self.0.presence.awaits() };
        }
    }

    /// Takes a place again, if it was given back: what was waited for is there.
    pub(in super::super) async fn come_back(&self) -> Result<(), NoPlace> {
        if !matches!(*self.at(), At::Away { .. }) {
            return Ok(());
        }
        let place = match self.0.load.enter() {
            None => self.0.load.wait().await.ok_or(NoPlace)?,
            Some(place) => place,
        };
        *self.at() = At::Here { _place: place };
        Ok(())
    }

    fn at(&self) -> MutexGuard<'_, At> {
        self.0.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        *self.0.at() = At::Over;
    }
}
