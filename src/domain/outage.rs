//! Outage or poison: one job that fails among successes is to blame itself; when nothing
//! succeeds any more, the dependency is.
//!
//! A [`Breaker`] watches one type. While it is open no job of the type starts but a probe;
//! the first success closes it.

use std::time::Duration;

use super::clock::millis;
use super::handler::Failure;

/// The wait before the first probe: short, since most outages are a restart.
const PROBE_FIRST: Duration = Duration::from_secs(1);
/// The longest wait between probes: the time by which a recovery may be noticed late.
const PROBE_LONGEST: Duration = Duration::from_secs(15);

/// The longest wait that a dependency may ask for: whatever it says, it is asked again then.
const ASKED_LONGEST: Duration = Duration::from_hours(1);

/// Whether jobs of a type may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// Yes.
    Open,
    /// One, as a probe.
    Probe,
    /// None before this time (milliseconds since the epoch).
    ClosedUntil(i64),
    /// None until the probe that is out has come back.
    Probing,
}

/// Watches one type for an outage.
#[derive(Debug, Default)]
pub struct Breaker {
    outage: Option<Outage>,
    last_success_ms: Option<i64>,
    /// Outages so far: each is told apart by its number.
    count: u64,
}

/// Names the outage that a job is a probe of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe(u64);

/// A type that is paused because its dependency is away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// When it was noticed, milliseconds since the epoch.
    pub since_ms: i64,
    /// What was seen, a sentence for a person.
    pub reason: String,
    number: u64,
    next_probe_ms: i64,
    wait: Duration,
    probing: bool,
}

impl Breaker {
    /// Whether a job may start now.
    pub fn gate(&self, now_ms: i64) -> Gate {
        match &self.outage {
            None => Gate::Open,
            Some(outage) if outage.probing => Gate::Probing,
            Some(outage) if outage.next_probe_ms <= now_ms => Gate::Probe,
            Some(outage) => Gate::ClosedUntil(outage.next_probe_ms),
        }
    }

    /// The outage, while there is one.
    pub fn outage(&self) -> Option<&Outage> {
        self.outage.as_ref()
    }

    /// A probe starts; no other job does until it has come back.
    pub fn probe_started(&mut self) -> Option<Probe> {
        let outage = self.outage.as_mut()?;
        outage.probing = true;
        Some(Probe(outage.number))
    }

    /// Whether this is the probe of the outage that there is. That of an earlier one is a job
    /// like any other.
    pub fn is_probe(&self, probe: Option<Probe>) -> bool {
        let current = self.outage.as_ref().map(|outage| Probe(outage.number));
        current.is_some() && current == probe
    }

    /// A job succeeded: whatever was away is back. Returns the outage that this ends.
    pub fn succeeded(&mut self, now_ms: i64) -> Option<Outage> {
        self.last_success_ms = Some(now_ms);
        self.outage.take()
    }

    /// A job has reached whatever was away, though it did not succeed.
    pub fn reached(&mut self) -> Option<Outage> {
        self.outage.take()
    }

    /// Whether the type has succeeded since this time.
    pub fn succeeded_since(&self, time_ms: i64) -> bool {
        self.last_success_ms.is_some_and(|success_ms| success_ms >= time_ms)
    }

    /// A job says that its dependency is away. Returns true when that is news.
    ///
    /// Only a probe of this outage makes the wait longer: jobs that were running when it began
    /// all report the same one. But for one that says how long it has asked to be left alone.
    pub fn failed(&mut self, probe: Option<Probe>, failure: &Failure, now_ms: i64) -> bool {
        let was_probe = self.is_probe(probe);
        let reason = &failure.message;
        let asked = failure.retry_after.map(|asked| now_ms + millis(asked.min(ASKED_LONGEST)));
        match &mut self.outage {
            None => {
                self.count += 1;
                self.outage = Some(Outage {
                    number: self.count,
                    since_ms: now_ms,
                    reason: reason.clone(),
                    next_probe_ms: asked.unwrap_or(0).max(now_ms + millis(PROBE_FIRST)),
                    wait: PROBE_FIRST,
                    probing: false,
                });
                true
            }
            Some(outage) => {
                if was_probe {
                    outage.probing = false;
                    reason.clone_into(&mut outage.reason);
                    outage.wait = (outage.wait * 2).min(PROBE_LONGEST);
                    outage.next_probe_ms = now_ms + millis(outage.wait);
                }
                outage.next_probe_ms = outage.next_probe_ms.max(asked.unwrap_or(0));
                false
            }
        }
    }

