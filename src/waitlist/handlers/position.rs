//! `position.recalculation`: every place on a campaign's list is worked out anew, and who has moved
//! far enough is told.
//!
//! One run does for all jobs of a campaign that wait: it claims all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Map, json};
use uuid::Uuid;

use super::database_away;
use super::fan_out::FanOut;
use crate::domain::handler::{Failure, Handler, Job, Later, Outcome};
use crate::store::{Effect, MovedUser, Store};
use crate::waitlist::email::EmailKind;
use crate::waitlist::position::{PositionRecalculation, USERS_MAX};

/// Jobs of a campaign that one run does for: as many as a worker holds of a partition.
const MERGED_MAX: usize = 1_000;
/// Users who are told in one run. Their mails are written with the places, which must not take too
/// long; the run asks for another one where there are more.
const TOLD_MAX: usize = 5_000;
/// How long a run may take: longer than its longest statement.
const RUN_MAX: Duration = Duration::from_mins(4);
/// A run that takes this long keeps others waiting.
const LONG_RUN_MS: i64 = 1_000;
/// After it the campaign is left alone for so many times as long: a long list is being worked out
/// for a fifth of the time at most.
const REST_FACTOR: i64 = 4;
/// But no longer than this: a place is never much older than a run and a minute.
const REST_MAX_MS: i64 = 60_000;

/// Works out places.
pub(super) struct Recalculate {
    store: Store,
    fan_out: FanOut,
    /// The last long run of each campaign that had one lately.
    long_runs: Mutex<HashMap<Uuid, LongRun>>,
}

/// A run that has kept others waiting: whoever changes a row that it has written waits for it. How
/// many it tells does not count: another run tells those that are left, and writes no place.
#[derive(Debug, Clone, Copy)]
struct LongRun {
    ended_ms: i64,
    took_ms: i64,
}

/// What a job asks for.
type Asked<'a> = (&'a Job, PositionRecalculation);

impl Recalculate {
    pub(super) fn new(store: &Store, fan_out: &FanOut) -> Self {
        let long_runs = Mutex::default();
        Self { store: store.clone(), fan_out: fan_out.clone(), long_runs }
    }

    /// How long a campaign is left alone after a long run. What comes meanwhile shares the next.
    fn rest_of(&self, campaign_id: Uuid) -> Option<Duration> {
        let mut runs = self.long_runs.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = self.fan_out.now_ms();
        runs.retain(|_, run| run.rest_ms(now_ms).is_some());
        let rest_ms = runs.get(&campaign_id)?.rest_ms(now_ms)?;
        u64::try_from(rest_ms).ok().map(Duration::from_millis)
    }

    fn has_run(&self, campaign_id: Uuid, took_ms: i64) {
        if took_ms >= LONG_RUN_MS {
            let run = LongRun { ended_ms: self.fan_out.now_ms(), took_ms };
            let mut runs = self.long_runs.lock().unwrap_or_else(PoisonError::into_inner);
            runs.insert(campaign_id, run);
        }
    }

