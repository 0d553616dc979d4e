//! How many jobs a process runs at once, what of that is kept for critical types, and when one
//! runs with no other beside it.

use std::collections::VecDeque;

/// The places of a process, which all its groups share.
#[derive(Debug, Clone)]
pub struct Shares {
    /// Jobs that run at the same time.
    limit: usize,
    /// Of these, so many are for critical types alone.
    reserve: usize,
    critical: usize,
    other: usize,
    /// Groups with a job that must run alone, in the order of their turns. While there are any,
    /// nothing else starts, so that what runs comes to its end.
    wishes: VecDeque<GroupNumber>,
    is_one_alone: bool,
    groups: u64,
}

/// Names a group among those that share the places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupNumber(u64);

/// Which jobs may start now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leave {
    /// Those of critical types.
    pub critical: bool,
    /// Those of the others.
    pub other: bool,
    /// One that must run alone: nothing else runs in the process.
    pub alone: bool,
}

impl Leave {
    /// Whatever there is.
    pub const ALL: Self = Self { critical: true, other: true, alone: true };
    /// Nothing.
    pub const NONE: Self = Self { critical: false, other: false, alone: false };

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
        let reserve = limit / 4;
        let wishes = VecDeque::new();
        Self { limit, reserve, critical: 0, other: 0, wishes, is_one_alone: false, groups: 0 }
    }

    /// One more group shares the places.
    pub fn add_group(&mut self) -> GroupNumber {
        self.groups += 1;
        GroupNumber(self.groups)
    }

    /// What a group may start.
    pub fn leave(&self, group: GroupNumber) -> Leave {
        let running = self.critical + self.other;
        let alone = running == 0 && self.wishes.front().is_none_or(|first| *first == group);
        if self.is_one_alone || !self.wishes.is_empty() {
            return Leave { alone, ..Leave::NONE };
        }
        let critical = running < self.limit;
        let other = critical && self.other < self.limit - self.reserve;
        Leave { critical, other, alone }
    }

    /// Whether a group has a job that is ready and must run alone. As long as one has, nothing
    /// else starts. Returns whether this is news.
    pub fn wish(&mut self, group: GroupNumber, is_wished: bool) -> bool {
        let had = self.wishes.len();
        if !is_wished {
            self.wishes.retain(|other| *other != group);
        } else if !self.wishes.contains(&group) {
            self.wishes.push_back(group);
        }
        self.wishes.len() != had
    }

    /// A job starts. One that runs alone costs its group the turn, but not the wish, which may
    /// stand for more of them: whether it does is known when this one has ended.
    pub fn take(&mut self, group: GroupNumber, is_critical: bool, is_alone: bool) {
        *self.count_mut(is_critical) += 1;
        if is_alone {
            self.is_one_alone = true;
            self.wish(group, false);
            self.wish(group, true);
        }
    }

    /// A job has ended.
    pub fn free(&mut self, is_critical: bool, is_alone: bool) {
        let count = self.count_mut(is_critical);
        *count = count.saturating_sub(1);
        if is_alone {
            self.is_one_alone = false;
        }
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
        let group = shares.add_group();
        while shares.leave(group).other {
            shares.take(group, false, false);
        }
        assert_eq!(shares.other, 6);
        assert!(shares.leave(group).critical);
        shares.take(group, true, false);
        shares.take(group, true, false);
        assert!(!shares.leave(group).critical, "the limit is one for both");
        shares.free(false, false);
        shares.take(group, true, false);
        assert_eq!((shares.critical, shares.other), (3, 5));
        shares.free(true, false);
        shares.take(group, false, false);
        assert!(!shares.leave(group).other, "the others never have more than their part");
    }

    #[test]
    fn critical_types_may_have_it_all_and_one_place_serves_everybody() {
        let mut shares = Shares::new(4);
        let group = shares.add_group();
        for _ in 0..4 {
            assert!(shares.leave(group).critical);
            shares.take(group, true, false);
        }
        assert!(!shares.leave(group).critical && !shares.leave(group).other);
        assert!(Shares::new(1).leave(group).other && Shares::new(0).leave(group).critical);
    }

    #[test]
    fn from_a_wish_on_nothing_starts_until_one_has_run_alone() {
        let mut shares = Shares::new(8);
        let (a, b) = (shares.add_group(), shares.add_group());
        shares.take(b, false, false);
        shares.take(b, true, false);
        assert!(!shares.leave(a).alone);
        shares.wish(a, true);
        assert_eq!([shares.leave(a), shares.leave(b)], [Leave::NONE; 2]);
        shares.free(false, false);
        assert_eq!([shares.leave(a), shares.leave(b)], [Leave::NONE; 2], "one still runs");
        shares.free(true, false);
        assert_eq!(shares.leave(a), Leave { alone: true, ..Leave::NONE });
        assert_eq!(shares.leave(b), Leave::NONE);
        shares.take(a, false, true);
        assert_eq!([shares.leave(a), shares.leave(b)], [Leave::NONE; 2]);
        shares.free(false, true);
        assert_eq!(shares.leave(b), Leave::NONE, "there may be more of them");
        assert!(shares.wish(a, false));
        assert_eq!([shares.leave(a), shares.leave(b)], [Leave::ALL; 2]);
    }

    #[test]
    fn two_groups_with_wishes_take_turns() {
        let mut shares = Shares::new(4);
        let (a, b) = (shares.add_group(), shares.add_group());
        shares.wish(a, true);
        shares.wish(b, true);
        shares.wish(a, true);
        for group in [a, b, a, b] {
            let other = if group == a { b } else { a };
            assert!(shares.leave(group).alone && !shares.leave(other).alone);
            shares.take(group, false, true);
            shares.free(false, true);
        }
    }

    #[test]
    fn a_wish_that_is_withdrawn_lets_the_others_go_on() {
        let mut shares = Shares::new(4);
        let (a, b) = (shares.add_group(), shares.add_group());
        shares.wish(a, true);
        shares.wish(b, true);
        assert!(shares.wish(a, false) && !shares.wish(a, false));
        assert!(shares.leave(b).alone, "the next one has its turn");
        assert!(shares.wish(b, false));
        assert_eq!([shares.leave(a), shares.leave(b)], [Leave::ALL; 2]);
        shares.wish(b, true);
        shares.take(b, true, true);
        assert!(shares.wish(b, false));
        assert_eq!(shares.leave(a), Leave::NONE, "what runs alone runs alone to its end");
        shares.free(true, true);
        assert_eq!(shares.leave(a), Leave::ALL);
    }
}
