//! The outbox: a directory that takes the place of a mail server. One file per mail, whole or
//! absent. Must never know what a mail says.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::{MailError, SendError};

/// Mails hold links that log people in: only the owner reads them.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

pub(super) struct Outbox {
    dir: PathBuf,
}

impl Outbox {
    pub(super) fn create(dir: PathBuf) -> Result<Self, MailError> {
        match create_dir(&dir) {
            Ok(()) => Ok(Self { dir }),
            Err(source) => Err(MailError::Outbox { path: dir, source }),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes `{message_id}.eml`, replacing an earlier one, and answers its path once it is on disk.
    pub(super) async fn write(
        &self,
        message_id: Uuid,
        message: Vec<u8>,
    ) -> Result<String, SendError> {
        let dir = self.dir.clone();
        let written = self.blocking(move || write_whole(&dir, message_id, &message)).await?;
        Ok(written.display().to_string())
    }

    pub(super) async fn probe(&self) -> Result<(), SendError> {
        let dir = self.dir.clone();
        self.blocking(move || create_dir(&dir)).await
    }

    /// Disk work off the async threads; it also goes on to its end when the caller is dropped.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, SendError> {
        let outcome = tokio::task::spawn_blocking(work).await;
        outcome.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(|error| {
            SendError::Unavailable {
                reason: format!(
                    "The mail outbox {} cannot be written: {error}",
                    self.dir.display()
                ),
                source: Some(Box::new(error)),
            }
        })
    }
}

fn create_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(dir)
}

/// Temporary file, fsync, rename, fsync of the directory: after a crash there is the old file,
/// the new one or none, never half of one.
fn write_whole(dir: &Path, message_id: Uuid, message: &[u8]) -> io::Result<PathBuf> {
    create_dir(dir)?;
    // Tells apart two writers of one mail. By chance, since a number of the process would not do:
    // workers in containers may share the directory, and each of them is process 1.
    let temporary = dir.join(format!(".{message_id}.{:016x}.tmp", rand::random::<u64>()));
    let path = dir.join(format!("{message_id}.eml"));
    let written = write_synced(&temporary, message).and_then(|()| fs::rename(&temporary, &path));
    if let Err(error) = written {
        // The first error is the one that counts.
        drop(fs::remove_file(&temporary));
        return Err(error);
    }
    File::open(dir)?.sync_all()?;
    Ok(path)
}

fn write_synced(path: &Path, message: &[u8]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
    file.write_all(message)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        fs::read_dir(dir)
            .expect("the directory is there")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect()
    }

    #[tokio::test]
    async fn a_mail_is_one_whole_file_and_the_same_id_overwrites() {
        let root = tempfile::tempdir().expect("a directory");
        let dir = root.path().join("mail/outbox");
        let outbox = Outbox::create(dir.clone()).expect("created");
        let id = Uuid::now_v7();
        let first = outbox.write(id, b"first, and longer".to_vec()).await.expect("written");
        let second = outbox.write(id, b"second".to_vec()).await.expect("written");
        assert_eq!(first, second);
        assert_eq!(fs::read(&second).expect("readable"), b"second");
        assert_eq!(names(&dir), vec![format!("{id}.eml")]);
    }

    #[tokio::test]
    async fn many_writers_of_one_id_leave_one_whole_file() {
        let root = tempfile::tempdir().expect("a directory");
        let outbox = Outbox::create(root.path().to_owned()).expect("created");
        let id = Uuid::now_v7();
        let bodies = [vec![b'a'; 100_000], vec![b'b'; 100_000]];
        let [a, b] = bodies.clone();
        let (one, two) = tokio::join!(outbox.write(id, a), outbox.write(id, b));
        one.expect("written");
        let path = two.expect("written");
        assert!(bodies.contains(&fs::read(path).expect("readable")));
        assert_eq!(names(root.path()).len(), 1);
    }

    #[tokio::test]
    async fn a_removed_outbox_comes_back_and_an_impossible_one_is_unavailable() {
        let root = tempfile::tempdir().expect("a directory");
        let dir = root.path().join("outbox");
        let outbox = Outbox::create(dir.clone()).expect("created");
        fs::remove_dir(&dir).expect("removed");
        outbox.write(Uuid::now_v7(), b"x".to_vec()).await.expect("written");

        fs::remove_dir_all(&dir).expect("removed");
        fs::write(&dir, b"a file stands in the way").expect("written");
        let error = outbox.write(Uuid::now_v7(), b"x".to_vec()).await.expect_err("refused");
        assert!(matches!(error, SendError::Unavailable { .. }), "{error}");
        assert!(outbox.probe().await.is_err());
    }
}
