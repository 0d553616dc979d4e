//! The payload of `reward.delivery`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::catalog::Payload;

/// Delivers one reward that a user earned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RewardDelivery {
    /// The user's reward.
    pub user_reward_id: Uuid,
    /// How often the producer has tried before; jobgate counts its own attempts apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000))]
    pub retry_attempt: Option<u32>,
}

impl Payload for RewardDelivery {
    fn example() -> Self {
        Self { user_reward_id: super::examples::USER_REWARD, retry_attempt: None }
    }
}
