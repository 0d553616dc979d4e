//! One node as a supervised process.
//!
//! Owns the node's folder, its processes and their signals. Between jobgate and Kafka stands a small shell
//! (`supervise.sh`) that stops Kafka as soon as jobgate's end of a pipe is closed. Must never know the other
//! nodes.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::error::{BrokerError, IoContext};
use super::launch::Launcher;
use super::state::Ports;
use super::wait::live_brokers;

/// The shell that keeps Kafka from outliving jobgate.
const SUPERVISE: &str = include_str!("supervise.sh");

/// What Kafka logs, and where.
const LOGGING: &str = include_str!("log4j2.properties");

/// The log of the JVM and of Kafka, in the node's folder.
const LOG: &str = "server.log";

/// A node stops in about half a second, or 5 s where it writes the class data archive; then it is killed.
const GRACE: Duration = Duration::from_secs(15);

/// The grace, and time for the kill.
pub(super) const STOP_WAIT: Duration = Duration::from_secs(GRACE.as_secs() + 5);

/// A node that stops asks the cluster's controllers to take over its partitions, and waits for them. Once too
/// few of these are left to agree on anything, nobody answers: it ends within this time, or never.
const WITHOUT_QUORUM_WAIT: Duration = Duration::from_secs(2);

/// A killed JVM is gone in no time.
const KILL_WAIT: Duration = Duration::from_secs(1);

/// A start takes 2 to 6 s; on a machine that is busy with builds it was seen to take four times as long.
const READY_WAIT: Duration = Duration::from_mins(1);

/// How often a starting node is asked; there is no signal for it, and one question costs well under 1 ms.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// The shell reports Kafka's process id at once.
const PID_WAIT: Duration = Duration::from_secs(10);
/// Ten digits would do.
const PID_BYTES_MAX: u64 = 32;

/// How much of the end of the log an error shows.
const TAIL_BYTES: u64 = 8 * 1024;
/// A stack trace of Java and what led to it.
const TAIL_LINES_MAX: usize = 20;

/// What a JVM ends with after a TERM.
const TERMINATED: i32 = 128 + 15;

/// One node, whether it runs or not.
#[derive(Debug)]
pub(super) struct Node {
    /// From 1; Kafka's `node.id`.
    pub(super) number: usize,
    /// Where its settings, data and log are, and where it runs.
    pub(super) folder: PathBuf,
    pub(super) ports: Ports,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    shell: Child,
    /// Closing it stops Kafka. It is kept apart from `shell`, which would close it on a mere `wait`.
    leash: ChildStdin,
    java: Pid,
}

impl Node {
    pub(super) fn new(number: usize, folder: PathBuf, ports: Ports) -> Self {
        Self { number, folder, ports, running: None }
    }

    /// Prepares the storage unless it is prepared. It is done beside and moved into place, so that a first
    /// start that was cut short leaves nothing half done.
    pub(super) async fn format(
        &self,
        launcher: &Launcher,
        cluster_id: &str,
        properties: &str,
        lock: &File,
    ) -> Result<(), BrokerError> {
        let fresh = self.folder.with_extension("formatting");
        if fresh.exists() {
            fs::remove_dir_all(&fresh).context("remove", &fresh)?;
        }
        fs::create_dir_all(&fresh).context("create", &fresh)?;
        write(&fresh, "server.properties", properties)?;
        let mut tool = launcher.tool("kafka.tools.StorageTool");
        tool.args(["format", "-t", cluster_id, "-c", "server.properties"]).current_dir(&fresh);
        // The tool holds the lock too: if jobgate is killed, the next start waits for the tool to end.
        tool.stdin(lock.try_clone().context("share the lock with", &fresh)?);
        let output = tool.output().await.context("run java in", &fresh)?;
        if !output.status.success() {
            let text = [output.stdout, output.stderr].concat();
            return Err(BrokerError::Format { node: self.number, output: tail_of(&text) });
        }
        fs::rename(&fresh, &self.folder).context("put into place", &self.folder)
    }

