//! The payload of the event `user.verified`.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::domain::catalog::Payload;
use crate::waitlist::examples;

/// A user confirmed the e-mail address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserVerified {
    /// The user.
    pub user_id: Uuid,
    /// The campaign.
    pub campaign_id: Uuid,
    /// When it happened.
    pub timestamp: DateTime<Utc>,
    /// Anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

impl Payload for UserVerified {
    fn example() -> Self {
        Self {
            user_id: examples::REFERRED,
            campaign_id: examples::CAMPAIGN,
            timestamp: examples::hours_into_2025(10),
            metadata: None,
        }
    }
}
