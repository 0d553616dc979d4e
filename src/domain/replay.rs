//! The replay of a topic: which records it covers, and how far it is.
//!
//! A replay runs a range of a topic once more, under a consumer group of its own. Its counts
//! belong to its positions: they cover the records below them and no others, so that a replay
//! that goes on after a crash counts each record once.

use std::collections::BTreeMap;

/// What becomes of effects that are there already (promise 2 of the README).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effects {
    /// They stay alone: a job whose effect the type's own group has had is already done.
    #[default]
    Once,
    /// They happen again, once for this replay.
    Again,
}

impl Effects {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Again => "again",
        }
    }

    /// The reverse of [`Effects::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Once, Self::Again].into_iter().find(|effects| effects.as_str() == text)
    }
}

/// Where a replay stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayState {
    /// No worker has taken it yet.
    Queued,
    /// A worker runs it, or the next one will when that one is gone.
    Running,
    /// It shall stop, and its worker has not said yet that it did.
    Cancelling,
    /// Somebody has stopped it.
    Cancelled,
    /// It came to its end; some records may have failed.
    Completed,
    /// It could not go on.
    Failed,
}

impl ReplayState {
    const ALL: [Self; 6] = [
        Self::Queued,
        Self::Running,
        Self::Cancelling,
        Self::Cancelled,
        Self::Completed,
        Self::Failed,
    ];

    /// The word on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    /// The reverse of [`ReplayState::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether there is still something to do.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Running | Self::Cancelling)
    }
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It ran, and its effect is there.
    Done,
    /// Its effect was there before.
    AlreadyDone,
    /// It failed for good.
    Failed,
    /// It was not asked for: it has another key.
    Skipped,
}

/// How many records met which fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ran.
    pub done: i64,
    /// Had run before.
    pub already_done: i64,
    /// Failed for good.
    pub failed: i64,
    /// Were not asked for.
    pub skipped: i64,
}

impl Counts {
    fn add(&mut self, fate: Fate) {
        let count = match fate {
            Fate::Done => &mut self.done,
            Fate::AlreadyDone => &mut self.already_done,
            Fate::Failed => &mut self.failed,
            Fate::Skipped => &mut self.skipped,
        };
        *count += 1;
    }

    /// All of them.
    pub fn total(&self) -> i64 {
        self.done + self.already_done + self.failed + self.skipped
    }
}

/// The part of one partition that a replay covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplaySpan {
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// The offset behind the last.
    pub to: i64,
    /// Everything below has come to its end.
    pub position: i64,
}

impl ReplaySpan {
    /// How many offsets are left; some may hold no record.
    pub fn left(&self) -> i64 {
        (self.to - self.position).max(0)
    }
}

#[derive(Debug)]
struct Part {
    span: ReplaySpan,
    /// The fates of records at or above the position, which finish in any order.
    above: BTreeMap<i64, Fate>,
    /// One past the highest offset that has arrived.
    seen: i64,
    /// Kafka has shown everything up to the end: what is still missing does not exist.
    is_read: bool,
    /// Records that arrived and have not come to their end.
    open: usize,
}

/// Follows a replay from its records' arrival to their end.
#[derive(Debug)]
pub struct Tally {
    parts: BTreeMap<i32, Part>,
    counts: Counts,
}

impl Tally {
    /// Goes on from these positions with what was counted below them.
    pub fn new(spans: impl IntoIterator<Item = ReplaySpan>, counts: Counts) -> Self {
        let parts = spans.into_iter().map(|span| {
            let (above, seen) = (BTreeMap::new(), span.position);
            let part = Part { span, above, seen, is_read: false, open: 0 };
            (span.partition, part)
        });
        Self { parts: parts.collect(), counts }
    }

    /// A record has arrived. Returns whether the replay covers it.
    pub fn arrived(&mut self, partition: i32, offset: i64) -> bool {
        let Some(part) = self.parts.get_mut(&partition) else { return false };
        if offset >= part.span.to {
            part.is_read = true;
            return false;
        }
        // A fetch after a pause may bring a record again.
        if offset < part.seen {
            return false;
        }
        part.seen = offset + 1;
        part.open += 1;
        true
    }

    /// Kafka has shown all there is of a partition.
    pub fn read_to_the_end(&mut self, partition: i32) {
        if let Some(part) = self.parts.get_mut(&partition) {
            part.is_read = true;
        }
    }

    /// A record that was covered has come to its end.
    pub fn settled(&mut self, partition: i32, offset: i64, fate: Fate) {
        if let Some(part) = self.parts.get_mut(&partition) {
            part.open = part.open.saturating_sub(1);
            part.above.insert(offset, fate);
        }
    }

