//! What follows from how an attempt ended.

use std::time::Duration;

use super::super::clock::millis;
use super::super::handler::{Failure, Later};
use super::super::retry::{LONG_WAIT, Order};
use super::lane::{Entry, Phase};
use super::{Dispatcher, End, Suspicion, Ticket, Verdict};

impl<T> Dispatcher<T> {
    /// An attempt has ended. `jitter` in `0.0..=1.0` varies the wait before the next one. Of one
    /// that others have joined, their ends come before its own.
    pub fn ended(&mut self, ticket: &Ticket, end: End<'_>, now_ms: i64, jitter: f64) -> Verdict {
        if ticket.is_alone {
            self.is_one_alone = false;
        }
        if !ticket.is_joined {
            self.running = self.running.saturating_sub(1);
            if let Some(state) = self.kinds.get_mut(ticket.type_index) {
                state.ended(ticket.prefix);
            }
        }
        let verdict = self.judge(ticket, end, now_ms, jitter);
        match verdict {
            Verdict::Finished { .. } => self.finish(ticket),
            // A record that is being put away keeps its partition busy, so that a rebalance
            // waits for the dead letter instead of writing a second one.
            Verdict::DeadLetter { .. } | Verdict::Postpone { .. } | Verdict::Stale => {}
            Verdict::NotBegun => {
                self.quieten(ticket);
                if !ticket.is_joined {
                    self.make_ready(ticket.lane);
                }
            }
            Verdict::RetryAt { .. } | Verdict::Paused { .. } => {
                self.acquit(ticket);
                self.quieten(ticket);
                if !ticket.is_joined {
                    self.make_ready(ticket.lane);
                }
            }
        }
        verdict
    }

    fn judge(&mut self, ticket: &Ticket, end: End<'_>, now_ms: i64, jitter: f64) -> Verdict {
        let Some(state) = self.kinds.get_mut(ticket.type_index) else { return Verdict::Stale };
        let partition = self.partitions.get_mut(ticket.lane.slot).and_then(Option::as_mut);
        let lane = partition
            .filter(|partition| partition.generation == ticket.lane.generation)
            .and_then(|partition| partition.lanes.get_mut(&ticket.lane.id));
        let Some(entry) = lane.and_then(|lane| lane.entry_mut(ticket.offset)) else {
            state.breaker.probe_was_void(ticket.probe, now_ms);
            return Verdict::Stale;
        };
        match end {
            End::Done => Verdict::Finished { outage_over: state.breaker.succeeded(now_ms) },
            End::Passed => {
                state.breaker.probe_was_void(ticket.probe, now_ms);
                Verdict::Finished { outage_over: None }
            }
            End::Fail => {
                state.breaker.probe_was_void(ticket.probe, now_ms);
                entry.phase = Phase::Leaving;
                // One that was given up has not run once more.
                let attempts = entry.attempts + 1;
                Verdict::DeadLetter { attempts: attempts.min(state.kind.retry.attempts) }
            }
            End::NotBegun(failure, at_ms) => {
                state.breaker.probe_was_void(ticket.probe, now_ms);
                entry.phase = Phase::RetryAt(at_ms);
                entry.last_error = Some(Box::new(failure.clone()));
                entry.has_not_begun();
                Verdict::NotBegun
            }
            End::Unavailable(failure) => {
                entry.wait_for_dependency(failure);
                let is_news = state.breaker.failed(ticket.probe, failure, now_ms);
                Verdict::Paused { is_news }
            }
            End::Later(Later { failure, after, spends_attempt }) => {
                state.breaker.reached();
                entry.attempts = entry.attempts.saturating_add(u32::from(*spends_attempt));
                wait_for(entry, failure, *after, state.kind.retry.order, now_ms)
            }
            End::Retry(failure) => {
                let retry = state.kind.retry;
                entry.attempts = (entry.attempts + 1).min(retry.attempts);
                let attempts = entry.attempts;
                let before_ms = entry.started_ms.map_or(now_ms, |(before_ms, _)| before_ms);
                if retry.allows_another(attempts) {
                    if state.breaker.is_probe(ticket.probe) {
                        state.breaker.failed(ticket.probe, failure, now_ms);
                    }
                    let wait = retry.wait_after(attempts, jitter);
                    wait_for(entry, failure, wait, retry.order, now_ms)
                } else if state.breaker.succeeded_since(before_ms) {
                    state.breaker.probe_was_void(ticket.probe, now_ms);
                    entry.phase = Phase::Leaving;
                    Verdict::DeadLetter { attempts }
                } else {
                    // Nobody has succeeded since this job's attempt before this one: it may
                    // well be the dependency. The job goes behind the others, so that the next
                    // probe is another one, and is judged when one of them succeeds.
                    entry.wait_for_dependency(failure);
                    let is_news = state.breaker.failed(ticket.probe, failure, now_ms);
                    Verdict::Paused { is_news }
                }
            }
        }
    }

    /// The record of this attempt has been put away: its dead letter is acknowledged, or the
    /// row that brings it back is committed. Returns whether the partition is still this
    /// worker's.
    pub fn settled(&mut self, ticket: &Ticket) -> bool {
        self.finish(ticket);
        self.is_current(ticket.lane)
    }

    /// It has run alone, and the process is still there. It goes back among the others, whose
    /// turn comes before its own: it must not be the only probe of its type.
    fn acquit(&mut self, ticket: &Ticket) {
        let Some(partition) = self.current_mut(ticket.lane).filter(|_| ticket.is_alone) else {
            return;
        };
        if let Some(lane) = partition.lanes.get_mut(&ticket.lane.id) {
            lane.first.suspicion = Suspicion::Watched;
        }
    }

    fn quieten(&mut self, ticket: &Ticket) {
        if let Some(partition) = self.current_mut(ticket.lane) {
            partition.busy = partition.busy.saturating_sub(1);
        }
    }

    fn finish(&mut self, ticket: &Ticket) {
        self.quieten(ticket);
        let Some(partition) = self.current_mut(ticket.lane) else { return };
        partition.offsets.finished(ticket.offset);
        let (freed_bytes, may_go_on) = partition.remove(ticket.lane.id, ticket.offset);
        self.waiting_bytes = self.waiting_bytes.saturating_sub(freed_bytes);
        if may_go_on {
            self.make_ready(ticket.lane);
        }
    }
}

/// It waits for its next attempt: at the head of its key, or for a long time, where its type has
/// the order relaxed, away from it.
fn wait_for<T>(
    entry: &mut Entry<T>,
    failure: &Failure,
    wait: Duration,
    order: Order,
    now_ms: i64,
) -> Verdict {
    let (at_ms, attempts) = (now_ms.saturating_add(millis(wait)), entry.attempts);
    let is_long = wait > LONG_WAIT;
    if is_long && order == Order::Relaxed {
        entry.phase = Phase::Leaving;
        return Verdict::Postpone { at_ms, attempts };
    }
    entry.phase = Phase::RetryAt(at_ms);
    entry.last_error = Some(Box::new(failure.clone()));
    Verdict::RetryAt { at_ms, attempts, is_long }
}
