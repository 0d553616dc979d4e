//! The local Kafka: a real Apache Kafka, of one or three nodes, as a managed child of this process.
//!
//! Owns everything between "there is a data directory" and "here is an address": the jars, the JVM, the ports,
//! the storage, the process. Must never know the rest of jobgate, nor speak Kafka's protocol beyond asking
//! whether a broker serves. Unix only: it leans on process groups, signals and inherited file locks.
//!
//! What always holds:
//! - Nothing listens on any address but 127.0.0.1.
//! - Kafka never outlives this process, not even after kill -9, and two processes never share a data directory.
//! - What Kafka and Java print goes to `<data dir>/kafka/node-N/server.log`, never to the terminal.
//!
//! From the first file to the last: [`LocalKafka`] (`local`) asks `java` and `fetch` (which checks with `jars`),
//! takes the `lock`, reads the `state`, and runs each node (`process`) with the command lines of `launch` and the
//! settings of `config`, until `wait` says that it serves.

mod config;
mod error;
mod fetch;
mod jars;
mod java;
mod launch;
mod local;
mod lock;
mod process;
mod state;
mod wait;

use std::path::PathBuf;
use std::time::Duration;

pub use error::{BrokerError, JarFault};
pub use local::{LocalKafka, NodeExit};

/// The heap of one node unless set: enough for a developer's machine and for benchmarks of one broker.
pub const HEAP_MIB_DEFAULT: u32 = 512;

/// What the local Kafka needs to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerSettings {
    /// jobgate's data directory; Kafka's part is the folder `kafka` in it.
    pub data_dir: PathBuf,
    /// An unpacked Kafka to use in place of the pinned one (`JOBGATE_KAFKA_HOME`).
    pub kafka_home: Option<PathBuf>,
    /// How many nodes; fixed once the data directory is made.
    pub nodes: NodeCount,
    /// The largest heap of each node's JVM in MiB; the process takes about 100 MiB more.
    pub heap_mib: u32,
    /// How each node's JVM compiles.
    pub compiler: Compiler,
}

/// How a JVM compiles what it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compiler {
    /// Quickly: a broker that is started often, and has little to do.
    Quick,
    /// As well as it can: a broker that runs for long, as those of production do. It starts half a second later
    /// and takes a third less of the processor for a record once it is warm.
    Optimizing,
}

impl BrokerSettings {
    /// One node of the pinned Kafka with the default heap.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            kafka_home: None,
            nodes: NodeCount::One,
            heap_mib: HEAP_MIB_DEFAULT,
            compiler: Compiler::Quick,
        }
    }
}

/// The size of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeCount {
    /// One broker that is its own controller.
    One,
    /// Three brokers that are controllers too: replication 3, two of which acknowledge. For tests of lost leaders.
    Three,
}

impl NodeCount {
    /// The number itself.
    pub const fn get(self) -> usize {
        match self {
            Self::One => 1,
            Self::Three => 3,
        }
    }
}

/// How far a start is, for a person who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// The jars are not in the cache; Maven fetches them (54 MB, once per user).
    FetchingKafka,
    /// The broker that ran here before is still stopping, or another jobgate runs here; at most 30 s.
    WaitingForFormer,
    /// Another process has taken a remembered port, so the address is a new one.
    PortChanged {
        /// The node, from 1.
        node: usize,
        /// The port it had.
        from: u16,
        /// The port it has now.
        to: u16,
    },
    /// First start in this data directory: the storage is prepared.
    Formatting,
    /// The JVMs are starting.
    Starting,
    /// Every node serves.
    Ready {
        /// Time since [`Progress::Starting`].
        after: Duration,
    },
}
