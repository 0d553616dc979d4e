//! What the start of an attempt, and a dead letter, are held against.

use super::checks::Invariant;
use super::plan::{Job, prefix_of};
use super::shell::Worker;
use super::tasks::Task;
use super::world::World;

impl Worker {
    /// An attempt is about to start.
    pub(crate) fn check_start(&self, task: &Task, world: &mut World) {
        let World { truth, database, plan, .. } = world;
        let job = &*task.job;
        truth.starts(job, task.epoch, &database.claims);
        let runs = || self.tasks.iter().filter(|other| other.runs());
        let count = runs().count();
        let kind_of = |job: &Job| plan.kind_of[job.part];
        let of_kind = || runs().filter(|other| kind_of(&other.job) == kind_of(job));
        let same_key = runs().find(|other| {
            let is_same = other.job.part == job.part && other.epoch == task.epoch;
            is_same
                && (other.job.offset == job.offset
                    || (job.key.is_some() && other.job.key == job.key))
        });
        truth.hold(Invariant::OneAtATime, same_key.is_none(), || {
            format!("{job:?} beside {same_key:?}")
        });
        let is_any_accused = task.is_accused || runs().any(|other| other.is_accused);
        truth.hold(Invariant::Alone, !is_any_accused || count == 0, || {
            format!("{task:?} starts beside {count}")
        });
        let kind = plan.kind(job.part);
        let prefix = prefix_of(job.key);
        let of_prefix = of_kind().filter(|other| prefix_of(other.job.key) == prefix).count();
        let is_bounded = prefix.is_some();
        let critical = runs().filter(|other| other.ticket.is_critical()).count();
        let reserve = plan.places / 4;
        let fits = count < plan.limits.running
            && kind.running_max.is_none_or(|most| of_kind().count() < most)
            && kind.running_per_prefix_max.is_none_or(|most| !is_bounded || of_prefix < most)
            && count < plan.places
            && (kind.is_critical || count - critical < plan.places - reserve);
        truth.hold(Invariant::Limits, fits, || format!("{task:?} beside {count}"));
        let probe = of_kind().find(|other| {
            task.probe_since_ms.is_some() && other.probe_since_ms == task.probe_since_ms
        });
        truth.hold(Invariant::OneProbe, probe.is_none(), || format!("{task:?} beside {probe:?}"));
        let attempts_max = kind.retry.attempts;
        let place = truth.place(job);
        let last_ms = place.started.get(&task.epoch).map(|(_, last_ms)| *last_ms);
        let before_ms = last_ms.unwrap_or(task.begun_ms);
        place.started.insert(task.epoch, (before_ms, task.begun_ms));
        let is_bounded = task.attempt <= attempts_max + place.more() || place.was_paused;
        truth.hold(Invariant::Attempts, is_bounded, || format!("{task:?} of {attempts_max}"));
    }

    /// A job is about to be given up that has used up its attempts.
    pub(crate) fn check_letter(&self, task: &Task, attempts: u32, world: &mut World) {
        let job = &*task.job;
        let attempts_max = world.plan.attempts_max(job.part);
        let started = world.truth.place(job).started.get(&task.epoch).copied();
        let (before_ms, _) = started.expect("it was started");
        let succeeded_ms = self.succeeded_ms[task.ticket.type_index()];
        world.truth.hold(Invariant::OutageLetter, succeeded_ms >= before_ms, || {
            format!("{job:?} is given up; since {before_ms} nobody has succeeded")
        });
        world.truth.hold(Invariant::Attempts, attempts == attempts_max, || {
            format!("{job:?} is given up after {attempts} of {attempts_max}")
        });
    }
}
