//! Turns what the validator found into faults: the right place, and a sentence that a
//! person can act on.

use std::collections::{HashMap, HashSet};

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Kind;
use serde_json::Value;

use super::choices::{Reading, branches, format_words, list, one_of, type_words};
use crate::domain::fault::{Fault, Faults, MAX_POINTER_BYTES, child, quoted, shown};
use crate::domain::nearest::nearest;

/// Alternatives inside alternatives that are followed to the fault itself.
const MAX_NESTED_ALTERNATIVES: usize = 8;

/// A schema, the payload it was asked about, and the words for both.
pub(super) struct Sentences<'v> {
    schema: &'v Value,
    reading: Reading<'v>,
    payload: &'v Value,
}

impl<'v> Sentences<'v> {
    pub(super) fn new(schema: &'v Value, payload: &'v Value) -> Self {
        Self { schema, reading: Reading::of(schema), payload }
    }

    /// Adds the faults behind these errors.
    pub(super) fn add_all(&self, errors: &[ValidationError<'_>], faults: &mut Faults) {
        self.add_each(errors.iter(), faults, MAX_NESTED_ALTERNATIVES);
    }

    fn add_each<'e, 'i: 'e>(
        &self,
        errors: impl Iterator<Item = &'e ValidationError<'i>> + Clone,
        faults: &mut Faults,
        nested: usize,
    ) {
        // A number where a word of a list is expected breaks `type` and `enum`; the list says more.
        let listed: HashSet<&str> =
            errors.clone().filter(|e| is_choice(e.kind())).map(place).collect();
        for error in errors {
            if !(is_type(error.kind()) && listed.contains(place(error))) {
                self.add(error, faults, nested);
            }
        }
    }

