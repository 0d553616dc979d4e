//! How fast attempts may start, where somebody has set a rate.

/// A rate above one attempt in this time is met in bursts of this length, since timers are no
/// finer than a millisecond.
const BURST_US: i64 = 100_000;

/// A rate, kept by the generic cell rate algorithm (ITU-T I.371): attempts are due at even
/// distances, and time that was not used is not saved up.
#[derive(Debug, Clone)]
pub struct Pace {
    interval_us: i64,
    /// When the next attempt would be due at even distances.
    due_us: i64,
}

impl Pace {
    /// Attempts in a second; more than 0.
    pub fn new(per_second: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "a cast of f64 saturates")]
        let interval_us = (1_000_000.0 / per_second).ceil() as i64;
        Self { interval_us: interval_us.max(1), due_us: i64::MIN }
    }

    /// When the next attempt may start, in milliseconds since the epoch; it may be past.
    pub fn next_ms(&self) -> i64 {
        let early_us = (BURST_US - self.interval_us).max(0);
        let allowed_us = self.due_us.saturating_sub(early_us);
        // Rounded up: a wake-up before the time would find nothing to do.
        allowed_us.div_euclid(1_000) + i64::from(allowed_us.rem_euclid(1_000) > 0)
    }

    /// An attempt has started.
    pub fn started(&mut self, now_ms: i64) {
        let started_us = now_ms.saturating_mul(1_000);
        self.due_us = self.due_us.max(started_us).saturating_add(self.interval_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many attempts start from one time to another, if every millisecond is used.
    fn started(pace: &mut Pace, from_ms: i64, to_ms: i64) -> i64 {
        let mut count = 0;
        for now_ms in from_ms..to_ms {
            while pace.next_ms() <= now_ms {
                pace.started(now_ms);
                count += 1;
            }
        }
        count
    }

    #[test]
    fn a_rate_is_kept_over_ten_seconds_and_idle_time_is_not_saved_up() {
        for rate in [1_i32, 7, 10, 300, 5_000] {
            let mut pace = Pace::new(f64::from(rate));
            let rate = i64::from(rate);
            let first = started(&mut pace, 0, 10_000);
            // A tenth of a second's worth may come early, and one attempt starts at once.
            let most = 10 * rate + rate / 10 + 1;
            assert!((10 * rate..=most).contains(&first), "{rate}: {first}");
            let later = started(&mut pace, 60_000, 61_000);
            assert!((rate..=rate + rate / 10 + 1).contains(&later), "{rate}: {later}");
        }
    }

    #[test]
    fn less_than_one_in_a_second_is_a_rate_too() {
        let mut pace = Pace::new(0.5);
        assert_eq!(started(&mut pace, 0, 9_999), 5);
    }
}
