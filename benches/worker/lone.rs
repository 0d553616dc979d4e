//! How soon a job starts on a pool that has nothing else to do.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use jobgate::domain::handler::{Handler, Job, Outcome};
use jobgate::worker::PoolSettings;
use tokio::sync::mpsc;

use crate::backlog::Backlog;
use crate::common::pool::{PLACES, Running, Setup};
use crate::common::sqlite;

/// From one job to the next where each is alone.
const ALONE: Duration = Duration::from_millis(50);
/// How long a job that is alone may take to start.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// Says when jobs start.
struct Tell(mpsc::UnboundedSender<Instant>);

impl Handler for Tell {
    fn run<'a>(&'a self, _: &'a Job) -> BoxFuture<'a, Outcome> {
        let _ = self.0.send(Instant::now());
        Box::pin(std::future::ready(Outcome::Done))
    }
}

/// How long jobs take to start that come one by one, in the order of their length: each from
/// before it is enqueued.
pub(crate) async fn starts(backlog: &Backlog, count: usize, folder: &Path) -> Vec<Duration> {
    let group = "lone-jobs";
    let (sender, mut starts) = mpsc::unbounded_channel();
    let setup = Setup {
        group,
        handler: Arc::new(Tell(sender)),
        store: sqlite(folder, group).await,
        settings: PoolSettings::DEFAULT,
        places: PLACES,
    };
    let pool = Running::start(&backlog.jobs, setup).await;
    // No job is alone before the backlog is done.
    backlog.jobs.committed_by(group, backlog.count).await;
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        tokio::time::sleep(ALONE).await;
        while starts.try_recv().is_ok() {}
        let begun = Instant::now();
        let (started, ()) = tokio::join!(
            tokio::time::timeout(START_DEADLINE, starts.recv()),
            backlog.enqueue_one()
        );
        took.push(started.expect("it starts").expect("the pool runs") - begun);
    }
    pool.stop().await;
    took.sort_unstable();
    took
}