    pub(super) fn is_formatted(&self) -> bool {
        self.folder.exists()
    }

    /// Starts the node; it serves once [`Node::ready`] says so.
    pub(super) async fn launch(
        &mut self,
        launcher: &Launcher,
        properties: &str,
        lock: &File,
    ) -> Result<(), BrokerError> {
        self.prepare_folder(properties)?;
        let mut command = Command::new("sh");
        command.args(["-c", SUPERVISE, "jobgate-kafka"]).arg(GRACE.as_secs().to_string());
        command.args(launcher.broker(self.number == 1)).current_dir(&self.folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(lock.try_clone().context("share the lock with", &self.folder)?);
        // Ctrl-C in the terminal is jobgate's to handle; Kafka goes last.
        command.process_group(0);
        let mut shell = command.spawn().context("run sh in", &self.folder)?;
        let leash = shell.stdin.take().ok_or_else(|| io::Error::other("no pipe"));
        let leash = leash.context("hold", &self.folder)?;
        let java = self.read_pid(&mut shell).await?;
        self.running = Some(Running { shell, leash, java });
        Ok(())
    }

    /// Waits until the node lists all of `expected` (Kafka's node ids) as brokers of this cluster.
    pub(super) async fn ready(
        &mut self,
        expected: &[i32],
        cluster_id: &str,
    ) -> Result<(), BrokerError> {
        let deadline = Instant::now() + READY_WAIT;
        loop {
            let running =
                self.running.as_mut().ok_or(BrokerError::NotRunning { node: self.number })?;
            if let Some(status) = running.shell.try_wait().context("wait for", &self.folder)? {
                self.running = None;
                return Err(self.died(&describe(status)));
            }
            let live = live_brokers(self.ports.broker, cluster_id).await;
            if expected.iter().all(|id| live.contains(id)) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let waited_s = READY_WAIT.as_secs();
                return Err(BrokerError::NotReady {
                    node: self.number,
                    waited_s,
                    log: self.log_tail(),
                });
            }
            sleep(ASK_AGAIN).await;
        }
    }

    /// Lets go of the node, which begins to stop. Nothing happens if it does not run.
    pub(super) fn begin_stop(&mut self) -> Option<Stopping<'_>> {
        let Running { shell, leash, java } = self.running.take()?;
        drop(leash);
        Some(Stopping { number: self.number, folder: &self.folder, shell, java })
    }

    /// Ends the JVM without any warning, and waits until it is gone.
    pub(super) async fn kill(&mut self) -> Result<(), BrokerError> {
        self.signal(Signal::KILL)?;
        if let Some(mut running) = self.running.take() {
            running.shell.wait().await.context("wait for", &self.folder)?;
        }
        Ok(())
    }

    /// Sends a signal to the JVM.
    pub(super) fn signal(&mut self, signal: Signal) -> Result<(), BrokerError> {
        let not_running = BrokerError::NotRunning { node: self.number };
        let Some(running) = self.running.as_mut() else { return Err(not_running) };
        // As long as the shell lives, the id is the JVM's and nobody else's.
        if running.shell.try_wait().context("wait for", &self.folder)?.is_some() {
            return Err(not_running);
        }
        kill_process(running.java, signal).map_err(io::Error::from).context("signal", &self.folder)
    }

    /// The process id of the JVM, if it runs.
    pub(super) fn java_id(&self) -> Option<u32> {
        self.running
            .as_ref()
            .and_then(|running| u32::try_from(running.java.as_raw_nonzero().get()).ok())
    }

    /// Waits until the node ends by itself; [`None`] if it does not run.
    pub(super) fn ended(&mut self) -> Option<impl Future<Output = (usize, String)> + Send> {
        let number = self.number;
        let running = self.running.as_mut()?;
        Some(async move {
            let status = running.shell.wait().await;
            (number, status.map_or_else(|error| error.to_string(), describe))
        })
    }

    /// Notes that the node is known to have ended.
    pub(super) fn forget(&mut self) {
        self.running = None;
    }

    /// The last lines of its log.
    pub(super) fn log_tail(&self) -> String {
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(self.folder.join(LOG))?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
            let mut end = Vec::new();
            file.take(TAIL_BYTES).read_to_end(&mut end)?;
            Ok(end)
        };
        read().map_or_else(|error| format!("(no log: {error})"), |end| tail_of(&end))
    }

    fn died(&self, status: &str) -> BrokerError {
        BrokerError::Died { node: self.number, status: status.to_owned(), log: self.log_tail() }
    }

    fn prepare_folder(&self, properties: &str) -> Result<(), BrokerError> {
        write(&self.folder, "server.properties", properties)?;
        write(&self.folder, "log4j2.properties", LOGGING)?;
        // The log of this start, and that of the one before.
        let log = self.folder.join(LOG);
        if log.exists() {
            fs::rename(&log, self.folder.join("server.log.1")).context("set aside", &log)?;
        }
        Launcher::forget_fresh_archive(&self.folder).context("clean", &self.folder)?;
        // Libraries that a killed JVM unpacked.
        let temporary = self.folder.join("tmp");
        if temporary.exists() {
            fs::remove_dir_all(&temporary).context("remove", &temporary)?;
        }
        fs::create_dir(&temporary).context("create", &temporary)
    }

    async fn read_pid(&self, shell: &mut Child) -> Result<Pid, BrokerError> {
        let mut line = String::new();
        if let Some(output) = shell.stdout.take() {
            let mut output = BufReader::new(output.take(PID_BYTES_MAX));
            // Whatever goes wrong here, the line is then no number.
            let _ = timeout(PID_WAIT, output.read_line(&mut line)).await;
        }
        let pid = line.trim().parse().ok().and_then(Pid::from_raw);
        pid.ok_or_else(|| self.died("no process id"))
    }
}

