//! A start with a catalog file that is wrong, or without its secret, says what to do; so does
//! `jobgate check`.

use std::process::Output;

use tokio::process::Command;

use crate::stage::{CatalogFile, SECRET, job};

/// Runs the binary to its end in a directory of its own.
async fn run(command: &str, catalog: &str, env: &[(&str, &str)]) -> Output {
    let dir = tempfile::tempdir().expect("a directory");
    let mut child = Command::new(env!("CARGO_BIN_EXE_jobgate"));
    child.args(["--catalog", catalog, "--listen", "127.0.0.1:0", "--data-dir"]).arg(dir.path());
    child.arg(command).kill_on_drop(true);
    child.env_remove("KAFKA_BROKERS").env_remove("PUSH_SECRET").envs(env.iter().copied());
    child.output().await.expect("it runs")
}

const WRONG: &str = "
[[job]]
type = \"t.wrong\"
key = \"{nobody}\"
partitons = 3
schema = \"schema.json\"
handler = { url = \"nowhere\" }
";

#[tokio::test]
async fn every_fault_of_the_file_is_named_by_a_start_and_by_check() {
    let file = CatalogFile::new(WRONG);
    let path = file.path().display().to_string();
    for command in ["serve", "check", "openapi"] {
        let output = run(command, &path, &[]).await;
        assert_eq!(output.status.code(), Some(1), "{command}: {output:?}");
        let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
        for fault in [
            format!("{path}:4: [[job]] t.wrong: key is made of \"nobody\""),
            format!(
                "{path}:5: [[job]] t.wrong: partitons is not known here; did you mean partitions?"
            ),
            format!("{path}:7: [[job]] t.wrong: handler.url must be an http or https URL"),
        ] {
            assert!(said.contains(&fault), "{command}: {fault} is not in:\n{said}");
        }
    }
}

#[tokio::test]
async fn a_secret_that_is_missing_or_wrong_is_said_with_a_remedy_and_never_shown() {
    let handler = "handler = { url = \"http://127.0.0.1:9/\", secret_env = \"PUSH_SECRET\" }";
    let file = CatalogFile::new(&job("t.signed", "", handler));
    let path = file.path().display().to_string();
    for command in ["serve", "check"] {
        for (env, said) in [
            (None, "the secret in PUSH_SECRET, which is not set: set it to whsec_"),
            (Some(("PUSH_SECRET", "")), "the secret in PUSH_SECRET, which is not set"),
            (
                Some(("PUSH_SECRET", "hush-hush")),
                "the secret in PUSH_SECRET, for the type t.signed",
            ),
            (Some(("PUSH_SECRET", "whsec_aHVzaA==")), "openssl rand -base64 32"),
        ] {
            let env: Vec<(&str, &str)> = env.into_iter().collect();
            let output = run(command, &path, &env).await;
            assert_eq!(output.status.code(), Some(1), "{command}: {output:?}");
            let all = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
            assert!(all.contains(said), "{command}: {said} is not in:\n{all}");
            assert!(!all.contains("hush-hush") && !all.contains("aHVzaA"), "shown: {all}");
        }
    }
    let output = run("check", &path, &[("PUSH_SECRET", SECRET)]).await;
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(said.contains("15 types"), "{said}");
}

#[tokio::test]
async fn a_token_is_made_without_a_look_at_the_file() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobgate"));
    command.args(["--catalog", "/nowhere.toml", "token", "--sub", "a", "--scope", "jobs:write"]);
    command.env("JOBGATE_JWT_SECRET", "a secret of the tests, of 32 bytes and more");
    let output = command.output().await.expect("it runs");
    assert!(output.status.success(), "{output:?}");
}
