//! The local cluster: its life from start to stop.
//!
//! Owns the order of things: java, the lock, the jars, the ports, the storage, the nodes. Must never know
//! jobgate's topics or roles.

use std::fs::{self, File};
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rustix::process::Signal;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::error::{BrokerError, IoContext};
use super::launch::Launcher;
use super::process::{Node, STOP_WAIT};
use super::state::{Ports, State};
use super::{BrokerSettings, Progress, config, fetch, jars, java, lock};

/// How long a start waits for the broker that ran here before: it has 15 s to stop before it is killed.
const FORMER_WAIT: Duration = Duration::from_secs(30);

/// How often a start is tried whose ports are taken between the moment they were found free and the
/// moment Kafka asks for them: two in a row are hardly ever.
const STARTS_MAX: usize = 4;

/// A running Apache Kafka that belongs to this process.
///
/// It ends with this value: by [`LocalKafka::stop`], when it is dropped, and when the process ends, even by
/// kill -9. Nodes are numbered from 1.
#[derive(Debug)]
pub struct LocalKafka {
    launcher: Launcher,
    nodes: Vec<Node>,
    state: State,
    bootstrap_servers: String,
    /// Shared with every process of the cluster: the data directory is free when all are gone.
    lock: File,
}

/// A node that ended although nobody asked it to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeExit {
    /// The node, from 1.
    pub node: usize,
    /// How it ended: "signal 9", "exit code 1".
    pub status: String,
    /// The last lines of its log, at most 20.
    pub log: String,
}

impl LocalKafka {
    /// Starts the cluster and waits until every node serves: 2 to 6 s, the first time some 15 s more to fetch
    /// it. `progress` hears of each step. A start that is dropped half-way ends what it began.
    ///
    /// # Errors
    /// Every [`BrokerError`] says what to do or shows the end of Kafka's log; nothing is left running.
    pub async fn start(
        settings: BrokerSettings,
        mut progress: impl FnMut(Progress) + Send,
    ) -> Result<Self, BrokerError> {
        let java = java::find().await?;
        let jars = fetch::jars(settings.kafka_home.as_deref(), &mut progress).await?;
        let folder = std::path::absolute(settings.data_dir.join("kafka"))
            .context("find", &settings.data_dir)?;
        fs::create_dir_all(&folder).context("create", &folder)?;
        let launcher =
            Launcher::new(java, &jars, &settings).context("use the jars for", &folder)?;

        let waiting = || progress(Progress::WaitingForFormer);
        let lock = lock::take(&folder.join(".lock"), FORMER_WAIT, waiting).await?;
        let state = State::load_or_make(&folder, settings.nodes, &mut progress)?;
        let mut kafka = Self {
            launcher,
            nodes: nodes(&folder, &state),
            bootstrap_servers: state.bootstrap_servers(),
            state,
            lock,
        };

        kafka.format(&mut progress).await?;
        progress(Progress::Starting);
        let began = Instant::now();
        let mut starts = 1;
        while let Err(error) = kafka.launch_all().await {
            // The first error is the one that explains; whoever had to be killed is gone all the same.
            let _ = kafka.stop_nodes(STOP_WAIT).await;
            if !error.is_of_a_taken_port() || starts == STARTS_MAX {
                return Err(error);
            }
            starts += 1;
            kafka.state = State::load_or_make(&folder, settings.nodes, &mut progress)?;
            kafka.nodes = nodes(&folder, &kafka.state);
            kafka.bootstrap_servers = kafka.state.bootstrap_servers();
        }
        let address_file = folder.join("brokers");
        let line = format!("{}\n", kafka.bootstrap_servers);
        jars::write_durably(&address_file, &line).context("write", &address_file)?;
        progress(Progress::Ready { after: began.elapsed() });
        Ok(kafka)
    }

    /// The brokers' addresses, comma-separated: `127.0.0.1:21234`. Stable over restarts.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// Stops all nodes, and waits until they are gone: about half a second, three nodes 6 s; the first
    /// time on a machine some 4 s more; never over 20 s.
    ///
    /// # Errors
    /// [`BrokerError::Killed`] if a node had to be killed. It is gone too.
    pub async fn stop(self) -> Result<(), BrokerError> {
        self.stop_within(STOP_WAIT).await
    }

    /// As [`LocalKafka::stop`], but a node that still runs after so long is killed; its next start looks
    /// through its log files, and nothing that was acknowledged is lost.
    ///
    /// # Errors
    /// As for [`LocalKafka::stop`].
    pub async fn stop_within(mut self, limit: Duration) -> Result<(), BrokerError> {
        self.stop_nodes(limit).await
    }

    async fn stop_nodes(&mut self, limit: Duration) -> Result<(), BrokerError> {
        let quorum = self.nodes.len() / 2 + 1;
        let quorum_lost = CancellationToken::new();
        // All are told first, and then waited for.
        let stopping: Vec<_> = self.nodes.iter_mut().filter_map(Node::begin_stop).collect();
        let mut left = stopping.len();
        let wait = limit.min(STOP_WAIT);
        let mut ends: FuturesUnordered<_> = stopping
            .into_iter()
            .map(|node| node.gone(&self.launcher, wait, &quorum_lost))
            .collect();
        let mut result = Ok(());
        while let Some(end) = ends.next().await {
            result = result.and(end);
            left -= 1;
            if left < quorum {
                quorum_lost.cancel();
            }
        }
        result
    }

