//! The OpenAPI document is held against a running jobgate with a real Kafka: schemathesis makes
//! requests out of it, good ones and bad ones, one after the other and in sequences that follow
//! its links, and no answer may be another than the document has.
//!
//! The seed is the same in each run. `JOBGATE_TEST_SCHEMATHESIS_EXAMPLES=200` makes so many of
//! each operation and kind, which takes as many minutes as there is patience;
//! `JOBGATE_TEST_SCHEMATHESIS_SEED=7` makes others.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../harness/mod.rs"]
mod harness;

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use harness::{Jobgate, Options};
use serde_json::Value;
use tokio::process::Command;

const SECRET: &str = "a secret of the tests, which is long enough";
const SCOPES: &str = "jobs:write events:write jobs:read admin:read admin:write";
/// What an answer is held against.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
     response_headers_conformance,response_schema_conformance,negative_data_rejection,\
     positive_data_acceptance,missing_required_header,unsupported_method,\
     allow_header_conformance,ensure_resource_availability,ignored_auth";
/// Requests that are made up of each operation, beside those that follow from its bounds.
const EXAMPLES: &str = "10";
const SEED: &str = "20250101";
/// The installation included, on a machine that has other things to do.
const DEADLINE: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_answered_otherwise_than_the_document_says() {
    let jobgate = Jobgate::start(Options {
        env: vec![("JOBGATE_JWT_SECRET".to_owned(), SECRET.to_owned())],
        ..Options::default()
    })
    .await;
    let asked = std::env::var("JOBGATE_TEST_SCHEMATHESIS_EXAMPLES").ok();
    let seed = std::env::var("JOBGATE_TEST_SCHEMATHESIS_SEED");
    let examples = asked.as_deref().unwrap_or(EXAMPLES);
    let arguments = ["--max-examples", examples, "--seed", seed.as_deref().unwrap_or(SEED)];
    let (output, report) = schemathesis(&jobgate, &arguments, asked.is_none()).await;
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {wrong}", output.status);

    // That it has done what it was to do.
    let document = jobgate.get("/openapi.json").await.json();
    let items = document["paths"].as_object().expect("paths").values();
    let operations: usize = items.map(|item| item.as_object().expect("operations").len()).sum();
    assert_eq!(report["operations"]["tested"], operations, "every operation");
    for phase in ["examples", "coverage", "fuzzing", "stateful"] {
        assert_eq!(report["phases"][phase]["status"], "success", "{phase}");
    }

    // And jobgate's own word for it.
    let log = jobgate.log();
    let failed = log.lines().find(|line| line.contains("a request failed"));
    assert_eq!(failed, None, "no answer of 500 or above");
    assert!(!log.contains("panicked"), "{log}");
}

/// Runs it; returns what it printed, and its report.
async fn schemathesis(jobgate: &Jobgate, arguments: &[&str], is_bounded: bool) -> (Output, Value) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis/run.sh");
    let dir = tempfile::tempdir().expect("a directory");
    let report = dir.path().join("report.json");
    let mut command = Command::new(script);
    command
        .arg(jobgate.url("/openapi.json"))
        .args(["--checks", CHECKS, "--report", "json", "--report-json-path"])
        .arg(&report)
        .args(arguments)
        .current_dir(dir.path())
        .env("JOBGATE_TOKEN", token(dir.path()).await)
        .env("NO_PROXY", "127.0.0.1")
        .env("NO_COLOR", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = command.output();
    let output = if is_bounded {
        tokio::time::timeout(DEADLINE, output).await.expect("it ends in time")
    } else {
        output.await
    };
    let output = output.expect("run.sh starts");
    let report = std::fs::read_to_string(&report).unwrap_or_default();
    (output, serde_json::from_str(&report).unwrap_or_default())
}

/// A token for everything.
async fn token(dir: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_jobgate"))
        .args(["token", "--sub", "schemathesis", "--ttl", "1d", "--scope", SCOPES])
        .env("JOBGATE_JWT_SECRET", SECRET)
        .current_dir(dir)
        .output()
        .await
        .expect("jobgate starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}
