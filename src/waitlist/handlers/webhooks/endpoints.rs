//! Which endpoints are left alone for a while. Pure: the time comes in.
//!
//! The jobs of a webhook are one key, and run one at a time. An endpoint that does not answer, or
//! answers slowly, would let them pile up in its lane until they fill what a partition may hold,
//! and the other webhooks of the partition would wait behind it. So its jobs are put off, without
//! a request and without spending an attempt: they leave the partition for the schedule, each with
//! a time of its own, so that they do not come back all at once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::attempts::WAIT_AWAY_MIN;
use crate::domain::clock::millis;

/// So many failures in a row, and an endpoint is away.
const FAILURES_MAX: u32 = 3;
/// Or fewer, if they have taken so long together: one that hangs is away at once, since it costs
/// the others the most.
const FAILING_MAX: Duration = Duration::from_secs(10);
/// For how long an endpoint is left alone at first; a restart is over by then.
const ALONE_FIRST: Duration = Duration::from_mins(1);
/// And at most, unless it asks for more: by so much a recovery may be noticed late.
const ALONE_LONGEST: Duration = Duration::from_mins(30);
/// For how long at most an endpoint may ask to be left alone: the longest wait of the schedule.
pub(super) const ASKED_LONGEST: Duration = Duration::from_hours(24);
/// A request that may go to an endpoint to see whether it is back has ended by then, one way or
/// another: it is more than any timeout.
const PROBE_MAX: Duration = Duration::from_mins(1);
/// An attempt that takes longer is a slow one.
const SLOW: Duration = Duration::from_secs(1);
/// A job that has waited for its turn for so long stands in a queue.
pub(super) const BEHIND: Duration = Duration::from_secs(15);
/// The least distance of two jobs that are put off: ten a second come back to an endpoint.
const STEP_MIN: Duration = Duration::from_millis(100);
/// The times that jobs are put off to are spread over so long at most.
const SPREAD_MAX: Duration = Duration::from_hours(1);
/// While its jobs are put off, a webhook's row is looked at once in this time: thousands of them
/// make way as fast as rows of the schedule can be written.
const ROW_AGE_MAX: Duration = Duration::from_secs(1);
/// Endpoints that are remembered: only those that have failed, or are slow, are at all.
const ENDPOINTS_MAX: usize = 10_000;

/// What is known of the endpoints that do not do well, by webhook.
#[derive(Default)]
pub(super) struct Endpoints(Mutex<HashMap<Uuid, Endpoint>>);

/// Whether a job may go to its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    Go,
    /// Not now; it is to come back at this time.
    PutOff {
        until_ms: i64,
        why: PutOff,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PutOff {
    /// It does not answer, or wants to be left alone.
    Away,
    /// It is slow, and others wait behind its jobs.
    Behind,
}

/// How an endpoint stands after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    There,
    AwayFromNowOn,
    StillAway,
}

#[derive(Debug, Default)]
struct Endpoint {
    /// Another one under the same id is another endpoint.
    url: String,
    failures: u32,
    /// How long the failures in a row have taken together.
    failing_ms: i64,
    alone: Option<Alone>,
    /// How long a slow one takes.
    usual_ms: i64,
    /// Until when those that stand in its queue are put off.
    slow_until_ms: i64,
    /// When the next job that is put off comes back.
    next_ms: i64,
    /// When its webhook's row was last looked at.
    row_read_ms: i64,
}

/// It is left alone.
#[derive(Debug, Clone, Copy)]
struct Alone {
    until_ms: i64,
    /// The wait that its failures have brought it; none, if it only asked.
    wait: Duration,
    /// Until when a request that sees whether it is back may still be on its way.
    probed_until_ms: i64,
}

impl Endpoints {
    /// Until when a job is put off, if that is known without another look at its webhook's row.
    pub(super) fn still(&self, id: Uuid, waited_ms: i64, now_ms: i64) -> Option<(i64, PutOff)> {
        let mut all = self.lock();
        let endpoint = all.get_mut(&id)?;
        if now_ms >= endpoint.row_read_ms.saturating_add(millis(ROW_AGE_MAX)) {
            return None;
        }
        match endpoint.alone {
            Some(alone) if now_ms < alone.until_ms => {
                Some((endpoint.slot(alone.until_ms, now_ms), PutOff::Away))
            }
            None if endpoint.is_slow(waited_ms, now_ms) => {
                Some((endpoint.slot(now_ms, now_ms), PutOff::Behind))
            }
            _ => None,
        }
    }

