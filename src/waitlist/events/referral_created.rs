//! The payload of the event `referral.created`.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::domain::catalog::{Payload, Rule};
use crate::domain::fault::Fault;
use crate::waitlist::examples;

/// A user joined through another user's referral.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReferralCreated {
    /// The campaign.
    pub campaign_id: Uuid,
    /// The user who referred.
    pub referrer_id: Uuid,
    /// The user who joined; another one than `referrer_id`.
    pub referred_id: Uuid,
    /// When it happened.
    pub timestamp: DateTime<Utc>,
    /// Where the referral was shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<ReferralSource>,
    /// The address the request came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<IpAddr>,
    /// Anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

/// Where a referral was shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReferralSource {
    /// By e-mail.
    Email,
    /// On Twitter.
    Twitter,
    /// On Facebook.
    Facebook,
    /// On `LinkedIn`.
    #[serde(rename = "linkedin")]
    LinkedIn,
    /// On `WhatsApp`.
    #[serde(rename = "whatsapp")]
    WhatsApp,
    /// By the link itself.
    Direct,
}

impl ReferralSource {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Twitter => "twitter",
            Self::Facebook => "facebook",
            Self::LinkedIn => "linkedin",
            Self::WhatsApp => "whatsapp",
            Self::Direct => "direct",
        }
    }
}

impl Payload for ReferralCreated {
    const RULES: &'static [Rule] = &[users_differ];

    fn example() -> Self {
        Self {
            campaign_id: examples::CAMPAIGN,
            referrer_id: examples::USER,
            referred_id: examples::REFERRED,
            timestamp: examples::hours_into_2025(9),
            source: Some(ReferralSource::Email),
            ip_address: None,
            metadata: None,
        }
    }
}

fn users_differ(payload: &Value) -> Vec<Fault> {
    let id = |field: &str| Uuid::try_parse(payload.get(field)?.as_str()?).ok();
    match (id("referrer_id"), id("referred_id")) {
        (Some(one), Some(other)) if one == other => {
            vec![Fault::new("/referred_id", "must differ from referrer_id: nobody refers themself")]
        }
        _ => Vec::new(),
    }
}
