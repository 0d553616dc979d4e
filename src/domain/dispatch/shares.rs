//! How many jobs a process runs at once, and what of that is kept for critical types.

/// The places of a process, which all its groups share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// Jobs that run at the same time.
    limit: usize,
    /// Of these, so many are for critical types alone.
    reserve: usize,
    critical: usize,
    other: usize,
}

/// Which jobs may start now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leave {
    /// Those of critical types.
    pub critical: bool,
    /// Those of the others.
    pub other: bool,
    /// One that must run alone.
    pub alone: bool,
}

impl Leave {
    /// Whatever there is.
    pub const ALL: Self = Self { critical: true, other: true, alone: true };

    pub(super) fn for_type(self, is_critical: bool) -> bool {
        if is_critical { self.critical } else { self.other }
    }
}

impl Shares {
    /// So many jobs at once, at least one. A quarter is kept for critical types: enough for
    /// them to go on at their pace beside a flood of others, little enough to idle unused.
    pub fn new(limit: usize) -> Self {
        let limit = limit.max(1);
        // With three places or fewer nothing can be kept without starving the others.
        Self { limit, reserve: limit / 4, critical: 0, other: 0 }
    }

    /// What may start.
    pub fn leave(&self) -> Leave {
        let is_free = self.critical + self.other < self.limit;
        let other = is_free && self.other < self.limit - self.reserve;
        Leave { critical: is_free, other, alone: true }
    }

    /// A job starts.
    pub fn take(&mut self, is_critical: bool) {
        *self.count_mut(is_critical) += 1;
    }

    /// A job has ended.
    pub fn free(&mut self, is_critical: bool) {
        let count = self.count_mut(is_critical);
        *count = count.saturating_sub(1);
    }

    fn count_mut(&mut self, is_critical: bool) -> &mut usize {
        if is_critical { &mut self.critical } else { &mut self.other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_others_leaves_critical_types_their_share() {
        let mut shares = Shares::new(8);
        while shares.leave().other {
            shares.take(false);
        }
        assert_eq!(shares.other, 6);
        assert!(shares.leave().critical);
        shares.take(true);
        shares.take(true);
        assert!(!shares.leave().critical, "the limit is one for both");
        shares.free(false);
        shares.take(true);
        assert_eq!((shares.critical, shares.other), (3, 5));
        shares.free(true);
        shares.take(false);
        assert!(!shares.leave().other, "the others never have more than their part");
    }

    #[test]
    fn critical_types_may_have_it_all_and_one_place_serves_everybody() {
        let mut shares = Shares::new(4);
        for _ in 0..4 {
            assert!(shares.leave().critical);
            shares.take(true);
        }
        assert!(!shares.leave().critical && !shares.leave().other);
        assert!(Shares::new(1).leave().other && Shares::new(0).leave().critical);
    }
}
