//! What wakes the sender of this process at once, where rows are written that are due before it
//! would look again. Rows of other processes are found by looking.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::Notify;

/// The bell between those who write rows and the one who sends them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bell(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// When the sender will look by itself. A row that is due then or later is no reason to
    /// wake it.
    looks_at_ms: AtomicI64,
    rung: Notify,
}

impl Default for Bell {
    fn default() -> Self {
        Self(Arc::new(Inner { looks_at_ms: AtomicI64::new(i64::MAX), rung: Notify::new() }))
    }
}

impl Bell {
    /// A row that is due at this time is committed.
    pub fn ring(&self, due_ms: i64) {
        if due_ms < self.0.looks_at_ms.load(Ordering::SeqCst) {
            self.0.rung.notify_one();
        }
    }

    /// The sender is about to look: from now on every ring counts, so that none falls between
    /// what it sees and its sleep.
    pub fn listen(&self) {
        self.0.looks_at_ms.store(i64::MAX, Ordering::SeqCst);
    }

    /// Resolves when a row is there that is due before this time, at which the sender looks by
    /// itself.
    pub async fn rung_before(&self, looks_at_ms: i64) {
        self.0.looks_at_ms.store(looks_at_ms, Ordering::SeqCst);
        self.0.rung.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn only_what_is_due_before_the_next_look_wakes_the_sender() {
        let bell = Bell::default();
        bell.listen();
        assert!(bell.rung_before(1_000).now_or_never().is_none(), "nobody rang");
        bell.ring(1_000);
        assert!(bell.rung_before(1_000).now_or_never().is_none(), "it looks then anyway");
        bell.ring(999);
        assert!(bell.rung_before(1_000).now_or_never().is_some());
    }

    #[test]
    fn a_row_that_comes_between_the_look_and_the_sleep_is_not_missed() {
        let bell = Bell::default();
        assert!(bell.rung_before(1_000).now_or_never().is_none());
        bell.listen();
        bell.ring(5_000);
        assert!(bell.rung_before(6_000).now_or_never().is_some());
    }
}
