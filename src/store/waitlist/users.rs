//! The users of a waitlist.

use sqlx::any::AnyRow;
use sqlx::{Any, Executor, Row as _};
use uuid::Uuid;

use crate::store::{Effect, Store, StoreError};

/// A user who signs up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    /// The user.
    pub id: Uuid,
    /// The campaign.
    pub campaign_id: Uuid,
    /// The address as it was given.
    pub email: String,
    /// The given name.
    pub first_name: Option<String>,
    /// The family name.
    pub last_name: Option<String>,
    /// The user's own code.
    pub referral_code: String,
    /// Who referred the user.
    pub referred_by_id: Option<Uuid>,
    /// What the link to confirm the address carries.
    pub verification_token: String,
    /// How the user came.
    pub source: String,
    /// Where the request came from.
    pub ip_address: Option<String>,
    /// The browser.
    pub user_agent: Option<String>,
    /// The device.
    pub device_fingerprint: Option<String>,
    /// The mailbox that the address leads to, for comparing.
    pub mailbox: String,
    /// What a household or an office has of the internet, for comparing.
    pub network: Option<String>,
    /// Whether a field was filled in that people do not see.
    pub honeypot: bool,
    /// When it happened, milliseconds since the epoch.
    pub at_ms: i64,
}

/// A user of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRow {
    /// The user.
    pub id: Uuid,
    /// The campaign.
    pub campaign_id: Uuid,
    /// The address.
    pub email: String,
    /// The given name.
    pub first_name: Option<String>,
    /// The family name.
    pub last_name: Option<String>,
    /// pending, verified, converted, removed or blocked.
    pub status: String,
    /// From 1; none before it was worked out.
    pub position: Option<i64>,
    /// The user's own code.
    pub referral_code: String,
    /// Who referred the user.
    pub referred_by_id: Option<Uuid>,
    /// How many the user has referred.
    pub referral_count: i64,
    /// How many of them have confirmed their address.
    pub verified_referral_count: i64,
    /// Whether the address is confirmed.
    pub email_verified: bool,
    /// What the link to confirm the address carries.
    pub verification_token: String,
    /// Whether the user wants no mail that was not asked for.
    pub unsubscribed: bool,
}

/// A user is on the list now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedUp {
    /// Whether the address was confirmed before: the two events came in the other order.
    pub is_verified: bool,
}

/// Why a user is not new on the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotSignedUp {
    /// The user is on it already.
    Known,
    /// The user is on the list of another campaign.
    OfAnotherCampaign,
    /// Another user of the campaign has the address.
    EmailTaken,
    /// Another user of the campaign has the referral code.
    CodeTaken,
}

impl NewUser {
    /// What makes the address the same as another one.
    pub fn email_key(&self) -> String {
        self.email.to_lowercase()
    }
}

impl Store {
    /// A user.
    pub async fn user(&self, id: Uuid) -> Result<Option<UserRow>, StoreError> {
        find(&self.reader, id).await
    }
}

impl Effect {
    /// A user, as part of what an effect goes by.
    pub async fn user(&mut self, id: Uuid) -> Result<Option<UserRow>, StoreError> {
        find(self.on(), id).await
    }

    /// Puts a user on the list, with all that has happened before the signup came here: who
    /// referred the user, whom the user has referred, and whether the address is confirmed.
    pub async fn sign_up(
        &mut self,
        user: &NewUser,
    ) -> Result<Result<SignedUp, NotSignedUp>, StoreError> {
        let id = user.id.to_string();
        // Without the WHERE, SQLite takes ON for a part of the FROM.
        let done = sqlx::query(
            "INSERT INTO waitlist_users
                 (id, campaign_id, email, email_key, first_name, last_name, status, referral_code,
                  referred_by_id, referral_count, verified_referral_count, email_verified,
                  verified_at_ms, verification_token, source, ip_address, user_agent,
                  device_fingerprint, created_at_ms, mailbox, network, honeypot)
             SELECT $1, $2, $3, $4, $5, $6,
                 CASE WHEN verified.at_ms IS NULL THEN 'pending' ELSE 'verified' END, $7,
                 COALESCE($8, (SELECT MIN(referrer_id) FROM referrals WHERE referred_id = $1)),
                 (SELECT COUNT(*) FROM referrals WHERE referrer_id = $1 AND status <> 'invalid'),
                 (SELECT COUNT(*) FROM referrals
                  WHERE referrer_id = $1 AND status IN ('verified', 'converted')),
                 CASE WHEN verified.at_ms IS NULL THEN 0 ELSE 1 END, verified.at_ms, $9, $10, $11,
                 $12, $13, $14, $15, $16, $17
             FROM (SELECT (SELECT at_ms FROM event_records
                           WHERE event_type = 'user.verified' AND subject = $1) AS at_ms)
                 AS verified
             WHERE 1 = 1
             ON CONFLICT DO NOTHING",
        )
        .bind(id.as_str())
        .bind(user.campaign_id.to_string())
        .bind(user.email.as_str())
        .bind(user.email_key())
        .bind(user.first_name.as_deref())
        .bind(user.last_name.as_deref())
        .bind(user.referral_code.as_str())
        .bind(user.referred_by_id.map(|id| id.to_string()))
        .bind(user.verification_token.as_str())
        .bind(user.source.as_str())
        .bind(user.ip_address.as_deref())
        .bind(user.user_agent.as_deref())
        .bind(user.device_fingerprint.as_deref())
        .bind(user.at_ms)
        .bind(user.mailbox.as_str())
        .bind(user.network.as_deref())
        .bind(i64::from(user.honeypot))
        .execute(self.on())
        .await?;
        let found = sqlx::query(
            "SELECT id, campaign_id, email_key, email_verified FROM waitlist_users
             WHERE id = $1 OR (campaign_id = $2 AND (email_key = $3 OR referral_code = $4))
             ORDER BY CASE WHEN id = $1 THEN 0 WHEN email_key = $3 THEN 1 ELSE 2 END LIMIT 1",
        )
        .bind(id.as_str())
        .bind(user.campaign_id.to_string())
        .bind(user.email_key())
        .bind(user.referral_code.as_str())
        .fetch_one(self.on())
        .await?;
        if done.rows_affected() == 1 {
            let is_verified = found.try_get::<i64, _>("email_verified")? != 0;
            return Ok(Ok(SignedUp { is_verified }));
        }
        let has_email = found.try_get::<String, _>("email_key")? == user.email_key();
        Ok(Err(if super::id_at(&found, "id")? == user.id {
            if super::id_at(&found, "campaign_id")? == user.campaign_id {
                NotSignedUp::Known
            } else {
                NotSignedUp::OfAnotherCampaign
            }
        } else if has_email {
            NotSignedUp::EmailTaken
        } else {
            NotSignedUp::CodeTaken
        }))
    }

