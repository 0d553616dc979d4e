//! The handler: it does as its job says. Its effect is a row that is written together with its
//! claim; every execution is noted too, outside of that transaction.

use std::time::Duration;

use futures_util::future::BoxFuture;
use jobgate::domain::clock::{Clock as _, SystemClock};
use jobgate::domain::handler::{Failure, Handler, Job, Outcome};
use sqlx::{PgPool, PgTransaction};
use tokio_util::task::TaskTracker;

use super::plan::{Deed, Task};

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_hours(1);

/// Runs the jobs of a type.
pub(crate) struct Obedient {
    pub(crate) pool: PgPool,
    /// Who it is, in the executions.
    pub(crate) instance: String,
    pub(crate) timeout: Option<Duration>,
    pub(crate) tracker: TaskTracker,
    /// Jobs of a key in one run.
    pub(crate) merged_max: usize,
}

impl Handler for Obedient {
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            self.attempt(job).await.unwrap_or_else(|error| {
                Outcome::Unavailable(Failure::caused_by("database", "no database", &error))
            })
        })
    }

    fn merged_max(&self) -> usize {
        self.merged_max
    }

    fn run_merged<'a>(&'a self, jobs: &'a [Job]) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            self.attempt_at_all(jobs).await.unwrap_or_else(|error| {
                let failure = Failure::caused_by("database", "no database", &error);
                vec![Outcome::Unavailable(failure); jobs.len()]
            })
        })
    }

    fn timeout(&self) -> Option<Duration> {
        self.timeout
    }
}

impl Obedient {
    async fn attempt(&self, job: &Job) -> Result<Outcome, sqlx::Error> {
        let task: Task = match job.payload() {
            Ok(task) => task,
            Err(outcome) => return Ok(outcome),
        };
        let execution = self.begin(job, &task, SystemClock.now_ms()).await?;
        tokio::time::sleep(Duration::from_millis(task.ms)).await;
        if job.attempt <= task.times {
            match task.deed {
                Deed::Effect => {}
                Deed::Abort => std::process::abort(),
                Deed::Retry => {
                    end(&self.pool, execution, "retry").await?;
                    return Ok(Outcome::Retry(Failure::new("asked", "it was asked to fail")));
                }
                Deed::Fail => {
                    end(&self.pool, execution, "fail").await?;
                    return Ok(Outcome::Fail(Failure::new("asked", "it was asked to fail")));
                }
                Deed::Hang => self.hang(execution, job).await,
            }
        }
        let is_new = self.effect(job, &task).await?;
        // The effect is there, whether this can be noted or not.
        let _ = end(&self.pool, execution, if is_new { "done" } else { "claimed" }).await;
        Ok(if is_new { Outcome::Done } else { Outcome::AlreadyDone })
    }

    pub(super) async fn begin(
        &self,
        job: &Job,
        task: &Task,
        started_ms: i64,
    ) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(
            "INSERT INTO executions
                 (message_id, kind, campaign, key, number, attempt, instance, started_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id",
        )
        .bind(job.id.to_string())
        .bind(&*job.type_name)
        .bind(&task.campaign)
        .bind(&task.key)
        .bind(task.number)
        .bind(i64::from(job.attempt))
        .bind(&self.instance)
        .bind(started_ms)
        .fetch_one(&self.pool)
        .await
    }

    /// The effect and its claim. Returns false if somebody had it before.
    async fn effect(&self, job: &Job, task: &Task) -> Result<bool, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let is_new = claim(&mut transaction, job, task).await?;
        transaction.commit().await?;
        Ok(is_new)
    }

    /// Work that goes on by itself is told when nobody waits for it any more.
    async fn hang(&self, execution: i64, job: &Job) {
        let (pool, cancelled) = (self.pool.clone(), job.cancelled());
        self.tracker.spawn(async move {
            cancelled.cancelled().await;
            let _ = end(&pool, execution, "cancelled").await;
        });
        tokio::time::sleep(FOR_EVER).await;
    }
}

pub(super) async fn claim(
    transaction: &mut PgTransaction<'_>,
    job: &Job,
    task: &Task,
) -> Result<bool, sqlx::Error> {
    let claimed = sqlx::query(
        "INSERT INTO effect_claims (scope, message_id) VALUES ($1, $2)
         ON CONFLICT (scope, message_id) DO NOTHING",
    )
    .bind(&*job.scope)
    .bind(job.id.to_string())
    .execute(&mut **transaction)
    .await?;
    if claimed.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query("INSERT INTO effects (message_id, kind, key, number) VALUES ($1, $2, $3, $4)")
        .bind(job.id.to_string())
        .bind(&*job.type_name)
        .bind(&task.key)
        .bind(task.number)
        .execute(&mut **transaction)
        .await?;
    Ok(true)
}

pub(super) async fn end(pool: &PgPool, execution: i64, outcome: &str) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE executions SET ended_ms = $1, outcome = $2 WHERE id = $3")
        .bind(SystemClock.now_ms())
        .bind(outcome)
        .bind(execution)
        .execute(pool)
        .await?;
    Ok(())
}
