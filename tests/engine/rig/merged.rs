//! What the handler does with several jobs at once: as long as the slowest of them asks, and in
//! one transaction. What one of them does first befalls all.

use std::time::Duration;

use jobgate::domain::clock::{Clock as _, SystemClock};
use jobgate::domain::handler::{Failure, Job, Outcome};

use super::handler::{Obedient, claim, end};
use super::plan::{Deed, Task};

impl Obedient {
    /// One time of start for all: it tells a run.
    pub(super) async fn attempt_at_all(&self, jobs: &[Job]) -> Result<Vec<Outcome>, sqlx::Error> {
        let started_ms = SystemClock.now_ms();
        let mut members: Vec<(&Job, Task, i64)> = Vec::with_capacity(jobs.len());
        for job in jobs {
            let task: Task = job.payload().expect("a payload that was checked");
            let execution = self.begin(job, &task, started_ms).await?;
            members.push((job, task, execution));
        }
        let ms = members.iter().map(|(_, task, _)| task.ms).max().unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(ms)).await;
        let asked = |deed: Deed| {
            members.iter().any(|(job, task, _)| task.deed == deed && job.attempt <= task.times)
        };
        if asked(Deed::Abort) {
            std::process::abort();
        }
        if asked(Deed::Retry) {
            for (_, _, execution) in &members {
                end(&self.pool, *execution, "retry").await?;
            }
            let failure = Failure::new("asked", "one of them was asked to fail");
            return Ok(vec![Outcome::Retry(failure); jobs.len()]);
        }
        let mut transaction = self.pool.begin().await?;
        let mut outcomes = Vec::with_capacity(jobs.len());
        for (job, task, _) in &members {
            let is_new = claim(&mut transaction, job, task).await?;
            outcomes.push(if is_new { Outcome::Done } else { Outcome::AlreadyDone });
        }
        transaction.commit().await?;
        for ((_, _, execution), outcome) in members.iter().zip(&outcomes) {
            let word = if *outcome == Outcome::Done { "done" } else { "claimed" };
            let _ = end(&self.pool, *execution, word).await;
        }
        Ok(outcomes)
    }
}
