//! The payload of `position.recalculation`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::catalog::Payload;

/// Users that a job may name.
pub(super) const USERS_MAX: usize = 10_000;

/// Works out the places on a campaign's waitlist anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PositionRecalculation {
    /// The campaign.
    pub campaign_id: Uuid,
    /// The users to do it for; everyone when left out, which suits more than 10,000, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = USERS_MAX))]
    pub user_ids: Option<Vec<Uuid>>,
}

impl Payload for PositionRecalculation {
    fn example() -> Self {
        Self {
            campaign_id: super::examples::CAMPAIGN,
            user_ids: Some(vec![super::examples::USER, super::examples::REFERRED]),
        }
    }
}
