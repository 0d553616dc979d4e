//! How much each caller may send: a bucket for each, in the memory of this process.
//!
//! A bucket is one number, the time at which it is full again (the generic cell rate
//! algorithm): what is taken moves that time on, and nothing has to be filled.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;

/// Callers whose buckets are known. A bucket that is full again is forgotten without loss; of
/// more callers than these that are busy at the same time, the rest share one bucket.
const CALLERS_MAX: usize = 10_000;
/// How often full buckets are looked for at most, nanoseconds: to look through all of them for
/// each newcomer would cost more than the limit saves.
const SWEEP_EVERY_NS: u64 = 1_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;
/// The largest rate and burst: beyond any machine, and far from any overflow.
const RATE_MAX: u32 = 10_000_000;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// Records a second that a caller may send, and how many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    per_second: u32,
    burst: u32,
}

/// The text is no rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "must be RECORDS or RECORDS/BURST, for example 200/1000: records a second and at once, from 1 \
     to {RATE_MAX}"
)]
pub struct RateLimitError;

impl FromStr for RateLimit {
    type Err = RateLimitError;

    fn from_str(text: &str) -> Result<Self, RateLimitError> {
        let number = |text: &str| {
            text.parse().ok().filter(|n| (1..=RATE_MAX).contains(n)).ok_or(RateLimitError)
        };
        let (per_second, burst) = match text.split_once('/') {
            Some((per_second, burst)) => (number(per_second)?, number(burst)?),
            None => (number(text)?, number(text)?),
        };
        Ok(Self { per_second, burst })
    }
}

/// The buckets.
#[derive(Debug)]
pub(in super::super) struct Rates {
    limit: RateLimit,
    /// What one record takes.
    interval_ns: u64,
    /// What a full bucket holds.
    depth_ns: u64,
    policy: HeaderValue,
    begun: Instant,
    buckets: Mutex<Buckets>,
}

#[derive(Debug, Default)]
struct Buckets {
    /// When each is full again, in nanoseconds after the beginning.
    full_at: HashMap<Box<str>, u64>,
    /// The same of the one that is shared.
    shared_full_at: u64,
    swept_at_ns: u64,
}

/// What a caller's bucket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Level {
    remaining: u64,
    full_in_s: u64,
}