/// A node that was told to stop.
pub(super) struct Stopping<'a> {
    number: usize,
    folder: &'a Path,
    shell: Child,
    java: Pid,
}

impl Stopping<'_> {
    /// Waits until it is gone, at most so long, and keeps the class data archive that it may have written.
    /// The shell kills Kafka after its grace; a shorter wait ends in a kill from here. So it does, as it must,
    /// soon after the cluster has lost its quorum.
    ///
    /// # Errors
    /// [`BrokerError::Killed`] if it had to be killed although there was a quorum.
    pub(super) async fn gone(
        mut self,
        launcher: &Launcher,
        wait: Duration,
        quorum_lost: &CancellationToken,
    ) -> Result<(), BrokerError> {
        let in_vain = async {
            quorum_lost.cancelled().await;
            sleep(WITHOUT_QUORUM_WAIT).await;
        };
        let ended = tokio::select! {
            ended = timeout(wait, self.shell.wait()) => ended,
            () = in_vain => {
                self.kill().await;
                return Ok(());
            }
        };
        let Ok(status) = ended else {
            self.kill().await;
            return Err(BrokerError::Killed { node: self.number });
        };
        let status = status.context("wait for", self.folder)?;
        if status.code() != Some(TERMINATED) {
            return Err(BrokerError::Killed { node: self.number });
        }
        if let Err(error) = launcher.keep_archive(self.folder) {
            tracing::warn!(%error, "the class data archive is not kept; the next start is no quicker");
        }
        Ok(())
    }

    async fn kill(&mut self) {
        // As long as the shell lives, the id is the JVM's and nobody else's.
        let _ = kill_process(self.java, Signal::KILL);
        let _ = timeout(KILL_WAIT, self.shell.wait()).await;
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), BrokerError> {
    let path = folder.join(name);
    fs::write(&path, text).context("write", &path)
}

fn describe(status: ExitStatus) -> String {
    match status.code() {
        // So the shell reports a signal.
        Some(code) if code > 128 => format!("signal {}", code - 128),
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    }
}

fn tail_of(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines.get(lines.len().saturating_sub(TAIL_LINES_MAX)..).unwrap_or_default();
    shown.join("\n")
}
