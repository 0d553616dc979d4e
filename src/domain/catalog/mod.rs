//! The catalog: every record type there is, by the names that find it.
//!
//! Owns the rules between types (unique names and topics, reserved names). Knows neither
//! the built-in types nor where others are read from.
//!
//! To add a type: declare its payload as a struct, implement [`Payload`] for it, and give
//! [`RecordType::declare`] its [`Declaration`].

mod payload;
mod record_type;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

pub use payload::{Payload, PayloadType, Reads, Rule};
pub use record_type::{Accepted, Declaration, RecordKind, RecordType, Refusal, key_faults};

use super::key::TemplateError;
use super::retry::Order;
use super::schema::SchemaError;

/// Bytes of the largest record of an ordinary topic: the largest body, 1 MiB, and room
/// for its key, headers and framing. Kafka's own default would refuse a body of 1 MiB.
pub const MAX_RECORD_BYTES: u32 = 1_048_576 + 65_536;

/// A dead letter holds the original as an escaped string, with its headers and errors, so
/// its topic takes records this many times as large.
pub const DEAD_LETTER_SCALE: u32 = 4;

/// Characters of a type's name: it is part of paths, labels and topic names.
pub const MAX_NAME_CHARS: usize = 100;

/// What Kafka allows for a topic's name.
const MAX_TOPIC_CHARS: usize = 249;

/// Paths beside `/jobs/{type}` that are not types.
const RESERVED_NAMES: [&str; 2] = ["scheduled", "by-id"];

/// A topic as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name on the cluster.
    pub name: String,
    /// How many partitions it has at least.
    pub partitions: i32,
    /// How long its records are kept.
    pub retention: Duration,
    /// The largest record it takes; `None` leaves the broker's own setting.
    pub max_message_bytes: Option<u32>,
}

impl TopicSpec {
    /// A topic for records of ordinary size.
    pub fn new(name: impl Into<String>, partitions: i32, retention: Duration) -> Self {
        Self { name: name.into(), partitions, retention, max_message_bytes: Some(MAX_RECORD_BYTES) }
    }

    /// A dead-letter topic: the same, for larger records.
    pub fn dead_letters(name: impl Into<String>, partitions: i32, retention: Duration) -> Self {
        let max_message_bytes = Some(MAX_RECORD_BYTES.saturating_mul(DEAD_LETTER_SCALE));
        Self { max_message_bytes, ..Self::new(name, partitions, retention) }
    }
}

/// What keeps a catalog, or a type, from being used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// The name does not fit a URL.
    #[error(
        "the type name {0:?} must be 1 to {MAX_NAME_CHARS} characters of a-z, 0-9, '.', '-' and '_', and start with a letter or digit"
    )]
    Name(String),
    /// The name is a path of its own.
    #[error("the type name {0:?} is reserved")]
    Reserved(String),
    /// Two types have the same name.
    #[error("the type {0:?} is declared twice")]
    DuplicateName(String),
    /// Two types share a topic, or one uses the dead letters' topic.
    #[error("the topic {0:?} is used twice")]
    DuplicateTopic(String),
    /// A type's name is another one's topic, so a URL would mean both.
    #[error("{0:?} is the name of one type and the topic of another")]
    Ambiguous(String),
    /// Kafka would refuse the topic.
    #[error(
        "the topic name {0:?} must be 1 to {MAX_TOPIC_CHARS} characters of A-Z, a-z, 0-9, '.', '-' and '_'"
    )]
    Topic(String),
    /// A number or name of a type makes no sense.
    #[error("the type {name:?} {reason}")]
    Setting {
        /// The type.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The key's template cannot be read; the source says why.
    #[error("the key of the type {name:?} cannot be read")]
    Key {
        /// The type.
        name: String,
        /// Why.
        source: TemplateError,
    },
    /// The key is made of a field that a valid payload need not have.
    #[error("the type {name:?}: its key is made of {field:?}, which {reason}")]
    KeyField {
        /// The type.
        name: String,
        /// The field of the template.
        field: String,
        /// Why it cannot be part of a key.
        reason: &'static str,
    },
    /// The schema cannot be used; the source says why.
    #[error("the schema of the type {name:?} cannot be used")]
    Schema {
        /// The type.
        name: String,
        /// Why.
        source: SchemaError,
    },
}

/// Every record type, in the order of its declaration.
#[derive(Debug)]
pub struct Catalog {
    types: Vec<Arc<RecordType>>,
    by_name: HashMap<String, Arc<RecordType>>,
    by_topic: HashMap<String, Arc<RecordType>>,
    dead_letters: TopicSpec,
}

impl Catalog {
    /// Checks the types against each other and makes them findable.
    pub fn new(types: Vec<RecordType>, dead_letters: TopicSpec) -> Result<Self, CatalogError> {
        let mut found = Self::faults(&types, &dead_letters);
        if !found.is_empty() {
            return Err(found.swap_remove(0).1);
        }
        let types: Vec<Arc<RecordType>> = types.into_iter().map(Arc::new).collect();
        let by_name = types.iter().map(|t| (t.name.clone(), Arc::clone(t))).collect();
        let by_topic = types.iter().map(|t| (t.topic.name.clone(), Arc::clone(t))).collect();
        Ok(Self { types, by_name, by_topic, dead_letters })
    }

