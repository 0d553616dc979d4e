//! The tables of the waitlist platform: what its handlers change in an [`Effect`](super::Effect),
//! and what they look up beside one. Rules of the platform are not decided here.

mod analytics;
mod campaigns;
mod events;
mod mails;
mod positions;
mod referrals;
mod users;
mod webhook_deliveries;
mod webhooks;

pub use campaigns::CampaignRow;
pub use events::{EventKind, EventRecord};
pub use mails::{MailEnd, MailRecord};
pub use positions::MovedUser;
pub use referrals::{NewReferral, ReferralCounts};
pub use users::{NewUser, NotSignedUp, SignedUp, UserRow};
pub use webhook_deliveries::{DeliveryRecord, DisableWebhook, PastDelivery};
pub use webhooks::{WebhookRow, WebhookStatus};

use sqlx::Row as _;
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::StoreError;

/// The id in a column.
fn id_at(row: &AnyRow, column: &str) -> Result<Uuid, StoreError> {
    let text: String = row.try_get(column)?;
    Uuid::parse_str(&text).map_err(|_| StoreError::Corrupt { what: "id" })
}

/// The id in a column that may have none.
fn maybe_id_at(row: &AnyRow, column: &str) -> Result<Option<Uuid>, StoreError> {
    let text: Option<String> = row.try_get(column)?;
    text.map(|text| Uuid::parse_str(&text).map_err(|_| StoreError::Corrupt { what: "id" }))
        .transpose()
}
