use serde_json::{Value, json};

use super::*;
use crate::domain::fault::MAX_FAULTS;

fn compiled(schema: Value) -> PayloadSchema {
    PayloadSchema::compile(schema).expect("a schema")
}

#[track_caller]
fn assert_faults(schema: &Value, value: &Value, expected: &[(&str, &str)]) {
    let faults = compiled(schema.clone()).faults(value);
    let faults: Vec<(&str, &str)> =
        faults.iter().map(|f| (f.pointer.as_str(), f.detail.as_str())).collect();
    assert_eq!(faults, expected, "{schema} {value}");
}

#[test]
fn each_keyword_has_its_sentence() {
    let table = [
        (json!({"type": "integer"}), json!(1.5), "must be an integer, not 1.5"),
        (json!({"type": "integer"}), json!("1"), "must be an integer, not a string"),
        (json!({"type": ["string", "null"]}), json!(true), "must be a string, not a boolean"),
        (
            json!({"type": ["string", "integer"]}),
            json!([]),
            "must be a string or an integer, not an array",
        ),
        (
            json!({"enum": ["a", 1, "b c"]}),
            json!({}),
            "must be one of a, 1, \"b c\", not an object",
        ),
        (
            json!({"type": ["string", "null"], "enum": ["a", "b", null]}),
            json!(3),
            "must be one of a, b, not 3",
        ),
        (json!({"const": "a"}), json!("b"), "must be \"a\", not \"b\""),
        (json!({"minimum": 0}), json!(-1), "must be at least 0, not -1"),
        (json!({"maximum": 9}), json!(10), "must be at most 9, not 10"),
        (json!({"exclusiveMinimum": 0}), json!(0), "must be more than 0, not 0"),
        (json!({"exclusiveMaximum": 9}), json!(9), "must be less than 9, not 9"),
        (json!({"multipleOf": 5}), json!(3), "must be a multiple of 5, not 3"),
        (json!({"minLength": 1}), json!(""), "must not be empty"),
        (json!({"minLength": 3}), json!("é"), "must have at least 3 characters, not 1"),
        (json!({"maxLength": 1}), json!("ab"), "must have at most 1 character, not 2"),
        (json!({"minItems": 2}), json!([1]), "must have at least 2 items, not 1"),
        (json!({"maxItems": 1}), json!([1, 2]), "must have at most 1 item, not 2"),
        (json!({"maxProperties": 0}), json!({"a": 1}), "must have at most 0 fields, not 1"),
        (json!({"pattern": "^a$"}), json!("b"), "must match the pattern \"^a$\", not \"b\""),
        (json!({"format": "date"}), json!("x"), "must be a date such as 2025-01-01, not \"x\""),
        (
            json!({"format": "ip"}),
            json!("x"),
            "must be an IP address such as 203.0.113.7, not \"x\"",
        ),
        (
            json!({"format": "json-pointer"}),
            json!("x"),
            "must be in the format \"json-pointer\", not \"x\"",
        ),
        (json!({"not": {}}), json!(1), "is not valid by the schema's \"not\""),
        (json!(false), json!(1), "is not allowed here"),
        (
            json!({"anyOf": [{"format": "uuid", "type": "string"}, {"type": "null"}]}),
            json!("x"),
            "must be a UUID such as 018f2c9e-7b1a-7c3d-9e4f-5a6b7c8d9e0f, not \"x\"",
        ),
        (
            json!({"anyOf": [{"type": "integer"}, {"type": "boolean"}]}),
            json!("x"),
            "must be an integer or true or false, not a string",
        ),
        (
            json!({"oneOf": [{"const": "a"}, {"enum": ["b", "c"]}, {"type": "null"}]}),
            json!("x"),
            "must be one of a, b, c, not \"x\"",
        ),
        (
            json!({"oneOf": [{"minimum": 1}, {"minimum": 2}]}),
            json!(3),
            "fits more than one of the allowed forms; it must fit exactly one",
        ),
    ];
    for (schema, value, sentence) in table {
        assert_faults(&schema, &value, &[("", sentence)]);
    }
}

