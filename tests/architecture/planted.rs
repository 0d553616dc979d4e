//! Proof that the checker sees: sources with one fault each, planted in memory.

use crate::Source;
use crate::check::faults;

/// What the checker says of a source, a line each.
fn said(path: &str, text: &str) -> Vec<String> {
    let source = Source { path: path.to_owned(), text: text.to_owned() };
    faults(&source).iter().map(ToString::to_string).collect()
}

/// The source has one fault, which is named at this place with these words.
#[track_caller]
fn is_found(path: &str, text: &str, place: &str, words: &str) {
    let said = said(path, text);
    let [only] = said.as_slice() else { panic!("one fault was expected: {said:?}") };
    assert!(only.starts_with(&format!("src/{place}: ")), "not at {place}: {only}");
    assert!(only.contains(words), "no \"{words}\" in: {only}");
}

#[test]
fn an_import_that_goes_up() {
    for (path, text, place, words) in [
        (
            "domain/key.rs",
            "\nuse crate::kafka::Producer;",
            "domain/key.rs:2",
            "`domain` must not name `kafka`",
        ),
        (
            "kafka/mod.rs",
            "use crate::operations::Enqueue;",
            "kafka/mod.rs:1",
            "`kafka` must not name `operations`",
        ),
        (
            "operations/bury.rs",
            "use crate::worker::Pool;",
            "operations/bury.rs:1",
            "must not name `worker`",
        ),
        ("worker/group.rs", "use crate::app;", "worker/group.rs:1", "must not name `app`"),
        (
            "main.rs",
            "fn main() { jobgate::kafka::go() }",
            "main.rs:1",
            "`main` must not name `kafka`",
        ),
    ] {
        is_found(path, text, place, words);
    }
}

#[test]
fn an_import_between_neighbours() {
    for (from, to) in [
        ("gateway", "worker"),
        ("worker", "gateway"),
        ("kafka", "store"),
        ("store", "mail"),
        ("mail", "kafka"),
        ("waitlist", "kafka"),
        ("waitlist", "operations"),
        ("push", "waitlist"),
        ("push", "worker"),
    ] {
        let path = format!("{from}/mod.rs");
        let words = format!("`{from}` must not name `{to}`");
        is_found(&path, &format!("use crate::{to}::X;"), &format!("{path}:1"), &words);
    }
}

#[test]
fn a_catalog_or_a_leaf_outside_app() {
    for (from, to) in [
        ("operations", "waitlist"),
        ("worker", "waitlist"),
        ("worker", "push"),
        ("gateway", "broker"),
        ("store", "telemetry"),
        ("broker", "domain"),
        ("telemetry", "domain"),
    ] {
        let path = format!("{from}/mod.rs");
        let words = format!("`{from}` must not name `{to}`");
        is_found(&path, &format!("use crate::{to}::X;"), &format!("{path}:1"), &words);
    }
}

#[test]
fn however_it_is_written() {
    for (text, line) in [
        ("fn f() { crate::worker::go(); }", 1),
        ("fn f(x: Vec<crate::worker::X>) {}", 1),
        ("use crate :: worker as w;", 1),
        ("use crate::{domain::key, worker};", 1),
        ("use crate::{\n    domain::{key, id},\n    worker::{self, Pool},\n};", 3),
        ("use super::super::worker::Pool;", 1),
        ("use super::{super::worker::Pool, Services};", 1),
        ("mod tests {\n    use super::super::super::worker::Pool;\n}", 2),
        ("use self::super::super::worker::Pool;", 1),
        ("use jobgate::worker::Pool;", 1),
        ("let x = r#\"a\"#; /* /* nested */ */ let y = '\"'; crate::worker::go()", 1),
    ] {
        let place = format!("gateway/router.rs:{line}");
        is_found("gateway/router.rs", text, &place, "`gateway` must not name `worker`");
    }
    is_found("gateway/router.rs", "use crate::*;", "gateway/router.rs:1", "whole crate");
}

#[test]
fn a_library_away_from_home() {
    for (path, text, words) in [
        ("gateway/mod.rs", "use rdkafka::Message;", "`rdkafka` has its home in kafka"),
        ("operations/enqueue.rs", "async fn f(x: sqlx::Error) {}", "`sqlx` has its home in store"),
        ("waitlist/email.rs", "use lettre as l;", "`lettre` has its home in mail"),
        ("worker/mod.rs", "use ::axum::Json;", "`axum` has its home in gateway"),
        (
            "mail/mod.rs",
            "#[derive(utoipa::ToSchema)] struct X;",
            "`utoipa` has its home in gateway",
        ),
        ("domain/key.rs", "use {std::fmt, jsonschema::Draft};", "home in domain/schema"),
        ("domain/schema_of.rs", "use jsonschema::Draft;", "home in domain/schema"),
        ("kafka/mod.rs", "use anyhow::Context as _;", "`anyhow` has its home in app"),
        ("gateway/mod.rs", "use schemars::JsonSchema;", "home in domain and waitlist"),
    ] {
        is_found(path, text, &format!("{path}:1"), words);
    }
}

#[test]
fn a_module_without_a_floor() {
    let todo = "give it a line in FLOORS in tests/architecture/main.rs";
    is_found("billing/mod.rs", "", "billing/mod.rs:1", todo);
    is_found("billing.rs", "", "billing.rs:1", todo);
    is_found("app/mod.rs", "use crate::billing::X;", "app/mod.rs:1", "`billing`");
}

#[test]
fn what_is_right_is_left_alone() {
    for (path, text) in [
        (
            "gateway/mod.rs",
            "//! Knows nothing of [`crate::worker`].\nuse crate::operations::Enqueue;",
        ),
        ("gateway/mod.rs", "/* crate::worker */ const X: &str = \"crate::worker\";"),
        ("gateway/mod.rs", "const X: &[u8] = br##\"use crate::worker; \"# \"##;"),
        ("gateway/endpoints/x.rs", "use super::super::worker::X;\npub(in super::super) fn f() {}"),
        ("gateway/endpoints/x.rs", "pub(crate) fn f<'a>(x: &'a str) -> char { 'c' }"),
        (
            "kafka/mod.rs",
            "use rdkafka::{Message, config::ClientConfig};\nuse crate::{domain, kafka};",
        ),
        ("domain/schema/mod.rs", "use jsonschema::Draft;"),
        ("waitlist/tests.rs", "use jsonschema::Draft;"),
        ("app/mod.rs", "use crate::{gateway, telemetry, waitlist};\nuse anyhow::Context as _;"),
        ("main.rs", "fn main() -> ExitCode { jobgate::app::main() }"),
        ("lib.rs", "pub mod app;\npub mod worker;"),
        // A local name is no library.
        ("worker/mod.rs", "let tower = 1; f(tower);"),
    ] {
        assert_eq!(said(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}
