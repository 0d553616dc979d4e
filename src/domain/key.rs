//! The record key of a type: always worked out from the payload, never the client's choice.
//!
//! Owns the template's text and what it makes of a payload. Knows nothing of topics.

use std::fmt;

use chrono::DateTime;
use serde_json::Value;
use uuid::Uuid;

/// Bytes of a key. A key is kept with every record, in the tracker and in lists; ids are
/// 36 bytes, and this leaves room for many of them.
pub const MAX_KEY_BYTES: usize = 1_024;

const AS_UNIX_SECONDS: &str = " as unix seconds";

/// A hyphenated UUID has this many characters.
const UUID_CHARS: usize = 36;

/// A template's text that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key {text:?} {reason}")]
pub struct TemplateError {
    text: String,
    reason: &'static str,
}

/// Why a payload has no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A field of the template is absent or null.
    #[error("is required: the record's key is made of it")]
    Missing {
        /// The field.
        field: String,
    },
    /// A field of the template is neither a string nor an integer.
    #[error("must be a string or an integer: the record's key is made of it")]
    NotScalar {
        /// The field.
        field: String,
    },
    /// A field that is taken as unix seconds is no time.
    #[error(
        "must be an RFC 3339 time such as 2025-01-01T00:00:00Z: the record's key is made of it"
    )]
    NotTime {
        /// The field.
        field: String,
    },
    /// The whole key is empty.
    #[error("gives an empty record key")]
    Empty,
    /// The whole key is longer than [`MAX_KEY_BYTES`].
    #[error("gives a record key of more than {MAX_KEY_BYTES} bytes")]
    TooLong,
}

impl KeyError {
    /// The field to blame, if it is a single one.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Missing { field } | Self::NotScalar { field } | Self::NotTime { field } => {
                Some(field)
            }
            Self::Empty | Self::TooLong => None,
        }
    }
}

/// How a field becomes text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    /// As it is; a UUID in lower case.
    Plain,
    /// An RFC 3339 time as whole seconds since 1970.
    UnixSeconds,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(String, KeyForm),
}

/// Makes a record's key of fields of its payload, for example `{campaign_id}_{user_id}`.
///
/// Its text form is what the catalog shows and a catalog file says:
/// `{field}` or `{field as unix seconds}`, with any text around.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyTemplate {
    text: String,
    parts: Vec<Part>,
}

impl fmt::Display for KeyTemplate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl KeyTemplate {
    /// The part of a key that its first field is, where there is a second one: the campaign in
    /// `{campaign_id}_{user_id}`. None where the key, which any client may have written, has not
    /// the template's form.
    pub fn prefix_of<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        let mut parts = self.parts.iter();
        let head = match parts.next()? {
            Part::Text(text) => {
                parts.next()?;
                text.as_str()
            }
            Part::Field(..) => "",
        };
        let Some(Part::Text(between)) = parts.next() else { return None };
        parts.next()?;
        let rest = key.strip_prefix(head.as_bytes())?;
        let between = between.as_bytes();
        let end = rest.windows(between.len()).position(|window| window == between)?;
        rest.get(..end)
    }

    /// Reads a template. At least one field must be in it, else all records share a key.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let error = |reason| TemplateError { text: text.to_owned(), reason };
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (inside, next) =
                after.split_once('}').ok_or_else(|| error("has a { without a }"))?;
            parts.extend(literal(before).map_err(error)?);
            parts.push(field(inside).map_err(error)?);
            rest = next;
        }
        parts.extend(literal(rest).map_err(error)?);
        if !parts.iter().any(|part| matches!(part, Part::Field(..))) {
            return Err(error("names no field, such as {account_id}"));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The fields that the key is made of, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, KeyForm)> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field(name, form) => Some((name.as_str(), *form)),
            Part::Text(_) => None,
        })
    }

    /// The key of a payload.
    pub fn derive(&self, payload: &Value) -> Result<String, KeyError> {
        let mut key = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => key.push_str(text),
                Part::Field(name, form) => push_field(&mut key, name, *form, payload.get(name))?,
            }
            if key.len() > MAX_KEY_BYTES {
                return Err(KeyError::TooLong);
            }
        }
        if key.is_empty() { Err(KeyError::Empty) } else { Ok(key) }
    }
}

fn literal(text: &str) -> Result<Option<Part>, &'static str> {
    if text.contains('}') {
        return Err("has a } without a {");
    }
    Ok((!text.is_empty()).then(|| Part::Text(text.to_owned())))
}

