use serde_json::{Value, json};

use super::*;
use crate::domain::fault::Fault;
use crate::domain::retry::{Order, RetryPolicy};

const DAY: Duration = Duration::from_hours(24);

fn declaration(name: &str) -> Declaration {
    let schema = json!({
        "type": "object",
        "properties": {"id": {"type": "string"}, "kind": {"type": "string"}, "at": {"type": "string"}, "n": {}, "list": {"type": "array"}},
        "required": ["id", "n", "list", "at"],
    });
    Declaration {
        name: name.to_owned(),
        kind: RecordKind::Job,
        description: "A type.".to_owned(),
        topic: TopicSpec::new(format!("t.{name}"), 1, DAY),
        group: "workers".to_owned(),
        key: "{id}".to_owned(),
        retry: RetryPolicy::DEFAULT,
        critical: false,
        headers: Vec::new(),
        constants: vec![("kind".to_owned(), "fixed".to_owned())],
        payload: PayloadType::from_schema(schema, Value::Null),
    }
}

fn dead_letters() -> TopicSpec {
    TopicSpec::dead_letters("t.dlq", 3, DAY)
}

fn declared(change: impl FnOnce(&mut Declaration)) -> Result<RecordType, CatalogError> {
    let mut declaration = declaration("a");
    change(&mut declaration);
    RecordType::declare(declaration)
}

fn catalog_error(change: impl FnOnce(&mut Declaration)) -> CatalogError {
    let first = RecordType::declare(declaration("first")).expect("a type");
    Catalog::new(vec![first, declared(change).expect("a type")], dead_letters())
        .expect_err("no catalog")
}

#[test]
fn constants_are_put_in_front_of_the_callers_own_bytes() {
    let open = declared(|d| {
        d.payload.schema = json!({"properties": {"kind": {}}, "required": ["n"]});
        d.key = "{n}".to_owned();
    })
    .expect("a type");
    let value = |body: &str| {
        open.accept(body.as_bytes()).map(|a| String::from_utf8(a.value).expect("UTF-8"))
    };
    assert_eq!(
        value("\n { \"n\" : 1,\"f\":1.50}").as_deref(),
        Ok("\n {\"kind\":\"fixed\", \"n\" : 1,\"f\":1.50}")
    );
    assert_eq!(value(r#"{"n":1,"kind":"fixed"}"#).as_deref(), Ok(r#"{"n":1,"kind":"fixed"}"#));
    assert_eq!(
        value(r#"{"n":1,"k\u0069nd":"fixed"}"#).as_deref(),
        Ok(r#"{"n":1,"k\u0069nd":"fixed"}"#)
    );
    for given in ["null", "1", "\"other\""] {
        let detail = format!("is {given}, which contradicts a: leave it out or send \"fixed\"");
        let expected = Refusal::Invalid(vec![Fault::new("/kind", detail)]);
        assert_eq!(value(&format!(r#"{{"n":1,"kind":{given}}}"#)), Err(expected));
    }
}

#[test]
fn an_empty_object_takes_a_constant_without_a_comma() {
    let keyed = declared(|d| {
        d.payload.schema = json!({"properties": {"kind": {}}, "required": ["kind"]});
        d.key = "{kind}".to_owned();
    })
    .expect("a type");
    let accepted = keyed.accept(b" { } ").expect("accepted");
    assert_eq!(accepted.value, br#" {"kind":"fixed" } "#);
    assert_eq!(accepted.payload, json!({"kind": "fixed"}));
    assert_eq!(accepted.key, "fixed");
}

#[test]
fn a_key_that_only_the_value_rules_out_is_a_fault() {
    let open = declared(|d| d.key = "{n}".to_owned()).expect("a type");
    let refusal = open.accept(br#"{"id":"x","n":{},"list":[],"at":""}"#).expect_err("refused");
    let detail = "must be a string or an integer: the record's key is made of it";
    assert_eq!(refusal, Refusal::Invalid(vec![Fault::new("/n", detail)]));
}

#[test]
fn a_key_needs_required_fields_of_a_fitting_type() {
    let error = |key: &str| declared(|d| d.key = key.to_owned()).expect_err("no type").to_string();
    assert_eq!(
        error("{kind}"),
        "the type \"a\": its key is made of \"kind\", which the schema does not require"
    );
    assert_eq!(
        error("{list}"),
        "the type \"a\": its key is made of \"list\", which is neither a string nor an integer"
    );
    assert_eq!(
        error("{list as unix seconds}"),
        "the type \"a\": its key is made of \"list\", which is not a string of the format date-time"
    );
    assert_eq!(error("{id"), "the key of the type \"a\" cannot be read");
}

#[test]
fn types_are_checked_against_each_other() {
    let name = |name: &'static str| catalog_error(move |d| d.name = name.to_owned());
    for bad in ["", "A", "a/b", "a b", ".a", "é"] {
        assert_eq!(name(bad), CatalogError::Name(bad.to_owned()));
    }
    assert_eq!(name("scheduled"), CatalogError::Reserved("scheduled".to_owned()));
    assert_eq!(name("by-id"), CatalogError::Reserved("by-id".to_owned()));
    assert_eq!(name("first"), CatalogError::DuplicateName("first".to_owned()));
    assert_eq!(name("t.first"), CatalogError::Ambiguous("t.first".to_owned()));
    for topic in ["t.first", "t.dlq"] {
        let error = catalog_error(|d| d.topic.name = topic.to_owned());
        assert_eq!(error, CatalogError::DuplicateTopic(topic.to_owned()));
    }
    assert_eq!(
        catalog_error(|d| d.topic.name = "a b".to_owned()),
        CatalogError::Topic("a b".to_owned())
    );
    assert!(matches!(catalog_error(|d| d.topic.partitions = 0), CatalogError::Setting { .. }));
    assert!(matches!(
        catalog_error(|d| d.topic.retention = Duration::ZERO),
        CatalogError::Setting { .. }
    ));
    assert!(matches!(catalog_error(|d| d.group = String::new()), CatalogError::Setting { .. }));
    assert!(matches!(catalog_error(|d| d.retry.attempts = 0), CatalogError::Setting { .. }));
    let relaxed = RetryPolicy { order: Order::Relaxed, quarantine: true, ..RetryPolicy::DEFAULT };
    let error = catalog_error(move |d| d.retry = relaxed).to_string();
    assert!(error.contains("declare it strict"), "{error}");
}
