//! Getting Kafka's jars: from the user's cache, or once through Maven, or from an installation.
//!
//! Owns the cache folder and the pom. Must never know how the jars are run, and names no host: which
//! repository Maven asks is Maven's own setting.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::error::{BrokerError, IoContext};
use super::{Progress, jars, lock};

/// What Maven is asked for.
const POM: &str = include_str!("pom.xml");

/// The folder inside the user's cache; the version is the pom's.
const CACHE_FOLDER: &str = "jobgate/kafka-4.3.0";

/// Fresh from Maven takes about 10 s on a fast line; this is for a slow one.
const FETCH_WAIT: Duration = Duration::from_mins(10);

/// How many lines of Maven's complaint are shown: the first ones say what, the rest is advice.
const SHOWN_LINES_MAX: usize = 8;

/// Kafka's jars, ready to be run.
#[derive(Debug)]
pub(super) struct Jars {
    /// Absolute paths, sorted, so that a class data archive made with this order stays valid.
    pub(super) paths: Vec<PathBuf>,
    /// Where things are kept that are dear to make anew; none without a home directory.
    pub(super) cache: Option<PathBuf>,
}

/// Finds the jars, fetching them on first use.
///
/// With `kafka_home` its `libs/*.jar` are used unchecked: whoever names an installation vouches for it.
/// Several processes may call this at once: one fetches, the others wait and use what it fetched.
///
/// # Errors
/// No Maven, no cache, Maven's failure, or a jar that is not the pinned one.
pub(super) async fn jars(
    kafka_home: Option<&Path>,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Jars, BrokerError> {
    let cache = cache_folder();
    if let Some(home) = kafka_home {
        let paths = list(&home.join("libs")).unwrap_or_default();
        if paths.is_empty() {
            return Err(BrokerError::NoKafkaHome { path: home.to_path_buf() });
        }
        return Ok(Jars { paths, cache });
    }
    let cache = cache.ok_or(BrokerError::NoCache)?;
    let libs = cache.join("libs");
    if !libs.exists() {
        fetch_into(&cache, &libs, progress).await?;
    }
    let paths = blocking(move || {
        jars::check_quickly(&libs)?;
        list(&libs).context("list", &libs)
    })
    .await?;
    Ok(Jars { paths, cache: Some(cache) })
}

/// `$XDG_CACHE_HOME` or `$HOME/.cache`; a relative path counts as unset, as the XDG rules say.
fn cache_folder() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let user_cache =
        absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(user_cache.join(CACHE_FOLDER))
}

async fn fetch_into(
    cache: &Path,
    libs: &Path,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<(), BrokerError> {
    fs::create_dir_all(cache).context("create", cache)?;
    progress(Progress::FetchingKafka);
    let lock = lock::take(&cache.join(".lock"), FETCH_WAIT, || ()).await?;
    if libs.exists() {
        return Ok(());
    }
    // Under the lock a folder that is here already was left by a process that was killed.
    let fresh = TemporaryFolder::create(cache.join("fetching"))?;
    let pom = fresh.0.join("pom.xml");
    fs::write(&pom, POM).context("write", &pom)?;

    let mut maven = Command::new("mvn");
    maven.args([
        "-q",
        "-B",
        "dependency:copy-dependencies",
        "-DoutputDirectory=libs",
        "-DincludeScope=runtime",
    ]);
    // Maven holds the lock too: if jobgate is killed, nobody touches the folder before Maven has ended.
    maven.current_dir(&fresh.0).stdin(Stdio::from(lock)).kill_on_drop(true);
    let output = match timeout(FETCH_WAIT, maven.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Err(BrokerError::MavenMissing);
        }
        Ok(Err(error)) => return Err(error).context("run mvn in", &fresh.0),
        Err(_) => {
            return Err(BrokerError::Fetch {
                output: format!("not done after {} s", FETCH_WAIT.as_secs()),
            });
        }
    };
    if !output.status.success() {
        // Maven reports on standard output.
        let text = String::from_utf8_lossy(&output.stdout);
        let shown: Vec<&str> = text.lines().take(SHOWN_LINES_MAX).collect();
        return Err(BrokerError::Fetch { output: shown.join("\n") });
    }
    let (fetched, libs) = (fresh.0.join("libs"), libs.to_path_buf());
    blocking(move || {
        jars::check_fully(&fetched)?;
        fs::rename(&fetched, &libs).context("put the jars into", &libs)
    })
    .await
}

fn list(libs: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(std::path::absolute(libs)?)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jar") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Runs file work that takes a while off the runtime's own threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BrokerError> + Send + 'static,
) -> Result<T, BrokerError> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.map_err(io::Error::other).context("check the jars in", Path::new(CACHE_FOLDER))?
}

/// A folder that goes away with its owner.
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn create(path: PathBuf) -> Result<Self, BrokerError> {
        if path.exists() {
            fs::remove_dir_all(&path).context("remove", &path)?;
        }
        fs::create_dir(&path).context("create", &path)?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a temporary folder stays behind");
        }
    }
}
