//! `analytics.aggregation`: the rows of the spans that a range of time touches.

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::fan_out::FanOut;
use super::keep_analytics::{self, AGGREGATION};
use super::{Attempt, database_away, end};
use crate::domain::calendar::CalendarSpan;
use crate::domain::handler::{Failure, Handler, Job, Outcome};
use crate::store::Store;
use crate::waitlist::analytics::AnalyticsAggregation;

/// Runs at once in this process. Each holds a connection while it waits for its turn, and of
/// eight the others need some.
const RUNNING_MAX: usize = 2;
const NANOS_OF_A_MILLI: u32 = 1_000_000;

/// Sums up what happened.
pub(super) struct SumUp {
    store: Store,
    fan_out: FanOut,
    places: Semaphore,
}

impl SumUp {
    pub(super) fn new(store: &Store, fan_out: &FanOut) -> Self {
        let places = Semaphore::new(RUNNING_MAX);
        Self { store: store.clone(), fan_out: fan_out.clone(), places }
    }

    async fn sum_up(&self, job: &Job) -> Attempt {
        let wanted: AnalyticsAggregation = job.payload()?;
        let campaign_id = wanted.campaign_id;
        let span = CalendarSpan::from(wanted.granularity);
        let from_ms = wanted.start_time.timestamp_millis();
        // A part of a millisecond is a part of the range.
        let has_more = !wanted.end_time.timestamp_subsec_nanos().is_multiple_of(NANOS_OF_A_MILLI);
        let to_ms = wanted.end_time.timestamp_millis() + i64::from(has_more);
        let _place = self.places.acquire().await.map_err(|_| stopped())?;
        let now_ms = self.fan_out.now_ms();
        let effect = self.store.effect(&job.scope, job.id, now_ms).await.map_err(database_away)?;
        let Some(mut effect) = effect else { return Ok(Outcome::AlreadyDone) };
        let turn = Uuid::new_v5(&campaign_id, b"analytics/turn");
        effect.take_turns(&[turn]).await.map_err(database_away)?;
        // What relied on this job is committed before it is counted.
        let held = keep_analytics::held_by(campaign_id);
        effect.wait_for_holders(held).await.map_err(database_away)?;
        let rest = effect.sum_up(campaign_id, span, from_ms..to_ms).await;
        if let Some(rest_ms) = rest.map_err(database_away)? {
            // More than one run does: the next one goes on where this one has ended.
            let rest = keep_analytics::payload(campaign_id, span, rest_ms, to_ms);
            self.fan_out.ask(&mut effect, job, AGGREGATION, &rest).await?;
        }
        effect.commit().await.map_err(database_away)?;
        Ok(Outcome::Done)
    }
}

impl Handler for SumUp {
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Outcome> {
        Box::pin(async move { end(self.sum_up(job).await) })
    }
}

/// The semaphore is never closed.
fn stopped() -> Outcome {
    Outcome::Unavailable(Failure::new("stopped", "the process stops"))
}
