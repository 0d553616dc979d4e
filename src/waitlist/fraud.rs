//! The payload of `fraud.detection`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::catalog::Payload;

/// Checks one user of a campaign for signs of fraud.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FraudDetection {
    /// The campaign.
    pub campaign_id: Uuid,
    /// The user to check.
    pub user_id: Uuid,
    /// The checks to run, each once.
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub check_types: Vec<FraudCheck>,
}

/// A sign of fraud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FraudCheck {
    /// The user referred themself.
    SelfReferral,
    /// The address is a throw-away one.
    FakeEmail,
    /// The user is a program.
    Bot,
}

impl Payload for FraudDetection {
    fn example() -> Self {
        Self {
            campaign_id: super::examples::CAMPAIGN,
            user_id: super::examples::USER,
            check_types: vec![FraudCheck::SelfReferral, FraudCheck::FakeEmail],
        }
    }
}
