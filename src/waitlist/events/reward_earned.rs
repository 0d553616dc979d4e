//! The payload of the event `reward.earned`.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::domain::catalog::Payload;
use crate::waitlist::examples;

/// A user earned a reward.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RewardEarned {
    /// The campaign.
    pub campaign_id: Uuid,
    /// The user.
    pub user_id: Uuid,
    /// The reward, as the campaign offers it.
    pub reward_id: Uuid,
    /// The user's own reward, which `reward.delivery` delivers.
    pub user_reward_id: Uuid,
    /// When it happened.
    pub timestamp: DateTime<Utc>,
    /// Anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

impl Payload for RewardEarned {
    fn example() -> Self {
        Self {
            campaign_id: examples::CAMPAIGN,
            user_id: examples::USER,
            reward_id: examples::REWARD,
            user_reward_id: examples::USER_REWARD,
            timestamp: examples::hours_into_2025(11),
            metadata: None,
        }
    }
}