    /// A job ended without a word on the dependency (it was poison, or its partition went to
    /// somebody else). If it was the probe, the next one may go at once.
    pub fn probe_was_void(&mut self, probe: Option<Probe>, now_ms: i64) {
        let was_probe = self.is_probe(probe);
        if let Some(outage) = self.outage.as_mut().filter(|_| was_probe) {
            outage.probing = false;
            outage.next_probe_ms = now_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(message: &str) -> Failure {
        Failure::new("away", message)
    }

    #[test]
    fn an_outage_pauses_probes_and_ends_with_the_first_success() {
        let mut breaker = Breaker::default();
        assert!(breaker.failed(None, &failure("connection refused"), 1_000));
        assert!(!breaker.failed(None, &failure("connection refused"), 1_001), "reported once");
        assert_eq!(breaker.gate(1_500), Gate::ClosedUntil(2_000));
        assert_eq!(breaker.gate(2_000), Gate::Probe);
        let probe = breaker.probe_started();
        assert_eq!(breaker.gate(9_000), Gate::Probing);
        breaker.failed(probe, &failure("still refused"), 2_100);
        assert_eq!(breaker.gate(2_100), Gate::ClosedUntil(4_100), "the wait doubles");
        breaker.probe_started();
        let ended = breaker.succeeded(5_000).unwrap();
        assert_eq!((ended.since_ms, ended.reason.as_str()), (1_000, "still refused"));
        assert_eq!(breaker.gate(5_000), Gate::Open);
        assert!(breaker.succeeded_since(5_000));
        assert!(!breaker.succeeded_since(5_001));
    }

    #[test]
    fn the_wait_between_probes_is_bounded_and_a_void_probe_costs_none() {
        let mut breaker = Breaker::default();
        breaker.failed(None, &failure("away"), 0);
        for _ in 0..20 {
            let probe = breaker.probe_started();
            breaker.failed(probe, &failure("away"), 0);
        }
        assert_eq!(breaker.gate(0), Gate::ClosedUntil(15_000));
        let probe = breaker.probe_started();
        breaker.probe_was_void(probe, 10);
        assert_eq!(breaker.gate(10), Gate::Probe);
    }

    #[test]
    fn a_dependency_that_asks_to_be_left_alone_is_for_an_hour_at_most() {
        let mut breaker = Breaker::default();
        let asks = |seconds| failure("busy").retry_after(Some(Duration::from_secs(seconds)));
        breaker.failed(None, &asks(30), 0);
        assert_eq!(breaker.gate(0), Gate::ClosedUntil(30_000));
        breaker.failed(None, &asks(40), 1_000);
        assert_eq!(breaker.gate(0), Gate::ClosedUntil(41_000), "whoever asks for more has it");
        let probe = breaker.probe_started();
        breaker.failed(probe, &failure("busy"), 41_000);
        assert_eq!(breaker.gate(0), Gate::ClosedUntil(43_000), "nothing was asked");
        let probe = breaker.probe_started();
        breaker.failed(probe, &asks(1_000_000), 50_000);
        assert_eq!(breaker.gate(0), Gate::ClosedUntil(3_650_000));
        assert!(breaker.reached().is_some());
        assert_eq!(breaker.gate(0), Gate::Open);
        assert!(!breaker.succeeded_since(0), "to reach it is not to succeed");
    }
}
