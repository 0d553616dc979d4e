//! The payload of the e-mail jobs: one struct, five types of mail.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::domain::catalog::Payload;

/// A mail to one user of a campaign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Email {
    /// Which mail it is; it follows from the job type and may be left out.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<EmailKind>,
    /// The campaign.
    pub campaign_id: Uuid,
    /// The user the mail goes to.
    pub user_id: Uuid,
    /// Taken for the sake of senders that name one, and without effect: there are no templates
    /// by id. Files in the directory of `--mail-templates` replace the built-in ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_id: Option<Uuid>,
    /// What the template fills in, and `email`, the recipient. A member that is there wins over
    /// what the tables know of the user and the campaign; null is as good as none.
    pub template_data: Map<String, Value>,
    /// How urgent it is; a hint to the mail provider, as order is kept per user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = i32::MIN, max = i32::MAX))]
    pub priority: Option<i32>,
}

/// The types of mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EmailKind {
    /// Asks to confirm the address.
    Verification,
    /// Welcomes.
    Welcome,
    /// Tells the place on the list.
    PositionUpdate,
    /// Tells of a reward.
    RewardEarned,
    /// Tells of a milestone.
    Milestone,
}

impl EmailKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::Verification,
        Self::Welcome,
        Self::PositionUpdate,
        Self::RewardEarned,
        Self::Milestone,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verification => "verification",
            Self::Welcome => "welcome",
            Self::PositionUpdate => "position-update",
            Self::RewardEarned => "reward-earned",
            Self::Milestone => "milestone",
        }
    }

    /// The job type that sends it.
    pub fn job_type(self) -> String {
        format!("email.{}", self.as_str())
    }

    /// Whether it goes to many, unasked: such a mail tells how to get no more of them.
    pub fn is_bulk(self) -> bool {
        matches!(self, Self::PositionUpdate | Self::Milestone)
    }

    /// What its template needs, besides the recipient.
    pub fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Verification => &["verification_link"],
            Self::Welcome => &[],
            Self::PositionUpdate => &["new_position"],
            Self::RewardEarned => &["reward_name"],
            Self::Milestone => &["milestone"],
        }
    }
}

impl Payload for Email {
    fn example() -> Self {
        // One payload for all five kinds: with what each of them needs, so that it works.
        let template_data = [
            ("email", json!("ada@example.com")),
            ("first_name", json!("Ada")),
            ("verification_link", json!("https://example.com/verify/1")),
            ("new_position", json!(42)),
            ("reward_name", json!("Early access")),
            ("milestone", json!("10 friends")),
        ];
        let template_data =
            template_data.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self {
            kind: None,
            campaign_id: super::examples::CAMPAIGN,
            user_id: super::examples::USER,
            template_id: None,
            template_data,
            priority: Some(1),
        }
    }
}
