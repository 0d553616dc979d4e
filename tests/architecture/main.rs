//! The direction of the house: reads `src/` and fails on an import that goes against it.
//!
//! The two tables below are the architecture. A module that wants to name another one, or a
//! library at another home, asks here first: change the table and say why in the review.
#![expect(clippy::expect_used, clippy::panic, reason = "what cannot be read fails the test")]

mod check;
mod deployment;
mod links;
mod paths;
mod planted;
mod settings;

use std::fs;
use std::path::Path;

/// The modules of `src/`, bottom up, each with those that it may name.
const FLOORS: &[(&str, &[&str])] = &[
    // The words and the rules between them; no IO.
    ("domain", &[]),
    // The world outside, one library each. They never name each other.
    ("kafka", &["domain"]),
    ("store", &["domain"]),
    ("mail", &["domain"]),
    ("outbound", &["domain"]),
    // Reads the keys that issuers publish.
    ("auth", &["domain", "outbound"]),
    // The use cases.
    ("operations", &["domain", "kafka", "store", "mail", "auth"]),
    // The built-in catalog. The engine below does not know that it exists.
    ("waitlist", &["domain", "store", "mail", "outbound"]),
    // The other handler: what it runs is a service's affair.
    ("push", &["domain", "outbound"]),
    // Who asks for the use cases. They never name each other.
    ("gateway", &["domain", "kafka", "store", "mail", "auth", "operations"]),
    ("worker", &["domain", "kafka", "store", "mail", "auth", "operations"]),
    // A client of the whole, and its sums. Only `app` names it.
    ("demo", &["domain", "store", "outbound"]),
    // Leaves: nothing of jobgate inside, and only `app` (and tests) use them.
    ("broker", &[]),
    ("telemetry", &[]),
    // Knows all.
    (
        "app",
        &[
            "domain",
            "kafka",
            "store",
            "mail",
            "auth",
            "outbound",
            "operations",
            "waitlist",
            "push",
            "gateway",
            "worker",
            "demo",
            "broker",
            "telemetry",
        ],
    ),
    ("main", &["app"]),
    // The map: it declares the modules and uses none.
    ("lib", &[]),
];

/// Outside libraries with their only homes. A library that is not here may be used anywhere.
/// Test files (`tests.rs`, `*_test.rs`) may use any: as a second opinion, say.
const HOMES: &[(&str, &[&str])] = &[
    ("jsonschema", &["domain/schema"]),
    ("schemars", &["domain", "waitlist"]),
    ("rdkafka", &["kafka"]),
    ("sqlx", &["store"]),
    ("lettre", &["mail"]),
    ("minijinja", &["mail"]),
    ("jsonwebtoken", &["auth"]),
    ("reqwest", &["outbound"]),
    ("rustls", &["outbound", "gateway/door"]),
    ("rustls_native_certs", &["outbound"]),
    ("hickory_resolver", &["outbound"]),
    ("ipnet", &["outbound"]),
    ("httpdate", &["outbound"]),
    ("axum", &["gateway"]),
    ("hyper", &["gateway", "demo/receiver"]),
    ("hyper_util", &["gateway", "demo/receiver"]),
    ("http_body_util", &["gateway", "demo/receiver"]),
    ("async_compression", &["gateway/body"]),
    ("tower", &["gateway"]),
    ("utoipa", &["gateway"]),
    ("utoipa_axum", &["gateway"]),
    ("utoipa_swagger_ui", &["gateway"]),
    ("tokio_rustls", &["gateway/door"]),
    ("rustix", &["broker", "app"]),
    ("tracing_subscriber", &["telemetry"]),
    ("mimalloc", &["main"]),
    ("indicatif", &["demo"]),
    ("toml_edit", &["app/catalog_file", "app/issuers"]),
    ("anyhow", &["app"]),
    ("clap", &["app"]),
    ("disposable_emails", &["waitlist/fraud_signs"]),
];

/// A source file.
pub(crate) struct Source {
    /// Its path inside `src/`, with `/`.
    pub(crate) path: String,
    /// What it says.
    pub(crate) text: String,
}

#[test]
fn every_import_goes_down() {
    let sources = sources();
    assert!(sources.len() > 50, "src/ was not read");
    let faults: Vec<String> =
        sources.iter().flat_map(check::faults).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "\n\n{}\n", faults.join("\n"));
}

#[test]
fn the_maps_name_every_module() {
    for map in ["src/lib.rs", "docs/architecture.md"] {
        let text = read(map);
        for source in sources() {
            let module = check::module(&source.path);
            assert!(
                matches!(module, "lib" | "main") || text.contains(&format!("`{module}`")),
                "{map} does not name `{module}`"
            );
        }
    }
}

/// Every source of jobgate.
fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(&folder);
        for entry in fs::read_dir(root).expect("a readable folder") {
            let entry = entry.expect("an entry");
            let path = format!("{folder}{}", entry.file_name().to_string_lossy());
            if entry.file_type().expect("a type").is_dir() {
                folders.push(format!("{path}/"));
            } else if Path::new(&path).extension().is_some_and(|extension| extension == "rs") {
                let text = read(&format!("src/{path}"));
                sources.push(Source { path, text });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// A file of the project, by its path from the project's root.
fn read(path: &str) -> String {
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(whole).unwrap_or_else(|error| panic!("{path}: {error}"))
}
