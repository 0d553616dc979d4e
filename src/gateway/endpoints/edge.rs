//! A point in a topic, as a request names it.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::domain::clock::parse_rfc3339;
use crate::domain::fault::Fault;
use crate::operations::Edge;

/// `"earliest"`, `"latest"`, `{"offset": 5}` or `{"timestamp": "2025-01-01T00:00:00Z"}`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Edge)]
pub(in super::super) enum EdgeBody {
    /// The oldest record that is left.
    Earliest,
    /// Behind the newest record.
    Latest,
    /// This offset of each partition.
    Offset(i64),
    /// The first record of this time (RFC 3339) or later.
    Timestamp(TimeBody),
}

/// A time, RFC 3339.
#[derive(Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(as = Time, value_type = String, format = DateTime)]
pub(in super::super) struct TimeBody(String);

impl EdgeBody {
    /// The point; `member` is where the request has it, for example `/from`.
    pub(super) fn edge(self, member: &str) -> Result<Edge, Fault> {
        match self {
            Self::Earliest => Ok(Edge::Earliest),
            Self::Latest => Ok(Edge::Latest),
            Self::Offset(offset) => Ok(Edge::Offset(offset)),
            Self::Timestamp(TimeBody(text)) => {
                parse_rfc3339(&text).map(Edge::Timestamp).ok_or_else(|| Fault {
                    pointer: format!("{member}/timestamp"),
                    detail: "must be RFC 3339, for example 2025-01-01T00:00:00Z".to_owned(),
                })
            }
        }
    }
}
