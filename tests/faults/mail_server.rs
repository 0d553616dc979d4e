//! `tests/mail/smtp_server.sh`, a real mail server that a test may stop, freeze and start again.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use uuid::Uuid;

/// The server, whether it runs or not. It ends with its value.
pub(crate) struct MailServer {
    folder: TempDir,
    port: u16,
    running: Option<(Child, ChildStdin)>,
}

/// A mail that arrived.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    /// The job's id.
    pub(crate) id: Uuid,
}

impl MailServer {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut server = Self { folder, port: 0, running: None };
        server.start_again().await;
        server
    }

    /// Starts it on its port, with the mails it has.
    pub(crate) async fn start_again(&mut self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mail/smtp_server.sh");
        let mut command = Command::new(script);
        command.args(["--follow-stdin", "--port", &self.port.to_string(), "--mails"]);
        command.arg(self.mails()).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("smtp_server.sh starts");
        let stdin = child.stdin.take().expect("a pipe");
        let mut ready = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        let line = output.read_line(&mut ready);
        tokio::time::timeout(Duration::from_mins(2), line).await.expect("in time").expect("a line");
        let port = ready.strip_prefix("ready ").and_then(|port| port.trim().parse().ok());
        self.port = port.unwrap_or_else(|| panic!("the mail server says {ready:?}"));
        self.running = Some((child, stdin));
    }

    /// Stops it and drops its connections.
    pub(crate) async fn stop(&mut self) {
        let (mut child, stdin) = self.running.take().expect("it runs");
        drop(stdin);
        child.wait().await.expect("it ends");
    }

    /// SIGSTOP: it keeps its port and connections, and says nothing.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let (child, _) = self.running.as_ref().expect("it runs");
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        kill_process(id.expect("it runs"), signal).expect("signalled");
    }

    pub(crate) fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    fn mails(&self) -> PathBuf {
        self.folder.path().join("mails")
    }

    /// Every mail that arrived, in the order of arrival.
    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        let mut numbers: Vec<usize> = std::fs::read_dir(self.mails())
            .expect("the mails")
            .filter_map(|entry| entry.expect("an entry").path().file_stem()?.to_str()?.parse().ok())
            .collect();
        numbers.sort_unstable();
        numbers
            .iter()
            .map(|number| {
                let path = self.mails().join(format!("{number}.eml"));
                let mail = std::fs::read(path).expect("a mail");
                let mail = mail_parser::MessageParser::default().parse(&mail).expect("a mail");
                let id = mail.message_id().and_then(|id| id.split('@').next()).expect("an id");
                Arrived { id: Uuid::parse_str(id).expect("the job's id") }
            })
            .collect()
    }
}
