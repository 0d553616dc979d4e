//! The one clock: everything that asks for the time asks here, so that a test can set it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;
}

/// A clock that can be handed around.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one clock")]
    fn now_ms(&self) -> i64 {
        // By way of a calendar it would take ten times as long, and each job asks several times.
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.map_or_else(|before| -millis(before.duration()), millis)
    }
}

/// A clock that stands still until it is told to move.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows this time, in milliseconds since the epoch.
    pub fn at_ms(now_ms: i64) -> Self {
        Self(AtomicI64::new(now_ms))
    }

    /// Moves the clock forward.
    pub fn advance_ms(&self, by_ms: i64) {
        self.0.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A duration in the unit of times, milliseconds; cut where the sum with a time would not fit.
pub fn millis(duration: Duration) -> i64 {
    const LONGEST: i64 = i64::MAX / 2;
    i64::try_from(duration.as_millis()).map_or(LONGEST, |millis| millis.min(LONGEST))
}

/// A time as it stands on every wire: RFC 3339, UTC, milliseconds.
/// A time outside of what the calendar knows is shown as the epoch.
pub fn rfc3339(time_ms: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(time_ms)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The reverse of [`rfc3339`]; any offset is accepted.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_with_milliseconds_and_come_back() {
        assert_eq!(rfc3339(1_735_689_600_007), "2025-01-01T00:00:00.007Z");
        assert_eq!(parse_rfc3339("2025-01-01T01:00:00.007+01:00"), Some(1_735_689_600_007));
        assert_eq!(parse_rfc3339("yesterday"), None);
    }

    #[test]
    fn a_duration_can_be_added_to_a_time() {
        assert_eq!(millis(Duration::from_secs(2)), 2_000);
        assert!(millis(Duration::MAX).checked_add(1_735_689_600_007).is_some());
    }
}
