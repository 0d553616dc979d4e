//! When records go to the client library: at once while none is on its way, else
//! together, as Nagle's algorithm has it for bytes.
//!
//! The client library sends each partition's records in requests of their own, and what a
//! request costs, here and at the broker, hardly depends on how many records are in it. So
//! what arrives while a burst is on its way is held, and goes as the next one. A pure
//! machine: it knows no clock, no thread and no Kafka.

use std::time::{Duration, Instant};

/// How long a record is held at the most: what a caller may lose by others whose acknowledgement
/// does not come. Above what a healthy burst takes under load, far below any deadline.
const HOLD_MAX: Duration = Duration::from_millis(10);
/// Records that go without waiting any longer: more of them would make no better requests.
const BURST_RECORDS: usize = 512;
/// Bytes of them likewise: a broker takes about this much in one batch.
const BURST_BYTES: usize = 1 << 20;
/// Bytes that are held at most. Far more than a burst: only a thread that gets no time to
/// send lets it fill. One record alone is taken whatever its size.
pub(super) const HELD_BYTES_MAX: usize = 8 << 20;

/// What has been offered and not yet sent, and how much of what was sent is without an outcome.
#[derive(Debug)]
pub(super) struct Gather<T> {
    held: Vec<T>,
    held_bytes: usize,
    /// When the first of them was offered.
    held_since: Instant,
    is_hurried: bool,
    /// Which burst was the last one. Those before it are not waited for.
    burst: u64,
    /// How many of its records have no outcome yet.
    on_the_way: usize,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<T> {
    /// Send this burst, in this order, and say of each when it is settled.
    Send(u64, Vec<T>),
    /// Nothing, until something is offered or settled, or this time has come.
    Wait(Option<Instant>),
}

impl<T> Gather<T> {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            held: Vec::new(),
            held_bytes: 0,
            held_since: now,
            is_hurried: false,
            burst: 0,
            on_the_way: 0,
        }
    }

    /// Takes an item, or gives it back when there is no room.
    pub(super) fn offer(&mut self, item: T, bytes: usize, now: Instant) -> Result<(), T> {
        if self.held.is_empty() {
            self.held_since = now;
        } else if self.held_bytes + bytes > HELD_BYTES_MAX {
            return Err(item);
        }
        self.held.push(item);
        self.held_bytes += bytes;
        Ok(())
    }

    /// What to do now.
    pub(super) fn next(&mut self, now: Instant) -> Next<T> {
        match self.due() {
            None => {
                self.is_hurried = false;
                Next::Wait(None)
            }
            Some(due) if due > now => Next::Wait(Some(due)),
            Some(_) => {
                self.burst += 1;
                self.on_the_way = self.held.len();
                self.held_bytes = 0;
                Next::Send(self.burst, std::mem::take(&mut self.held))
            }
        }
    }

    /// When what is held may go; none if nothing is. A time that has passed means now.
    pub(super) fn due(&self) -> Option<Instant> {
        if self.held.is_empty() {
            return None;
        }
        let is_large = self.held.len() >= BURST_RECORDS || self.held_bytes >= BURST_BYTES;
        if is_large || self.is_hurried || self.on_the_way == 0 {
            return Some(self.held_since);
        }
        Some(self.held_since + HOLD_MAX)
    }

    /// A record of this burst has its outcome.
    pub(super) fn settled(&mut self, burst: u64) {
        if burst == self.burst {
            self.on_the_way = self.on_the_way.saturating_sub(1);
        }
    }

    /// Sends what is held without waiting any longer.
    pub(super) fn hurry(&mut self) {
        self.is_hurried = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A gathering whose sender always has time, and whose clock is told.
    struct Line {
        gather: Gather<u32>,
        begun: Instant,
        now: Instant,
    }

    impl Line {
        fn new() -> Self {
            let now = Instant::now();
            Self { gather: Gather::new(now), begun: now, now }
        }

        fn at(&mut self, since_begin: Duration) {
            self.now = self.begun + since_begin;
        }

        fn offer(&mut self, items: std::ops::Range<u32>) {
            for item in items {
                self.gather.offer(item, 1, self.now).unwrap();
            }
        }

        /// What is sent now.
        fn sent(&mut self) -> (u64, Vec<u32>) {
            match self.gather.next(self.now) {
                Next::Send(burst, items) => (burst, items),
                Next::Wait(until) => panic!("waits until {until:?}"),
            }
        }

        fn waits(&mut self) -> Option<Duration> {
            match self.gather.next(self.now) {
                Next::Wait(until) => until.map(|until| until - self.begun),
                Next::Send(..) => panic!("sends"),
            }
        }

        fn settle(&mut self, burst: u64, items: usize) {
            for _ in 0..items {
                self.gather.settled(burst);
            }
        }
    }

    #[test]
    fn whoever_is_alone_is_sent_at_once() {
        let mut line = Line::new();
        assert_eq!(line.waits(), None);
        for item in 0..100 {
            line.offer(item..item + 1);
            let (burst, items) = line.sent();
            assert_eq!(items, [item]);
            line.settle(burst, 1);
        }
    }

    #[test]
    fn what_comes_while_a_burst_is_on_its_way_goes_together_and_in_order() {
        let mut line = Line::new();
        line.offer(0..10);
        let (burst, _) = line.sent();
        line.offer(10..20);
        line.settle(burst, 9);
        assert_eq!(line.waits(), Some(HOLD_MAX));
        line.offer(20..30);
        line.settle(burst, 1);
        assert_eq!(line.sent().1, (10..30).collect::<Vec<_>>());
    }

    #[test]
    fn a_record_without_an_answer_holds_nobody_beyond_the_bound() {
        let mut line = Line::new();
        // Some of them go to a partition that does not answer.
        line.offer(0..10);
        let (dead, _) = line.sent();
        line.at(HOLD_MAX);
        line.offer(10..20);
        assert_eq!(line.waits(), Some(HOLD_MAX * 2));
        line.at(HOLD_MAX * 2);
        let (burst, items) = line.sent();
        assert_eq!(items.len(), 10);
        // From here on they are not waited for: those who get answers go with these alone.
        line.settle(burst, 10);
        line.offer(20..25);
        line.sent();
        line.settle(dead, 10);
        line.offer(25..30);
        assert!(line.waits().is_some(), "an answer that comes late is none of this burst");
    }

    #[test]
    fn the_first_that_is_held_says_how_long() {
        let mut line = Line::new();
        line.offer(0..10);
        line.sent();
        line.offer(10..11);
        line.at(HOLD_MAX / 2);
        line.offer(11..12);
        assert_eq!(line.waits(), Some(HOLD_MAX));
        line.at(HOLD_MAX);
        assert_eq!(line.sent().1, [10, 11]);
    }

    #[test]
    fn a_burst_is_bounded_in_records_and_in_bytes() {
        let mut line = Line::new();
        line.offer(0..10);
        line.sent();
        let records = u32::try_from(BURST_RECORDS).unwrap();
        line.offer(0..records - 1);
        assert!(line.waits().is_some());
        line.offer(0..1);
        assert_eq!(line.sent().1.len(), BURST_RECORDS);
        line.gather.offer(0, BURST_BYTES - 1, line.now).unwrap();
        assert!(line.waits().is_some());
        line.offer(1..2);
        assert_eq!(line.sent().1, [0, 1]);
    }

    #[test]
    fn what_is_held_is_bounded_and_what_has_no_room_comes_back() {
        let mut line = Line::new();
        line.gather.offer(0, HELD_BYTES_MAX + 1, line.now).unwrap();
        assert_eq!(line.gather.offer(1, 0, line.now), Err(1));
        assert_eq!(line.sent().1, [0], "one alone is taken whatever its size");
        line.gather.offer(2, HELD_BYTES_MAX, line.now).unwrap();
        assert_eq!(line.gather.offer(3, 1, line.now), Err(3));
        line.sent();
        line.gather.offer(4, 1, line.now).unwrap();
    }

    #[test]
    fn a_stop_waits_for_nothing() {
        let mut line = Line::new();
        line.offer(0..10);
        line.sent();
        line.offer(10..11);
        assert!(line.waits().is_some());
        line.gather.hurry();
        assert_eq!(line.sent().1, [10]);
        assert_eq!(line.waits(), None);
        line.offer(11..12);
        assert!(line.waits().is_some(), "the hurry is over");
    }
}
