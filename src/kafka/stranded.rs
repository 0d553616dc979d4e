//! A client that knows no broker any more, and will never know one again.
//!
//! librdkafka forgets the brokers that an answer of Kafka's does not name (since 2.10), and a
//! lone broker does not name itself for a moment when it comes back from a pause that was longer
//! than its session. The library then begins anew with `bootstrap.servers`; but where the next
//! answer comes at the wrong moment it stops doing so, for good (seen in 2.12.1: the answer stops
//! the timer of the new beginning, which goes on being called under way). Only a new client
//! helps. Whether a client is in that state is in what it tells of itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Deserialize;

/// How often a client tells of itself, milliseconds.
pub(super) const TELLS_EVERY: (&str, &str) = ("statistics.interval.ms", "1000");
/// So often in a row it must have told of no broker: a new beginning takes milliseconds.
const CERTAIN: u32 = 2;

/// What a client has told of its brokers.
#[derive(Debug, Default)]
pub(super) struct Brokers {
    told_of_none: AtomicU32,
}

/// The part of librdkafka's `STATISTICS.md` that matters here.
#[derive(Deserialize)]
struct Statistics {
    brokers: HashMap<String, Broker>,
}

#[derive(Deserialize)]
struct Broker {
    source: String,
}

impl Brokers {
    /// It tells of itself.
    pub(super) fn told(&self, statistics: &[u8]) {
        let Ok(Statistics { brokers }) = serde_json::from_slice(statistics) else { return };
        // The others stand for no machine of their own.
        let is_real = |broker: &Broker| matches!(&*broker.source, "configured" | "learned");
        if brokers.values().any(is_real) {
            self.told_of_none.store(0, Ordering::Relaxed);
        } else {
            self.told_of_none.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether it has none, for good.
    pub(super) fn are_forgotten(&self) -> bool {
        self.told_of_none.load(Ordering::Relaxed) >= CERTAIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(sources: &[&str]) -> Vec<u8> {
        let broker = |source| {
            (format!("{source}:1/2"), serde_json::json!({ "source": source, "state": "UP" }))
        };
        let brokers: HashMap<_, _> = sources.iter().map(broker).collect();
        serde_json::to_vec(&serde_json::json!({ "ts": 1, "brokers": brokers, "topics": {} }))
            .unwrap()
    }

    #[test]
    fn no_broker_for_some_seconds_is_for_good() {
        let brokers = Brokers::default();
        let none = told(&["logical", "internal"]);
        for _ in 1..CERTAIN {
            brokers.told(&none);
            assert!(!brokers.are_forgotten());
        }
        brokers.told(&told(&["learned", "logical"]));
        for _ in 0..CERTAIN {
            assert!(!brokers.are_forgotten());
            brokers.told(&none);
        }
        assert!(brokers.are_forgotten());
        brokers.told(&told(&["configured"]));
        assert!(!brokers.are_forgotten());
    }

    #[test]
    fn what_cannot_be_read_says_nothing() {
        let brokers = Brokers::default();
        (0..CERTAIN).for_each(|_| brokers.told(b"{}"));
        assert!(!brokers.are_forgotten());
    }
}
