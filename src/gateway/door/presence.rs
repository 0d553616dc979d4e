//! What a connection is at, as those see it who may end it: the task that serves it, when its
//! time is over, and the [roster](super::roster), when others need its place.
//!
//! A few atomics: each request touches them, and nobody waits for anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a client may take from its connection to its first whole request, and for the head
/// of each later one from its first byte. A total: bytes that drip in do not buy more.
pub(super) const HEADER_DEADLINE: Duration = Duration::from_secs(15);

/// One connection.
pub(in super::super) struct Presence {
    begun: Instant,
    /// Since when it is at what it is at, in milliseconds after it began.
    since_ms: AtomicU64,
    /// Requests that are being answered.
    in_hand: AtomicU32,
    /// Those of them whose client keeps them waiting.
    awaited: AtomicU32,
    has_asked: AtomicBool,
    /// A part of a request's head has come.
    is_heading: AtomicBool,
    /// Cancelled to end the connection.
    leave: CancellationToken,
}

/// How little it would cost to end a connection: the lower goes first, then the longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Worth {
    /// It has never sent a whole request.
    Unproven,
    /// It has sent a part of a further one.
    HalfAsked,
    /// It has been answered, and says nothing.
    Idle,
    /// It sends what belongs to its requests, slowly.
    Sending,
}

impl Presence {
    pub(super) fn new(leave: CancellationToken) -> Self {
        Self {
            begun: Instant::now(),
            since_ms: AtomicU64::new(0),
            in_hand: AtomicU32::new(0),
            awaited: AtomicU32::new(0),
            has_asked: AtomicBool::new(false),
            is_heading: AtomicBool::new(false),
            leave,
        }
    }

    /// Bytes of a request's head have come; or, once it is being answered, of its body.
    pub(super) fn heard(&self) {
        if !self.has_in_hand() && !self.is_heading.swap(true, Relaxed) {
            // The first request's time runs from the connection on.
            if self.has_asked.load(Relaxed) {
                self.touch();
            }
        }
    }

    /// A part of an answer has gone.
    pub(super) fn answered_on(&self) {
        if !self.is_heading.load(Relaxed) {
            self.touch();
        }
    }

    /// A whole request is there. It is in hand until this is dropped.
    pub(super) fn asked(self: &Arc<Self>) -> InHand {
        self.in_hand.fetch_add(1, Relaxed);
        self.has_asked.store(true, Relaxed);
        self.is_heading.store(false, Relaxed);
        InHand(Arc::clone(self))
    }

    /// The client of a request that is in hand keeps it waiting, until this is dropped.
    pub(in super::super) fn awaits(self: &Arc<Self>) -> Awaited {
        self.awaited.fetch_add(1, Relaxed);
        self.touch();
        Awaited(Arc::clone(self))
    }

    /// Whether a request is being answered.
    pub(super) fn has_in_hand(&self) -> bool {
        self.in_hand.load(Relaxed) > 0
    }

    /// How long it may go on as it is; none while a request is in hand, whose time is counted
    /// elsewhere.
    pub(super) fn left(&self, keep_alive: Duration) -> Option<Duration> {
        let limit = match self.worth()? {
            Worth::Sending => return None,
            Worth::Idle => keep_alive,
            Worth::Unproven | Worth::HalfAsked => HEADER_DEADLINE,
        };
        let since = Duration::from_millis(self.since_ms.load(Relaxed));
        Some((since + limit).saturating_sub(self.begun.elapsed()))
    }

    /// What it would cost to end it; none while a request is in hand that is not its client's to
    /// go on with.
    pub(super) fn worth(&self) -> Option<Worth> {
        let in_hand = self.in_hand.load(Relaxed);
        if in_hand > 0 {
            (in_hand <= self.awaited.load(Relaxed)).then_some(Worth::Sending)
        } else if !self.has_asked.load(Relaxed) {
            Some(Worth::Unproven)
        } else if self.is_heading.load(Relaxed) {
            Some(Worth::HalfAsked)
        } else {
            Some(Worth::Idle)
        }
    }

    /// Since when it is at that.
    pub(super) fn since(&self) -> Instant {
        self.begun + Duration::from_millis(self.since_ms.load(Relaxed))
    }

    /// Whether to end it loses nothing that others would miss: at a stop, what has come in part is
    /// waited for; where others need the place, it is not. Whoever is idle is told in good order.
    pub(super) fn can_be_cut(&self, is_stop: bool) -> bool {
        match self.worth() {
            Some(Worth::Unproven) => !is_stop || !self.is_heading.load(Relaxed),
            Some(Worth::HalfAsked | Worth::Sending) => !is_stop,
            Some(Worth::Idle) | None => false,
        }
    }

    /// Ends it: at once, or after the answers that are in hand.
    pub(super) fn leave(&self) {
        self.leave.cancel();
    }

    /// Resolves when it is to end.
    pub(super) fn leaving(&self) -> &CancellationToken {
        &self.leave
    }

    fn touch(&self) {
        let since_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.since_ms.store(since_ms, Relaxed);
    }
}

/// A request that is being answered.
pub(super) struct InHand(Arc<Presence>);

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.touch();
        self.0.in_hand.fetch_sub(1, Relaxed);
    }
}

/// A request that its client keeps waiting.
pub(in super::super) struct Awaited(Arc<Presence>);

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.awaited.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP_ALIVE: Duration = Duration::from_secs(75);

    fn presence() -> Arc<Presence> {
        Arc::new(Presence::new(CancellationToken::new()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_drips_in_has_no_more_time_than_one_that_does_not_come() {
        let presence = presence();
        for second in 0..15 {
            let left = presence.left(KEEP_ALIVE).unwrap();
            assert_eq!(left, HEADER_DEADLINE.saturating_sub(Duration::from_secs(second)));
            tokio::time::advance(Duration::from_secs(1)).await;
            presence.heard();
        }
        assert_eq!(presence.left(KEEP_ALIVE), Some(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_keeps_its_own_requests_waiting_may_be_ended_for_others() {
        let presence = presence();
        let (one, other) = (presence.asked(), presence.asked());
        let awaited = presence.awaits();
        assert_eq!(presence.worth(), None, "the other one is being answered");
        drop(other);
        assert_eq!((presence.worth(), presence.left(KEEP_ALIVE)), (Some(Worth::Sending), None));
        assert!(presence.can_be_cut(false) && !presence.can_be_cut(true));
        drop(awaited);
        assert_eq!(presence.worth(), None);
        drop(one);
        assert_eq!(presence.worth(), Some(Worth::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_was_answered_may_be_silent_for_longer_and_not_drip_for_longer() {
        let presence = presence();
        let in_hand = presence.asked();
        assert_eq!((presence.left(KEEP_ALIVE), presence.worth()), (None, None));
        tokio::time::advance(Duration::from_secs(40)).await;
        presence.heard();
        drop(in_hand);
        assert_eq!(presence.left(KEEP_ALIVE), Some(KEEP_ALIVE));
        assert_eq!(presence.worth(), Some(Worth::Idle));
        tokio::time::advance(Duration::from_secs(60)).await;
        presence.heard();
        presence.heard();
        assert_eq!(presence.left(KEEP_ALIVE), Some(HEADER_DEADLINE));
        assert_eq!(presence.worth(), Some(Worth::HalfAsked));
    }
}
