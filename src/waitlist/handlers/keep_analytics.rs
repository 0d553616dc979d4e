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
mod tests {
    use std::sync::Arc;

    use chrono::DateTime;

    use super::*;
    use crate::domain::catalog::Catalog;
    use crate::domain::clock::{ManualClock, SharedClock};
    use crate::store::{ClaimLimits, Database, SentRow, Store};
    use crate::waitlist::analytics::AnalyticsAggregation;

    const CAMPAIGN: Uuid = Uuid::from_u128(0xca);
    const NOW_MS: i64 = 1_735_689_601_000;

    struct Stage {
        store: Store,
        clock: Arc<ManualClock>,
        fan_out: FanOut,
        effects: u128,
        _dir: tempfile::TempDir,
    }

    impl Stage {
        async fn start() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let store = Database::Sqlite(dir.path().join("t.db")).open().await.unwrap();
            let clock = Arc::new(ManualClock::at_ms(NOW_MS));
            let types = crate::waitlist::catalog().unwrap();
            let catalog = Catalog::new(types, crate::waitlist::dead_letters()).unwrap();
            let shared: SharedClock = Arc::clone(&clock) as _;
            let fan_out = FanOut::new(&Arc::new(catalog), &shared, &"test".into());
            Self { store, clock, fan_out, effects: 0, _dir: dir }
        }

        async fn effect(&mut self) -> Effect {
            self.effects += 1;
            let id = Uuid::from_u128(self.effects);
            self.store.effect("workers", id, NOW_MS).await.unwrap().unwrap()
        }

        async fn happened(&mut self, at: &str) {
            let mut effect = self.effect().await;
            self.fan_out.keep_analytics(&mut effect, CAMPAIGN, ms(at)).await.unwrap();
            effect.commit().await.unwrap();
        }

        /// What is sent by now, with the time that it was due.
        async fn sent(&self, now_ms: i64) -> Vec<(AnalyticsAggregation, i64)> {
            let term = std::time::Duration::from_secs(10);
            let limits = ClaimLimits { rows: 500, bytes: 1 << 23, term };
            let rows = self.store.claim_due("a", now_ms, limits).await.unwrap();
            let sent: Vec<SentRow> = rows
                .iter()
                .map(|row| SentRow { id: row.record.id, partition: 0, offset: 0 })
                .collect();
            self.store.settle_due("a", now_ms, &sent, &[]).await.unwrap();
            rows.into_iter()
                .map(|row| {
                    let value = row.record.value.unwrap();
                    (serde_json::from_slice(&value).unwrap(), row.record.due_ms)
                })
                .collect()
        }
    }

    fn ms(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).expect(text).timestamp_millis()
    }

    #[tokio::test]
    async fn events_of_a_slot_share_the_jobs_of_their_spans() {
        let mut stage = Stage::start().await;
        stage.happened("2025-01-01T10:00:00Z").await;
        stage.happened("2025-01-01T10:59:59.999Z").await;
        assert!(stage.sent(NOW_MS + 3_999).await.is_empty(), "the slot is not over");
        let sent = stage.sent(NOW_MS + 4_000).await;
        let mut spans: Vec<(String, i64)> = sent
            .iter()
            .map(|(job, due_ms)| {
                assert_eq!((job.campaign_id, *due_ms), (CAMPAIGN, NOW_MS + 4_000));
                let length = job.end_time - job.start_time;
                (job.start_time.to_rfc3339(), length.num_hours())
            })
            .collect();
        spans.sort();
        let expected = [
            ("2024-12-30T00:00:00+00:00".to_owned(), 7 * 24),
            ("2025-01-01T00:00:00+00:00".to_owned(), 24),
            ("2025-01-01T00:00:00+00:00".to_owned(), 31 * 24),
            ("2025-01-01T10:00:00+00:00".to_owned(), 1),
        ];
        assert_eq!(spans, expected);
        // Of the next hour, day and month there are jobs of their own.
        stage.clock.advance_ms(4_000);
        stage.happened("2025-01-31T23:00:00Z").await;
        stage.happened("2025-02-01T00:00:00Z").await;
        let sent = stage.sent(NOW_MS + 9_000).await;
        assert_eq!(sent.len(), 7, "they share the week: {sent:?}");
    }

    #[tokio::test]
    async fn nothing_relies_on_a_job_that_may_be_on_its_way() {
        let mut stage = Stage::start().await;
        let at = "2025-01-01T10:00:00Z";
        stage.happened(at).await;
        // Somebody whose clock is ahead sends them.
        assert_eq!(stage.sent(NOW_MS + 4_000).await.len(), 4);
        stage.happened(at).await;
        let sent = stage.sent(NOW_MS + 9_000).await;
        let due: Vec<i64> = sent.iter().map(|(_, due_ms)| *due_ms).collect();
        assert_eq!(due, [NOW_MS + 9_000; 4], "they ask for those of the next slot");
        // What is rolled back has asked for nothing.
        let mut effect = stage.effect().await;
        stage.fan_out.keep_analytics(&mut effect, CAMPAIGN, 0).await.unwrap();
        drop(effect);
        assert!(stage.sent(NOW_MS + 99_000).await.iter().all(|(_, due)| *due < NOW_MS + 10_000));
    }

    #[tokio::test]
    async fn every_time_that_a_payload_can_say_has_its_jobs() {
        for at in [
            "0000-01-01T00:00:00+23:59",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999Z",
            "9999-12-31T23:59:59.999Z",
            "9999-12-31T23:59:59.999-23:59",
        ] {
            let mut stage = Stage::start().await;
            stage.happened(at).await;
            let mut all = stage.effect().await;
            stage.fan_out.keep_all_analytics(&mut all, CAMPAIGN).await.unwrap();
            all.commit().await.unwrap();
            let sent = stage.sent(NOW_MS + 4_000).await;
            assert_eq!(sent.len(), 8, "{at}");
            for (job, _) in sent {
                let (from, to) = (job.start_time, job.end_time);
                let inside = from.timestamp_millis() <= ms(at) && ms(at) <= to.timestamp_millis();
                assert!(inside && from < to, "{at}: {from} to {to}");
            }
        }
    }
}
