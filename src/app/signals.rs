//! SIGTERM and Ctrl-C.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::stop::Stop;

/// The two signals that matter: the first asks to stop, the second insists.
pub(super) struct Signals {
    /// Begun by the first signal.
    pub(super) stop: Stop,
    /// Cancelled by the second.
    pub(super) second: CancellationToken,
}

impl Signals {
    /// Listens from now on.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (stop, second) = (Stop::default(), CancellationToken::new());
        let signals = Self { stop: stop.clone(), second: second.clone() };
        // It listens until the process ends, so nothing waits for it.
        TaskTracker::new().spawn(async move {
            let mut next = async || {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            };
            next().await;
            stop.begin();
            next().await;
            second.cancel();
        });
        Ok(signals)
    }
}