    /// Everything that keeps these types from being a catalog, each with the place of its type
    /// among them; what is wrong with the dead letters' topic has none.
    pub fn faults(
        types: &[RecordType],
        dead_letters: &TopicSpec,
    ) -> Vec<(Option<usize>, CatalogError)> {
        let mut faults: Vec<_> =
            check_topic(dead_letters).err().map(|error| (None, error)).into_iter().collect();
        let (mut names, mut topics) = (HashSet::new(), HashMap::new());
        topics.insert(dead_letters.name.as_str(), None);
        for (at, record_type) in types.iter().enumerate() {
            let (name, topic) = (record_type.name.as_str(), record_type.topic.name.as_str());
            let mut fault = |error| faults.push((Some(at), error));
            for checked in [check_name(name), check_settings(record_type)] {
                checked.unwrap_or_else(&mut fault);
            }
            if !names.insert(name) {
                fault(CatalogError::DuplicateName(name.to_owned()));
            }
            if topics.contains_key(topic) {
                fault(CatalogError::DuplicateTopic(topic.to_owned()));
            } else {
                topics.insert(topic, Some(name));
            }
        }
        let ambiguous = |t: &RecordType| {
            topics.get(t.name.as_str()).is_some_and(|of| of.is_some_and(|of| of != t.name))
        };
        for (at, found) in types.iter().enumerate().filter(|(_, found)| ambiguous(found)) {
            faults.push((Some(at), CatalogError::Ambiguous(found.name.clone())));
        }
        faults
    }

    /// Every type, in the order of its declaration.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<RecordType>> {
        self.types.iter()
    }

    /// The job type of this name, as it stands in `/jobs/{type}`.
    pub fn job(&self, name: &str) -> Option<&Arc<RecordType>> {
        self.by_name.get(name).filter(|t| t.kind == RecordKind::Job)
    }

    /// The event type of this name or whole topic, as it stands in `/events/{topic}`.
    pub fn event(&self, name_or_topic: &str) -> Option<&Arc<RecordType>> {
        let found = self.by_name.get(name_or_topic).or_else(|| self.by_topic.get(name_or_topic));
        found.filter(|t| t.kind == RecordKind::Event)
    }

    /// The type of this name, job or event: names are unique over both.
    pub fn by_name(&self, name: &str) -> Option<&Arc<RecordType>> {
        self.by_name.get(name)
    }

    /// The type whose records are in this topic.
    pub fn by_topic(&self, topic: &str) -> Option<&Arc<RecordType>> {
        self.by_topic.get(topic)
    }

    /// The topic of the dead letters.
    pub fn dead_letters(&self) -> &TopicSpec {
        &self.dead_letters
    }

    /// Every topic, that of the dead letters last.
    pub fn topics(&self) -> impl Iterator<Item = &TopicSpec> {
        self.types.iter().map(|t| &t.topic).chain([&self.dead_letters])
    }

    /// The names of the groups, each once, in the order of their first type.
    pub fn groups(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        self.types.iter().map(|t| t.group.as_str()).filter(|group| seen.insert(*group)).collect()
    }
}

fn check_name(name: &str) -> Result<(), CatalogError> {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_safe = name.len() <= MAX_NAME_CHARS
        && name.bytes().next().is_some_and(is_plain)
        && name.bytes().all(|b| is_plain(b) || b"._-".contains(&b));
    if !is_safe {
        return Err(CatalogError::Name(name.to_owned()));
    }
    if RESERVED_NAMES.contains(&name) {
        return Err(CatalogError::Reserved(name.to_owned()));
    }
    Ok(())
}

fn check_settings(record_type: &RecordType) -> Result<(), CatalogError> {
    check_topic(&record_type.topic)?;
    let setting = |reason| Err(CatalogError::Setting { name: record_type.name.clone(), reason });
    if record_type.group.is_empty() || record_type.group.len() > MAX_TOPIC_CHARS {
        return setting("needs a group name of 1 to 249 characters");
    }
    if record_type.retry.attempts == 0 {
        return setting("needs at least 1 attempt");
    }
    if record_type.retry.quarantine && record_type.retry.order == Order::Relaxed {
        return setting(
            "cannot quarantine a key: its order is relaxed, so that jobs overtake each other; \
             declare it strict",
        );
    }
    Ok(())
}

fn check_topic(topic: &TopicSpec) -> Result<(), CatalogError> {
    let name = &topic.name;
    let is_legal = (1..=MAX_TOPIC_CHARS).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && name != "."
        && name != "..";
    if !is_legal {
        return Err(CatalogError::Topic(name.clone()));
    }
    let setting = |reason| Err(CatalogError::Setting { name: name.clone(), reason });
    if topic.partitions < 1 {
        return setting("needs at least 1 partition");
    }
    if topic.retention.is_zero() {
        return setting("needs a retention above zero");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
