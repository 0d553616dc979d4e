//! What every integration test stands on: a started `jobgate`, a clock for waiting, and
//! shorthand for HTTP. The binary is the real one; nothing of the library is called.
#![allow(dead_code, reason = "each test crate uses its own part of the harness")]
#![allow(clippy::allow_attributes, reason = "an expectation of dead code fails where all is used")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// How long a start may take: on a machine of its own the first one takes 3 s, or 15 s with
/// the jars to fetch.
const START_DEADLINE: Duration = Duration::from_secs(120);

/// How to start a `jobgate`.
#[derive(Default, Clone)]
pub(crate) struct Options {
    /// An outside Kafka; a local one is run otherwise.
    pub(crate) brokers: Option<String>,
    /// A mail server; the outbox is used otherwise.
    pub(crate) smtp_url: Option<String>,
    /// Where to listen; a port of 127.0.0.1 otherwise.
    pub(crate) listen: Option<String>,
    /// Further arguments.
    pub(crate) args: Vec<String>,
    /// Further variables.
    pub(crate) env: Vec<(String, String)>,
}

/// A started `jobgate`, ended with the test.
pub(crate) struct Jobgate {
    pub(crate) base: String,
    pub(crate) dir: TempDir,
    options: Options,
    child: Child,
    client: reqwest::Client,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    /// The slug of a problem document, which it must be.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.text);
        let body = self.json();
        assert_eq!(body["status"], self.status.as_u16(), "{body}");
        let slug = body["type"].as_str().and_then(|t| t.strip_prefix("urn:jobgate:problem:"));
        slug.expect("a problem has a type").to_owned()
    }
}

impl Jobgate {
    /// Starts one in a fresh directory and waits until it would accept a job.
    pub(crate) async fn start(options: Options) -> Self {
        let jobgate = Self::start_unready(options).await;
        jobgate.wait_ready().await;
        jobgate
    }

    /// Starts one in a fresh directory and waits until it listens.
    pub(crate) async fn start_unready(options: Options) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (child, base) = spawn(dir.path(), &options).await;
        Self { base, dir, options, child, client: client() }
    }

    /// Starts it again on the same directory, after it ended.
    pub(crate) async fn start_again(&mut self) {
        let (child, base) = spawn(self.dir.path(), &self.options).await;
        (self.child, self.base) = (child, base);
        self.wait_ready().await;
    }

    pub(crate) async fn wait_ready(&self) {
        until("jobgate is ready", START_DEADLINE, async || {
            self.try_get("/health/ready").await.filter(|a| a.status == StatusCode::OK)
        })
        .await;
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The address of its local Kafka.
    pub(crate) fn brokers(&self) -> String {
        match &self.options.brokers {
            Some(brokers) => brokers.clone(),
            None => std::fs::read_to_string(self.data().join("kafka/brokers"))
                .expect("the brokers file")
                .trim()
                .to_owned(),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.try_get(path).await.unwrap_or_else(|| panic!("no answer to GET {path}"))
    }

    pub(crate) async fn try_get(&self, path: &str) -> Option<Answer> {
        read(self.client.get(self.url(path)).timeout(Duration::from_secs(10))).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.try_post(path, body).await.unwrap_or_else(|| panic!("no answer to POST {path}"))
    }

    pub(crate) async fn try_post(&self, path: &str, body: &Value) -> Option<Answer> {
        read(self.client.post(self.url(path)).json(body).timeout(Duration::from_secs(15))).await
    }

    /// Sends a request of one's own making.
    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        read(request.timeout(Duration::from_secs(15))).await.expect("an answer")
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("jobgate.log")).expect("its log")
    }

    /// POSTs bytes as they are, as JSON.
    pub(crate) async fn post_raw(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self
            .client
            .post(self.url(path))
            .header("content-type", "application/json")
            .body(body)
            .timeout(Duration::from_secs(15));
        read(request).await.unwrap_or_else(|| panic!("no answer to POST {path}"))
    }

    /// Waits for the mail with this id in the outbox.
    pub(crate) async fn mail(&self, id: &str) -> Vec<u8> {
        let path = self.mail_path(id);
        until(&format!("the mail {id}"), Duration::from_secs(60), async || {
            std::fs::read(&path).ok()
        })
        .await
    }

    pub(crate) fn mail_path(&self, id: &str) -> PathBuf {
        self.data().join("outbox").join(format!("{id}.eml"))
    }

    /// The process id, for signals.
    pub(crate) fn pid(&self) -> rustix::process::Pid {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok());
        pid.and_then(rustix::process::Pid::from_raw).expect("it runs")
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("it could be killed");
    }

    /// Waits until it ends by itself; returns the exit code and its log.
    pub(crate) async fn ended(&mut self, deadline: Duration) -> (Option<i32>, String) {
        let status = tokio::time::timeout(deadline, self.child.wait()).await;
        let log = std::fs::read_to_string(self.dir.path().join("jobgate.log"));
        let log = log.unwrap_or_default();
        let Ok(status) = status else { panic!("it did not end in {deadline:?}:\n{log}") };
        (status.expect("its status").code(), log)
    }

    /// SIGTERM; returns the exit code and how long it took.
    pub(crate) async fn terminate(&mut self) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        rustix::process::kill_process(self.pid(), rustix::process::Signal::TERM).expect("SIGTERM");
        let status = tokio::time::timeout(Duration::from_secs(40), self.child.wait())
            .await
            .expect("it ends within 40 s")
            .expect("its status");
        (status.code(), begun.elapsed())
    }
}