fn field(inside: &str) -> Result<Part, &'static str> {
    let (name, form) = match inside.strip_suffix(AS_UNIX_SECONDS) {
        Some(name) => (name, KeyForm::UnixSeconds),
        None => (inside, KeyForm::Plain),
    };
    let is_name =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    if is_name {
        Ok(Part::Field(name.to_owned(), form))
    } else {
        Err("has a field that is not written as {name} or {name as unix seconds}")
    }
}

fn push_field(
    key: &mut String,
    name: &str,
    form: KeyForm,
    value: Option<&Value>,
) -> Result<(), KeyError> {
    let field = || name.to_owned();
    match (form, value) {
        (_, None | Some(Value::Null)) => return Err(KeyError::Missing { field: field() }),
        (KeyForm::UnixSeconds, Some(Value::String(text))) => {
            let time = DateTime::parse_from_rfc3339(text)
                .map_err(|_| KeyError::NotTime { field: field() })?;
            key.push_str(&time.timestamp().to_string());
        }
        (KeyForm::UnixSeconds, Some(_)) => return Err(KeyError::NotTime { field: field() }),
        (KeyForm::Plain, Some(Value::String(text))) => push_text(key, text),
        (KeyForm::Plain, Some(Value::Number(number))) if !number.is_f64() => {
            key.push_str(&number.to_string());
        }
        (KeyForm::Plain, Some(_)) => return Err(KeyError::NotScalar { field: field() }),
    }
    Ok(())
}

/// A UUID in either case is the same id, so it must be the same key.
fn push_text(key: &mut String, text: &str) {
    if text.len() == UUID_CHARS && Uuid::try_parse(text).is_ok() {
        key.push_str(&text.to_ascii_lowercase());
    } else {
        key.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn derive(template: &str, payload: &Value) -> Result<String, KeyError> {
        KeyTemplate::parse(template).expect("a template").derive(payload)
    }

    #[test]
    fn keys_are_made_of_fields() {
        let payload = json!({"id": "7F0C2D4E-1111-4222-8333-ABCDEFABCDEF", "n": -3, "s": "Ab C", "t": "2025-01-01T02:00:00.9+02:00", "e": ""});
        assert_eq!(derive("{id}", &payload).as_deref(), Ok("7f0c2d4e-1111-4222-8333-abcdefabcdef"));
        assert_eq!(derive("a:{n}_{s}!", &payload).as_deref(), Ok("a:-3_Ab C!"));
        assert_eq!(derive("{s}_{t as unix seconds}", &payload).as_deref(), Ok("Ab C_1735689600"));
        assert_eq!(derive("{e}", &payload), Err(KeyError::Empty));
    }

    #[test]
    fn the_prefix_of_a_key_is_its_first_field_where_there_is_a_second() {
        let prefix = |template: &str, key: &'static str| {
            let prefix =
                KeyTemplate::parse(template).expect("a template").prefix_of(key.as_bytes());
            prefix.map(|prefix| std::str::from_utf8(prefix).expect("text"))
        };
        assert_eq!(prefix("{campaign_id}_{user_id}", "red_1"), Some("red"));
        assert_eq!(prefix("c:{a}--{b}", "c:red--1--2"), Some("red"));
        for (template, key) in [
            ("{id}", "red"),
            ("{id}_", "red_"),
            ("{a}_{b}", "no field of its own"),
            ("c:{a}_{b}", "red_1"),
        ] {
            assert_eq!(prefix(template, key), None, "{template} {key}");
        }
    }

    #[test]
    fn payloads_without_a_key_say_which_field() {
        let payload = json!({"o": {}, "f": 1.5, "n": null, "s": "x".repeat(MAX_KEY_BYTES + 1)});
        assert_eq!(derive("{x}", &payload), Err(KeyError::Missing { field: "x".into() }));
        assert_eq!(derive("{n}", &payload), Err(KeyError::Missing { field: "n".into() }));
        assert_eq!(derive("{o}", &payload), Err(KeyError::NotScalar { field: "o".into() }));
        assert_eq!(derive("{f}", &payload), Err(KeyError::NotScalar { field: "f".into() }));
        assert_eq!(
            derive("{f as unix seconds}", &payload),
            Err(KeyError::NotTime { field: "f".into() })
        );
        assert_eq!(derive("{s}", &payload), Err(KeyError::TooLong));
        assert_eq!(derive("{x}", &json!(1)), Err(KeyError::Missing { field: "x".into() }));
    }

    #[test]
    fn templates_that_mean_nothing_are_refused() {
        for text in
            ["", "fixed", "{", "{a", "a}", "{a}}", "{}", "{a b}", "{{a}}", "{ as unix seconds}"]
        {
            assert!(KeyTemplate::parse(text).is_err(), "{text}");
        }
        let text = "{campaign_id}_{start_time as unix seconds}";
        assert_eq!(KeyTemplate::parse(text).expect("a template").to_string(), text);
    }
}
