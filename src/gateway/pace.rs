//! How fast a client must send: slower ones hold memory and a place for nothing.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::limits::Seat;

/// How long a client may take before its first byte, and lose on the way.
pub(super) const GRACE: Duration = Duration::from_secs(10);
/// What it must send on the whole, bytes a second: less than any network moves, and a body of
/// 1 MiB within a good minute.
const BYTES_PER_SECOND_MIN: u64 = 16 << 10;

/// How long a part is waited for before others may have the request's place: more than there is
/// between two packets of a client that sends without pauses.
const MOMENT: Duration = Duration::from_millis(100);

/// The pace of one body.
pub(super) struct Pace {
    /// How much of its time is left.
    left: Duration,
}

/// The client was too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooSlow;

impl Pace {
    pub(super) fn new() -> Self {
        Self { left: GRACE }
    }

    /// Waits for the next part of a body, as long as the client still may take. Time that passes
    /// elsewhere is not the client's. While it takes longer than a moment, the request's seat is
    /// free for others.
    pub(super) async fn wait<T>(
        &mut self,
        seat: Option<&Seat>,
        part: impl Future<Output = T>,
    ) -> Result<T, TooSlow> {
        let (begun, mut part) = (Instant::now(), pin!(part));
        let moment = self.left.min(MOMENT);
        let part = if let Ok(part) = timeout(moment, part.as_mut()).await {
            part
        } else {
            if let Some(seat) = seat {
                seat.leave();
            }
            timeout(self.left.saturating_sub(moment), part).await.map_err(|_| TooSlow)?
        };
        self.left = self.left.saturating_sub(begun.elapsed());
        Ok(part)
    }

    /// So much has come: it earns time for what is still to come.
    pub(super) fn earn(&mut self, bytes: usize) {
        self.left += earned(bytes);
    }
}

/// The time that these bytes may take.
pub(super) fn earned(bytes: usize) -> Duration {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    Duration::from_micros(bytes.saturating_mul(1_000_000) / BYTES_PER_SECOND_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how long a client is given up that sends so much each second, of so much.
    async fn given_up(bytes_each: usize, bytes: usize) -> Option<Duration> {
        let (mut pace, begun, mut sent) = (Pace::new(), Instant::now(), 0);
        while sent < bytes {
            if pace.wait(None, tokio::time::sleep(Duration::from_secs(1))).await.is_err() {
                return Some(begun.elapsed());
            }
            pace.earn(bytes_each);
            sent += bytes_each;
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_in_buys_no_time() {
        assert_eq!(given_up(0, 1).await, Some(GRACE));
        let after = given_up(1, 1 << 20).await.unwrap();
        assert!(after < GRACE + Duration::from_secs(1), "{after:?}");
        let after = given_up(8 << 10, 1 << 20).await.unwrap();
        assert!(after < GRACE * 3, "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_network_is_borne() {
        assert_eq!(given_up(16 << 10, 1 << 20).await, None);
    }
}