    /// Whether a job that has waited for so long in its topic may go, by its webhook's row.
    pub(super) fn ask(&self, id: Uuid, url: &str, waited_ms: i64, now_ms: i64) -> Passage {
        let mut all = self.lock();
        let Some(endpoint) = all.get_mut(&id) else { return Passage::Go };
        if endpoint.url != url {
            all.remove(&id);
            return Passage::Go;
        }
        endpoint.row_read_ms = now_ms;
        if let Some(alone) = &mut endpoint.alone {
            let until_ms = alone.until_ms;
            if now_ms >= until_ms && now_ms >= alone.probed_until_ms {
                alone.probed_until_ms = now_ms.saturating_add(millis(PROBE_MAX));
                return Passage::Go;
            }
            return Passage::PutOff {
                until_ms: endpoint.slot(until_ms, now_ms),
                why: PutOff::Away,
            };
        }
        if endpoint.is_slow(waited_ms, now_ms) {
            return Passage::PutOff {
                until_ms: endpoint.slot(now_ms, now_ms),
                why: PutOff::Behind,
            };
        }
        Passage::Go
    }

    /// It has taken what was sent, in so long.
    pub(super) fn succeeded(&self, id: Uuid, url: &str, took_ms: i64, now_ms: i64) {
        let mut all = self.lock();
        if took_ms < millis(SLOW) {
            all.remove(&id);
            return;
        }
        let Some(endpoint) = known(&mut all, id, url) else { return };
        endpoint.failures = 0;
        endpoint.failing_ms = 0;
        endpoint.alone = None;
        // Half of the time is the others'.
        endpoint.slow_until_ms = now_ms.saturating_add(took_ms);
        endpoint.usual_ms = took_ms;
    }

