//! Which offset of a partition may be committed while its records finish in any order.

use std::collections::BTreeSet;

use super::offset_map::{DoneRanges, OPEN_THAT_FIT, SPAN_THAT_FITS};

/// Follows the records of one partition between their arrival and their end.
///
/// Offsets need not be contiguous: compaction and transactions leave holes.
#[derive(Debug, Default)]
pub struct Offsets {
    unfinished: BTreeSet<i64>,
    /// One past the highest offset seen.
    end: Option<i64>,
    /// What was done before the partition came here.
    done_before: DoneRanges,
}

/// How far a partition is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Everything below is finished.
    pub offset: i64,
    /// What is finished above.
    pub done_above: DoneRanges,
}

impl Offsets {
    /// Goes on where another member has left off: these records above its commit are done.
    pub fn resumed(done_before: DoneRanges) -> Self {
        Self { done_before, ..Self::default() }
    }

    /// A record has arrived. Returns false for one that must not run (again): it was seen
    /// before (a fetch after a pause may bring it again), or was done by another member.
    pub fn arrived(&mut self, offset: i64) -> bool {
        if self.end.is_some_and(|end| offset < end) {
            return false;
        }
        self.end = Some(offset + 1);
        if self.done_before.contains(offset) {
            return false;
        }
        self.unfinished.insert(offset);
        true
    }

    /// A record has come to its end.
    pub fn finished(&mut self, offset: i64) {
        self.unfinished.remove(&offset);
    }

    /// The offset to commit: everything below it is finished. None before the first record.
    pub fn committable(&self) -> Option<i64> {
        self.unfinished.first().copied().or(self.end)
    }

    /// What to commit; none before the first record.
    pub fn progress(&self) -> Option<Progress> {
        let (offset, end) = (self.committable()?, self.end?);
        let here = DoneRanges::between(offset, end, self.unfinished.iter().copied());
        // Records that were done before, and have not come yet, must not be forgotten.
        let done_above = here.then(end, self.done_before.clone());
        Some(Progress { offset, done_above })
    }

    /// Whether more records could make more of a pattern than a commit can say.
    pub fn is_map_full(&self) -> bool {
        self.window() >= SPAN_THAT_FITS && self.unfinished.len() >= OPEN_THAT_FIT
    }

    /// Whether there is room for many more.
    pub fn has_map_room(&self) -> bool {
        self.window() <= SPAN_THAT_FITS / 2 || self.unfinished.len() <= OPEN_THAT_FIT / 2
    }

    /// How far the records that were read run ahead of what can be committed.
    fn window(&self) -> i64 {
        match (self.end, self.committable()) {
            (Some(end), Some(committable)) => end - committable,
            _ => 0,
        }
    }

    /// How many records have not come to their end.
    pub fn unfinished(&self) -> usize {
        self.unfinished.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_contiguous_done_prefix_is_committed() {
        let mut offsets = Offsets::default();
        assert_eq!(offsets.committable(), None);
        for offset in [5, 6, 9, 10] {
            assert!(offsets.arrived(offset));
        }
        assert_eq!(offsets.committable(), Some(5));
        offsets.finished(6);
        offsets.finished(10);
        assert_eq!(offsets.committable(), Some(5));
        offsets.finished(5);
        assert_eq!(offsets.committable(), Some(9), "holes are no obstacle");
        assert_eq!(offsets.window(), 2);
        offsets.finished(9);
        assert_eq!(offsets.committable(), Some(11));
        assert_eq!((offsets.window(), offsets.unfinished()), (0, 0));
    }

    #[test]
    fn what_another_member_has_done_does_not_run_again_and_stays_on_record() {
        let mut first = Offsets::default();
        for offset in 0..10 {
            first.arrived(offset);
        }
        for offset in [1, 2, 5, 9] {
            first.finished(offset);
        }
        let left = first.progress().unwrap();
        assert_eq!(left.offset, 0);

        let mut second = Offsets::resumed(left.done_above.clone());
        assert_eq!(second.progress(), None, "nothing has come yet: the commit stands");
        assert!(second.arrived(0));
        assert!(!second.arrived(1), "done");
        assert_eq!(second.progress(), Some(left), "as before, also of what has not come yet");
        for offset in 2..10 {
            assert_eq!(second.arrived(offset), ![2, 5, 9].contains(&offset), "{offset}");
        }
        for offset in [0, 3, 4, 6, 7, 8] {
            second.finished(offset);
        }
        let end = second.progress().unwrap();
        assert_eq!((end.offset, end.done_above.is_empty()), (10, true));
    }

    #[test]
    fn a_record_that_comes_again_does_not_run_again() {
        let mut offsets = Offsets::default();
        assert!(offsets.arrived(5));
        assert!(!offsets.arrived(5));
        offsets.finished(5);
        assert!(!offsets.arrived(5));
        assert_eq!(offsets.committable(), Some(6));
    }
}
