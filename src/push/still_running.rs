//! Jobs whose first attempt still runs at the service: how often each has said so.
//!
//! In memory alone: after a restart a job is given its patience anew.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use uuid::Uuid;

/// The wait after the first such answer; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// No wait is longer: a longer one would let the job leave its key where the order is relaxed.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// Answers that spend no attempt: half an hour of waits that grow. A service that still runs a job after
/// that has lost it, as a rule.
const ANSWERS_FREE_MAX: u32 = 36;
/// Jobs that are remembered: of each key one at a time, and so more than a process has in hand.
const JOBS_MAX: usize = 10_000;

/// Counts the answers.
#[derive(Debug, Default)]
pub(super) struct StillRunning(Mutex<HashMap<Uuid, u32>>);

impl StillRunning {
    /// The service has said so once more, and perhaps when to ask again. How long to wait without
    /// spending an attempt; None: that was long enough, it counts as one.
    pub(super) fn again(&self, job: Uuid, asked: Option<Duration>) -> Option<Duration> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= JOBS_MAX && !counts.contains_key(&job) {
            // Jobs that have gone on elsewhere, nearly all: those that are here say so again.
            counts.clear();
        }
        let count = counts.entry(job).or_default();
        let grown = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(*count));
        let wait = asked.unwrap_or(grown).clamp(FIRST_WAIT, LONGEST_WAIT);
        *count = count.saturating_add(1);
        (*count <= ANSWERS_FREE_MAX).then_some(wait)
    }

    /// It has said something else.
    pub(super) fn no_more(&self, job: Uuid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_minute_and_half_an_hour_is_free() {
        let running = StillRunning::default();
        let job = Uuid::from_u128(1);
        let waits: Vec<Duration> = std::iter::from_fn(|| running.again(job, None)).collect();
        assert_eq!(waits[..3], [1, 2, 4].map(Duration::from_secs));
        assert_eq!(waits.last(), Some(&LONGEST_WAIT));
        let all: Duration = waits.iter().sum();
        assert!((30..35).contains(&(all.as_secs() / 60)), "{all:?}");
        assert_eq!(running.again(job, None), None, "and it stays so");
        running.no_more(job);
        assert_eq!(running.again(job, None), Some(FIRST_WAIT));
    }

    #[test]
    fn what_the_service_asks_for_is_bounded() {
        let running = StillRunning::default();
        for (asked, wait) in [(0, 1), (20, 20), (3_600, 60)] {
            let asked = Some(Duration::from_secs(asked));
            assert_eq!(running.again(Uuid::nil(), asked), Some(Duration::from_secs(wait)));
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let running = StillRunning::default();
        for job in 0..=JOBS_MAX as u128 {
            running.again(Uuid::from_u128(job), None);
        }
        assert!(running.0.lock().unwrap().len() <= JOBS_MAX);
    }
}
