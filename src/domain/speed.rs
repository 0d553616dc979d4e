//! How fast something goes, over the last few seconds.

use std::collections::VecDeque;

/// Long enough that one slow second does not move an estimate, short enough to follow a change.
const WINDOW_MS: i64 = 15_000;

/// A counter's speed.
#[derive(Debug, Default)]
pub struct Speed {
    samples: VecDeque<(i64, i64)>,
}

impl Speed {
    /// The counter stands at `count` now. Returns how much it grows in 1,000 s, as far as the
    /// last 15 s tell; 0 while they do not.
    pub fn per_1000_s(&mut self, now_ms: i64, count: i64) -> i64 {
        self.samples.push_back((now_ms, count));
        // One sample from before the window stays, so that the window is always covered.
        while self.samples.get(1).is_some_and(|(at_ms, _)| *at_ms <= now_ms - WINDOW_MS) {
            self.samples.pop_front();
        }
        let Some((at_ms, first)) = self.samples.front() else { return 0 };
        let took_ms = now_ms - at_ms;
        if took_ms <= 0 { 0 } else { (count - first).saturating_mul(1_000_000) / took_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_seconds_count() {
        let mut speed = Speed::default();
        assert_eq!(speed.per_1000_s(0, 500), 0, "nothing is known yet");
        for second in 1..=60 {
            assert_eq!(speed.per_1000_s(second * 1_000, 500 + second * 20), 20_000);
        }
        for second in 61..=75 {
            speed.per_1000_s(second * 1_000, 1_700);
        }
        assert_eq!(speed.per_1000_s(75_000, 1_700), 0, "it stands still");
    }
}
