//! What a batch may hold of answers that nobody has read yet: its caller's fair share of what all
//! batches of the process may.

use std::sync::Arc;

use crate::domain::fair_share::{FairShares, Share};

/// Bytes of all batches together: arrays of 130,000 items, or 256 streams.
pub(super) const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Bytes that an answer is taken to have before it is made. Most have some 350.
pub(super) const ITEM_BYTES: usize = 512;
/// Bytes by which an allowance grows.
const STEP_BYTES: usize = 64 << 10;

/// What one batch may hold, until it is dropped.
pub(super) struct Allowance {
    shares: Arc<FairShares>,
    holder: Box<str>,
    first_bytes: usize,
    _first: Share,
    steps: Vec<Share>,
}

impl Allowance {
    /// So much for a batch of this caller; none if that is more than its share.
    pub(super) fn open(
        shares: &Arc<FairShares>,
        caller: Option<&str>,
        bytes: usize,
    ) -> Option<Self> {
        let holder: Box<str> = caller.unwrap_or_default().into();
        let first = shares.take(&holder, bytes)?;
        let shares = Arc::clone(shares);
        Some(Self { shares, holder, first_bytes: bytes, _first: first, steps: Vec::new() })
    }

    /// Whether it may hold this much. It grows with that, if the caller's share allows it, and
    /// shrinks again.
    pub(super) fn covers(&mut self, bytes: usize) -> bool {
        let needed = bytes.saturating_sub(self.first_bytes).div_ceil(STEP_BYTES);
        // One is kept: what goes up and down by a little need not ask each time.
        self.steps.truncate(needed + 1);
        while self.steps.len() < needed {
            let Some(step) = self.shares.take(&self.holder, STEP_BYTES) else { return false };
            self.steps.push(step);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_as_far_as_the_share_goes_and_gives_back() {
        let shares = FairShares::of(10 * STEP_BYTES);
        let mut one = Allowance::open(&shares, Some("a"), STEP_BYTES).unwrap();
        assert!(one.covers(0) && one.covers(6 * STEP_BYTES) && !one.covers(7 * STEP_BYTES));
        assert!(Allowance::open(&shares, Some("a"), STEP_BYTES).is_none());
        assert!(Allowance::open(&shares, Some("b"), STEP_BYTES).is_some(), "others find room");
        assert!(one.covers(1));
        assert!(Allowance::open(&shares, Some("a"), 3 * STEP_BYTES).is_some());
    }
}
