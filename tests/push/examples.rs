//! The receivers in `examples/receivers`, each run as its README says, and the README's own lines.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::harness::{Jobgate, Options, client, until, uuid};
use crate::pages::{Shell, blocks};
use crate::receiver::now_s;
use crate::stage::{SECRET, SOON, dead_letter, until_state};

/// A receiver, by its folder and the command that is run in it.
type Example = (&'static str, &'static [&'static str]);

const PYTHON: Example = ("python", &["python3", "receiver.py"]);
const NODE: Example = ("node", &["node", "receiver.mjs"]);
const GO: Example = ("go", &["go", "run", "."]);

/// How long an invoice takes: long enough to be killed in the middle of, or asked for again.
const RENDER_SECONDS: &str = "0.3";

/// One that runs.
struct Rendering {
    url: String,
    /// The lines that it has printed.
    lines: Arc<Mutex<Vec<String>>>,
    child: Child,
    _reader: JoinSet<()>,
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

impl Rendering {
    async fn start((folder, command): Example) -> Self {
        let mut command_line = Command::new(command[0]);
        command_line
            .args(&command[1..])
            .current_dir(examples().join("receivers").join(folder))
            .env("PORT", "0")
            .env("RENDER_SECRET", SECRET)
            .env("RENDER_SECONDS", RENDER_SECONDS)
            // The standard library is all there is: nothing is fetched.
            .env("GOPROXY", "off")
            .env("GOTOOLCHAIN", "local")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // `go run` has a child of its own: all of them end with the group.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command_line.spawn().expect("it starts (scripts/test installs it)");
        let mut output = BufReader::new(child.stdout.take().expect("its output")).lines();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&lines);
        let mut reader = JoinSet::new();
        reader.spawn(async move {
            while let Ok(Some(line)) = output.next_line().await {
                written.lock().expect("no panic").push(line);
            }
        });
        let url = until(&format!("the receiver in {folder} listens"), SOON, async || {
            let lines = lines.lock().expect("no panic");
            lines.first()?.strip_prefix("listening on ").map(str::to_owned)
        })
        .await;
        Self { url, lines, child, _reader: reader }
    }

    /// How often each job was rendered, by its id.
    fn rendered(&self) -> BTreeMap<String, usize> {
        let mut rendered = BTreeMap::new();
        for line in self.lines.lock().expect("no panic").iter() {
            if let Some(("rendered", rest)) = line.split_once(' ') {
                let id = rest.rsplit(' ').next().expect("an id");
                *rendered.entry(id.to_owned()).or_default() += 1;
            }
        }
        rendered
    }

    /// A job was rendered, and once.
    async fn assert_rendered_once(&self, id: &str) {
        // Its line may be read a little after its answer.
        until(&format!("{id} is rendered"), SOON, async || self.rendered().get(id).copied()).await;
        assert_eq!(self.rendered().get(id), Some(&1), "{id}");
    }

    /// The example catalog, with this receiver's address in it.
    fn catalog(&self) -> TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        let text = std::fs::read_to_string(examples().join("catalog.toml")).expect("the example");
        assert!(text.contains("http://127.0.0.1:9000/render"), "{text}");
        let text = text.replace("http://127.0.0.1:9000/render", &self.url);
        std::fs::write(dir.path().join("catalog.toml"), text).expect("a file");
        std::fs::create_dir(dir.path().join("schemas")).expect("a folder");
        for schema in ["invoice.render.json", "invoice.paid.json"] {
            let from = examples().join("schemas").join(schema);
            std::fs::copy(from, dir.path().join("schemas").join(schema)).expect("a schema");
        }
        dir
    }
}

impl Drop for Rendering {
    fn drop(&mut self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = pid.and_then(rustix::process::Pid::from_raw) {
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
        }
    }
}

/// What a request is made of.
#[derive(Clone)]
struct Signed {
    client: reqwest::Client,
    key: String,
    id: String,
    timestamp: i64,
    body: Vec<u8>,
    secret: String,
}

impl Signed {
    fn new(client: &reqwest::Client, invoice: &Value) -> Self {
        let (client, id) = (client.clone(), uuid());
        let body = invoice.to_string().into_bytes();
        Self { client, key: id.clone(), id, timestamp: now_s(), body, secret: SECRET.to_owned() }
    }

    async fn send(&self, url: &str) -> (StatusCode, Option<String>, String) {
        let secret = self.secret.strip_prefix("whsec_").expect("its kind");
        let secret = BASE64_STANDARD.decode(secret).expect("base64");
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
        let signed = [format!("{}.{}.", self.id, self.timestamp).as_bytes(), &self.body].concat();
        let signature = BASE64_STANDARD.encode(ring::hmac::sign(&key, &signed));
        let answer = self
            .client
            .post(url)
            .header("idempotency-key", format!("\"{}\"", self.key))
            .header("webhook-id", &self.id)
            .header("webhook-timestamp", self.timestamp.to_string())
            // An unknown one first: there are two while a secret is replaced.
            .header("webhook-signature", format!("v1,AAAA v1,{signature}"))
            .body(self.body.clone())
            .send()
            .await
            .expect("an answer");
        let after =
            answer.headers().get("retry-after").map(|v| v.to_str().expect("text").to_owned());
        (answer.status(), after, answer.text().await.expect("a body"))
    }
}

fn invoice(account: &str, number: usize) -> Value {
    json!({
        "account_id": account, "invoice_id": format!("2026-{number:04}"),
        "lines": [{"sku": "seat", "count": 3}],
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_receiver_does_each_job_once() {
    a_receiver_does_each_job_once(PYTHON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_receiver_does_each_job_once() {
    a_receiver_does_each_job_once(NODE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_go_receiver_does_each_job_once() {
    a_receiver_does_each_job_once(GO).await;
}

async fn a_receiver_does_each_job_once(example: Example) {
    let receiver = Rendering::start(example).await;
    it_answers_by_the_table(&receiver).await;
    let catalog = receiver.catalog();
    let file = catalog.path().join("catalog.toml").display().to_string();
    let mut jobgate = Jobgate::start(Options {
        args: vec!["--catalog".to_owned(), file],
        env: vec![("RENDER_SECRET".to_owned(), SECRET.to_owned())],
        ..Options::default()
    })
    .await;
    let post = async |jobgate: &Jobgate, payload: &Value| {
        let answer = jobgate.post("/jobs/invoice.render", payload).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        answer.json()["id"].as_str().expect("an id").to_owned()
    };
    let refused = json!({"account_id": "none", "invoice_id": "2026-0000", "lines": []});
    let refused = post(&jobgate, &refused).await;
    let letter = dead_letter(&jobgate, &refused).await;
    assert!(letter["error"].to_string().contains("an invoice needs a line"), "{letter}");

    // Mended, it comes under the same key, and what was refused must not stand in its way.
    let place = format!("/admin/dlq/{}/{}", letter["partition"], letter["offset"]);
    let fixed = json!({ "payload": invoice("none", 0) });
    let replayed = jobgate.post(&format!("{place}/replay"), &fixed).await;
    assert_eq!(replayed.json()["id"], refused.as_str(), "{}", replayed.text);
    receiver.assert_rendered_once(&refused).await;

    let before = receiver.rendered().len();
    let mut ids = Vec::new();
    for number in 0..4 {
        for account in ["acme", "globex", "initech"] {
            ids.push(post(&jobgate, &invoice(account, number)).await);
        }
    }
    until("an invoice is rendered", SOON, async || {
        (receiver.rendered().len() > before).then_some(())
    })
    .await;
    jobgate.kill().await;
    jobgate.start_again().await;
    for id in &ids {
        until_state(&jobgate, id, "succeeded").await;
    }
    for id in &ids {
        receiver.assert_rendered_once(id).await;
    }
}

async fn it_answers_by_the_table(receiver: &Rendering) {
    let url = receiver.url.as_str();
    let client = client();
    let good = Signed::new(&client, &invoice("acme", 1));
    let wrong_secret = format!("whsec_{}", BASE64_STANDARD.encode([7; 32]));
    for (what, wrong) in [
        ("another secret", Signed { secret: wrong_secret, ..good.clone() }),
        ("an old request", Signed { timestamp: now_s() - 3_600, ..good.clone() }),
        ("a key that is not the id", Signed { key: uuid(), ..good.clone() }),
    ] {
        assert_eq!(wrong.send(url).await.0, StatusCode::UNAUTHORIZED, "{what}");
    }
    let bare = client.post(url).body(good.body.clone()).send().await.expect("an answer");
    assert_eq!(bare.status(), StatusCode::UNAUTHORIZED, "nothing is signed");
    let elsewhere = good.send(&url.replace("/render", "/other")).await;
    assert_eq!(elsewhere.0, StatusCode::NOT_FOUND);
    assert!(receiver.rendered().is_empty(), "none of these is done");

    until("of two requests for one job, one finds it running", SOON, async || {
        let job = Signed::new(&client, &invoice("acme", 2));
        let (one, other) = tokio::join!(job.send(url), job.send(url));
        receiver.assert_rendered_once(&job.id).await;
        let mut statuses = [one.0, other.0];
        statuses.sort();
        (statuses == [StatusCode::OK, StatusCode::CONFLICT]).then_some(())
    })
    .await;
    for _ in 0..2 {
        let (status, _, body) = good.send(url).await;
        assert_eq!((status, body.contains("pages")), (StatusCode::OK, true), "{body}");
    }
    receiver.assert_rendered_once(&good.id).await;

    // How many it does at once depends on how they come.
    until("a receiver that has enough to do says so", SOON, async || {
        let mut many = JoinSet::new();
        for number in 0..40 {
            let (request, url) = (Signed::new(&client, &invoice("busy", number)), url.to_owned());
            many.spawn(async move { request.send(&url).await });
        }
        let answers = many.join_all().await;
        let asked = answers.iter().filter(|(status, after, _)| {
            *status == StatusCode::SERVICE_UNAVAILABLE && after.as_deref() == Some("1")
        });
        let done = answers.iter().filter(|(status, ..)| *status == StatusCode::OK);
        let (asked, done) = (asked.count(), done.count());
        assert!(asked + done == answers.len(), "{answers:?}");
        (asked > 0).then_some(())
    })
    .await;
}

/// "Your own job types" in the README.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readme_s_own_type_does_what_it_says() {
    let receiver = Rendering::start(PYTHON).await;
    let catalog = receiver.catalog();
    let file = catalog.path().join("catalog.toml").display().to_string();
    let jobgate = Jobgate::start(Options {
        args: vec!["--catalog".to_owned(), file],
        env: vec![("RENDER_SECRET".to_owned(), SECRET.to_owned())],
        ..Options::default()
    })
    .await;
    let mut shell = Shell::start(jobgate.dir.path());
    let printed = async |shell: &mut Shell, block: &str| -> Value {
        let text = shell.run(block).await;
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"))
    };
    let readme = include_str!("../../README.md");
    let blocks = blocks(readme, "own", &jobgate.base);
    let [(_, post), (_, ask)] = &blocks[..] else { panic!("two blocks: {blocks:?}") };
    let receipt = printed(&mut shell, post).await;
    assert_eq!(receipt["topic"], "billing.invoice.render");
    let id = receipt["id"].as_str().expect("an id");
    until_state(&jobgate, id, "succeeded").await;
    let status = printed(&mut shell, ask).await;
    assert_eq!((&status["id"], &status["state"]), (&receipt["id"], &"succeeded".into()));
    receiver.assert_rendered_once(id).await;
}
