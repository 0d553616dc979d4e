//! SIGTERM and Ctrl-C.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The two signals that matter: the first asks to stop, the second insists.
pub(super) struct Signals {
    /// Cancelled by the first signal.
    pub(super) first: CancellationToken,
    /// Cancelled by the second.
    pub(super) second: CancellationToken,
}

impl Signals {
    /// Listens from now on.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (first, second) = (CancellationToken::new(), CancellationToken::new());
        let tokens = [first.clone(), second.clone()];
        // It listens until the process ends, so nothing waits for it.
        TaskTracker::new().spawn(async move {
            for token in tokens {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                token.cancel();
            }
        });
        Ok(Self { first, second })
    }
}
