//! Whether a group keeps up with a partition: Burrow's rules, over samples taken on a clock.
//!
//! Samples are taken although nothing is committed, so that a group which has died is seen.
//! Burrow's STOP and STALL (no commits, or commits that do not move) look alike on a clock;
//! both are [`LagStatus::Stalled`].

use std::collections::VecDeque;

/// How many samples are judged together; with one every 5 s, a minute.
pub const WINDOW_SAMPLES: usize = 12;

/// Whether a group keeps up; from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LagStatus {
    /// It has caught up at some time in the window, or the lag falls.
    Ok,
    /// Not watched for long enough to tell.
    Unknown,
    /// It works, but the lag never falls.
    Lagging,
    /// Its offset went back.
    Rewound,
    /// It has work and does not move.
    Stalled,
}

impl LagStatus {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Lagging => "lagging",
            Self::Rewound => "rewound",
            Self::Stalled => "stalled",
        }
    }
}

/// A look at one partition of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The group's next offset, if it has committed one.
    pub committed: Option<i64>,
    /// Records behind it.
    pub lag: i64,
}

/// The last samples of one partition of a group.
#[derive(Debug, Clone, Default)]
pub struct LagWindow {
    samples: VecDeque<Sample>,
}

impl LagWindow {
    /// Takes a sample; the oldest one leaves a full window.
    pub fn push(&mut self, sample: Sample) {
        if self.samples.len() == WINDOW_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// What a newer look and the window say together.
    pub fn status(&self, now: Sample) -> LagStatus {
        if now.lag <= 0 {
            return LagStatus::Ok;
        }
        let looks = || self.samples.iter().chain([&now]);
        let steps = || looks().zip(looks().skip(1));
        // None is less than any offset: a commit that vanished went back too.
        if steps().any(|(before, after)| after.committed < before.committed) {
            return LagStatus::Rewound;
        }
        if looks().any(|look| look.lag <= 0) || steps().any(|(a, b)| b.lag < a.lag) {
            return LagStatus::Ok;
        }
        if self.samples.len() < WINDOW_SAMPLES {
            return LagStatus::Unknown;
        }
        if looks().all(|look| look.committed == now.committed) {
            return LagStatus::Stalled;
        }
        LagStatus::Lagging
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(committed: i64, lag: i64) -> Sample {
        Sample { committed: Some(committed), lag }
    }

    fn status(looks: impl IntoIterator<Item = Sample>) -> LagStatus {
        let mut looks: Vec<Sample> = looks.into_iter().collect();
        let now = looks.pop().unwrap();
        let mut window = LagWindow::default();
        for look in looks {
            window.push(look);
        }
        window.status(now)
    }

    /// A full window and the look after it.
    fn full() -> std::ops::RangeInclusive<i64> {
        0..=i64::try_from(WINDOW_SAMPLES).unwrap()
    }

    #[test]
    fn no_lag_is_ok_at_once() {
        assert_eq!(status([look(5, 0)]), LagStatus::Ok);
        assert_eq!(status([Sample { committed: None, lag: 0 }]), LagStatus::Ok);
    }

    #[test]
    fn a_lag_is_judged_when_the_window_is_full() {
        assert_eq!(status([look(5, 3)]), LagStatus::Unknown);
        assert_eq!(status(full().map(|_| look(5, 3))), LagStatus::Stalled);
        assert_eq!(status(full().map(|i| look(5, 3 + i))), LagStatus::Stalled, "more arrives");
        assert_eq!(status(full().map(|_| Sample { committed: None, lag: 3 })), LagStatus::Stalled);
        assert_eq!(status(full().map(|i| look(5 + i, 3 + i))), LagStatus::Lagging);
    }

    #[test]
    fn a_lag_that_falls_or_was_nothing_is_ok() {
        assert_eq!(status(full().map(|i| look(5 + i, 50 - i))), LagStatus::Ok);
        assert_eq!(status([look(5, 0), look(5, 3)]), LagStatus::Ok, "it has just come");
        let old = [look(5, 0)].into_iter().chain(full().map(|_| look(5, 3)));
        assert_eq!(status(old), LagStatus::Stalled, "the window has moved on");
    }

    #[test]
    fn an_offset_that_went_back_is_told_as_long_as_it_is_in_the_window() {
        assert_eq!(status([look(9, 1), look(2, 8)]), LagStatus::Rewound);
        let gone = Sample { committed: None, lag: 10 };
        assert_eq!(status([look(9, 1), gone]), LagStatus::Rewound);
        assert_eq!(status([look(9, 1), look(2, 8), look(10, 0)]), LagStatus::Ok);
        let later = [look(9, 1)].into_iter().chain(full().map(|i| look(2 + i, 8)));
        assert_eq!(status(later), LagStatus::Lagging);
    }

    #[test]
    fn the_worst_counts() {
        let all = [LagStatus::Stalled, LagStatus::Ok, LagStatus::Unknown, LagStatus::Rewound];
        assert_eq!(all.into_iter().max(), Some(LagStatus::Stalled));
    }
}
