//! Try again until it works: for what must follow a deed that cannot be taken back, and for what
//! is owed before a record is let go.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The wait after a failed try, doubled up to [`WAIT_LONGEST`].
const WAIT_FIRST: Duration = Duration::from_millis(200);
/// Once Kafka or the database is back, the work is done after at most this.
const WAIT_LONGEST: Duration = Duration::from_secs(5);

/// Tries until it works or the time is over; then the last error is the answer.
pub(super) async fn insist<T, E: Display, F: Future<Output = Result<T, E>>>(
    what: &str,
    limit: Duration,
    mut attempt: impl FnMut() -> F,
) -> Result<T, E> {
    let end = Instant::now() + limit;
    let mut wait = WAIT_FIRST;
    loop {
        match attempt().await {
            Err(error) if Instant::now() + wait < end => {
                tracing::warn!(%error, "{what}: tried again");
            }
            result => return result,
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(WAIT_LONGEST);
    }
}

/// Tries until it works; none if the stop comes first. `failed` hears of each failure.
pub(super) async fn insist_until<T, E, F: Future<Output = Result<T, E>>>(
    stop: &CancellationToken,
    mut attempt: impl FnMut() -> F,
    mut failed: impl FnMut(&E),
) -> Option<T> {
    let mut wait = WAIT_FIRST;
    loop {
        match attempt().await {
            Ok(done) => return Some(done),
            Err(error) => failed(&error),
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(WAIT_LONGEST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_tried_until_it_works_or_the_time_is_over() {
        let mut tries = 0;
        let done = insist("it", Duration::from_mins(1), || {
            tries += 1;
            std::future::ready(if tries < 5 { Err("away") } else { Ok(tries) })
        });
        assert_eq!(done.await, Ok(5));
        let begun = Instant::now();
        let never = insist("it", Duration::from_mins(1), || std::future::ready(Err::<(), _>("no")));
        assert_eq!(never.await, Err("no"));
        assert!(begun.elapsed() > Duration::from_secs(50), "not given up early");
        assert!(begun.elapsed() <= Duration::from_mins(1));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_tried_until_it_works_or_the_stop_comes() {
        let stop = CancellationToken::new();
        let (mut tries, mut heard) = (0, 0);
        let attempt = || {
            tries += 1;
            std::future::ready(if tries < 9 { Err("away") } else { Ok(tries) })
        };
        assert_eq!(insist_until(&stop, attempt, |_| heard += 1).await, Some(9));
        assert_eq!(heard, 8);
        stop.cancel();
        let never = insist_until(&stop, || std::future::ready(Err::<(), _>("no")), |_| {});
        assert_eq!(never.await, None);
    }
}
