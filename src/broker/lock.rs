//! One process at a time: an advisory lock on a file, held by the kernel.
//!
//! The lock belongs to the open file, so a child that inherits the file holds it too, and it is free
//! as soon as the last holder is gone, however it ended. Must never know what the lock protects.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::BrokerError;
use super::error::IoContext;

/// How often a held lock is asked for again: there is no signal for it, and nobody notices a tenth of a second.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Takes the lock file `path`, waiting for at most `wait`; `on_wait` is called once if it has to wait.
///
/// # Errors
/// [`BrokerError::InUse`] if it is still held after `wait`.
pub(super) async fn take(
    path: &Path,
    wait: Duration,
    mut on_wait: impl FnMut() + Send,
) -> Result<File, BrokerError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .context("open the lock file", path)?;
    let deadline = Instant::now() + wait;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(source).context("lock", path),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                let folder = path.parent().unwrap_or(path).to_path_buf();
                return Err(BrokerError::InUse { path: folder, waited_s: wait.as_secs() });
            }
            Err(TryLockError::WouldBlock) => {
                if !told {
                    told = true;
                    on_wait();
                }
                sleep(ASK_AGAIN).await;
            }
        }
    }
}
