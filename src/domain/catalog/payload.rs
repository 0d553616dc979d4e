//! What a payload must be: its schema, the rules that a schema cannot say, an example.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::domain::fault::Fault;
use crate::domain::schema::schema_of;

/// A check between fields. It sees any value, also one with other faults: what it cannot
/// judge it passes over, since the schema reports it.
pub type Rule = fn(&Value) -> Vec<Fault>;

/// Tries whether a handler's type can be read from a value.
pub type Reads = fn(&Value) -> Result<(), serde_json::Error>;

/// A payload that is declared as a Rust type; everything else comes from the declaration.
pub trait Payload: Serialize + DeserializeOwned + JsonSchema {
    /// What the schema cannot say.
    const RULES: &'static [Rule] = &[];

    /// A valid payload, for documents and tests.
    fn example() -> Self;
}

/// What a payload must be.
#[derive(Debug, Clone)]
pub struct PayloadType {
    /// JSON Schema 2020-12.
    pub schema: Value,
    /// What the schema cannot say.
    pub rules: Vec<Rule>,
    /// Whether the handler's type can be read from a value that passed all else. `None`
    /// where the handler takes any JSON.
    pub reads: Option<Reads>,
    /// A valid payload.
    pub example: Value,
}

impl PayloadType {
    /// From a Rust type.
    pub fn of<P: Payload>() -> Self {
        Self {
            schema: schema_of::<P>(),
            rules: P::RULES.to_vec(),
            reads: Some(|value| P::deserialize(value).map(drop)),
            // An example that cannot be written down shows as null and fails its test.
            example: serde_json::to_value(P::example()).unwrap_or_default(),
        }
    }

    /// From a schema that a user brought.
    pub fn from_schema(schema: Value, example: Value) -> Self {
        Self { schema, rules: Vec::new(), reads: None, example }
    }
}
