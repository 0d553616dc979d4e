//! The header `retry-after`: when the other side wants to be asked again (RFC 9110).

use std::time::{Duration, UNIX_EPOCH};

/// When to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// So long after the answer.
    Wait(Duration),
    /// At this time, in milliseconds since the epoch by the other side's clock.
    AtMs(i64),
}

impl RetryAfter {
    /// Reads the header's value; one that is neither seconds nor a date says nothing.
    pub fn parse(value: &str) -> Option<Self> {
        let value = value.trim();
        if value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty() {
            // What has more digits than that is for ever, and is bounded by who asks.
            return Some(Self::Wait(Duration::from_secs(value.parse().unwrap_or(u64::MAX))));
        }
        let since = httpdate::parse_http_date(value).ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(Self::AtMs(i64::try_from(since.as_millis()).ok()?))
    }

    /// The wait from now on.
    pub fn wait(self, now_ms: i64) -> Duration {
        match self {
            Self::Wait(wait) => wait,
            Self::AtMs(at_ms) => {
                Duration::from_millis(u64::try_from(at_ms.saturating_sub(now_ms)).unwrap_or(0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_nothing_else() {
        let now_ms = 784_111_777_000; // Sun, 06 Nov 1994 08:49:37 GMT
        for (value, wait_s) in [
            ("120", Some(120)),
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 08:50:37 1994", Some(60)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
            ("", None),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
        ] {
            let wait = RetryAfter::parse(value).map(|after| after.wait(now_ms));
            assert_eq!(wait, wait_s.map(Duration::from_secs), "{value}");
        }
    }
}
