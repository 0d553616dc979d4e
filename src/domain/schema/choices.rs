//! Reads a schema for people: which values it allows, and what it expects in a word or two.
//!
//! Knows nothing of payloads.

use serde_json::Value;

use crate::domain::fault::shown;

/// `$ref`s, branches and items followed for one sentence; a schema may refer to itself.
const MAX_HOPS: usize = 8;

/// Choices that one sentence lists.
const MAX_CHOICES_SHOWN: usize = 40;

/// An example of a UUID, for sentences.
const A_UUID: &str = "018f2c9e-7b1a-7c3d-9e4f-5a6b7c8d9e0f";

/// A schema and the document that its `$ref`s point into.
#[derive(Clone, Copy)]
pub(super) struct Reading<'s> {
    root: &'s Value,
}

impl<'s> Reading<'s> {
    pub(super) fn of(root: &'s Value) -> Self {
        Self { root }
    }

    /// Follows `$ref`s within the document.
    pub(super) fn resolved(self, schema: &'s Value) -> &'s Value {
        let mut schema = schema;
        for _ in 0..MAX_HOPS {
            let target =
                schema.get("$ref").and_then(Value::as_str).and_then(|uri| uri.strip_prefix('#'));
            let Some(next) = target.and_then(|pointer| self.root.pointer(pointer)) else { break };
            schema = next;
        }
        schema
    }

    /// The values that a schema allows, when it lists them; null, which only says that a
    /// member may be left out, is not among them.
    pub(super) fn choices(self, schema: &'s Value) -> Option<Vec<&'s Value>> {
        let mut choices = self.choices_within(schema, MAX_HOPS)?;
        choices.retain(|choice| !choice.is_null());
        (!choices.is_empty()).then_some(choices)
    }

    fn choices_within(self, schema: &'s Value, hops: usize) -> Option<Vec<&'s Value>> {
        let hops = hops.checked_sub(1)?;
        let schema = self.resolved(schema);
        if let Some(options) = schema.get("enum").and_then(Value::as_array) {
            return Some(options.iter().collect());
        }
        if let Some(only) = schema.get("const") {
            return Some(vec![only]);
        }
        if schema.get("type").is_some_and(|kind| kind == "null") {
            return Some(Vec::new());
        }
        let branches = branches(schema)?;
        let listed: Option<Vec<_>> =
            branches.iter().map(|branch| self.choices_within(branch, hops)).collect();
        Some(listed?.into_iter().flatten().collect())
    }

    /// What a schema expects, as the end of a sentence: "a UUID", "one of a, b".
    pub(super) fn expectation(self, schema: &'s Value) -> Option<String> {
        self.expectation_within(schema, MAX_HOPS)
    }

    fn expectation_within(self, schema: &'s Value, hops: usize) -> Option<String> {
        let hops = hops.checked_sub(1)?;
        let schema = self.resolved(schema);
        if let Some(choices) = self.choices(schema) {
            return Some(one_of(&choices));
        }
        if let Some(name) =
            schema.get("format").and_then(Value::as_str).and_then(|format| format_words(format))
        {
            return Some(name.0.to_owned());
        }
        if let Some(items) = schema.get("items")
            && let Some(item) = self.expectation_within(items, hops)
        {
            return Some(format!("an array, each item {item}"));
        }
        if let Some(kinds) = type_words(schema) {
            return Some(kinds);
        }
        let mut words: Vec<String> = Vec::new();
        for branch in
            branches(schema)?.iter().filter(|b| b.get("type").is_none_or(|kind| kind != "null"))
        {
            let word = self.expectation_within(branch, hops)?;
            if !words.contains(&word) {
                words.push(word);
            }
        }
        (!words.is_empty()).then(|| words.join(" or "))
    }
}

/// The alternatives of a schema.
pub(super) fn branches(schema: &Value) -> Option<&Vec<Value>> {
    schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array)
}

/// "one of a, b, c", or the only choice itself.
pub(super) fn one_of(choices: &[&Value]) -> String {
    match choices {
        [only] => shown(only),
        _ => format!("one of {}", list(choices.iter().map(|choice| bare(choice)))),
    }
}

/// Words with commas, cut to a bounded number.
pub(super) fn list(words: impl ExactSizeIterator<Item = String>) -> String {
    let more = words.len().saturating_sub(MAX_CHOICES_SHOWN);
    let text = words.take(MAX_CHOICES_SHOWN).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{text} and {more} more") } else { text }
}

/// A choice without quotes where it is a plain word.
fn bare(choice: &Value) -> String {
    match choice {
        Value::String(word) if is_plain(word) => word.clone(),
        other => shown(other),
    }
}

fn is_plain(word: &str) -> bool {
    !word.is_empty()
        && word.len() <= 64
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:/".contains(&b))
}

/// "a string", "an integer or a boolean"; null, which only says that a member may be left
/// out, is not named beside others.
pub(super) fn type_words(schema: &Value) -> Option<String> {
    let kinds: Vec<&str> = match schema.get("type")? {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => {
            kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect()
        }
        _ => return None,
    };
    let words: Vec<&str> = kinds.into_iter().map(type_word).collect();
    (!words.is_empty()).then(|| words.join(" or "))
}

fn type_word(kind: &str) -> &str {
    match kind {
        "string" => "a string",
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "an array",
        "object" => "an object",
        other => other,
    }
}

/// A format's name and an example of it.
pub(super) fn format_words(format: &str) -> Option<(&'static str, &'static str)> {
    Some(match format {
        "uuid" => ("a UUID", A_UUID),
        "date-time" => ("an RFC 3339 time", "2025-01-01T00:00:00Z"),
        "date" => ("a date", "2025-01-01"),
        "time" => ("an RFC 3339 time of day", "12:30:00Z"),
        "duration" => ("an ISO 8601 duration", "PT10M"),
        "email" | "idn-email" => ("an e-mail address", "ada@example.com"),
        "hostname" | "idn-hostname" => ("a host name", "example.com"),
        "ip" => ("an IP address", "203.0.113.7"),
        "ipv4" => ("an IPv4 address", "203.0.113.7"),
        "ipv6" => ("an IPv6 address", "2001:db8::7"),
        "uri" | "iri" => ("a URI", "https://example.com/a"),
        _ => return None,
    })
}
