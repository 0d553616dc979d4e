//! How many requests are answered at once. What comes beyond that waits for a moment, and is
//! refused then: who cannot be served soon is told so soon, and those who are being served
//! go on as if nobody else were there.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// Requests at once. Far more than keep Kafka busy, and few enough that each is answered
/// within a fraction of a second while Kafka is.
pub(in super::super) const REQUESTS_MAX: usize = 1_024;
/// How long a further one may wait for its turn. Clients that come back as soon as they are
/// answered are slowed by it: to refuse them all the time would cost what others need.
const WAIT_MAX: Duration = Duration::from_millis(50);

/// Requests at once that have given their place back while their client is waited for: two for
/// each connection. Each holds little beside it ([`super::super::body_memory`]).
const AWAY_MAX: usize = 4_096;

/// The requests that are being answered.
#[derive(Debug)]
pub(in super::super) struct Load {
    places: usize,
    taken: AtomicUsize,
    away: AtomicUsize,
    waiting: AtomicUsize,
    turn: Notify,
}

/// A request that is being answered, until it is dropped.
#[derive(Debug)]
pub(in super::super) struct Place(Arc<Load>);

impl Load {
    pub(in super::super) fn new(places: usize) -> Arc<Self> {
        let none = || AtomicUsize::new(0);
        let (taken, away, waiting) = (none(), none(), none());
        Arc::new(Self { places, taken, away, waiting, turn: Notify::new() })
    }

    /// A place, if there is one and nobody waits for it.
    pub(in super::super) fn enter(self: &Arc<Self>) -> Option<Place> {
        if self.waiting.load(SeqCst) > 0 { None } else { self.take() }
    }

    /// A place, once there is one; none if that takes too long.
    pub(in super::super) async fn wait(self: &Arc<Self>) -> Option<Place> {
        let waiting = Waiting::begin(self);
        let turn = async {
            loop {
                let mut turn = pin!(self.turn.notified());
                // Listened for first and looked then: no turn is missed in between.
                turn.as_mut().enable();
                match self.take() {
                    Some(place) => return place,
                    None => turn.await,
                }
            }
        };
        let place = timeout(WAIT_MAX, turn).await.ok();
        drop(waiting);
        place
    }

    /// Leave to be away; none where too many are.
    pub(super) fn go_away(self: &Arc<Self>) -> Option<Away> {
        let one_more = |away| (away < AWAY_MAX).then_some(away + 1);
        let away = self.away.fetch_update(SeqCst, SeqCst, one_more);
        away.is_ok().then(|| Away(Arc::clone(self)))
    }

    fn take(self: &Arc<Self>) -> Option<Place> {
        let one_more = |taken| (taken < self.places).then_some(taken + 1);
        let taken = self.taken.fetch_update(SeqCst, SeqCst, one_more);
        taken.is_ok().then(|| Place(Arc::clone(self)))
    }

    fn leave(&self) {
        self.taken.fetch_sub(1, SeqCst);
        if self.waiting.load(SeqCst) > 0 {
            self.turn.notify_one();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// A request that is away, until it is dropped.
#[derive(Debug)]
pub(super) struct Away(Arc<Load>);

impl Drop for Away {
    fn drop(&mut self) {
        self.0.away.fetch_sub(1, SeqCst);
    }
}

/// One that waits, until it is dropped.
struct Waiting<'a>(&'a Load);

impl<'a> Waiting<'a> {
    fn begin(load: &'a Load) -> Self {
        load.waiting.fetch_add(1, SeqCst);
        Self(load)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_waits_for_a_moment_and_no_longer() {
        let load = Load::new(2);
        let (one, _two) = (load.enter().unwrap(), load.enter().unwrap());
        assert!(load.enter().is_none());
        let begun = Instant::now();
        assert!(load.wait().await.is_none());
        assert_eq!(begun.elapsed(), WAIT_MAX);
        let leaving = async {
            tokio::time::sleep(WAIT_MAX / 2).await;
            drop(one);
        };
        let (turn, ()) = tokio::join!(load.wait(), leaving);
        assert!(turn.is_some() && load.enter().is_none());
        drop(turn);
        assert!(load.enter().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_before_whoever_comes() {
        let load = Load::new(1);
        let place = load.enter().unwrap();
        let mut waits = pin!(load.wait());
        assert!(futures_util::poll!(waits.as_mut()).is_pending());
        drop(place);
        assert!(load.enter().is_none(), "it is the other one's turn");
        assert!(waits.await.is_some());
    }
}