    fn add(&self, error: &ValidationError<'_>, faults: &mut Faults, nested: usize) {
        let at = bounded(place(error));
        match error.kind() {
            Kind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                faults.push_with(|| Fault::new(child(at, name), self.missing(error, name)));
            }
            Kind::AdditionalProperties { unexpected }
            | Kind::UnevaluatedProperties { unexpected } => {
                for name in unexpected {
                    faults.push_with(|| Fault::new(child(at, name), self.unknown(error, at, name)));
                }
            }
            Kind::PropertyNames { error: inner } => {
                let name = inner.instance().as_str().unwrap_or_default().to_owned();
                let detail = format!("has a name that {}", self.sentence(inner));
                faults.push(Fault::new(child(at, &name), detail));
            }
            Kind::UniqueItems => self.add_repeats(error, faults),
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
                self.add_alternatives(error, context, faults, nested);
            }
            _ => faults.push_with(|| Fault::new(at, self.sentence(error))),
        }
    }

    /// The sentence for an error that concerns one value as a whole.
    fn sentence(&self, error: &ValidationError<'_>) -> String {
        let value = error.instance();
        let value = value.as_ref();
        match error.kind() {
            Kind::Type { .. } => {
                let expected = self
                    .around(error)
                    .and_then(type_words)
                    .unwrap_or_else(|| "of another type".to_owned());
                format!("must be {expected}, not {}", kind_of(value))
            }
            Kind::Enum { options } => {
                let choices: Vec<&Value> =
                    options.as_array().into_iter().flatten().filter(|o| !o.is_null()).collect();
                format!("must be {}, not {}", one_of(&choices), shown(value))
            }
            Kind::Constant { expected_value } => {
                format!("must be {}, not {}", shown(expected_value), shown(value))
            }
            Kind::Format { format } => match format_words(format) {
                Some((name, example)) => {
                    format!("must be {name} such as {example}, not {}", shown(value))
                }
                None => format!("must be in the format {}, not {}", quoted(format), shown(value)),
            },
            Kind::Pattern { pattern } => {
                format!("must match the pattern {}, not {}", quoted(pattern), shown(value))
            }
            Kind::FalseSchema => "is not allowed here".to_owned(),
            Kind::OneOfMultipleValid { .. } => {
                "fits more than one of the allowed forms; it must fit exactly one".to_owned()
            }
            Kind::Custom { message, .. } => message.clone(),
            kind => bounds_sentence(kind, value).unwrap_or_else(|| {
                format!("is not valid by the schema's {}", quoted(kind.keyword()))
            }),
        }
    }

    /// The schema whose keyword failed.
    fn around(&self, error: &ValidationError<'_>) -> Option<&'v Value> {
        let (parent, _) = error.schema_path().as_str().rsplit_once('/')?;
        self.schema.pointer(parent)
    }

    fn missing(&self, error: &ValidationError<'_>, name: &str) -> String {
        let expectation = self
            .around(error)
            .and_then(|schema| schema.get("properties")?.get(name))
            .and_then(|member| self.reading.expectation(member));
        match expectation {
            Some(words) => format!("is required: {words}"),
            None => "is required".to_owned(),
        }
    }

    fn unknown(&self, error: &ValidationError<'_>, at: &str, name: &str) -> String {
        let of = if at.is_empty() { "type" } else { "object" };
        let members = self.around(error).and_then(|schema| schema.get("properties")?.as_object());
        let names: Vec<&String> = members.into_iter().flat_map(|members| members.keys()).collect();
        if names.is_empty() {
            return format!("is not a field of this {of}, which has none");
        }
        let known = list(names.iter().map(|name| (*name).clone()));
        let meant = nearest(name, names.iter().map(|name| name.as_str()))
            .map(|meant| format!("; did you mean {meant}?"))
            .unwrap_or_default();
        format!("is not a field of this {of}; fields are {known}{meant}")
    }

    /// Names each item that repeats an earlier one.
    fn add_repeats(&self, error: &ValidationError<'_>, faults: &mut Faults) {
        let at = bounded(place(error));
        let items = self.payload.pointer(place(error)).and_then(Value::as_array);
        let mut first_places: HashMap<String, usize> = HashMap::new();
        let mut found = false;
        for (index, item) in items.into_iter().flatten().enumerate() {
            let first = *first_places.entry(item.to_string()).or_insert(index);
            if first != index {
                found = true;
                faults.push_with(|| {
                    let detail = format!("repeats item {first}, {}; keep one", shown(item));
                    Fault::new(child(at, &index.to_string()), detail)
                });
            }
        }
        // 1 and 1.0 are the same to JSON Schema and differ as text.
        if !found {
            faults.push(Fault::new(at, "must not hold the same item twice"));
        }
    }

    /// None of the alternatives fits: the faults of the one that was meant, or what they are.
    fn add_alternatives(
        &self,
        error: &ValidationError<'_>,
        context: &[Vec<ValidationError<'static>>],
        faults: &mut Faults,
        nested: usize,
    ) {
        let at = place(error);
        let value = error.instance();
        let value = value.as_ref();
        let schema = self.around(error);
        if let Some(choices) = schema.and_then(|schema| self.reading.choices(schema)) {
            faults.push(Fault::new(
                bounded(at),
                format!("must be {}, not {}", one_of(&choices), shown(value)),
            ));
            return;
        }
        // An alternative of another type was not meant: null, above all.
        let meant: Vec<&Vec<ValidationError<'static>>> = context
            .iter()
            .filter(|errors| !errors.iter().any(|e| is_type(e.kind()) && place(e) == at))
            .collect();
        let is_container = value.is_object() || value.is_array();
        let closest = meant.iter().min_by_key(|errors| errors.len());
        if let (Some(closest), Some(nested)) = (closest, nested.checked_sub(1))
            && (meant.len() == 1 || is_container)
        {
            self.add_each(closest.iter(), faults, nested);
            return;
        }
        let expected = schema
            .filter(|schema| branches(schema).is_some())
            .and_then(|schema| self.reading.expectation(schema))
            .unwrap_or_else(|| "one of the allowed forms".to_owned());
        let actual = if meant.is_empty() { kind_of(value) } else { shown(value) };
        faults.push(Fault::new(bounded(at), format!("must be {expected}, not {actual}")));
    }
}

/// Sentences about how large, long or many.
fn bounds_sentence(kind: &Kind, value: &Value) -> Option<String> {
    let number = shown(value);
    Some(match kind {
        Kind::Minimum { limit } => format!("must be at least {}, not {number}", shown(limit)),
        Kind::Maximum { limit } => format!("must be at most {}, not {number}", shown(limit)),
        Kind::ExclusiveMinimum { limit } => {
            format!("must be more than {}, not {number}", shown(limit))
        }
        Kind::ExclusiveMaximum { limit } => {
            format!("must be less than {}, not {number}", shown(limit))
        }
        Kind::MultipleOf { multiple_of } => {
            format!("must be a multiple of {multiple_of}, not {number}")
        }
        Kind::MinLength { limit: 1 }
        | Kind::MinItems { limit: 1 }
        | Kind::MinProperties { limit: 1 } => "must not be empty".to_owned(),
        Kind::MinLength { limit } => {
            format!("must have at least {}, not {}", count(*limit, "character"), chars(value))
        }
        Kind::MaxLength { limit } => {
            format!("must have at most {}, not {}", count(*limit, "character"), chars(value))
        }
        Kind::MinItems { limit } => {
            format!("must have at least {}, not {}", count(*limit, "item"), members(value))
        }
        Kind::MaxItems { limit } => {
            format!("must have at most {}, not {}", count(*limit, "item"), members(value))
        }
        Kind::MinProperties { limit } => {
            format!("must have at least {}, not {}", count(*limit, "field"), members(value))
        }
        Kind::MaxProperties { limit } => {
            format!("must have at most {}, not {}", count(*limit, "field"), members(value))
        }
        Kind::AdditionalItems { limit } => {
            format!("must have at most {}, not {}", count(*limit as u64, "item"), members(value))
        }
        _ => return None,
    })
}

fn count(number: u64, of: &str) -> String {
    if number == 1 { format!("1 {of}") } else { format!("{number} {of}s") }
}

fn chars(value: &Value) -> usize {
    value.as_str().map_or(0, |text| text.chars().count())
}

fn members(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.len(),
        Value::Object(members) => members.len(),
        _ => 0,
    }
}

/// What a value is, where its type is what matters; a number shows itself, as 1.5 may
/// stand where an integer should.
fn kind_of(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(number) if number.is_f64() => number.to_string(),
        Value::Number(_) => "a number".to_owned(),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

fn place<'e>(error: &'e ValidationError<'_>) -> &'e str {
    error.instance_path().as_str()
}

/// Cuts a pointer, at a segment, to the bound of all pointers.
fn bounded(pointer: &str) -> &str {
    let mut kept = pointer;
    while kept.len() > MAX_POINTER_BYTES {
        kept = kept.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    kept
}

fn is_type(kind: &Kind) -> bool {
    matches!(kind, Kind::Type { .. })
}

fn is_choice(kind: &Kind) -> bool {
    matches!(kind, Kind::Enum { .. } | Kind::Constant { .. })
}
