//! The payload of the event `user.signup`.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::domain::catalog::Payload;
use crate::waitlist::examples;

/// A user joined a waitlist.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserSignup {
    /// The new user.
    pub user_id: Uuid,
    /// The campaign.
    pub campaign_id: Uuid,
    /// The user's address; no mail system takes more than 254 characters.
    #[schemars(email, length(max = 254))]
    pub email: String,
    /// How the user came.
    pub source: SignupSource,
    /// When it happened.
    pub timestamp: DateTime<Utc>,
    /// The given name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub first_name: Option<String>,
    /// The family name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub last_name: Option<String>,
    /// The new user's own code, to refer others with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub referral_code: Option<String>,
    /// The user who referred this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referred_by_id: Option<Uuid>,
    /// The address the request came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<IpAddr>,
    /// The browser, as it names itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2_048))]
    pub user_agent: Option<String>,
    /// What tells this device from others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub device_fingerprint: Option<String>,
    /// Anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

/// How a user came to a waitlist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignupSource {
    /// By themself.
    Direct,
    /// Through another user.
    Referral,
    /// Through a social network.
    Social,
    /// Through an advertisement.
    Ad,
}

impl SignupSource {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Referral => "referral",
            Self::Social => "social",
            Self::Ad => "ad",
        }
    }
}

impl Payload for UserSignup {
    fn example() -> Self {
        Self {
            user_id: examples::REFERRED,
            campaign_id: examples::CAMPAIGN,
            email: "ada@example.com".to_owned(),
            source: SignupSource::Referral,
            timestamp: examples::hours_into_2025(9),
            first_name: Some("Ada".to_owned()),
            last_name: None,
            referral_code: Some("ADA2025".to_owned()),
            referred_by_id: Some(examples::USER),
            ip_address: None,
            user_agent: None,
            device_fingerprint: None,
            metadata: None,
        }
    }
}
