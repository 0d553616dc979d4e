//! `CloudEvents` 1.0.2 as they come in: an event of the catalog in an envelope that says who
//! sent it and what it is called there.
//!
//! Owns which attributes an event may have, what they become on Kafka (the binding's binary
//! mode) and which id follows from them. Knows nothing of HTTP: the headers of the binary mode
//! come as names and texts.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::catalog::{Accepted, RecordType, Refusal};
use super::clock::parse_rfc3339;
use super::fault::{Fault, Faults, child, quoted, shown};
use super::id;
use super::json;
use super::record::header;
use super::trace::Trace;

/// The attributes that the specification itself names: each is a string.
const OF_THE_CORE: [&str; 8] =
    ["specversion", "id", "source", "type", "subject", "time", "dataschema", "datacontenttype"];
/// The one version there is.
const SPEC_VERSION: &str = "1.0";
/// Attributes of one event: the specification has nine, extensions rarely more than a handful.
/// Each is a header of the record.
const ATTRIBUTES_MAX: usize = 64;
/// Characters of an attribute's name; the specification advises 20.
const NAME_CHARS_MAX: usize = 64;
/// Bytes of an attribute's value: it is a header of the record, which every consumer reads.
const VALUE_BYTES_MAX: usize = 4_096;

/// The attributes of an event that was found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    named: Vec<(String, String)>,
    content_type: String,
}

/// Where an event's attributes stand: that is what pointers to them name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Members of the envelope, beside its `data`.
    Structured,
    /// Headers of the request, whose body is the data.
    Binary,
}

/// Attributes as they are collected, with what is wrong with them.
#[derive(Debug)]
pub struct Draft {
    mode: Mode,
    named: Vec<(String, String)>,
    content_type: Option<String>,
    faults: Faults,
}

impl Attributes {
    /// The id of the event's record: it follows from source and id, which name the event.
    pub fn message_id(&self) -> Uuid {
        id::of_cloud_event(self.get("source"), self.get("id"))
    }

    /// The headers of the event's record, as the Kafka binding has them.
    pub fn headers(&self) -> impl Iterator<Item = (Cow<'static, str>, &str)> {
        let named = self
            .named
            .iter()
            .map(|(name, value)| (Cow::from([header::CLOUD_EVENT, name].concat()), value.as_str()));
        named.chain([(Cow::from(header::CONTENT_TYPE), self.content_type.as_str())])
    }

    /// The trace that it says it began in (the Distributed Tracing extension).
    pub fn trace(&self) -> Option<Trace> {
        Trace::read(self.get(header::TRACEPARENT), [self.get(header::TRACESTATE)])
    }

    fn get(&self, name: &str) -> &str {
        let found = self.named.iter().find(|(of, _)| of == name);
        found.map_or("", |(_, value)| value)
    }
}

/// Whether this media type is JSON, without its parameters.
pub fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    let subtype = essence.split_once('/').map(|(_, subtype)| subtype);
    subtype.is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
}

/// Checks an event in its envelope: the attributes, and the data as the type's payload. All
/// faults at once.
pub fn accept(record_type: &RecordType, body: &[u8]) -> Result<(Accepted, Attributes), Refusal> {
    let Ok(Envelope(members)) = serde_json::from_slice(body) else {
        return Err(explain(body));
    };
    let mut draft = Draft::new(Mode::Structured);
    let (mut data, mut data_base64) = (None, None);
    let mut seen: Vec<&str> = Vec::with_capacity(members.len());
    for (name, raw) in &members {
        if seen.contains(&name.as_ref()) {
            draft.fault(name, "is given more than once; keep one");
            continue;
        }
        seen.push(name);
        match name.as_ref() {
            "data" => data = Some(*raw),
            "data_base64" => data_base64 = Some(*raw),
            _ => draft.take_member(name, raw),
        }
        if seen.len() > ATTRIBUTES_MAX + 2 {
            draft.fault("", "has too many attributes: at most 64");
            break;
        }
    }
    let payload = match (data, data_base64) {
        (Some(data), None) => draft.payload(record_type, "/data", data.get().as_bytes()),
        (None, Some(text)) => {
            draft.decode(text).and_then(|bytes| draft.payload(record_type, "/data_base64", &bytes))
        }
        (None, None) => {
            draft.fault("data", "is required: the payload of the event's type");
            None
        }
        (Some(_), Some(_)) => {
            draft.fault("data_base64", "is given beside data; keep one");
            None
        }
    };
    let attributes = draft.finish(record_type).map_err(Refusal::Invalid)?;
    // Without a payload there was a fault, and so no attributes either.
    let payload = payload.ok_or_else(|| Refusal::Invalid(Vec::new()))?;
    Ok((payload, attributes))
}

