//! A point in a topic, as a request names it.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::domain::clock::parse_rfc3339;
use crate::domain::fault::Fault;
use crate::operations::Edge;

/// `"earliest"`, `"latest"`, `{"offset": 5}` or `{"timestamp": "2025-01-01T00:00:00Z"}`.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum EdgeBody {
    Earliest,
    Latest,
    Offset(i64),
    Timestamp(String),
}

/// `"earliest"`, `"latest"`, `{"offset": 5}` or `{"timestamp": "2025-01-01T00:00:00Z"}`.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = Edge)]
#[expect(dead_code, reason = "it is there for the document alone, which must say: one member")]
pub(in super::super) enum EdgeSchema {
    /// The first record that is left, or behind the newest one.
    End(EndSchema),
    /// This offset of each partition.
    Offset(OffsetSchema),
    /// The first record of this time or later.
    Timestamp(TimestampSchema),
}

/// An end of a topic.
#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = EdgeEnd)]
#[expect(dead_code, reason = "it is there for the document alone")]
pub(in super::super) enum EndSchema {
    /// The oldest record that is left.
    Earliest,
    /// Behind the newest record.
    Latest,
}

/// An offset.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EdgeOffset)]
#[expect(dead_code, reason = "it is there for the document alone")]
pub(in super::super) struct OffsetSchema {
    /// This offset of each partition.
    offset: i64,
}

/// A time.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EdgeTimestamp)]
#[expect(dead_code, reason = "it is there for the document alone")]
pub(in super::super) struct TimestampSchema {
    /// The first record of this time (RFC 3339) or later.
    #[schema(format = DateTime)]
    timestamp: String,
}

impl EdgeBody {
    /// The point; `member` is where the request has it, for example `/from`.
    pub(super) fn edge(self, member: &str) -> Result<Edge, Fault> {
        match self {
            Self::Earliest => Ok(Edge::Earliest),
            Self::Latest => Ok(Edge::Latest),
            Self::Offset(offset) => Ok(Edge::Offset(offset)),
            Self::Timestamp(text) => {
                parse_rfc3339(&text).map(Edge::Timestamp).ok_or_else(|| Fault {
                    pointer: format!("{member}/timestamp"),
                    detail: "must be RFC 3339, for example 2025-01-01T00:00:00Z".to_owned(),
                })
            }
        }
    }
}
