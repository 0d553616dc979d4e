//! One record type: how its payload is checked, and what of it goes to Kafka.

use serde_json::{Map, Value};

use super::payload::{PayloadType, Reads, Rule};
use super::{CatalogError, TopicSpec};
use crate::domain::fault::{Fault, Faults, child, quoted, shown};
use crate::domain::json::{self, NotJson};
use crate::domain::key::{KeyForm, KeyTemplate};
use crate::domain::retry::RetryPolicy;
use crate::domain::schema::PayloadSchema;

/// Whether something is to be done, or has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// Enqueued at `/jobs/{type}`.
    Job,
    /// Published at `/events/{topic}`.
    Event,
}

/// Everything that is said about a type, before it is checked.
#[derive(Debug, Clone)]
pub struct Declaration {
    /// The name in the URL, for example `email.welcome`. It never changes once deployed.
    pub name: String,
    /// Job or event.
    pub kind: RecordKind,
    /// A sentence for the catalog.
    pub description: String,
    /// Where its records are.
    pub topic: TopicSpec,
    /// Which group runs it.
    pub group: String,
    /// The text of its [`KeyTemplate`].
    pub key: String,
    /// How often it is tried.
    pub retry: RetryPolicy,
    /// Whether its dead letters call for somebody at once.
    pub critical: bool,
    /// Headers that every record of it bears.
    pub headers: Vec<(String, String)>,
    /// String fields that have one value in this type: added where they are absent.
    pub constants: Vec<(String, String)>,
    /// What its payload must be.
    pub payload: PayloadType,
}

/// A record type that is ready to accept payloads.
#[derive(Debug)]
pub struct RecordType {
    /// The name in the URL, for example `email.welcome`.
    pub name: String,
    /// Job or event.
    pub kind: RecordKind,
    /// A sentence for the catalog.
    pub description: String,
    /// Where its records are.
    pub topic: TopicSpec,
    /// Which group runs it.
    pub group: String,
    /// What its records' key is made of.
    pub key: KeyTemplate,
    /// How often it is tried.
    pub retry: RetryPolicy,
    /// Whether its dead letters call for somebody at once.
    pub critical: bool,
    /// Headers that every record of it bears.
    pub headers: Vec<(String, String)>,
    schema: PayloadSchema,
    rules: Vec<Rule>,
    reads: Option<Reads>,
    constants: Vec<Constant>,
    example: Value,
}

/// A string field that has one value.
#[derive(Debug)]
struct Constant {
    field: String,
    value: String,
    /// Both as they stand in JSON.
    member: String,
}

/// A payload that may go to Kafka, or to its handler.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// The payload, constants included.
    pub payload: Value,
    /// The record's value: the caller's own bytes, with absent constants put in front.
    pub value: Vec<u8>,
    /// The record's key.
    pub key: String,
}

/// A payload that was found good.
struct Checked<'a> {
    /// With every constant.
    payload: Value,
    /// The constants that were absent.
    absent: Vec<&'a Constant>,
    /// Whether the caller sent nothing else.
    is_empty: bool,
}

/// Why a payload may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The bytes are no JSON.
    NotJson {
        /// A sentence with line and column.
        detail: String,
    },
    /// Every fault of the payload; never empty.
    Invalid(Vec<Fault>),
}

impl From<NotJson> for Refusal {
    fn from(NotJson { detail }: NotJson) -> Self {
        Self::NotJson { detail }
    }
}

impl Constant {
    fn new((field, value): (String, String)) -> Self {
        let member = format!("{}:{}", Value::from(field.as_str()), Value::from(value.as_str()));
        Self { field, value, member }
    }
}

impl RecordType {
    /// Checks a declaration by itself; the [`super::Catalog`] checks it against the others.
    pub fn declare(declaration: Declaration) -> Result<Self, CatalogError> {
        let Declaration {
            name,
            kind,
            description,
            topic,
            group,
            key,
            retry,
            critical,
            headers,
            constants,
            payload,
        } = declaration;
        let PayloadType { mut schema, rules, reads, mut example } = payload;
        for (field, value) in &constants {
            narrow(&mut schema, field, value);
            if let Some(members) = example.as_object_mut() {
                members.insert(field.clone(), Value::from(value.as_str()));
            }
        }
        let schema = PayloadSchema::compile(schema)
            .map_err(|source| CatalogError::Schema { name: name.clone(), source })?;
        let key = KeyTemplate::parse(&key)
            .map_err(|source| CatalogError::Key { name: name.clone(), source })?;
        if let Some((field, reason)) = key_faults(&schema, &key).next() {
            return Err(CatalogError::KeyField { name, field: field.to_owned(), reason });
        }
        Ok(Self {
            name,
            kind,
            description,
            topic,
            group,
            key,
            retry,
            critical,
            headers,
            schema,
            rules,
            reads,
            constants: constants.into_iter().map(Constant::new).collect(),
            example,
        })
    }

    /// The payload's schema, for the catalog and the API document.
    pub fn schema(&self) -> &PayloadSchema {
        &self.schema
    }

    /// A valid payload, for documents.
    pub fn example(&self) -> Value {
        self.example.clone()
    }

    /// Checks a body, or the value of a record that any Kafka client may have written:
    /// how it is written, its schema, its rules. Reports all faults at once.
    pub fn accept(&self, body: &[u8]) -> Result<Accepted, Refusal> {
        let Checked { payload, absent, is_empty } = self.checked(body)?;
        let key = self.key.derive(&payload).map_err(|error| {
            let pointer = error.field().map(|field| child("", field)).unwrap_or_default();
            Refusal::Invalid(vec![Fault::new(pointer, error.to_string())])
        })?;
        Ok(Accepted { value: spliced(body, &absent, is_empty), payload, key })
    }