impl Draft {
    /// No attributes yet.
    pub fn new(mode: Mode) -> Self {
        Self { mode, named: Vec::new(), content_type: None, faults: Faults::default() }
    }

    /// What the request's media type says of the data.
    pub fn content_type(&mut self, media_type: &str) {
        self.content_type = Some(media_type.to_owned());
    }

    /// Takes an attribute; none of a value that is no text.
    pub fn take(&mut self, name: &str, value: Option<String>) {
        let Some(value) = value else {
            return self.fault(name, "is not UTF-8 text; percent-encode it");
        };
        if self.named.len() >= ATTRIBUTES_MAX {
            return self.fault(name, "is one attribute too many: at most 64");
        }
        let is_name = (1..=NAME_CHARS_MAX).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !is_name {
            return self
                .fault(name, "is no name of an attribute: 1 to 64 characters of a-z and 0-9");
        }
        if self.named.iter().any(|(of, _)| of == name) {
            return self.fault(name, "is given more than once; keep one");
        }
        if let Some(wrong) = wrong_with(name, &value) {
            return self.fault(name, wrong);
        }
        self.named.push((name.to_owned(), value));
    }

    /// The attributes, or everything that is wrong with them and what else was found.
    pub fn finish(mut self, record_type: &RecordType) -> Result<Attributes, Vec<Fault>> {
        for (name, what) in [
            ("specversion", "is required: 1.0"),
            ("id", "is required: it names the event, with its source"),
            ("source", "is required: a URI reference that names who sent the event"),
            ("type", "is required: the event's type, as it stands in the path"),
        ] {
            // A value that was refused has its fault already.
            let pointer = self.pointer(name);
            let is_known = self.named.iter().any(|(of, _)| of == name)
                || self.faults.iter().any(|fault| fault.pointer == pointer);
            if !is_known {
                self.fault(name, what);
            }
        }
        let given = self.named.iter().find(|(name, _)| name == "type").map(|(_, value)| value);
        if let Some(given) = given.filter(|given| !fits(given, record_type)) {
            let detail = format!(
                "is {}; here it must be {1}, or end with .{1}",
                quoted(given),
                record_type.name
            );
            self.fault("type", detail);
        }
        if !self.faults.is_empty() {
            return Err(self.faults.into_vec());
        }
        let content_type = self.content_type.unwrap_or_else(|| "application/json".to_owned());
        Ok(Attributes { named: self.named, content_type })
    }

    /// Checks the data; its faults are those of the event.
    fn payload(&mut self, record_type: &RecordType, within: &str, data: &[u8]) -> Option<Accepted> {
        match record_type.accept(data) {
            Ok(accepted) => return Some(accepted),
            Err(Refusal::NotJson { detail }) => self.faults.push(Fault::new(within, detail)),
            Err(Refusal::Invalid(faults)) => {
                for Fault { pointer, detail } in faults {
                    self.faults.push(Fault::new(format!("{within}{pointer}"), detail));
                }
            }
        }
        None
    }

