//! The stop of the process: when it began, and how much of its time is left.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// How long a stop may take in all: the 25 s that are promised, and a second to spare. All
/// that has to end shares it.
const STOP_MAX: Duration = Duration::from_secs(24);

/// A stop that may begin. Cheap to clone: the clones are one.
#[derive(Clone, Default)]
pub(super) struct Stop {
    begun: CancellationToken,
    begun_at: Arc<OnceLock<Instant>>,
}

impl Stop {
    /// Begins the stop, unless it has begun.
    pub(super) fn begin(&self) {
        self.begun_at.get_or_init(Instant::now);
        self.begun.cancel();
    }

    /// Whether it has begun.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Resolves when it begins.
    pub(super) async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Is cancelled when it begins.
    pub(super) fn token(&self) -> &CancellationToken {
        &self.begun
    }

    /// What is left of its time; all of it for a process that ends without a stop.
    pub(super) fn left(&self) -> Duration {
        let begun_at = *self.begun_at.get_or_init(Instant::now);
        STOP_MAX.saturating_sub(begun_at.elapsed())
    }
}