    /// Waits until a node ends although nobody asked it to. Each such end is reported once; the node can be
    /// started again with [`LocalKafka::restart_node`]. Never ready while no node runs. Cancel-safe.
    pub async fn exited(&mut self) -> NodeExit {
        let (number, status) = {
            let mut ends: Vec<_> =
                self.nodes.iter_mut().filter_map(Node::ended).map(Box::pin).collect();
            poll_fn(|context| {
                let mut polled = ends.iter_mut().map(|end| end.as_mut().poll(context));
                polled.find(Poll::is_ready).unwrap_or(Poll::Pending)
            })
            .await
        };
        let mut log = String::new();
        if let Some(node) = self.nodes.iter_mut().find(|node| node.number == number) {
            node.forget();
            log = node.log_tail();
        }
        NodeExit { node: number, status, log }
    }

    /// Starts a node again on its ports and data, after stopping it gently if it runs, and waits until it is
    /// back in the cluster: 2 to 6 s after a gentle stop, up to the session's 3 s (three nodes: 6 s) more
    /// after a kill.
    ///
    /// # Errors
    /// As for [`LocalKafka::start`].
    pub async fn restart_node(&mut self, node: usize) -> Result<(), BrokerError> {
        let properties = self.properties(node)?;
        let Self { nodes, launcher, lock, .. } = self;
        let node = find(nodes, node)?;
        if let Some(stopping) = node.begin_stop() {
            stopping.gone(launcher, STOP_WAIT, &CancellationToken::new()).await?;
        }
        node.launch(launcher, &properties, lock).await?;
        let own_id = kafka_id(node.number);
        node.ready(&[own_id], &self.state.cluster_id).await
    }

    /// For tests and fault campaigns: kills a node's JVM (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// There is no such node, or it does not run.
    pub async fn kill_node(&mut self, node: usize) -> Result<(), BrokerError> {
        find(&mut self.nodes, node)?.kill().await
    }

    /// For tests and fault campaigns: freezes a node's JVM (SIGSTOP), which then keeps its connections and
    /// says nothing.
    ///
    /// # Errors
    /// There is no such node, or it does not run.
    pub fn freeze_node(&mut self, node: usize) -> Result<(), BrokerError> {
        find(&mut self.nodes, node)?.signal(Signal::STOP)
    }

    /// For tests and fault campaigns: lets a frozen node go on (SIGCONT).
    ///
    /// # Errors
    /// There is no such node, or it does not run.
    pub fn thaw_node(&mut self, node: usize) -> Result<(), BrokerError> {
        find(&mut self.nodes, node)?.signal(Signal::CONT)
    }

    /// For tests and fault campaigns: the process id of a node's JVM, if it runs.
    pub fn java_id(&self, node: usize) -> Option<u32> {
        self.nodes.iter().find(|candidate| candidate.number == node).and_then(Node::java_id)
    }

    /// For tests and fault campaigns: one of Kafka's own tools from the same jars, such as
    /// `org.apache.kafka.tools.consumer.ConsoleConsumer`; the caller adds the arguments. It ends when it is dropped.
    pub fn tool(&self, main_class: &str) -> Command {
        self.launcher.tool(main_class)
    }

    async fn format(&self, progress: &mut (dyn FnMut(Progress) + Send)) -> Result<(), BrokerError> {
        if self.nodes.iter().all(Node::is_formatted) {
            return Ok(());
        }
        progress(Progress::Formatting);
        for node in self.nodes.iter().filter(|node| !node.is_formatted()) {
            let properties = self.properties(node.number)?;
            node.format(&self.launcher, &self.state.cluster_id, &properties, &self.lock).await?;
        }
        Ok(())
    }

    async fn launch_all(&mut self) -> Result<(), BrokerError> {
        for number in 1..=self.nodes.len() {
            let properties = self.properties(number)?;
            find(&mut self.nodes, number)?.launch(&self.launcher, &properties, &self.lock).await?;
        }
        let everyone: Vec<i32> = self.nodes.iter().map(|node| kafka_id(node.number)).collect();
        for node in &mut self.nodes {
            node.ready(&everyone, &self.state.cluster_id).await?;
        }
        Ok(())
    }

    fn properties(&self, number: usize) -> Result<String, BrokerError> {
        let node = self.nodes.iter().find(|node| node.number == number);
        let node = node.ok_or(BrokerError::NoSuchNode { node: number })?;
        Ok(config::server_properties(number, node.ports, &self.state.ports))
    }
}

impl BrokerSettings {
    /// The folder of the local Kafka: `kafka` in the data directory. Its file `brokers` holds the address.
    pub fn kafka_folder(&self) -> PathBuf {
        self.data_dir.join("kafka")
    }
}

fn nodes(folder: &Path, state: &State) -> Vec<Node> {
    let node = |(ports, number): (&Ports, usize)| {
        Node::new(number, folder.join(format!("node-{number}")), *ports)
    };
    state.ports.iter().zip(1..).map(node).collect()
}

fn find(nodes: &mut [Node], number: usize) -> Result<&mut Node, BrokerError> {
    nodes
        .iter_mut()
        .find(|node| node.number == number)
        .ok_or(BrokerError::NoSuchNode { node: number })
}

/// Kafka counts nodes as we do; there are at most three.
fn kafka_id(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
