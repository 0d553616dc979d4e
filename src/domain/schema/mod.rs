//! The schema of a payload: compiled once, then asked for every fault of a value.
//!
//! Owns the use of `jsonschema`. Built-in types and those of a catalog file go the same
//! way. Does no IO: a schema stands by itself, and a `$ref` to elsewhere is refused.

mod choices;
mod sentences;
mod typed;

use std::fmt;
use std::net::IpAddr;

use jsonschema::{Draft, EmailOptions, ValidationError, Validator};
use serde_json::Value;

pub use typed::schema_of;

use self::sentences::Sentences;
use crate::domain::fault::{Fault, Faults, MAX_POINTER_BYTES};

/// Values and bytes of the longest name up to which every fault of a payload is looked
/// for. The library keeps each fault with its place, so a body of half a million wrong
/// numbers would cost 100 MB; past these sizes only the first fault is named.
const MAX_VALUES_SEARCHED: usize = 50_000;
const MAX_NAME_BYTES_SEARCHED: usize = MAX_POINTER_BYTES;

/// The one dialect: what the catalog publishes and the API document embeds.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// A schema that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// It is written for another dialect.
    #[error("the schema's $schema is {0}; jobgate reads JSON Schema 2020-12 ({DIALECT})")]
    Dialect(String),
    /// A `$ref` points outside the schema, or at nothing.
    #[error(
        "the schema refers to something outside itself: {0}; put it under $defs and refer to it as #/$defs/.."
    )]
    Reference(String),
    /// It is no valid schema.
    #[error("the schema is not valid at {pointer:?}: {detail}")]
    Invalid {
        /// RFC 6901, into the schema.
        pointer: String,
        /// What is wrong there.
        detail: String,
    },
}

/// A JSON Schema 2020-12, ready to check payloads; formats are checked too.
pub struct PayloadSchema {
    source: Value,
    validator: Validator,
}

impl fmt::Debug for PayloadSchema {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("PayloadSchema").field(&self.source).finish()
    }
}

impl PayloadSchema {
    /// Compiles a schema.
    pub fn compile(source: Value) -> Result<Self, SchemaError> {
        if let Some(dialect) = source.get("$schema")
            && dialect.as_str().is_none_or(|uri| uri.trim_end_matches('#') != DIALECT)
        {
            return Err(SchemaError::Dialect(dialect.to_string()));
        }
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .should_validate_formats(true)
            // A bare address: what a mail server takes, without a name beside it.
            .with_email_options(
                EmailOptions::default().without_display_text().without_domain_literal(),
            )
            .with_format("ip", |text: &str| text.parse::<IpAddr>().is_ok())
            .offline()
            .build(&source)
            .map_err(|error| compile_error(&error))?;
        Ok(Self { source, validator })
    }

    /// The schema itself, for the catalog and the API document.
    pub fn expose(&self) -> &Value {
        &self.source
    }

    /// The schema of a member of the payload, if it is named.
    pub fn member(&self, name: &str) -> Option<&Value> {
        self.source.get("properties")?.get(name)
    }

    /// Whether a valid payload always has this member, as far as the schema's own
    /// `required` and those in its `allOf` say.
    pub fn requires(&self, name: &str) -> bool {
        requires(&self.source, name)
    }

    /// Every fault of a value, bounded as [`Faults`] says; empty when it is valid.
    pub fn faults(&self, value: &Value) -> Vec<Fault> {
        let mut faults = Faults::default();
        self.collect(value, &mut faults);
        faults.into_vec()
    }

    /// Adds every fault of a value to those of other checks.
    pub fn collect(&self, value: &Value, faults: &mut Faults) {
        if self.validator.is_valid(value) {
            return;
        }
        let sentences = Sentences::new(&self.source, value);
        if is_searchable(value) {
            let errors: Vec<ValidationError<'_>> = self.validator.iter_errors(value).collect();
            sentences.add_all(&errors, faults);
        } else if let Err(error) = self.validator.validate(value) {
            sentences.add_all(std::slice::from_ref(&error), faults);
            faults.push(Fault::new("", "is so large that only its first fault is named"));
        }
    }
}

fn requires(schema: &Value, name: &str) -> bool {
    let listed = |keyword: &str| {
        schema.get(keyword).and_then(Value::as_array).map_or(&[][..], Vec::as_slice)
    };
    listed("required").iter().any(|n| n == name)
        || listed("allOf").iter().any(|part| requires(part, name))
}

fn compile_error(error: &ValidationError<'_>) -> SchemaError {
    let detail = error.masked().to_string();
    match error.kind() {
        jsonschema::error::ValidationErrorKind::Referencing(cause) => {
            SchemaError::Reference(cause.to_string())
        }
        _ => SchemaError::Invalid { pointer: error.instance_path().as_str().to_owned(), detail },
    }
}

/// Whether a search for every fault stays cheap.
fn is_searchable(value: &Value) -> bool {
    let mut values = 0_usize;
    let mut waiting = vec![value];
    while let Some(next) = waiting.pop() {
        values += 1;
        match next {
            Value::Array(items) => waiting.extend(items),
            Value::Object(members) => {
                if members.keys().any(|name| name.len() > MAX_NAME_BYTES_SEARCHED) {
                    return false;
                }
                waiting.extend(members.values());
            }
            _ => {}
        }
        if values + waiting.len() > MAX_VALUES_SEARCHED {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests;