    /// Takes what is wrong with the data.
    pub fn further_faults(&mut self, faults: Vec<Fault>) {
        for fault in faults {
            self.faults.push(fault);
        }
    }

    fn take_member(&mut self, name: &str, raw: &RawValue) {
        let value = match serde_json::from_str(raw.get()).unwrap_or_default() {
            // That is how the format says that there is none.
            Value::Null => return,
            Value::String(text) => text,
            // Only extensions have other types.
            Value::Bool(flag) if !OF_THE_CORE.contains(&name) => flag.to_string(),
            Value::Number(number) if number.is_i64() && !OF_THE_CORE.contains(&name) => {
                number.to_string()
            }
            other => {
                let detail = format!("is {}; an attribute is a string", shown(&other));
                return self.fault(name, detail);
            }
        };
        if name != "datacontenttype" {
            return self.take(name, Some(value));
        }
        if is_json(&value) && !value.contains(char::is_control) {
            self.content_type = Some(value);
        } else {
            let detail = format!("is {}; the data must be application/json", quoted(&value));
            self.fault(name, detail);
        }
    }

    fn decode(&mut self, raw: &RawValue) -> Option<Vec<u8>> {
        let text: Option<String> = serde_json::from_str(raw.get()).ok();
        let bytes = text.and_then(|text| BASE64_STANDARD.decode(text).ok());
        if bytes.is_none() {
            self.fault("data_base64", "must be a string in Base64");
        }
        bytes
    }

    fn fault(&mut self, name: &str, detail: impl Into<String>) {
        self.faults.push(Fault::new(self.pointer(name), detail));
    }

    fn pointer(&self, name: &str) -> String {
        match self.mode {
            _ if name.is_empty() => String::new(),
            Mode::Structured => child("", name),
            Mode::Binary => child("", &format!("ce-{name}")),
        }
    }
}

/// What the specification does not let the value of this attribute be.
fn wrong_with(name: &str, value: &str) -> Option<&'static str> {
    let is_uri = |c: char| c.is_ascii_graphic() && !"<>\"{}|\\^`".contains(c);
    if value.len() > VALUE_BYTES_MAX {
        return Some("is longer than 4096 bytes");
    }
    if value.contains(char::is_control) {
        return Some("must not contain control characters");
    }
    match name {
        "specversion" if value != SPEC_VERSION => Some("must be 1.0"),
        "id" | "type" | "subject" if value.is_empty() => Some("must not be empty"),
        "source" if value.is_empty() || !value.chars().all(is_uri) => {
            Some("must be a URI reference, and not empty")
        }
        "dataschema" if !value.contains(':') || !value.chars().all(is_uri) => {
            Some("must be an absolute URI")
        }
        "time" if parse_rfc3339(value).is_none() => {
            Some("must be RFC 3339, for example 2025-01-01T00:00:00Z")
        }
        "data" | "data_base64" | "datacontenttype" => {
            Some("is no attribute of this form: the body is the data, and Content-Type its type")
        }
        _ => None,
    }
}

/// Types in use elsewhere have the name of whoever owns them in front: `com.example.user.signup`.
fn fits(given: &str, record_type: &RecordType) -> bool {
    let before = given.strip_suffix(record_type.name.as_str());
    before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Why these bytes are no envelope, in the words that a payload gets.
fn explain(body: &[u8]) -> Refusal {
    match json::parse_object(body) {
        Err(error) => error.into(),
        Ok(parsed) if !parsed.faults.is_empty() => Refusal::Invalid(parsed.faults.into_vec()),
        Ok(_) => Refusal::NotJson { detail: "the body is no envelope of an event".to_owned() },
    }
}

/// The members of an envelope, each as it was written.
struct Envelope<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Envelope<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<Cow<'de, str>, _>()? {
                    // One more than there may be is enough to say so.
                    if members.len() <= ATTRIBUTES_MAX + 2 {
                        members.push((name, value));
                    }
                }
                Ok(Envelope(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}