    /// Why this signup, which came once before, cannot be the one by which the user is on the
    /// list; none where nothing there speaks against it. Changes nothing.
    pub async fn refutes(&mut self, user: &NewUser) -> Result<Option<NotSignedUp>, StoreError> {
        let others = sqlx::query(
            "SELECT id, campaign_id, email_key FROM waitlist_users
             WHERE (id = $1 AND campaign_id <> $2)
                OR (id <> $1 AND campaign_id = $2 AND (email_key = $3 OR referral_code = $4))
             ORDER BY CASE WHEN id = $1 THEN 0 WHEN email_key = $3 THEN 1 ELSE 2 END LIMIT 1",
        )
        .bind(user.id.to_string())
        .bind(user.campaign_id.to_string())
        .bind(user.email_key())
        .bind(user.referral_code.as_str())
        .fetch_optional(self.on())
        .await?;
        let Some(other) = others else { return Ok(None) };
        Ok(Some(if super::id_at(&other, "id")? == user.id {
            NotSignedUp::OfAnotherCampaign
        } else if other.try_get::<String, _>("email_key")? == user.email_key() {
            NotSignedUp::EmailTaken
        } else {
            NotSignedUp::CodeTaken
        }))
    }

    /// A user has confirmed the address. Returns whether that is new: the user is on the list, and
    /// it was not known.
    pub async fn verify_user(&mut self, id: Uuid, at_ms: i64) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE waitlist_users SET
                 status = CASE WHEN status = 'pending' THEN 'verified' ELSE status END,
                 email_verified = 1, verified_at_ms = COALESCE(verified_at_ms, $1)
             WHERE id = $2 AND email_verified = 0",
        )
        .bind(at_ms)
        .bind(id.to_string())
        .execute(self.on())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Whether one of these users is on the list of another campaign.
    pub async fn is_elsewhere(
        &mut self,
        [one, other]: [Uuid; 2],
        campaign_id: Uuid,
    ) -> Result<bool, StoreError> {
        let row = sqlx::query(
            "SELECT 1 FROM waitlist_users WHERE id IN ($1, $2) AND campaign_id <> $3 LIMIT 1",
        )
        .bind(one.to_string())
        .bind(other.to_string())
        .bind(campaign_id.to_string())
        .fetch_optional(self.on())
        .await?;
        Ok(row.is_some())
    }

    /// A user who is on the list was referred by another one, unless that is known already.
    pub async fn note_referrer(&mut self, id: Uuid, referrer_id: Uuid) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE waitlist_users SET referred_by_id = $1
             WHERE id = $2 AND referred_by_id IS NULL",
        )
        .bind(referrer_id.to_string())
        .bind(id.to_string())
        .execute(self.on())
        .await?;
        Ok(())
    }
}

async fn find<'e>(
    executor: impl Executor<'e, Database = Any>,
    id: Uuid,
) -> Result<Option<UserRow>, StoreError> {
    let row = sqlx::query(
        "SELECT id, campaign_id, email, first_name, last_name, status, position, referral_code,
                referred_by_id, referral_count, verified_referral_count, email_verified,
                verification_token, unsubscribed
         FROM waitlist_users WHERE id = $1",
    )
    .bind(id.to_string())
    .fetch_optional(executor)
    .await?;
    row.as_ref().map(user).transpose()
}

fn user(row: &AnyRow) -> Result<UserRow, StoreError> {
    let position: i64 = row.try_get("position")?;
    Ok(UserRow {
        id: super::id_at(row, "id")?,
        campaign_id: super::id_at(row, "campaign_id")?,
        email: row.try_get("email")?,
        first_name: row.try_get("first_name")?,
        last_name: row.try_get("last_name")?,
        status: row.try_get("status")?,
        position: (position > 0).then_some(position),
        referral_code: row.try_get("referral_code")?,
        referred_by_id: super::maybe_id_at(row, "referred_by_id")?,
        referral_count: row.try_get("referral_count")?,
        verified_referral_count: row.try_get("verified_referral_count")?,
        email_verified: row.try_get::<i64, _>("email_verified")? != 0,
        verification_token: row.try_get("verification_token")?,
        unsubscribed: row.try_get::<i64, _>("unsubscribed")? != 0,
    })
}