#[test]
fn members_are_named_where_they_stand() {
    let schema = json!({
        "type": "object",
        "properties": {
            "user_id": {"$ref": "#/$defs/id"},
            "lines": {"type": "array", "items": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}, "additionalProperties": false}},
        },
        "required": ["user_id", "other"],
        "additionalProperties": false,
        "$defs": {"id": {"type": "string", "format": "uuid"}},
    });
    let value = json!({"userId": "x", "lines": [{"m": 1}], "a/b": 1});
    assert_faults(
        &schema,
        &value,
        &[
            ("/a~1b", "is not a field of this type; fields are lines, user_id"),
            ("/lines/0/m", "is not a field of this object; fields are n"),
            ("/lines/0/n", "is required: an integer"),
            ("/other", "is required"),
            (
                "/userId",
                "is not a field of this type; fields are lines, user_id; did you mean user_id?",
            ),
            ("/user_id", "is required: a UUID"),
        ],
    );
}

#[test]
fn the_alternative_that_was_meant_is_the_one_explained() {
    let schema = json!({"anyOf": [
        {"type": "object", "required": ["a", "b"], "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}},
        {"type": "object", "required": ["x", "y", "z"]},
        {"type": "null"},
    ]});
    assert_faults(
        &schema,
        &json!({"a": "1"}),
        &[("/a", "must be an integer, not a string"), ("/b", "is required: a string")],
    );
}

#[test]
fn repeated_items_are_pointed_at() {
    let schema = json!({"uniqueItems": true});
    assert_faults(&schema, &json!(["a", "b", "a"]), &[("/2", "repeats item 0, \"a\"; keep one")]);
    assert_faults(&schema, &json!([1, 1.0]), &[("", "must not hold the same item twice")]);
}

#[test]
fn names_that_break_their_own_schema_are_named() {
    let schema = json!({"propertyNames": {"maxLength": 2}});
    assert_faults(
        &schema,
        &json!({"abc": 1}),
        &[("/abc", "has a name that must have at most 2 characters, not 3")],
    );
}

#[test]
fn the_list_of_faults_is_bounded() {
    let schema = compiled(json!({"items": {"type": "string"}}));
    let faults = schema.faults(&json!(vec![1; 1_000]));
    assert_eq!(faults.len(), MAX_FAULTS + 1);
    assert_eq!(
        faults.last().map(|f| f.detail.as_str()),
        Some("has 900 more faults; mend these first")
    );
    let faults = schema.faults(&json!(vec![1; MAX_VALUES_SEARCHED + 1]));
    assert_eq!(faults.len(), 2);
    let open =
        compiled(json!({"additionalProperties": {"additionalProperties": {"type": "string"}}}));
    let faults = open.faults(&json!({"k".repeat(5_000): {"a": 1}}));
    assert!(faults.iter().all(|f| f.pointer.len() <= MAX_POINTER_BYTES));
}

#[test]
fn schemas_that_cannot_be_used_are_refused_with_a_reason() {
    let error = |schema| PayloadSchema::compile(schema).expect_err("no schema");
    assert!(matches!(
        error(json!({"$ref": "https://example.com/x.json"})),
        SchemaError::Reference(_)
    ));
    assert!(matches!(error(json!({"$ref": "file:///etc/passwd"})), SchemaError::Reference(_)));
    assert!(matches!(error(json!({"$ref": "#/$defs/none"})), SchemaError::Reference(_)));
    assert!(matches!(
        error(json!({"$schema": "http://json-schema.org/draft-07/schema#"})),
        SchemaError::Dialect(_)
    ));
    let invalid = error(json!({"properties": {"a": {"type": "strin"}}}));
    assert!(
        matches!(&invalid, SchemaError::Invalid { pointer, .. } if pointer == "/properties/a/type"),
        "{invalid}"
    );
    assert!(matches!(error(json!({"pattern": "("})), SchemaError::Invalid { .. }));
}

#[test]
fn required_is_found_in_all_of() {
    let schema = compiled(json!({"required": ["a"], "allOf": [{"required": ["b"]}]}));
    assert!(schema.requires("a") && schema.requires("b") && !schema.requires("c"));
}
