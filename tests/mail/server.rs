//! Starts and stops `smtp_server.sh` for one test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// What the server is to be.
#[derive(Clone, Copy, Default)]
pub(crate) struct Setup {
    /// 0 takes a free port.
    pub(crate) port: u16,
    /// Offers STARTTLS.
    pub(crate) tls: bool,
    /// Demands this `user:password`.
    pub(crate) login: Option<&'static str>,
}

/// A running server; it ends with its value.
pub(crate) struct Server {
    child: Child,
    port: u16,
    directory: TempDir,
}

impl Server {
    pub(crate) fn start(setup: Setup) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mail/smtp_server.sh");
        let mut command = Command::new(script);
        command.args(["--follow-stdin", "--port", &setup.port.to_string(), "--mails"]);
        command.arg(directory.path().join("mails"));
        if setup.tls {
            command.arg("--tls").arg(directory.path());
        }
        if let Some(login) = setup.login {
            command.args(["--login", login]);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("smtp_server.sh starts");
        let mut ready = String::new();
        let output = child.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut ready).expect("a line");
        let port = ready
            .strip_prefix("ready ")
            .and_then(|port| port.trim().parse().ok())
            .unwrap_or_else(|| panic!("the SMTP server did not become ready: {ready:?}"));
        Self { child, port, directory }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `smtp://login@127.0.0.1:port` and the parameters.
    pub(crate) fn url(&self, login: &str, parameters: &str) -> String {
        let at = if login.is_empty() { "" } else { "@" };
        format!("smtp://{login}{at}127.0.0.1:{}{parameters}", self.port)
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Every mail that arrived.
    pub(crate) fn mails(&self) -> Vec<Vec<u8>> {
        std::fs::read_dir(self.directory.path().join("mails"))
            .expect("the mail directory")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|end| end == "eml"))
            .map(|path| std::fs::read(path).expect("readable"))
            .collect()
    }

    /// Stops it and drops its connections.
    pub(crate) fn stop(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of its stdin is what stops it.
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}
