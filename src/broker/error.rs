//! What can go wrong with the local Kafka, each with its way out.
//!
//! Owns the text that a person reads when the first start fails. Must never know who asks for a broker.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::NodeCount;

/// Why the local Kafka cannot be started, steered or stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// No usable Java.
    #[error(
        "the local Kafka needs Java 17 or newer ({found}). Three ways out: \
         install it (for example `apt-get install openjdk-17-jre-headless`); \
         or start Kafka in containers (`docker compose -f docker-compose.kafka-only.yml up -d`); \
         or name a Kafka that runs elsewhere in KAFKA_BROKERS"
    )]
    JavaMissing {
        /// What was found at each place that was looked at.
        found: String,
    },
    /// The first start fetches Kafka through Maven, and there is none.
    #[error(
        "the first start fetches Kafka with `mvn`, which is not on the PATH. Three ways out: \
         install it (for example `apt-get install maven`); \
         or name an unpacked Kafka in JOBGATE_KAFKA_HOME; \
         or name a Kafka that runs elsewhere in KAFKA_BROKERS"
    )]
    MavenMissing,
    /// Maven ran and failed, or took too long.
    #[error("fetching Kafka with `mvn` failed: {output}")]
    Fetch {
        /// The last lines that Maven wrote.
        output: String,
    },
    /// The jars in the cache or fresh from Maven are not those that jobgate pins.
    #[error("the jars in {} are not those that jobgate pins: {fault}. Remove that folder and start again to fetch them anew", .folder.display())]
    Jars {
        /// The folder that was checked.
        folder: PathBuf,
        /// The first jar that is wrong.
        fault: JarFault,
    },
    /// Neither `XDG_CACHE_HOME` nor `HOME` says where the cache is.
    #[error(
        "there is no place to keep Kafka: set HOME or XDG_CACHE_HOME, or name an unpacked Kafka in JOBGATE_KAFKA_HOME"
    )]
    NoCache,
    /// `JOBGATE_KAFKA_HOME` names a folder without jars.
    #[error("{} holds no libs/*.jar: JOBGATE_KAFKA_HOME must name an unpacked Kafka", .path.display())]
    NoKafkaHome {
        /// The folder of the setting.
        path: PathBuf,
    },
    /// Another process holds the lock.
    #[error("{} is still in use after {waited_s} s: another jobgate, or the broker it left behind, runs there", .path.display())]
    InUse {
        /// The folder that is locked.
        path: PathBuf,
        /// How long the lock was waited for.
        waited_s: u64,
    },
    /// The data directory holds another number of nodes.
    #[error("{} was made for {} node(s), not for {}; choose another data directory", .path.display(), .remembered.get(), .asked.get())]
    NodeCountChanged {
        /// The folder of the broker's data.
        path: PathBuf,
        /// The number of nodes in it.
        remembered: NodeCount,
        /// The number of nodes in the settings.
        asked: NodeCount,
    },
    /// The file that remembers the cluster's id and ports is gone or unreadable, and there are nodes.
    #[error("{} is missing or damaged, but there is data beside it: put it back, or move the folder away", .path.display())]
    StateDamaged {
        /// The file.
        path: PathBuf,
    },
    /// No free ports on 127.0.0.1.
    #[error("no free port between {from} and {to} on 127.0.0.1")]
    NoFreePort {
        /// The first port that was thought of.
        from: u16,
        /// The port after the last one.
        to: u16,
    },
    /// Kafka's own tool did not prepare the storage.
    #[error("preparing the storage of node {node} failed: {output}")]
    Format {
        /// The node, from 1.
        node: usize,
        /// The last lines that the tool wrote.
        output: String,
    },
    /// The JVM ended before it answered.
    #[error("Kafka's node {node} ended while it started ({status}). The end of its log:\n{log}")]
    Died {
        /// The node, from 1.
        node: usize,
        /// How it ended.
        status: String,
        /// The last lines of its log.
        log: String,
    },
    /// The node did not answer in time.
    #[error("Kafka's node {node} gave no answer within {waited_s} s. The end of its log:\n{log}")]
    NotReady {
        /// The node, from 1.
        node: usize,
        /// How long it was waited for.
        waited_s: u64,
        /// The last lines of its log.
        log: String,
    },
    /// The node had to be killed; what it acknowledged is kept, but the next start checks its log files.
    #[error("Kafka's node {node} did not stop in time and was killed")]
    Killed {
        /// The node, from 1.
        node: usize,
    },
    /// There is no such node.
    #[error("there is no node {node}")]
    NoSuchNode {
        /// The number that was asked for.
        node: usize,
    },
    /// The node does not run, so it gets no signal.
    #[error("node {node} does not run")]
    NotRunning {
        /// The node, from 1.
        node: usize,
    },
    /// A file or a process of the broker is out of reach.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl BrokerError {
    /// Whether a node ended since another process had one of its ports.
    pub(super) fn is_of_a_taken_port(&self) -> bool {
        matches!(self, Self::Died { log, .. } if log.contains("java.net.BindException"))
    }
}

/// What is wrong with a jar.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JarFault {
    /// A pinned jar is not there.
    #[error("{0} is missing")]
    Missing(String),
    /// A jar is there that is not pinned.
    #[error("{0} does not belong there")]
    Extra(String),
    /// A jar's bytes are not the pinned ones.
    #[error("{0} is altered")]
    Altered(String),
}

/// Gives an I/O error its file and what was tried.
pub(super) trait IoContext<T> {
    /// The same result with `action` ("read", "create") and `path` in its error.
    fn context(self, action: &'static str, path: &Path) -> Result<T, BrokerError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, BrokerError> {
        self.map_err(|source| BrokerError::Io { action, path: path.to_path_buf(), source })
    }
}
