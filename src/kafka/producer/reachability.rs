//! Whether Kafka would take a record now.
//!
//! A pure machine, fed with what the producer sees. It exists so that a request which
//! cannot succeed is refused at once instead of hanging until its deadline and ending as
//! "outcome unknown".

use std::time::Duration;

use crate::domain::clock::millis;

/// A record that waits longer than this for its acknowledgement makes Kafka doubtful.
/// Far above any healthy acknowledgement, well below the deadline of an HTTP answer.
const DOUBT_AFTER: Duration = Duration::from_secs(2);

/// What is known of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Records are acknowledged.
    Reachable,
    /// Nothing has been heard yet, or something is wrong: ask before the next record.
    Doubtful,
    /// It has been asked and did not answer.
    Away,
}

/// Follows the state.
#[derive(Debug)]
pub(super) struct Reachability {
    state: State,
    /// Since when a record waits while none is acknowledged.
    waiting_since_ms: Option<i64>,
    in_flight: usize,
}

impl Reachability {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        Self { state: State::Doubtful, waiting_since_ms: None, in_flight: 0 }
    }

    /// What is known now.
    pub(super) fn state(&self, now_ms: i64) -> State {
        match (self.state, self.waiting_since_ms) {
            (State::Reachable, Some(since_ms)) if now_ms - since_ms > millis(DOUBT_AFTER) => {
                State::Doubtful
            }
            (state, _) => state,
        }
    }

    /// So many records are handed to the client library.
    pub(super) fn sent(&mut self, records: usize, now_ms: i64) {
        self.in_flight += records;
        self.waiting_since_ms.get_or_insert(now_ms);
    }

    /// The client library has not taken one of them.
    pub(super) fn not_taken(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.in_flight == 0 {
            self.waiting_since_ms = None;
        }
    }

    /// Kafka has answered for a record: acknowledged, or refused for what it is.
    pub(super) fn answered(&mut self, now_ms: i64) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.waiting_since_ms = (self.in_flight > 0).then_some(now_ms);
        self.state = State::Reachable;
    }

    /// A record was given up without an answer.
    pub(super) fn given_up(&mut self) {
        self.not_taken();
        if self.state == State::Reachable {
            self.state = State::Doubtful;
        }
    }

    /// The client library has lost every broker.
    pub(super) fn all_brokers_down(&mut self) {
        self.state = State::Away;
    }

    /// Kafka was asked for its metadata.
    pub(super) fn probed(&mut self, is_answered: bool, now_ms: i64) {
        if is_answered {
            // Metadata is an answer too, but a broker may answer it and still not write:
            // what waits starts a new wait, and doubt comes back if nothing is written.
            self.state = State::Reachable;
            self.waiting_since_ms = (self.in_flight > 0).then_some(now_ms);
        } else {
            self.state = State::Away;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_cluster_is_noticed_without_an_error() {
        let mut reachability = Reachability::new();
        assert_eq!(reachability.state(0), State::Doubtful);
        reachability.probed(true, 0);
        reachability.sent(1, 0);
        reachability.answered(5);
        reachability.sent(1, 10);
        assert_eq!(reachability.state(2_010), State::Reachable);
        assert_eq!(reachability.state(2_011), State::Doubtful);
        reachability.probed(false, 4_000);
        assert_eq!(reachability.state(4_000), State::Away);
    }

    #[test]
    fn lost_brokers_mean_away_until_an_answer_comes() {
        let mut reachability = Reachability::new();
        reachability.sent(1, 0);
        reachability.answered(1);
        reachability.all_brokers_down();
        assert_eq!(reachability.state(2), State::Away);
        reachability.probed(true, 3);
        assert_eq!(reachability.state(100_000), State::Reachable, "idle is not doubtful");
    }

    #[test]
    fn a_steady_stream_of_answers_leaves_no_doubt() {
        let mut reachability = Reachability::new();
        for now_ms in (0..60_000).step_by(100) {
            reachability.sent(1, now_ms);
            reachability.sent(1, now_ms);
            reachability.answered(now_ms);
            assert_eq!(reachability.state(now_ms), State::Reachable);
        }
    }
}
