//! A paused type as it is shown.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::clock::rfc3339;
use crate::domain::snapshot::PausedType;

/// A type of which nothing starts now.
#[derive(Serialize, ToSchema)]
#[schema(as = PausedType)]
pub(in super::super) struct PausedTypeBody {
    /// The type.
    #[serde(rename = "type")]
    #[schema(example = "email.verification")]
    type_name: String,
    /// RFC 3339.
    since: String,
    /// `outage`: a dependency is away, and its return ends it. `operator`: somebody has paused
    /// it, until it is resumed.
    #[schema(example = "operator")]
    cause: &'static str,
    /// Why, in words.
    reason: String,
}

impl From<PausedType> for PausedTypeBody {
    fn from(paused: PausedType) -> Self {
        Self {
            type_name: paused.type_name,
            since: rfc3339(paused.since_ms),
            cause: paused.cause.as_str(),
            reason: paused.reason,
        }
    }
}
