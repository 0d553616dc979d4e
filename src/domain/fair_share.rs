//! Something bounded that several holders share, so that none takes it from the others.
//!
//! A holder may have twice what is left over. Alone it gets two thirds of the whole, and there
//! is always room for a newcomer; with `n` that want all they can get, each has 2 parts of
//! `2n + 1`. Nobody has to be known beforehand, and who wants little is never refused for
//! those who want much.
//!
//! Holders are told apart by a hash in a table of fixed size: no lock, no growth. Two that meet in
//! one place share one share, which costs them something only while others wait.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Places of the table: among a hundred busy holders hardly two meet. 32 KiB.
const PLACES: usize = 4_096;
/// How much a holder may have, as a multiple of what is left over.
const OF_WHAT_IS_LEFT: usize = 2;

/// What is shared.
#[derive(Debug)]
pub struct FairShares {
    whole: usize,
    taken: AtomicUsize,
    by_holder: Box<[AtomicUsize]>,
    hasher: RandomState,
}

/// What somebody holds, until it is dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<FairShares>,
    place: usize,
    amount: usize,
}

impl FairShares {
    /// Shares of a whole of this size.
    pub fn of(whole: usize) -> Arc<Self> {
        let by_holder = (0..PLACES).map(|_| AtomicUsize::new(0)).collect();
        Arc::new(Self { whole, taken: AtomicUsize::new(0), by_holder, hasher: RandomState::new() })
    }

    /// This much for this holder; none if that is more than its share.
    pub fn take(self: &Arc<Self>, holder: &str, amount: usize) -> Option<Share> {
        let hash = usize::try_from(self.hasher.hash_one(holder) % PLACES as u64).ok()?;
        let held = self.by_holder.get(hash)?;
        // Taken first and looked at then: two at once may both be refused, never both be let in.
        let share = Share { shares: Arc::clone(self), place: hash, amount };
        let taken = self.taken.fetch_add(amount, Relaxed) + amount;
        let held = held.fetch_add(amount, Relaxed) + amount;
        let left = self.whole.checked_sub(taken)?;
        (held <= left.saturating_mul(OF_WHAT_IS_LEFT)).then_some(share)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.taken.fetch_sub(self.amount, Relaxed);
        if let Some(held) = self.shares.by_holder.get(self.place) {
            held.fetch_sub(self.amount, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As much as a holder gets.
    fn all_it_gets(shares: &Arc<FairShares>, holder: &str) -> Vec<Share> {
        std::iter::from_fn(|| shares.take(holder, 1)).collect()
    }

    #[test]
    fn one_alone_has_two_thirds_and_leaves_room_for_others() {
        let shares = FairShares::of(900);
        let greedy = all_it_gets(&shares, "greedy");
        assert_eq!(greedy.len(), 600);
        let modest: Vec<_> = (0..50).map(|_| shares.take("modest", 1).unwrap()).collect();
        assert!(shares.take("greedy", 1).is_none());
        drop((greedy, modest));
        assert_eq!(all_it_gets(&shares, "greedy").len(), 600, "what was given back is there");
    }

    #[test]
    fn those_who_want_all_they_can_get_end_with_the_same() {
        let shares = FairShares::of(500);
        let (mut one, mut other) = (Vec::new(), Vec::new());
        for _ in 0..10_000 {
            one.extend(shares.take("one", 1));
            other.extend(shares.take("other", 1));
            // Some of what is held is always done.
            one.truncate(one.len() - one.len() / 50);
            other.truncate(other.len() - other.len() / 50);
        }
        assert!(one.len().abs_diff(other.len()) < 20, "{} and {}", one.len(), other.len());
    }

    #[test]
    fn what_is_larger_than_the_whole_is_refused_and_costs_nothing() {
        let shares = FairShares::of(10);
        assert!(shares.take("a", 11).is_none() && shares.take("a", usize::MAX / 2).is_none());
        assert_eq!(all_it_gets(&shares, "a").len(), 6);
    }
}