/// Lines of the log that a failed test shows.
const LOG_SHOWN_LINES: usize = 30;

/// A test that fails shows what jobgate said last: its directory goes with it.
impl Drop for Jobgate {
    #[expect(clippy::print_stderr, reason = "the last word of a failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("jobgate.log"));
            let log = log.unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LOG_SHOWN_LINES)..];
            eprintln!("the end of jobgate's log:\n{}", shown.join("\n"));
        }
    }
}

/// A client of HTTP. The library is built without TLS of its own, as jobgate needs it, and asks
/// for one even where none is spoken.
pub(crate) fn client() -> reqwest::Client {
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::new()
}

async fn read(request: reqwest::RequestBuilder) -> Option<Answer> {
    let response = request.send().await.ok()?;
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.ok()?;
    Some(Answer { status, headers, text })
}

async fn spawn(dir: &Path, options: &Options) -> (Child, String) {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(dir.join("jobgate.log"))
        .expect("a log file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobgate"));
    command
        .args(["--listen", options.listen.as_deref().unwrap_or("127.0.0.1:0"), "--data-dir"])
        .arg(dir.join("data"))
        .args(&options.args)
        .env_remove("KAFKA_BROKERS")
        .env_remove("SMTP_URL")
        .env_remove("JOBGATE_JWT_SECRET")
        .env_remove("JOBGATE_JWT_PUBLIC_KEY")
        .env_remove("JOBGATE_JWKS_URL")
        .envs(options.env.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true);
    if let Some(brokers) = &options.brokers {
        command.env("KAFKA_BROKERS", brokers);
    }
    if let Some(url) = &options.smtp_url {
        command.env("SMTP_URL", url);
    }
    let mut child = command.spawn().expect("jobgate starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let address = async {
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some((_, rest)) = line.split_once("http://") {
                let authority = rest.split([' ', '/']).next().unwrap_or_default();
                return Some(format!("http://{authority}"));
            }
        }
        None
    };
    let base = tokio::time::timeout(START_DEADLINE, address).await.ok().flatten();
    let Some(base) = base else {
        let log = std::fs::read_to_string(dir.join("jobgate.log")).unwrap_or_default();
        panic!("jobgate did not start; its log:\n{log}");
    };
    // The rest of its output is of no interest, but the pipe must not break.
    tokio_util::task::TaskTracker::new()
        .spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, base)
}

/// Asks until there is an answer; fails with what was waited for.
pub(crate) async fn until<T>(
    what: &str,
    deadline: Duration,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < deadline, "waited {deadline:?} for: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// A fresh id.
pub(crate) fn uuid() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// A verification mail that works.
pub(crate) fn verification(campaign_id: &str, user_id: &str) -> Value {
    serde_json::json!({
        "campaign_id": campaign_id,
        "user_id": user_id,
        "template_data": {
            "email": "ada@example.com",
            "verification_link": "https://example.com/verify/1"
        }
    })
}
