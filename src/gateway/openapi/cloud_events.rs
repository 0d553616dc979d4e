//! The events of the catalog in the envelope of a `CloudEvent`.

use serde_json::{Map, Value, json};

use super::super::schemas;
use crate::domain::catalog::{Catalog, RecordKind, RecordType};

/// The media type of one.
pub(super) const ONE: &str = "application/cloudevents+json";
/// The media type of many.
pub(super) const MANY: &str = "application/cloudevents-batch+json";

/// What the schema of a type's event is called.
pub(super) fn schema_name(record_type: &RecordType) -> String {
    format!("event.{}", record_type.name)
}

/// Their schemas, to stand among the components.
pub(super) fn schemas(catalog: &Catalog) -> Map<String, Value> {
    let events = catalog.iter().filter(|found| found.kind == RecordKind::Event);
    events.map(|found| (schema_name(found), schema(found))).collect()
}

fn schema(record_type: &RecordType) -> Value {
    let name = &record_type.name;
    let own_type = format!(r"^([^\x00-\x1f\x7f-\x9f]*\.)?{}$", name.replace('.', r"\."));
    json!({
        "title": format!("{name} as a CloudEvent"),
        "description": "A CloudEvent (1.0.2) in its envelope. Its other members are extensions; \
            at most 64 attributes, each of at most 4,096 bytes. `data` may come as `data_base64` \
            instead, which this schema leaves out.",
        "type": "object",
        "required": ["specversion", "id", "source", "type", "data"],
        "properties": {
            "specversion": { "type": "string", "const": "1.0" },
            "id": {
                "description": "With `source` it names the event: the record's id follows from both.",
                "type": "string", "minLength": 1, "maxLength": 4_096, "pattern": TEXT
            },
            "source": {
                "description": "Who sent the event: a URI reference.",
                "type": "string", "minLength": 1, "maxLength": 4_096, "pattern": URI
            },
            "type": {
                "description": format!("`{name}`, or something in front of it: `com.example.{name}`."),
                "type": "string", "maxLength": 4_096, "pattern": own_type
            },
            "subject": {
                "type": ["string", "null"], "minLength": 1, "maxLength": 4_096, "pattern": TEXT
            },
            "time": {
                "description": "When it happened; it stays an attribute.",
                "type": ["string", "null"], "format": "date-time"
            },
            "datacontenttype": {
                "description": "JSON of any name.",
                "type": ["string", "null"], "pattern": r"^[a-z]+/([a-z0-9.+-]+\+)?json$"
            },
            "dataschema": {
                "description": "An absolute URI; it is not looked at.",
                "type": ["string", "null"], "maxLength": 4_096, "pattern": ABSOLUTE
            },
            "data": schemas::reference("schemas", &schemas::schema_name(record_type))
        },
        "additionalProperties": {
            "type": ["string", "boolean", "integer", "null"],
            "maxLength": 4_096, "pattern": TEXT
        },
        "propertyNames": { "pattern": "^[a-z0-9]{1,64}$" }
    })
}

/// No control characters.
const TEXT: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";
/// What may stand in a URI reference.
const URI: &str = r"^[!#-;=?-\[\]_a-z~%]+$";
/// The same, with its scheme.
const ABSOLUTE: &str = r"^[!#-;=?-\[\]_a-z~%]*:[!#-;=?-\[\]_a-z~%]*$";
