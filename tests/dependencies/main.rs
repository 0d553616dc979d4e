//! What jobgate is made of: every dependency comes from crates.io, under a licence that goes
//! with Apache-2.0, in one version, and builds no second copy of a system library by surprise.
//!
//! Asks `cargo metadata`, so it sees what `Cargo.lock` pins, for every platform.
#![expect(clippy::expect_used, reason = "an unreadable answer of cargo is a failed test")]

mod licence;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use licence::is_allowed;

/// The registry of crates.io, as cargo names it.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Licences that may stand in a binary under Apache-2.0: permissive, without a duty beyond
/// naming whose work it is.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    // Of data: the list of authorities that rustls-platform-verifier has for Android alone.
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Zlib",
];

/// Crates that are there in more than one major version, each with who holds on to the old one.
/// Two versions cost build time and size; two that meet in one signature do not even compile.
const DUPLICATES: &[(&str, &str)] = &[
    ("base64", "sqlx"),
    ("block-buffer", "sqlx, through sha2"),
    ("core-foundation", "system-configuration, through hickory-resolver; not on Linux"),
    ("cpufeatures", "sqlx, through sha2"),
    ("crypto-common", "sqlx, through sha2"),
    ("digest", "sqlx, through sha2"),
    ("getrandom", "ring holds the oldest, jsonschema the middle one"),
    ("hashbrown", "sqlx"),
    ("r-efi", "jsonschema, through getrandom; not on Linux"),
    ("rand_core", "signature, through jsonwebtoken"),
    ("sha2", "sqlx"),
    ("syn", "macros of sqlx, tracing and others; only while building"),
    ("windows-sys", "ring; not on Linux"),
];

/// Crates that must not come in, each with why.
const REFUSED: &[(&str, &str)] = &[
    ("openssl-src", "would build an OpenSSL that no system update ever mends"),
    ("native-tls", "mail uses rustls, Kafka the system's OpenSSL; a third way is one too many"),
    ("curl-sys", "librdkafka is built without it: its headers break cmake builds"),
    ("aws-lc-sys", "rustls uses ring here; this one needs cmake and minutes to build"),
];

/// A dependency.
struct Package {
    name: String,
    version: String,
    licence: Option<String>,
    source: Option<String>,
}

impl Package {
    /// The part of the version that tells incompatible ones apart: 1 of 1.2.3, 0.4 of 0.4.5.
    fn major(&self) -> String {
        let numbers: Vec<&str> = self.version.split(['.', '+', '-']).collect();
        let length = 1 + numbers.iter().take(2).take_while(|number| **number == "0").count();
        numbers.into_iter().take(length).collect::<Vec<_>>().join(".")
    }
}

/// Every package that `Cargo.lock` pins, jobgate itself left out.
fn dependencies() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |package: &Value, member: &str| {
        package.get(member).and_then(Value::as_str).map(str::to_owned)
    };
    let packages = metadata.get("packages").and_then(Value::as_array).expect("packages");
    let packages = packages.iter().map(|package| Package {
        name: text(package, "name").expect("a name"),
        version: text(package, "version").expect("a version"),
        licence: text(package, "license"),
        source: text(package, "source"),
    });
    let dependencies: Vec<Package> =
        packages.filter(|package| package.name != env!("CARGO_PKG_NAME")).collect();
    assert!(dependencies.len() > 100, "cargo metadata named few packages");
    dependencies
}

/// Fails with all complaints at once.
#[track_caller]
fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n\n{}\n", complaints.join("\n"));
}

#[test]
fn everything_comes_from_crates_io() {
    let elsewhere: Vec<String> = dependencies()
        .iter()
        .filter(|package| package.source.as_deref() != Some(CRATES_IO))
        .map(|Package { name, version, source, .. }| {
            let source = source.as_deref().unwrap_or("a path on this machine");
            format!("{name} {version} comes from {source}, not from crates.io")
        })
        .collect();
    none(&elsewhere);
}

#[test]
fn every_licence_is_allowed() {
    let refused: Vec<String> = dependencies()
        .iter()
        .filter_map(|Package { name, version, licence, .. }| match licence {
            None => Some(format!("{name} {version} names no licence: look for another crate")),
            Some(expression) if is_allowed(expression, LICENCES) => None,
            Some(expression) => Some(format!(
                "{name} {version} is under {expression}: if that goes with Apache-2.0, add it to \
                 LICENCES in tests/dependencies/main.rs, else look for another crate"
            )),
        })
        .collect();
    none(&refused);
}

#[test]
fn nothing_is_there_twice_without_a_reason() {
    let dependencies = dependencies();
    let mut majors: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for package in &dependencies {
        majors.entry(&package.name).or_default().insert(package.major());
    }
    majors.retain(|_, majors| majors.len() > 1);
    let known = |name: &str| DUPLICATES.iter().any(|(known, _)| *known == name);
    let new = majors.iter().filter(|(name, _)| !known(name)).map(|(name, majors)| {
        let majors: Vec<&str> = majors.iter().map(String::as_str).collect();
        format!(
            "{name} is there as {}: see `cargo tree --duplicates --target all` for who brings \
             them; move to one, or name it in DUPLICATES in tests/dependencies/main.rs with why",
            majors.join(" and ")
        )
    });
    let gone = DUPLICATES.iter().filter(|(name, _)| !majors.contains_key(name)).map(|(name, _)| {
        format!("{name} is no longer there twice: take its line out of DUPLICATES")
    });
    none(&new.chain(gone).collect::<Vec<_>>());
}

#[test]
fn nothing_that_was_refused_came_in() {
    let dependencies = dependencies();
    let found: Vec<String> = REFUSED
        .iter()
        .filter(|(name, _)| dependencies.iter().any(|package| package.name == *name))
        .map(|(name, why)| {
            format!("{name} came in ({why}); `cargo tree --invert {name}` shows through whom")
        })
        .collect();
    none(&found);
}

#[test]
fn majors_are_told_apart_as_cargo_does() {
    let major = |version: &str| {
        let version = version.to_owned();
        Package { name: String::new(), version, licence: None, source: None }.major()
    };
    for (version, expected) in
        [("1.2.3", "1"), ("0.4.5", "0.4"), ("0.0.7", "0.0.7"), ("4.0.0+2.12.1", "4")]
    {
        assert_eq!(major(version), expected, "{version}");
    }
}
