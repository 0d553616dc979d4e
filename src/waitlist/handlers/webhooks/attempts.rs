//! How often an event is told to a webhook, and how patiently. Pure.

use std::time::Duration;

use crate::domain::retry::LONG_WAIT;

/// The waits after each attempt but the last, as Standard Webhooks proposes them: ten attempts
/// within three days and a little, so that an endpoint may be down over a weekend.
const WAITS: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(14),
    Duration::from_hours(20),
    Duration::from_hours(24),
];

/// Attempts in all, the first included.
pub(in crate::waitlist) const ATTEMPTS_MAX: u32 = 10;

/// A job that waits at the head of its key for longer than this holds up those behind it for no
/// good: it leaves its place instead.
const WAIT_IN_PLACE_MAX: Duration = Duration::from_secs(10);

/// The shortest wait with which a job leaves its place.
pub(super) const WAIT_AWAY_MIN: Duration = LONG_WAIT.saturating_add(Duration::from_secs(1));

/// The part of a wait that chance may take off, so that what failed together does not come back
/// together.
const JITTER: f64 = 0.2;

/// Attempts that an event may have: what its producer asks for, else its webhook, else all that
/// the schedule has. Retries are counted after the first.
pub(super) fn attempts_max(asked: Option<u32>, of_webhook: Option<i64>) -> u32 {
    let of_webhook = of_webhook.map(|retries| u32::try_from(retries.max(0)).unwrap_or(u32::MAX));
    let retries = asked.or(of_webhook).unwrap_or(u32::MAX);
    retries.saturating_add(1).min(ATTEMPTS_MAX)
}

/// The wait after the attempt with this number. `jitter` in `0.0..=1.0`.
pub(super) fn wait_after(attempt: u32, jitter: f64) -> Duration {
    let [.., last] = WAITS;
    let at = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    let full = WAITS.get(at).copied().unwrap_or(last);
    full.mul_f64(1.0 - JITTER * jitter.clamp(0.0, 1.0))
}

/// A wait as a job may have it whose key others wait for, or not.
pub(super) fn in_place_or_away(wait: Duration, holds_others_up: bool) -> Duration {
    if wait <= WAIT_IN_PLACE_MAX && !holds_others_up { wait } else { wait.max(WAIT_AWAY_MIN) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_attempts_take_three_days_and_a_little() {
        let total: Duration = (1..ATTEMPTS_MAX).map(|attempt| wait_after(attempt, 0.0)).sum();
        assert_eq!((ATTEMPTS_MAX, total.as_secs()), (10, 75 * 3_600 + 35 * 60 + 5));
        assert_eq!(wait_after(1, 1.0), Duration::from_secs(4));
        assert_eq!(wait_after(9, 1.0), Duration::from_hours(24).mul_f64(0.8));
        assert_eq!(wait_after(99, 0.0), Duration::from_hours(24));
    }

    #[test]
    fn whoever_is_nearest_to_the_event_says_how_often() {
        for (asked, of_webhook, attempts) in [
            (None, None, 10),
            (None, Some(3), 4),
            (Some(0), Some(3), 1),
            (Some(5), None, 6),
            (Some(100), Some(1), 10),
            (None, Some(i64::MAX), 10),
            (None, Some(-1), 1),
        ] {
            assert_eq!(attempts_max(asked, of_webhook), attempts, "{asked:?} {of_webhook:?}");
        }
    }

    #[test]
    fn only_a_short_wait_that_harms_nobody_is_waited_in_place() {
        let seconds = Duration::from_secs;
        assert_eq!(in_place_or_away(seconds(5), false), seconds(5));
        assert_eq!(in_place_or_away(seconds(5), true), seconds(61));
        assert_eq!(in_place_or_away(seconds(11), false), seconds(61));
        assert_eq!(in_place_or_away(seconds(300), true), seconds(300));
        assert!(WAIT_AWAY_MIN > LONG_WAIT);
    }
}
