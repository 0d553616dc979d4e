//! The retry policy of a type: how often a job is tried and how long it waits in between.
//!
//! Pure: randomness comes in as a number, so a test can name it.

use std::time::Duration;

/// A wait beyond this is a long one: its attempts are written down, or the job makes way for
/// the others of its key.
pub const LONG_WAIT: Duration = Duration::from_mins(1);

/// What becomes of a key while one of its jobs waits for its next attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// The key waits, however long.
    #[default]
    Strict,
    /// For a wait of more than [`LONG_WAIT`] the job leaves its place and comes back to the
    /// topic when it is due; the key goes on without it.
    Relaxed,
}

/// How often and how patiently a job is tried before it becomes a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; at least 1.
    pub attempts: u32,
    /// The wait before the second attempt.
    pub first: Duration,
    /// By how much each wait grows.
    pub factor: u32,
    /// No wait is longer than this.
    pub longest: Duration,
    /// What becomes of its key meanwhile.
    pub order: Order,
    /// Whether its dead letter quarantines the key until somebody has decided about the letter.
    /// For [`Order::Strict`] alone.
    pub quarantine: bool,
}

impl RetryPolicy {
    /// Five attempts within a minute: waits of 1, 3, 9 and 27 s.
    /// Long enough for a restart of a dependency, short enough to hold a key.
    pub const DEFAULT: Self = Self {
        attempts: 5,
        first: Duration::from_secs(1),
        factor: 3,
        longest: Duration::from_secs(30),
        order: Order::Strict,
        quarantine: false,
    };

    /// Whether a job that has had `attempts` attempts may have another one.
    pub fn allows_another(&self, attempts: u32) -> bool {
        attempts < self.attempts
    }

    /// The wait after the attempt with this number (1 is the first).
    ///
    /// `jitter` in `0.0..=1.0` takes up to a fifth off, so that jobs which failed
    /// together do not come back together; it never adds, so the sum stays bounded.
    pub fn wait_after(&self, attempt: u32, jitter: f64) -> Duration {
        let growth = self.factor.saturating_pow(attempt.saturating_sub(1));
        let full = self.first.saturating_mul(growth).min(self.longest);
        full.mul_f64(1.0 - 0.2 * jitter.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_attempts_stay_within_a_minute() {
        let policy = RetryPolicy::DEFAULT;
        let total: Duration = (1..policy.attempts).map(|n| policy.wait_after(n, 0.0)).sum();
        assert_eq!(total, Duration::from_secs(40));
        assert!(policy.allows_another(4));
        assert!(!policy.allows_another(5));
    }

    #[test]
    fn waits_are_capped_and_jitter_only_shortens() {
        let policy = RetryPolicy { attempts: 100, ..RetryPolicy::DEFAULT };
        assert_eq!(policy.wait_after(99, 0.0), policy.longest);
        assert_eq!(policy.wait_after(2, 1.0), Duration::from_millis(2_400));
    }
}
