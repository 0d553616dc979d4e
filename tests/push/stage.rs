//! A started `jobgate` with a catalog file, and the words of its jobs.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Jobgate, Options, until};

/// How long anything may take that comes about by itself, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(90);

/// The secret of the tests.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The payload of every type here.
pub(crate) const SCHEMA: &str = r##"{
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "account_id": {"type": "string", "minLength": 1},
        "number": {"type": "integer"},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}}
    },
    "required": ["account_id"],
    "additionalProperties": false,
    "$defs": {"line": {"type": "object", "properties": {"sku": {"type": "string"}}}},
    "examples": [{"account_id": "acme", "number": 7}]
}"##;

/// A catalog file with its schema, in a directory of their own.
pub(crate) struct CatalogFile {
    dir: TempDir,
}

impl CatalogFile {
    pub(crate) fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("schema.json"), SCHEMA).expect("a schema");
        let file = Self { dir };
        std::fs::write(file.path(), text).expect("a catalog file");
        file
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("catalog.toml")
    }

    /// Starts a `jobgate` with it.
    pub(crate) async fn start(&self) -> Jobgate {
        Jobgate::start(self.options()).await
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            args: vec!["--catalog".to_owned(), self.path().display().to_string()],
            env: vec![("PUSH_SECRET".to_owned(), SECRET.to_owned())],
            ..Options::default()
        }
    }
}

/// The table of a job type that is pushed to a URL, tried again fast; `more` are further lines.
pub(crate) fn job(name: &str, url: &str, more: &str) -> String {
    let retry = if more.contains("retry") {
        ""
    } else {
        "retry = { attempts = 3, first = \"50ms\", factor = 2, longest = \"200ms\" }"
    };
    let handler = if more.contains("handler") {
        String::new()
    } else {
        format!("handler = {{ url = \"{url}\", timeout = \"10s\" }}")
    };
    format!(
        "[[job]]\ntype = \"{name}\"\npartitions = 2\nkey = \"{{account_id}}\"\n\
         schema = \"schema.json\"\n{handler}\n{retry}\n{more}\n\n"
    )
}

/// Enqueues a job of an account; returns its id.
pub(crate) async fn enqueue(jobgate: &Jobgate, name: &str, account: &str, number: usize) -> String {
    let payload = json!({"account_id": account, "number": number});
    let answer = jobgate.post(&format!("/jobs/{name}"), &payload).await;
    assert_eq!(answer.status, 202, "{name}: {}", answer.text);
    answer.json()["id"].as_str().expect("an id").to_owned()
}

/// Waits until a job is in this state; returns what is said of it.
pub(crate) async fn until_state(jobgate: &Jobgate, id: &str, state: &str) -> Value {
    until(&format!("{id} is {state}"), SOON, async || {
        let status = jobgate.try_get(&format!("/jobs/by-id/{id}")).await?;
        (status.status == 200).then(|| status.json()).filter(|status| status["state"] == state)
    })
    .await
}

/// Waits for the dead letter of a job and returns it whole.
pub(crate) async fn dead_letter(jobgate: &Jobgate, id: &str) -> Value {
    let listed = until(&format!("the dead letter of {id}"), SOON, async || {
        letters(jobgate).await.into_iter().find(|letter| letter["message_id"] == id)
    })
    .await;
    let place = format!("/admin/dlq/{}/{}", listed["partition"], listed["offset"]);
    jobgate.get(&place).await.json()
}

pub(crate) async fn letters(jobgate: &Jobgate) -> Vec<Value> {
    let answer = jobgate.get("/admin/dlq?limit=500").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["items"].as_array().expect("items").clone()
}
