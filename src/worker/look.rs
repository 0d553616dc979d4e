//! What a group does now, for those who look on.

use super::group::Group;
use crate::domain::dispatch::JobView;
use crate::domain::handler::Failure;
use crate::domain::record::Record;
use crate::domain::snapshot::{
    GroupSnapshot, JobCounts, JobRef, LastError, PausedType, RetryingJob, RunningJob,
};

impl Group {
    /// Puts what it does now on the board.
    pub(super) fn publish(&self) {
        self.board.publish(&self.name, self.snapshot());
    }

    fn snapshot(&self) -> GroupSnapshot {
        let view = self.dispatcher.view();
        let mut snapshot = GroupSnapshot {
            counts: JobCounts {
                running: count(view.running.len() + view.leaving),
                waiting: count(view.waiting),
                retrying: count(view.retrying.len()),
                parked: count(view.parked),
            },
            paused: self.paused_types(),
            ..GroupSnapshot::default()
        };
        for id in &view.partitions {
            snapshot.add_partition(&id.topic, id.partition);
        }
        for job in &view.running {
            let running = RunningJob {
                job: self.job_ref(job),
                attempt: job.attempts + 1,
                started_at_ms: job.at_ms,
            };
            snapshot.add_running(running);
        }
        for job in &view.retrying {
            let retrying = RetryingJob {
                job: self.job_ref(job),
                attempts: job.attempts,
                next_attempt_at_ms: job.at_ms,
                last_error: last_error(job.last_error),
            };
            snapshot.add_retrying(retrying);
        }
        snapshot
    }

    fn paused_types(&self) -> Vec<PausedType> {
        let outages = self
            .dispatcher
            .outages()
            .map(|(name, outage)| PausedType::by_outage(name, outage.since_ms, &outage.reason));
        let names = self.runner.types.iter().map(|runnable| &*runnable.name);
        let pauses = names.filter_map(|name| self.paused.of(name)).map(|pause| pause.shown());
        outages.chain(pauses).collect()
    }

    fn job_ref(&self, job: &JobView<'_, Record>) -> JobRef {
        let index = self.by_topic.get(&job.partition.topic);
        let name = index.and_then(|index| self.runner.types.get(*index)).map_or("", |r| &*r.name);
        let (partition, id) = (job.partition.partition, job.item.message_id());
        JobRef::new(name, partition, job.offset, id, job.item.key.as_deref())
    }
}

fn last_error(failure: Option<&Failure>) -> LastError {
    match failure {
        Some(failure) => LastError::new(&failure.class, &failure.message),
        None => LastError::new("unknown", "it failed before this worker was started"),
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
