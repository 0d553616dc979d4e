//! The command line: what it refuses to start with, and the tokens that it makes.

use std::path::Path;
use std::process::{Command, Output};

use crate::tokens::{SECRET, key_pair};

#[test]
fn a_start_without_a_sound_key_is_refused_with_a_sentence() {
    let dir = tempfile::tempdir().expect("a directory");
    let (private, public) = key_pair(dir.path(), "ED25519");
    let (private, public) = (private.display().to_string(), public.display().to_string());
    let short = "31 bytes, which are not enough.";
    let cases: [(Variables<'_>, &str); 7] = [
        (&[], "0.0.0.0:0 is not a loopback address"),
        (&[("JOBGATE_JWT_SECRET", short)], "must have 32"),
        (&[("JOBGATE_JWT_SECRET", "")], "has 0 bytes"),
        (&[("JOBGATE_JWT_PUBLIC_KEY", "")], "neither PEM nor a file"),
        (&[("JOBGATE_JWT_PUBLIC_KEY", "not a key")], "neither PEM nor a file"),
        (&[("JOBGATE_JWT_PUBLIC_KEY", &private)], "this is a private key"),
        (
            &[("JOBGATE_JWT_SECRET", SECRET), ("JOBGATE_JWT_PUBLIC_KEY", &public)],
            "there can be only one",
        ),
    ];
    for (variables, words) in cases {
        let output = jobgate(&["--listen", "0.0.0.0:0"], variables, dir.path());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{variables:?}: {said}");
        assert!(said.contains(words), "{variables:?}: {said}");
        assert!(!said.contains(short) && !said.contains("not a key"), "{said}");
        assert!(!dir.path().join("data").exists(), "nothing was touched");
    }
}

#[test]
fn a_token_that_would_not_work_is_not_made() {
    let dir = tempfile::tempdir().expect("a directory");
    let secret = [("JOBGATE_JWT_SECRET", SECRET)];
    let cases: [(&[&str], Variables<'_>, &str); 6] = [
        (&["--sub", "a", "--scope", "jobs:write"], &[], "there is no key to sign with"),
        (&["--sub", "a", "--scope", "jobs:wite"], &secret, "there is no scope"),
        (&["--sub", "a\nb", "--scope", "jobs:write"], &secret, "printable ASCII"),
        (&["--sub", "a", "--scope", "jobs:write", "--ttl", "2y"], &secret, "for a year at most"),
        (&["--sub", "a", "--scope", "jobs:write", "--ttl", "soon"], &secret, "--ttl"),
        (
            &["--sub", "a", "--scope", "jobs:write", "--private-key", "nowhere.pem"],
            &secret,
            "nowhere.pem cannot be read",
        ),
    ];
    for (arguments, variables, words) in cases {
        let output = jobgate(&[&["token"], arguments].concat(), variables, dir.path());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty() && !said.contains(SECRET), "{said}");
    }
}

pub(crate) type Variables<'a> = &'a [(&'a str, &'a str)];

pub(crate) fn jobgate(arguments: &[&str], variables: Variables<'_>, directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_jobgate"))
        .args(arguments)
        .env_remove("JOBGATE_JWT_SECRET")
        .env_remove("JOBGATE_JWT_PUBLIC_KEY")
        .env_remove("JOBGATE_JWKS_URL")
        .envs(variables.iter().copied())
        .current_dir(directory)
        .output()
        .expect("jobgate runs")
}

/// What `jobgate token` prints.
pub(crate) fn minted(arguments: &[&str]) -> String {
    let secret = [("JOBGATE_JWT_SECRET", SECRET)];
    let output = jobgate(&[&["token"], arguments].concat(), &secret, Path::new("."));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}
