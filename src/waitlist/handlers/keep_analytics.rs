//! Analytics keep up by themselves: whatever counts asks, in its own effect, for the rows of the
//! spans that it falls in. Many that come within a few seconds share one job.
//!
//! The job's id follows from campaign, span and *slot*, the time at which it is due, so the first
//! one of a slot asks and the others rely on its row. None is missed:
//!
//! - An effect holds the campaign's analytics until its transaction ends, and only then looks:
//!   it relies on a row that nobody has begun to send by that time, or writes one itself.
//! - The job, which runs after it was sent, waits for all that hold the campaign's analytics
//!   before it counts (`SumUp`). An effect that relied on the job's row held them before the row
//!   was sent, so by then it is committed, and counted, or gone for good.
//!
//! So no clock and no patience matter: an effect may take as long as it likes.

use serde_json::{Value, json};
use uuid::Uuid;

use super::database_away;
use super::fan_out::FanOut;
use crate::domain::calendar::CalendarSpan;
use crate::domain::clock::rfc3339;
use crate::domain::handler::{Failure, Outcome};
use crate::store::Effect;

/// The type of the jobs.
pub(super) const AGGREGATION: &str = "analytics.aggregation";
/// How long a slot is: how late a row may be, and how many jobs a busy campaign makes.
const SLOT_MS: i64 = 5_000;
/// How many slots are tried. The rows of the next one can have been taken only by an instance
/// whose clock is ahead; two minutes ahead is more than any has that others can work with.
const SLOTS_MAX: i64 = 24;

const MINUTE_MS: i64 = 60_000;
/// The largest offset that RFC 3339 can write.
const OFFSET_MS: i64 = (23 * 60 + 59) * MINUTE_MS;
/// Its years: from 0000-01-01 on, and up to the end of 9999, wherever that is at this moment.
const YEARS_BEGIN_MS: i64 = -62_167_219_200_000;
const YEARS_END_MS: i64 = 253_402_300_800_000;
/// All times that it can write.
const FIRST_MS: i64 = YEARS_BEGIN_MS - OFFSET_MS;
const LAST_MS: i64 = YEARS_END_MS + OFFSET_MS - 1;

/// A job that is wanted.
struct Wanted {
    span: CalendarSpan,
    from_ms: i64,
    to_ms: i64,
}

impl FanOut {
    /// Something that counts has happened in a campaign at this time. The last thing in an
    /// effect, since it may wait for others that ask for the same.
    pub(super) async fn keep_analytics(
        &self,
        effect: &mut Effect,
        campaign_id: Uuid,
        at_ms: i64,
    ) -> Result<(), Outcome> {
        let wanted = CalendarSpan::ALL.map(|span| Wanted {
            span,
            from_ms: span.start_of(at_ms),
            to_ms: span.end_of(at_ms),
        });
        self.ask_for_rows(effect, campaign_id, wanted).await
    }

    /// All rows of a campaign are wanted. The last thing in an effect too.
    pub(super) async fn keep_all_analytics(
        &self,
        effect: &mut Effect,
        campaign_id: Uuid,
    ) -> Result<(), Outcome> {
        let wanted =
            CalendarSpan::ALL.map(|span| Wanted { span, from_ms: FIRST_MS, to_ms: LAST_MS });
        self.ask_for_rows(effect, campaign_id, wanted).await
    }

    async fn ask_for_rows(
        &self,
        effect: &mut Effect,
        campaign_id: Uuid,
        wanted: [Wanted; 4],
    ) -> Result<(), Outcome> {
        effect.hold(held_by(campaign_id)).await.map_err(database_away)?;
        let next_slot_ms = (self.now_ms().div_euclid(SLOT_MS) + 1) * SLOT_MS;
        // Which of them no row stands for yet.
        let mut open = [true; 4];
        for slot in 0..SLOTS_MAX {
            let due_ms = next_slot_ms + slot * SLOT_MS;
            let ids = wanted.each_ref().map(|job| job.id(campaign_id, due_ms));
            // Looked at once more where somebody else was quicker.
            for _ in 0..2 {
                let unsent = effect.unsent(ids).await.map_err(database_away)?;
                let mut missing: Vec<(Uuid, &Wanted, &mut bool)> = ids
                    .into_iter()
                    .zip(&wanted)
                    .zip(&mut open)
                    .map(|((id, job), open)| (id, job, open))
                    .collect();
                // Whoever asks for the same asks in the same order: nobody waits in a circle.
                missing.sort_unstable_by_key(|(id, ..)| *id);
                for (id, job, open) in missing.into_iter().filter(|(.., open)| **open) {
                    let is_there = unsent.contains(&id) || {
                        let payload = payload(campaign_id, job.span, job.from_ms, job.to_ms);
                        let record = self.job(AGGREGATION, &payload, |_| id, due_ms)?;
                        effect.schedule(&record).await.map_err(database_away)?
                    };
                    *open = !is_there;
                }
                if !open.contains(&true) {
                    return Ok(());
                }
            }
        }
        let message = "the jobs of the next two minutes were sent already: is a clock wrong?";
        Err(Outcome::Unavailable(Failure::new("clock", message)))
    }
}

impl Wanted {
    fn id(&self, campaign_id: Uuid, due_ms: i64) -> Uuid {
        let Self { span, from_ms, to_ms } = self;
        let name = format!("{AGGREGATION}/{}/{from_ms}/{to_ms}/{due_ms}", span.as_str());
        Uuid::new_v5(&campaign_id, name.as_bytes())
    }
}

/// What effects hold that a campaign's analytics have to count.
pub(super) fn held_by(campaign_id: Uuid) -> Uuid {
    Uuid::new_v5(&campaign_id, b"analytics/counted")
}

/// The payload of a job.
pub(super) fn payload(campaign_id: Uuid, span: CalendarSpan, from_ms: i64, to_ms: i64) -> Value {
    json!({
        "campaign_id": campaign_id,
        "start_time": text(from_ms),
        "end_time": text(to_ms),
        "granularity": span.as_str(),
    })
}

/// A time as RFC 3339 can write it. A span may begin before or end after all such times, and a
/// time with an offset may be in a year of UTC that has no four digits.
fn text(at_ms: i64) -> String {
    let at_ms = at_ms.clamp(FIRST_MS, LAST_MS);
    let (local_ms, offset) = if at_ms < YEARS_BEGIN_MS {
        (at_ms + OFFSET_MS, "+23:59")
    } else if at_ms >= YEARS_END_MS {
        (at_ms - OFFSET_MS, "-23:59")
    } else {
        return rfc3339(at_ms);
    };
    rfc3339(local_ms).replace('Z', offset)
}

#[cfg(test)]
mod tests;
