//! Work that must reach its end although whoever asked for it may go away.

use std::future::Future;
use std::time::Duration;

use tokio_util::task::TaskTracker;

/// Runs work on a task of its own and waits for it until the deadline. None when the time
/// is over (or the runtime is stopping): the work goes on, and its outcome is unknown.
pub(super) async fn run_detached<T: Send + 'static>(
    tracker: &TaskTracker,
    deadline: Duration,
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let task = tracker.spawn(work);
    tokio::time::timeout(deadline, task).await.ok()?.ok()
}