    /// One run for jobs of one campaign. Returns those that it has claimed; nobody had the others'
    /// effect still to come.
    async fn recalculate(
        &self,
        campaign_id: Uuid,
        asked: &[&Asked<'_>],
    ) -> Result<Vec<Uuid>, Outcome> {
        let ids: Vec<Uuid> = asked.iter().map(|(job, _)| job.id).collect();
        let Some((first, _)) = asked.first() else { return Ok(Vec::new()) };
        if let Some(after) = self.rest_of(campaign_id) {
            let message = "the campaign's positions were worked out just now, which took long";
            let failure = Failure::new("resting", message);
            return Err(Outcome::Later(Later { failure, after, spends_attempt: false }));
        }
        let now_ms = self.fan_out.now_ms();
        let begun = self.store.effect_of(&first.scope, &ids, now_ms).await;
        let (mut effect, claimed) = begun.map_err(database_away)?;
        let claimed_ones = || asked.iter().filter(|(job, _)| claimed.contains(&job.id));
        let Some((cause, _)) = claimed_ones().next() else { return Ok(claimed) };
        let users = everybody_of(claimed_ones().map(|(_, asked)| asked));
        let changed = effect.recalculate_positions(campaign_id).await.map_err(database_away)?;
        let took_ms = self.fan_out.now_ms().saturating_sub(now_ms);
        let told = self.tell(&mut effect, cause, (campaign_id, users.as_deref())).await?;
        effect.commit().await.map_err(database_away)?;
        self.has_run(campaign_id, took_ms);
        let jobs = claimed.len();
        tracing::debug!(campaign.id = %campaign_id, jobs, changed, told, "positions");
        Ok(claimed)
    }

    /// Asks for the mails. Returns how many.
    async fn tell(
        &self,
        effect: &mut Effect,
        cause: &Job,
        (campaign_id, users): (Uuid, Option<&[Uuid]>),
    ) -> Result<usize, Outcome> {
        let moved =
            effect.moved_users(campaign_id, users, TOLD_MAX).await.map_err(database_away)?;
        for MovedUser { id, told_position, position } in &moved {
            let data = [
                ("old_position".to_owned(), json!(told_position)),
                ("new_position".to_owned(), json!(position)),
            ];
            let data: Map<_, _> = data.into_iter().collect();
            let user = (campaign_id, *id);
            self.fan_out.ask_mail(effect, cause, EmailKind::PositionUpdate, user, data).await?;
        }
        effect.tell_positions(campaign_id, &moved).await.map_err(database_away)?;
        if moved.len() == TOLD_MAX {
            let user_ids = users.map(<[Uuid]>::to_vec);
            let rest = PositionRecalculation { campaign_id, user_ids };
            self.fan_out.ask(effect, cause, "position.recalculation", &rest).await?;
        }
        Ok(moved.len())
    }

    async fn run_all(&self, jobs: &[Job]) -> Vec<Outcome> {
        let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(jobs.len());
        let mut asked: Vec<(usize, Asked<'_>)> = Vec::with_capacity(jobs.len());
        for (place, job) in jobs.iter().enumerate() {
            match job.payload::<PositionRecalculation>() {
                Ok(wanted) => {
                    asked.push((place, (job, wanted)));
                    outcomes.push(None);
                }
                Err(outcome) => outcomes.push(Some(outcome)),
            }
        }
        // One campaign, as a rule: another client may have given the key to others.
        let mut campaigns: BTreeMap<Uuid, Vec<&(usize, Asked<'_>)>> = BTreeMap::new();
        for one in &asked {
            campaigns.entry(one.1.1.campaign_id).or_default().push(one);
        }
        for (campaign_id, members) in campaigns {
            let of_campaign: Vec<&Asked<'_>> = members.iter().map(|(_, asked)| asked).collect();
            let end = self.recalculate(campaign_id, &of_campaign).await;
            for (place, (job, _)) in members {
                let outcome = match &end {
                    Ok(claimed) if claimed.contains(&job.id) => Outcome::Done,
                    Ok(_) => Outcome::AlreadyDone,
                    Err(outcome) => outcome.clone(),
                };
                if let Some(end) = outcomes.get_mut(*place) {
                    *end = Some(outcome);
                }
            }
        }
        outcomes.into_iter().flatten().collect()
    }
}

impl Handler for Recalculate {
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let wanted = match job.payload::<PositionRecalculation>() {
                Ok(wanted) => wanted,
                Err(outcome) => return outcome,
            };
            match self.recalculate(wanted.campaign_id, &[&(job, wanted)]).await {
                Ok(claimed) if claimed.is_empty() => Outcome::AlreadyDone,
                Ok(_) => Outcome::Done,
                Err(outcome) => outcome,
            }
        })
    }

    fn merged_max(&self) -> usize {
        MERGED_MAX
    }

    fn run_merged<'a>(&'a self, jobs: &'a [Job]) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(self.run_all(jobs))
    }

    fn timeout(&self) -> Option<Duration> {
        Some(RUN_MAX)
    }
}

impl LongRun {
    /// What is left of the rest after it.
    fn rest_ms(&self, now_ms: i64) -> Option<i64> {
        let rest_ms = self.took_ms.saturating_mul(REST_FACTOR).min(REST_MAX_MS);
        let left_ms = self.ended_ms.saturating_add(rest_ms).saturating_sub(now_ms);
        (left_ms > 0).then_some(left_ms)
    }
}

/// Whom several jobs want to be told: everybody, if one of them does, or if they name more than
/// one job could.
fn everybody_of<'a>(asked: impl Iterator<Item = &'a PositionRecalculation>) -> Option<Vec<Uuid>> {
    let mut all: BTreeSet<Uuid> = BTreeSet::new();
    for one in asked {
        all.extend(one.user_ids.as_ref()?);
        if all.len() > USERS_MAX {
            return None;
        }
    }
    Some(all.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(ids: Option<Vec<u128>>) -> PositionRecalculation {
        let user_ids = ids.map(|ids| ids.into_iter().map(Uuid::from_u128).collect());
        PositionRecalculation { campaign_id: Uuid::nil(), user_ids }
    }

    #[test]
    fn those_who_are_named_add_up_and_nobody_named_is_everybody() {
        let some = [asked(Some(vec![3, 1])), asked(Some(vec![1, 2]))];
        let union = everybody_of(some.iter()).unwrap();
        assert_eq!(union, [1, 2, 3].map(Uuid::from_u128));
        let all = [asked(Some(vec![1])), asked(None)];
        assert_eq!(everybody_of(all.iter()), None);
        let many: Vec<u128> = (0..=USERS_MAX as u128).collect();
        assert_eq!(everybody_of([asked(Some(many))].iter()), None, "more than a job may name");
        assert_eq!(everybody_of([asked(Some(vec![]))].iter()), Some(vec![]), "nobody");
    }

    #[test]
    fn a_long_run_is_followed_by_a_rest_of_a_minute_at_most() {
        let run = |took_ms| LongRun { ended_ms: 100_000, took_ms };
        assert_eq!(run(2_000).rest_ms(100_000), Some(8_000));
        assert_eq!(run(2_000).rest_ms(107_999), Some(1));
        assert_eq!(run(2_000).rest_ms(108_000), None);
        assert_eq!(run(200_000).rest_ms(100_000), Some(60_000));
    }
}