    /// Everything of a partition below this offset has come to its end.
    pub fn reached(&mut self, partition: i32, offset: i64) {
        let Some(part) = self.parts.get_mut(&partition) else { return };
        let position = offset.min(part.span.to);
        if position <= part.span.position {
            return;
        }
        part.span.position = position;
        let above = part.above.split_off(&position);
        for fate in std::mem::replace(&mut part.above, above).into_values() {
            self.counts.add(fate);
        }
    }

    /// Takes partitions whose records have all come to their end as finished, whatever their
    /// last offsets hold. Returns whether all are.
    pub fn is_complete(&mut self) -> bool {
        let read: Vec<(i32, i64)> = self
            .parts
            .values()
            .filter(|part| part.is_read && part.open == 0)
            .map(|part| (part.span.partition, part.span.to))
            .collect();
        for (partition, to) in read {
            self.reached(partition, to);
        }
        self.parts.values().all(|part| part.span.left() == 0)
    }

    /// How far each partition is.
    pub fn spans(&self) -> impl Iterator<Item = ReplaySpan> {
        self.parts.values().map(|part| part.span)
    }

    /// What became of the records below the positions.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The partitions were given away and have come back: their records come again from the
    /// last commit on, and those below the position are not taken twice.
    pub fn restart(&mut self) {
        for part in self.parts.values_mut() {
            part.above.clear();
            part.seen = part.span.position;
            part.is_read = false;
            part.open = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(partition: i32, from: i64, to: i64) -> ReplaySpan {
        ReplaySpan { partition, from, to, position: from }
    }

    #[test]
    fn counts_cover_exactly_what_is_below_the_positions() {
        let mut tally = Tally::new([span(0, 10, 14)], Counts::default());
        for offset in 10..14 {
            assert!(tally.arrived(0, offset));
        }
        tally.settled(0, 11, Fate::Failed);
        tally.settled(0, 12, Fate::AlreadyDone);
        tally.reached(0, 10);
        assert_eq!(tally.counts(), Counts::default(), "10 is open, so nothing counts yet");
        tally.settled(0, 10, Fate::Done);
        tally.reached(0, 13);
        let expected = Counts { done: 1, already_done: 1, failed: 1, skipped: 0 };
        assert_eq!(tally.counts(), expected);
        assert!(!tally.is_complete());

        // A crash here: the next worker goes on with what was saved, and counts no record twice.
        let mut tally = Tally::new(tally.spans().collect::<Vec<_>>(), tally.counts());
        assert!(!tally.arrived(0, 12), "it has been counted");
        assert!(tally.arrived(0, 13));
        tally.settled(0, 13, Fate::Skipped);
        tally.reached(0, 14);
        assert!(tally.is_complete());
        assert_eq!(tally.counts(), Counts { skipped: 1, ..expected });
        assert_eq!(tally.counts().total(), 4);
    }

    #[test]
    fn an_end_that_holds_no_record_is_reached_once_kafka_has_shown_all() {
        // Offsets 2 and 3 hold no record: compaction or a transaction's marker.
        let mut tally = Tally::new([span(0, 0, 4), span(1, 5, 5)], Counts::default());
        assert!(tally.arrived(0, 0));
        assert!(tally.arrived(0, 1));
        tally.read_to_the_end(0);
        tally.settled(0, 1, Fate::Done);
        assert!(!tally.is_complete(), "0 still runs");
        tally.settled(0, 0, Fate::Done);
        tally.reached(0, 2);
        assert!(tally.is_complete());
        assert_eq!((tally.counts().done, tally.spans().next().unwrap().position), (2, 4));
    }

    #[test]
    fn a_record_behind_the_end_says_that_all_was_read() {
        let mut tally = Tally::new([span(0, 0, 1)], Counts::default());
        assert!(!tally.arrived(0, 7));
        assert!(tally.is_complete(), "0 is gone by retention");
        assert!(!tally.arrived(3, 0), "a partition that was not asked for");
    }

    #[test]
    fn partitions_that_come_back_are_read_again() {
        let mut tally = Tally::new([span(0, 0, 3)], Counts::default());
        for offset in 0..3 {
            assert!(tally.arrived(0, offset));
        }
        assert!(!tally.arrived(0, 2), "it has come already");
        tally.settled(0, 0, Fate::Done);
        tally.settled(0, 2, Fate::Done);
        tally.reached(0, 1);
        tally.restart();
        assert!(!tally.arrived(0, 0));
        assert!(tally.arrived(0, 1));
        assert!(tally.arrived(0, 2));
        tally.settled(0, 1, Fate::Done);
        tally.settled(0, 2, Fate::AlreadyDone);
        tally.reached(0, 3);
        assert!(tally.is_complete());
        assert_eq!(tally.counts(), Counts { done: 2, already_done: 1, ..Counts::default() });
    }
}