    /// The payload in the value of a record, checked in the same way.
    pub fn read(&self, value: &[u8]) -> Result<Value, Refusal> {
        self.checked(value).map(|checked| checked.payload)
    }

    fn checked(&self, body: &[u8]) -> Result<Checked<'_>, Refusal> {
        let json::Parsed { value: mut payload, mut faults, complete } = json::parse_object(body)?;
        let Value::Object(members) = &mut payload else {
            return Err(Refusal::Invalid(faults.into_vec()));
        };
        if !complete {
            return Err(Refusal::Invalid(faults.into_vec()));
        }
        let is_empty = members.is_empty();
        let absent = self.settle_constants(members, &mut faults);
        self.check(&payload, &mut faults);
        if faults.is_empty() {
            Ok(Checked { payload, absent, is_empty })
        } else {
            Err(Refusal::Invalid(faults.into_vec()))
        }
    }

    /// Sees to it that every constant has its value, and returns those that were absent.
    /// A contradiction is reported here and then mended, so that the schema is silent on it.
    fn settle_constants(
        &self,
        members: &mut Map<String, Value>,
        faults: &mut Faults,
    ) -> Vec<&Constant> {
        let mut absent = Vec::new();
        for constant in &self.constants {
            let Constant { field, value: expected, .. } = constant;
            match members.insert(field.clone(), Value::from(expected.as_str())) {
                None => absent.push(constant),
                Some(given) if given == *expected => {}
                Some(given) => faults.push(Fault::new(
                    child("", field),
                    format!(
                        "is {}, which contradicts {}: leave it out or send {}",
                        shown(&given),
                        self.name,
                        quoted(expected),
                    ),
                )),
            }
        }
        absent
    }

    fn check(&self, payload: &Value, faults: &mut Faults) {
        self.schema.collect(payload, faults);
        for fault in self.rules.iter().flat_map(|rule| rule(payload)) {
            faults.push(fault);
        }
        // Last, so that what is accepted is always what the handler can read.
        if faults.is_empty()
            && let Some(Err(error)) = self.reads.map(|reads| reads(payload))
        {
            self.explain_unreadable(payload, &error, faults);
        }
    }

    /// To JSON Schema 2.0 and 2e0 are integers; to the type that a handler gets they are not.
    fn explain_unreadable(&self, payload: &Value, error: &serde_json::Error, faults: &mut Faults) {
        for (name, value) in payload.as_object().into_iter().flatten() {
            let kinds = self.schema.member(name).and_then(|member| member.get("type"));
            if value.is_f64() && kinds.is_some_and(|kinds| kinds.to_string().contains("integer")) {
                let detail = "must be an integer written without a fraction or an exponent";
                faults.push(Fault::new(child("", name), detail));
            }
        }
        if faults.is_empty() {
            faults.push(Fault::new("", format!("does not fit this type: {error}")));
        }
    }
}

/// Says in the schema which value a constant has.
fn narrow(schema: &mut Value, field: &str, value: &str) {
    let Some(member) =
        schema.get_mut("properties").and_then(|p| p.get_mut(field)).and_then(Value::as_object_mut)
    else {
        return;
    };
    member.retain(|keyword, _| keyword == "description");
    member.insert("type".to_owned(), Value::from("string"));
    member.insert("const".to_owned(), Value::from(value));
}

/// The fields of a key that a valid payload need not have, or not in this form, each with why.
pub fn key_faults<'k>(
    schema: &PayloadSchema,
    key: &'k KeyTemplate,
) -> impl Iterator<Item = (&'k str, &'static str)> {
    key.fields().filter_map(|(field, form)| {
        check_key_field(schema, field, form).err().map(|reason| (field, reason))
    })
}

fn check_key_field(schema: &PayloadSchema, field: &str, form: KeyForm) -> Result<(), &'static str> {
    if !schema.requires(field) {
        return Err("the schema does not require");
    }
    let member = schema.member(field);
    let says = |keyword: &str, values: &[&str]| {
        member
            .and_then(|m| m.get(keyword))
            .is_none_or(|said| values.iter().any(|value| said == value))
    };
    match form {
        KeyForm::Plain if !says("type", &["string", "integer"]) => {
            Err("is neither a string nor an integer")
        }
        KeyForm::UnixSeconds if !(says("type", &["string"]) && says("format", &["date-time"])) => {
            Err("is not a string of the format date-time")
        }
        _ => Ok(()),
    }
}

/// The caller's bytes, with the absent constants right after the opening brace: numbers
/// and spacing stay as they came.
fn spliced(body: &[u8], absent: &[&Constant], is_empty: bool) -> Vec<u8> {
    // An object was read from these bytes, so its brace comes right after the space.
    let brace = body.iter().position(|byte| *byte == b'{');
    let Some((head, tail)) =
        brace.and_then(|at| body.split_at_checked(at + 1)).filter(|_| !absent.is_empty())
    else {
        return body.to_vec();
    };
    let added = absent.iter().map(|constant| constant.member.len() + 1).sum::<usize>();
    let mut value = Vec::with_capacity(body.len() + added);
    value.extend_from_slice(head);
    for (at, constant) in absent.iter().enumerate() {
        value.extend_from_slice(constant.member.as_bytes());
        if !is_empty || at + 1 < absent.len() {
            value.push(b',');
        }
    }
    value.extend_from_slice(tail);
    value
}