impl Rates {
    pub(in super::super) fn new(limit: RateLimit) -> Self {
        let interval_ns = SECOND_NS / u64::from(limit.per_second);
        let depth_ns = interval_ns * u64::from(limit.burst);
        let window_s = limit.burst.div_ceil(limit.per_second);
        let policy = format!("\"records\";q={};w={window_s}", limit.burst);
        Self {
            limit,
            interval_ns,
            depth_ns,
            // It is made of digits.
            policy: HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("")),
            begun: Instant::now(),
            buckets: Mutex::default(),
        }
    }

    /// Takes one record out of a caller's bucket, or says in how many seconds there is one.
    pub(in super::super) fn take(&self, caller: &str, now: Instant) -> Result<Level, u32> {
        let now_ns = self.since_begun_ns(now);
        let mut buckets = self.buckets();
        let full_at_ns = buckets.of(caller, now_ns);
        let then_ns = (*full_at_ns).max(now_ns) + self.interval_ns;
        let over_ns = (then_ns - now_ns).saturating_sub(self.depth_ns);
        if over_ns > 0 {
            return Err(u32::try_from(over_ns.div_ceil(SECOND_NS)).unwrap_or(u32::MAX));
        }
        *full_at_ns = then_ns;
        Ok(self.level(then_ns - now_ns))
    }

    /// Takes what has been let in already, such as the further records of a batch: the bucket may
    /// be in debt then, and the caller waits until it is not.
    pub(in super::super) fn charge(&self, caller: &str, records: u32, now: Instant) {
        let now_ns = self.since_begun_ns(now);
        let mut buckets = self.buckets();
        let full_at_ns = buckets.of(caller, now_ns);
        *full_at_ns = (*full_at_ns).max(now_ns) + self.interval_ns * u64::from(records);
    }

    /// Says on an answer how much there may be and how much is left
    /// (draft-ietf-httpapi-ratelimit-headers).
    pub(in super::super) fn describe(&self, level: Level, headers: &mut HeaderMap) {
        headers.insert(POLICY, self.policy.clone());
        let state = format!("\"records\";r={};t={}", level.remaining, level.full_in_s);
        if let Ok(state) = HeaderValue::try_from(state) {
            headers.insert(STATE, state);
        }
    }

    /// The limit in words.
    pub(in super::super) fn in_words(&self) -> String {
        let RateLimit { per_second, burst } = self.limit;
        format!("{per_second} records a second, and {burst} at once")
    }

    fn level(&self, taken_ns: u64) -> Level {
        Level {
            remaining: self.depth_ns.saturating_sub(taken_ns) / self.interval_ns,
            full_in_s: taken_ns.div_ceil(SECOND_NS),
        }
    }

    fn since_begun_ns(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.begun);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX / 2)
    }

    fn buckets(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Level {
    /// Of a bucket that was found empty, and has something again after so many seconds.
    pub(in super::super) fn empty(again_in_s: u32) -> Self {
        Self { remaining: 0, full_in_s: again_in_s.into() }
    }
}

impl Buckets {
    fn of(&mut self, caller: &str, now_ns: u64) -> &mut u64 {
        if !self.full_at.contains_key(caller) {
            if self.full_at.len() >= CALLERS_MAX && now_ns >= self.swept_at_ns + SWEEP_EVERY_NS {
                self.full_at.retain(|_, full_at_ns| *full_at_ns > now_ns);
                self.swept_at_ns = now_ns;
            }
            if self.full_at.len() >= CALLERS_MAX {
                return &mut self.shared_full_at;
            }
        }
        self.full_at.entry(caller.into()).or_insert(0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rates(text: &str) -> Rates {
        Rates::new(text.parse().unwrap())
    }

    #[test]
    fn a_rate_is_read_and_nonsense_is_not() {
        assert_eq!("200/1000".parse(), Ok(RateLimit { per_second: 200, burst: 1_000 }));
        assert_eq!("7".parse(), Ok(RateLimit { per_second: 7, burst: 7 }));
        for text in ["", "0", "5/0", "/5", "5/", "-1", "1.5", "5/6/7", "10000001", "many"] {
            assert_eq!(text.parse::<RateLimit>(), Err(RateLimitError), "{text:?}");
        }
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_does() {
        let rates = rates("10/20");
        let begun = rates.begun;
        for left in (0..20).rev() {
            let level = rates.take("a", begun).unwrap();
            assert_eq!(level.remaining, left);
        }
        assert_eq!(rates.take("a", begun), Err(1));
        assert!(rates.take("b", begun).is_ok(), "others have buckets of their own");
        let mut passed = 0;
        for step in 1..=1_000 {
            passed += u32::from(rates.take("a", begun + Duration::from_millis(step * 10)).is_ok());
        }
        assert_eq!(passed, 100, "10 s at 10 a second");
    }

    #[test]
    fn a_batch_is_paid_for_afterwards() {
        let rates = rates("10/20");
        let begun = rates.begun;
        rates.take("a", begun).unwrap();
        rates.charge("a", 119, begun);
        assert_eq!(rates.take("a", begun), Err(11));
        assert!(rates.take("a", begun + Duration::from_secs(10)).is_err());
        assert!(rates.take("a", begun + Duration::from_secs(11)).is_ok());
    }

    #[test]
    fn callers_without_number_take_no_memory_without_bound_and_are_not_without_a_limit() {
        let rates = rates("1/2");
        let begun = rates.begun + Duration::from_secs(5);
        let refused = (0..CALLERS_MAX + 10)
            .filter(|number| rates.take(&number.to_string(), begun).is_err())
            .count();
        assert_eq!(refused, 8, "ten share a bucket of two");
        assert_eq!(rates.buckets().full_at.len(), CALLERS_MAX);
        // Once their buckets are full again they are forgotten.
        rates.take("another", begun + Duration::from_secs(2)).unwrap();
        assert_eq!(rates.buckets().full_at.len(), 1);
    }

    #[test]
    fn an_answer_says_the_limit_and_what_is_left_of_it() {
        let rates = rates("10/25");
        let level = rates.take("a", rates.begun).unwrap();
        let mut headers = HeaderMap::new();
        rates.describe(level, &mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"records\";q=25;w=3");
        assert_eq!(headers["ratelimit"], "\"records\";r=24;t=1");
    }
}