    /// It has not, after so long, and may have asked to be left alone.
    pub(super) fn failed(
        &self,
        id: Uuid,
        url: &str,
        took_ms: i64,
        asked: Option<Duration>,
        now_ms: i64,
    ) -> Standing {
        let mut all = self.lock();
        let Some(endpoint) = known(&mut all, id, url) else { return Standing::There };
        endpoint.failures = endpoint.failures.saturating_add(1);
        endpoint.failing_ms = endpoint.failing_ms.saturating_add(took_ms);
        if took_ms >= millis(SLOW) {
            endpoint.slow_until_ms = now_ms.saturating_add(took_ms);
        }
        let is_away =
            endpoint.failures >= FAILURES_MAX || endpoint.failing_ms >= millis(FAILING_MAX);
        let was_away_for = endpoint.alone.map_or(Duration::ZERO, |alone| alone.wait);
        let wait = match (is_away, was_away_for) {
            (false, _) => Duration::ZERO,
            (true, Duration::ZERO) => ALONE_FIRST,
            (true, before) => (before * 2).min(ALONE_LONGEST),
        };
        let alone_for = wait.max(asked.unwrap_or_default().min(ASKED_LONGEST));
        let until_ms = now_ms.saturating_add(millis(alone_for));
        let alone = Alone { until_ms, wait, probed_until_ms: 0 };
        endpoint.alone = (!alone_for.is_zero()).then_some(alone);
        match (is_away, was_away_for) {
            (false, _) => Standing::There,
            (true, Duration::ZERO) => Standing::AwayFromNowOn,
            (true, _) => Standing::StillAway,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Endpoint>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Endpoint {
    /// Whether a job that has waited for so long makes way for others.
    fn is_slow(&self, waited_ms: i64, now_ms: i64) -> bool {
        now_ms < self.slow_until_ms && waited_ms > millis(BEHIND)
    }

    /// A time to come back at, not before this one: behind those that others got.
    fn slot(&mut self, from_ms: i64, now_ms: i64) -> i64 {
        let first_ms = from_ms.max(now_ms.saturating_add(millis(WAIT_AWAY_MIN)));
        let last_ms = first_ms.saturating_add(millis(SPREAD_MAX));
        let is_within = (first_ms..last_ms).contains(&self.next_ms);
        let at_ms = if is_within { self.next_ms } else { first_ms };
        self.next_ms = at_ms.saturating_add(self.usual_ms.max(millis(STEP_MIN)));
        at_ms
    }
}

/// The endpoint of this URL, for which there may be no room.
fn known<'a>(
    all: &'a mut HashMap<Uuid, Endpoint>,
    id: Uuid,
    url: &str,
) -> Option<&'a mut Endpoint> {
    if all.len() >= ENDPOINTS_MAX && !all.contains_key(&id) {
        all.retain(|_, endpoint| endpoint.alone.is_some());
        if all.len() >= ENDPOINTS_MAX {
            return None;
        }
    }
    let endpoint = all.entry(id).or_default();
    if endpoint.url != url {
        *endpoint = Endpoint { url: url.to_owned(), ..Endpoint::default() };
    }
    Some(endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOOK: Uuid = Uuid::from_u128(1);
    const URL: &str = "https://example.com";
    const NOW: i64 = 1_000_000;

    fn until(passage: Passage) -> Option<i64> {
        match passage {
            Passage::Go => None,
            Passage::PutOff { until_ms, .. } => Some(until_ms),
        }
    }

    fn ask(endpoints: &Endpoints, now_ms: i64) -> Option<i64> {
        until(endpoints.ask(HOOK, URL, 0, now_ms))
    }

    fn fail(endpoints: &Endpoints, now_ms: i64) -> Standing {
        endpoints.failed(HOOK, URL, 10, None, now_ms)
    }

    #[test]
    fn three_failures_in_a_row_and_an_endpoint_is_left_alone_then_one_job_looks() {
        let endpoints = Endpoints::default();
        assert_eq!(fail(&endpoints, NOW), Standing::There);
        assert_eq!(fail(&endpoints, NOW), Standing::There);
        assert_eq!(ask(&endpoints, NOW), None);
        assert_eq!(fail(&endpoints, NOW), Standing::AwayFromNowOn);
        // Nobody comes back before it is looked again, and no two at once.
        assert_eq!(ask(&endpoints, NOW), Some(NOW + 61_000));
        assert_eq!(ask(&endpoints, NOW), Some(NOW + 61_100));
        assert_eq!(ask(&endpoints, NOW + 59_999), Some(NOW + 59_999 + 61_000));
        assert_eq!(ask(&endpoints, NOW + 60_000), None, "this one looks");
        assert!(ask(&endpoints, NOW + 60_001).is_some(), "and nobody else");
        assert_eq!(fail(&endpoints, NOW + 60_500), Standing::StillAway);
        assert!(ask(&endpoints, NOW + 180_499).is_some(), "the wait doubles");
        assert_eq!(ask(&endpoints, NOW + 180_500), None);
        endpoints.succeeded(HOOK, URL, 10, NOW + 180_600);
        assert_eq!(ask(&endpoints, NOW + 180_600), None);
        assert_eq!(fail(&endpoints, NOW + 180_600), Standing::There, "it begins anew");
    }

    #[test]
    fn the_wait_is_bounded_and_a_look_that_never_ended_is_made_again() {
        let endpoints = Endpoints::default();
        for _ in 0..50 {
            fail(&endpoints, NOW);
        }
        assert!(ask(&endpoints, NOW + 1_799_999).is_some());
        assert_eq!(ask(&endpoints, NOW + 1_800_000), None);
        assert!(ask(&endpoints, NOW + 1_859_999).is_some());
        assert_eq!(ask(&endpoints, NOW + 1_860_000), None);
    }

    #[test]
    fn one_that_hangs_is_left_alone_sooner() {
        let endpoints = Endpoints::default();
        assert_eq!(endpoints.failed(HOOK, URL, 9_999, None, NOW), Standing::There);
        assert_eq!(endpoints.failed(HOOK, URL, 1, None, NOW), Standing::AwayFromNowOn);
        assert!(ask(&endpoints, NOW).is_some());
    }

    #[test]
    fn one_that_asks_for_it_is_left_alone_for_a_day_at_most() {
        let endpoints = Endpoints::default();
        let asks = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(endpoints.failed(HOOK, URL, 10, asks(7_200), NOW), Standing::There);
        assert!(ask(&endpoints, NOW + 7_199_999).is_some());
        assert_eq!(ask(&endpoints, NOW + 7_200_000), None);
        endpoints.failed(HOOK, URL, 10, asks(5), NOW);
        assert!(ask(&endpoints, NOW + 4_999).is_some(), "less than a failure would cost");
        assert_eq!(ask(&endpoints, NOW + 5_000), None);
        endpoints.failed(HOOK, URL, 10, asks(u64::MAX), NOW);
        assert_eq!(ask(&endpoints, NOW + 86_400_000), None);
    }

    #[test]
    fn those_that_stand_in_the_queue_of_a_slow_one_make_way() {
        let endpoints = Endpoints::default();
        endpoints.succeeded(HOOK, URL, 4_000, NOW);
        let behind = |now_ms| until(endpoints.ask(HOOK, URL, 15_001, now_ms));
        assert_eq!(ask(&endpoints, NOW), None, "it has not waited");
        assert_eq!(behind(NOW), Some(NOW + 61_000));
        assert_eq!(behind(NOW + 1), Some(NOW + 65_000), "as far apart as it takes");
        assert_eq!(behind(NOW + 4_000), None, "half of the time is its own");
        endpoints.succeeded(HOOK, URL, 999, NOW + 5_000);
        assert_eq!(behind(NOW + 5_000), None);
    }

    #[test]
    fn a_row_is_looked_at_again_after_a_second() {
        let endpoints = Endpoints::default();
        let still = |now_ms| endpoints.still(HOOK, 15_001, now_ms).map(|(at_ms, _)| at_ms);
        for _ in 0..3 {
            fail(&endpoints, NOW);
        }
        assert_eq!(still(NOW), None, "it was not looked at yet");
        assert_eq!(ask(&endpoints, NOW), Some(NOW + 61_000));
        assert_eq!(still(NOW + 999), Some(NOW + 61_999));
        assert_eq!(still(NOW + 1_000), None);
        assert!(ask(&endpoints, NOW + 59_900).is_some());
        assert_eq!(still(NOW + 60_000), None, "one of them looks whether it is back");
        endpoints.succeeded(HOOK, URL, 4_000, NOW + 60_000);
        assert!(still(NOW + 60_100).is_some(), "it is slow");
    }

    #[test]
    fn the_times_are_spread_over_an_hour_and_no_further() {
        let endpoints = Endpoints::default();
        for _ in 0..3 {
            fail(&endpoints, NOW);
        }
        let times: Vec<i64> = (0..40_000).filter_map(|_| ask(&endpoints, NOW)).collect();
        let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
        assert_eq!((*first, times.len()), (NOW + 61_000, 40_000));
        assert!(*last < NOW + 61_000 + 3_600_000, "{last}");
    }

    #[test]
    fn another_url_is_another_endpoint_and_another_webhook_too() {
        let endpoints = Endpoints::default();
        for _ in 0..3 {
            fail(&endpoints, NOW);
        }
        assert_eq!(endpoints.ask(Uuid::from_u128(2), URL, 0, NOW), Passage::Go);
        assert_eq!(endpoints.ask(HOOK, "https://example.org", 0, NOW), Passage::Go);
        assert_eq!(ask(&endpoints, NOW), None, "the old one is forgotten");
    }

    #[test]
    fn a_bounded_number_is_remembered() {
        let endpoints = Endpoints::default();
        for id in 0..=ENDPOINTS_MAX {
            endpoints.failed(Uuid::from_u128(id as u128), URL, 60_000, None, NOW);
        }
        assert_eq!(endpoints.lock().len(), ENDPOINTS_MAX);
        for id in 0..=ENDPOINTS_MAX {
            endpoints.succeeded(Uuid::from_u128(id as u128), URL, 1, NOW);
        }
        assert_eq!(endpoints.lock().len(), 0);
    }
}
