//! The payload of `analytics.aggregation`.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::domain::calendar::CalendarSpan;
use crate::domain::catalog::{Payload, Rule};
use crate::domain::fault::{Fault, shown};

/// Sums up a campaign's figures over a span of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnalyticsAggregation {
    /// The campaign.
    pub campaign_id: Uuid,
    /// The start of the span, included.
    pub start_time: DateTime<Utc>,
    /// The end of the span, not included; after `start_time`.
    pub end_time: DateTime<Utc>,
    /// How long each row's span is.
    pub granularity: Granularity,
}

/// The length of the span that one row sums up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week, from Monday.
    Week,
    /// A month.
    Month,
}

impl From<Granularity> for CalendarSpan {
    fn from(granularity: Granularity) -> Self {
        match granularity {
            Granularity::Hour => Self::Hour,
            Granularity::Day => Self::Day,
            Granularity::Week => Self::Week,
            Granularity::Month => Self::Month,
        }
    }
}

impl Payload for AnalyticsAggregation {
    const RULES: &'static [Rule] = &[end_is_after_start];

    fn example() -> Self {
        Self {
            campaign_id: super::examples::CAMPAIGN,
            start_time: super::examples::hours_into_2025(0),
            end_time: super::examples::hours_into_2025(24),
            granularity: Granularity::Hour,
        }
    }
}

fn end_is_after_start(payload: &Value) -> Vec<Fault> {
    let time = |field: &str| DateTime::parse_from_rfc3339(payload.get(field)?.as_str()?).ok();
    match (time("start_time"), time("end_time")) {
        (Some(start), Some(end)) if end <= start => {
            let given = |field: &str| payload.get(field).map(shown).unwrap_or_default();
            let detail = format!(
                "must be after start_time {}, not {}",
                given("start_time"),
                given("end_time")
            );
            vec![Fault::new("/end_time", detail)]
        }
        _ => Vec::new(),
    }
}
