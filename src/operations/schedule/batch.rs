//! The rows that an instance has taken, on their way to Kafka: those of one lane one after the
//! other, different lanes side by side.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::sender::{LEASE_TERM, Sender};
use crate::domain::clock::millis;
use crate::domain::counters::TypeCounters;
use crate::domain::receipt::Place;
use crate::kafka::ProduceError;
use crate::store::{DueRow, GivenBack, SentRow};

/// How often the lease is renewed while Kafka takes its time.
const HOLD_EVERY: Duration = Duration::from_secs(3);
/// How long records that are under way may take once the stop has come.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// The wait of a row after its first failure, doubled with each.
const WAIT_FIRST: Duration = Duration::from_secs(1);
/// The longest one. A row that Kafka refuses waits for somebody to mend the cause, and for this
/// after that.
const WAIT_LONGEST: Duration = Duration::from_mins(1);

/// What became of a batch.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// In Kafka.
    pub(super) sent: Vec<SentRow>,
    /// Not, or not for certain.
    pub(super) given_back: Vec<GivenBack>,
    /// Whether it had better be left alone for a moment.
    pub(super) is_kafka_in_trouble: bool,
}

/// Rows to be sent.
pub(super) struct Batch<'a> {
    sender: &'a Sender,
    /// Under which name they are held.
    holder: &'a str,
    /// Those that have not begun, by lane.
    waiting: HashMap<Uuid, VecDeque<DueRow>>,
    /// Those that have, with their failures before.
    under_way: HashMap<Uuid, i64>,
    done: Ended,
}

/// A row that is under way.
struct Begun {
    id: Uuid,
    lane: Uuid,
    /// None for a retry: its job is counted already.
    counted_as: Option<String>,
    outcome: Result<Place, ProduceError>,
}

impl<'a> Batch<'a> {
    /// These rows, in the order they are due.
    pub(super) fn new(sender: &'a Sender, holder: &'a str, rows: Vec<DueRow>) -> Self {
        let mut waiting: HashMap<Uuid, VecDeque<DueRow>> = HashMap::new();
        for row in rows {
            waiting.entry(row.record.lane()).or_default().push_back(row);
        }
        Self { sender, holder, waiting, under_way: HashMap::new(), done: Ended::default() }
    }

    /// Sends them. After the stop nothing begins any more.
    pub(super) async fn send(mut self, stop: &CancellationToken) -> Ended {
        let mut hold = tokio::time::interval_at(Instant::now() + HOLD_EVERY, HOLD_EVERY);
        hold.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let over = async {
            stop.cancelled().await;
            tokio::time::sleep(STOP_PATIENCE).await;
        };
        tokio::pin!(over);
        let mut under_way = FuturesUnordered::new();
        let lanes: Vec<Uuid> = self.waiting.keys().copied().collect();
        for lane in lanes {
            under_way.extend(self.begin_next(lane));
        }
        loop {
            tokio::select! {
                begun = under_way.next() => {
                    let Some(begun) = begun else { break };
                    let lane = begun.lane;
                    if self.settle(begun) && !stop.is_cancelled() {
                        under_way.extend(self.begin_next(lane));
                    }
                }
                _ = hold.tick() => self.hold().await,
                () = &mut over => break,
            }
        }
        drop(under_way);
        self.give_back_the_rest()
    }

    /// Begins with the next row of a lane, if there is one.
    fn begin_next(&mut self, lane: Uuid) -> Option<impl Future<Output = Begun> + use<>> {
        let DueRow { record, failures } = self.waiting.get_mut(&lane)?.pop_front()?;
        let id = record.id;
        self.under_way.insert(id, failures);
        let counted_as = record.retry.is_none().then(|| record.type_name.clone());
        let record = record.into_record(self.sender.clock.now_ms());
        let producer = self.sender.producer.clone();
        Some(async move {
            let outcome = producer.send(&record).await;
            Begun { id, lane, counted_as, outcome }
        })
    }

    /// Notes what became of a row. Returns whether the next one of its lane may begin.
    fn settle(&mut self, begun: Begun) -> bool {
        let Begun { id, counted_as, outcome, .. } = begun;
        let failures = self.under_way.remove(&id).unwrap_or_default();
        match outcome {
            Ok(Place { partition, offset, .. }) => {
                self.done.sent.push(SentRow { id, partition, offset });
                let counters = counted_as.and_then(|name| self.sender.counters.of(&name));
                if let Some(counters) = counters {
                    TypeCounters::count(&counters.enqueued);
                }
                true
            }
            Err(error) => {
                self.note_failure(id, failures, &error);
                false
            }
        }
    }

    fn note_failure(&mut self, id: Uuid, failures: i64, error: &ProduceError) {
        let is_refused = matches!(error, ProduceError::Refused(_) | ProduceError::TooLarge(_));
        let cause = std::error::Error::source(error);
        if is_refused {
            tracing::error!(
                row = %id, %error, cause,
                "Kafka refuses a job that is due; it waits until the cause is mended"
            );
        } else {
            tracing::warn!(row = %id, %error, cause, "a job that is due was not acknowledged");
            self.done.is_kafka_in_trouble = true;
        }
        let now_ms = self.sender.clock.now_ms();
        // Of others the sender itself waits, for all rows alike.
        let wait = if is_refused { wait_after(failures) } else { Duration::ZERO };
        self.done.given_back.push(GivenBack {
            id,
            not_before_ms: now_ms.saturating_add(millis(wait)),
            is_doubtful: matches!(error, ProduceError::Unknown(_)),
            has_failed: true,
        });
    }

    /// Keeps the rows for another while.
    pub(super) async fn hold(&self) {
        let Sender { store, clock, .. } = self.sender;
        if let Err(error) = store.hold_due(self.holder, clock.now_ms(), LEASE_TERM).await {
            tracing::warn!(%error, "jobs that are due may be sent by another instance too");
        }
    }

    /// What has not begun was not sent; what is still under way may have been.
    fn give_back_the_rest(self) -> Ended {
        let Self { waiting, under_way, mut done, .. } = self;
        let untouched = waiting.into_values().flatten().map(|row| (row.record.id, false));
        let unknown = under_way.into_keys().map(|id| (id, true));
        done.given_back.extend(untouched.chain(unknown).map(|(id, is_doubtful)| GivenBack {
            id,
            not_before_ms: 0,
            is_doubtful,
            has_failed: false,
        }));
        done
    }
}

fn wait_after(failures: i64) -> Duration {
    let doublings = u32::try_from(failures).unwrap_or(0).min(16);
    WAIT_FIRST.saturating_mul(1 << doublings).min(WAIT_LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_waits_longer_each_time_up_to_a_minute() {
        let waits: Vec<u64> = [0, 1, 2, 5, 6, 400].map(|n| wait_after(n).as_secs()).into();
        assert_eq!(waits, [1, 2, 4, 32, 60, 60]);
    }
}
