//! Which offset of a partition may be committed while its records finish in any order.

use std::collections::BTreeSet;

/// Follows the records of one partition between their arrival and their end.
///
/// Offsets need not be contiguous: compaction and transactions leave holes.
#[derive(Debug, Default)]
pub struct Offsets {
    unfinished: BTreeSet<i64>,
    /// One past the highest offset seen.
    end: Option<i64>,
}

impl Offsets {
    /// A record has arrived. Returns false for one that was seen before (a fetch after a
    /// pause may bring it again), which must not run twice.
    pub fn arrived(&mut self, offset: i64) -> bool {
        if self.end.is_some_and(|end| offset < end) {
            return false;
        }
        self.end = Some(offset + 1);
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

    /// How far the records that were read run ahead of what can be committed.
    pub fn window(&self) -> i64 {
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
    fn a_record_that_comes_again_does_not_run_again() {
        let mut offsets = Offsets::default();
        assert!(offsets.arrived(5));
        assert!(!offsets.arrived(5));
        offsets.finished(5);
        assert!(!offsets.arrived(5));
        assert_eq!(offsets.committable(), Some(6));
    }
}
