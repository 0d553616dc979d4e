//! What the checks for fraud ask of users: who somebody is, and who is near. Looked up in an
//! effect, so that what it sees and what it writes go together.

use sqlx::Row as _;
use sqlx::any::AnyRow;
use uuid::Uuid;

use crate::store::{Effect, StoreError};

/// A user as a check sees one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuspectRow {
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
    /// pending, verified, converted, removed or blocked.
    pub status: String,
    /// The mailbox that the address leads to, if that was worked out.
    pub mailbox: Option<String>,
    /// Where the request came from.
    pub ip_address: Option<String>,
    /// What a household or an office has of the internet, if that was worked out.
    pub network: Option<String>,
    /// The browser.
    pub user_agent: Option<String>,
    /// The device.
    pub device_fingerprint: Option<String>,
    /// Whether a field was filled in that people do not see.
    pub honeypot: bool,
    /// Whether a check has blocked the user, be it undone by hand since.
    pub blocked_by_fraud: bool,
    /// When the user signed up.
    pub at_ms: i64,
}

/// The other user of a referral, who has something in common with this one.
#[derive(Debug, Clone, PartialEq)]
pub struct PartnerRow {
    /// The user.
    pub user: SuspectRow,
    /// Whether this other user has referred the one in question.
    pub has_referred: bool,
    /// How sure a check was of the other one; 0 for not at all, 1 where somebody has decided.
    pub noted: f64,
}

/// A user who is near.
#[derive(Debug, Clone, PartialEq)]
pub struct NearRow {
    /// The user.
    pub id: Uuid,
    /// When the user signed up.
    pub at_ms: i64,
    /// The user's network.
    pub network: Option<String>,
    /// The user's device.
    pub device_fingerprint: Option<String>,
    /// How sure a check was of this one; 0 for not at all, 1 where somebody has decided.
    pub noted: f64,
}

/// What users have in common who are near each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Near {
    /// The network.
    Network,
    /// The device.
    Device,
}

/// What is asked of a user; a literal, since sqlx takes no text that was put together.
macro_rules! suspect_columns {
    () => {
        "suspect.id, suspect.campaign_id, suspect.email, suspect.first_name, suspect.last_name,
         suspect.status, suspect.mailbox, suspect.ip_address, suspect.network, suspect.user_agent,
         suspect.device_fingerprint, suspect.honeypot, suspect.blocked_by_fraud,
         suspect.created_at_ms"
    };
}

/// How sure a check was of a user, `detection` being the row; a literal as well.
macro_rules! noted {
    () => {
        "CASE WHEN detection.id IS NULL THEN CAST(0 AS DOUBLE PRECISION)
              WHEN detection.status <> 'pending' THEN CAST(1 AS DOUBLE PRECISION)
              ELSE detection.confidence END AS noted"
    };
}

/// Users of a campaign that share a column's value, on one side of a time; a literal too.
macro_rules! select_near {
    ($column:literal, $side:literal) => {
        concat!(
            "SELECT suspect.id, suspect.created_at_ms, suspect.network,
                    suspect.device_fingerprint, ",
            noted!(),
            " FROM waitlist_users AS suspect
              LEFT JOIN fraud_detections AS detection
                  ON detection.user_id = suspect.id AND detection.detection_type = 'velocity'
              WHERE suspect.campaign_id = $1 AND suspect.",
            $column,
            " = $2 AND suspect.id <> $3 AND suspect.created_at_ms ",
            $side,
            " LIMIT $6"
        )
    };
}

impl Effect {
    /// A user, as a check sees one.
    pub async fn suspect(&mut self, id: Uuid) -> Result<Option<SuspectRow>, StoreError> {
        let row = sqlx::query(concat!(
            "SELECT ",
            suspect_columns!(),
            " FROM waitlist_users AS suspect WHERE id = $1"
        ))
        .bind(id.to_string())
        .fetch_optional(self.on())
        .await?;
        row.as_ref().map(suspect).transpose()
    }

    /// Writes down what is compared of a user who has signed up before anybody compared it, or
    /// whom somebody else has written.
    pub async fn note_identity(
        &mut self,
        id: Uuid,
        mailbox: &str,
        network: Option<&str>,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE waitlist_users SET mailbox = $1, network = $2 WHERE id = $3")
            .bind(mailbox)
            .bind(network)
            .bind(id.to_string())
            .execute(self.on())
            .await?;
        Ok(())
    }

    /// Those who have referred this user or whom this user has referred, and who share mailbox,
    /// network or device with this one; so many at most, those of whom least is known first.
    pub async fn partners(
        &mut self,
        user: &SuspectRow,
        most: usize,
    ) -> Result<Vec<PartnerRow>, StoreError> {
        let rows = sqlx::query(concat!(
            "SELECT ",
            suspect_columns!(),
            ", partners.has_referred, ",
            noted!(),
            " FROM (
                  SELECT id, MAX(has_referred) AS has_referred
                  FROM (
                      SELECT referred_by_id AS id, 1 AS has_referred FROM waitlist_users
                      WHERE id = $1
                      UNION ALL
                      SELECT referrer_id, 1 FROM referrals WHERE referred_id = $1
                      UNION ALL
                      SELECT id, 0 FROM waitlist_users WHERE referred_by_id = $1
                      UNION ALL
                      SELECT referred_id, 0 FROM referrals WHERE referrer_id = $1
                  ) AS pairs
                  GROUP BY id
              ) AS partners
              JOIN waitlist_users AS suspect ON suspect.id = partners.id
              LEFT JOIN fraud_detections AS detection
                  ON detection.user_id = suspect.id AND detection.detection_type = 'self_referral'
              WHERE suspect.id <> $1 AND suspect.campaign_id = $2
                AND (suspect.mailbox = $3 OR suspect.network = $4
                     OR suspect.device_fingerprint = $5)
              ORDER BY partners.has_referred DESC, noted, suspect.created_at_ms, suspect.id
              LIMIT $6"
        ))
        .bind(user.id.to_string())
        .bind(user.campaign_id.to_string())
        .bind(user.mailbox.as_deref())
        .bind(user.network.as_deref())
        .bind(user.device_fingerprint.as_deref())
        .bind(rows_max(most))
        .fetch_all(self.on())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(PartnerRow {
                    user: suspect(row)?,
                    has_referred: row.try_get::<i64, _>("has_referred")? != 0,
                    noted: row.try_get("noted")?,
                })
            })
            .collect()
    }

    /// Others whom the same user has referred, from this user's device and network; so many at
    /// most.
    pub async fn siblings(
        &mut self,
        user: &SuspectRow,
        most: usize,
    ) -> Result<Vec<(Uuid, f64)>, StoreError> {
        let rows = sqlx::query(concat!(
            "SELECT suspect.id, ",
            noted!(),
            " FROM waitlist_users AS suspect
              LEFT JOIN fraud_detections AS detection
                  ON detection.user_id = suspect.id AND detection.detection_type = 'self_referral'
              WHERE suspect.campaign_id = $1 AND suspect.device_fingerprint = $2
                AND suspect.network = $3 AND suspect.id <> $4
                AND suspect.referred_by_id IN (
                    SELECT referred_by_id FROM waitlist_users WHERE id = $4
                    UNION ALL
                    SELECT referrer_id FROM referrals WHERE referred_id = $4)
              ORDER BY noted, suspect.created_at_ms, suspect.id LIMIT $5"
        ))
        .bind(user.campaign_id.to_string())
        .bind(user.device_fingerprint.as_deref())
        .bind(user.network.as_deref())
        .bind(user.id.to_string())
        .bind(rows_max(most))
        .fetch_all(self.on())
        .await?;
        rows.iter().map(|row| Ok((super::id_at(row, "id")?, row.try_get("noted")?))).collect()
    }

    /// How many of the campaign have signed up before this user with the same mailbox, so many at
    /// most; and those who came later, as many at most, of whom a check was less sure than this.
    pub async fn same_mailbox(
        &mut self,
        user: &SuspectRow,
        (earlier_most, later_most): (usize, usize),
        surer_than: f64,
    ) -> Result<(usize, Vec<Uuid>), StoreError> {
        let earlier = sqlx::query(
            "SELECT id FROM waitlist_users
             WHERE campaign_id = $1 AND mailbox = $2
               AND (created_at_ms < $3 OR (created_at_ms = $3 AND id < $4)) LIMIT $5",
        )
        .bind(user.campaign_id.to_string())
        .bind(user.mailbox.as_deref())
        .bind(user.at_ms)
        .bind(user.id.to_string())
        .bind(rows_max(earlier_most))
        .fetch_all(self.on())
        .await?;
        let later = sqlx::query(
            "SELECT suspect.id
             FROM waitlist_users AS suspect
             LEFT JOIN fraud_detections AS detection
                 ON detection.user_id = suspect.id AND detection.detection_type = 'fake_email'
             WHERE suspect.campaign_id = $1 AND suspect.mailbox = $2
               AND (suspect.created_at_ms > $3
                    OR (suspect.created_at_ms = $3 AND suspect.id > $4))
               AND (detection.id IS NULL
                    OR (detection.status = 'pending' AND detection.confidence < $5))
             ORDER BY suspect.created_at_ms, suspect.id LIMIT $6",
        )
        .bind(user.campaign_id.to_string())
        .bind(user.mailbox.as_deref())
        .bind(user.at_ms)
        .bind(user.id.to_string())
        .bind(surer_than)
        .bind(rows_max(later_most))
        .fetch_all(self.on())
        .await?;
        let later = later.iter().map(|row| super::id_at(row, "id")).collect::<Result<_, _>>()?;
        Ok((earlier.len(), later))
    }

    /// Those of the campaign who signed up from the same network or device at about the same time;
    /// before this user and after so many each at most, the nearest.
    pub async fn near(
        &mut self,
        user: &SuspectRow,
        near: Near,
        window_ms: i64,
        most: usize,
    ) -> Result<Vec<NearRow>, StoreError> {
        let (value, [before, after]) = match near {
            Near::Network => (
                user.network.as_deref(),
                [
                    select_near!(
                        "network",
                        "BETWEEN $4 AND $5 ORDER BY suspect.created_at_ms DESC"
                    ),
                    select_near!(
                        "network",
                        "> $4 AND suspect.created_at_ms <= $5
                                             ORDER BY suspect.created_at_ms"
                    ),
                ],
            ),
            Near::Device => (
                user.device_fingerprint.as_deref(),
                [
                    select_near!(
                        "device_fingerprint",
                        "BETWEEN $4 AND $5 ORDER BY suspect.created_at_ms DESC"
                    ),
                    select_near!(
                        "device_fingerprint",
                        "> $4 AND suspect.created_at_ms <= $5 ORDER BY suspect.created_at_ms"
                    ),
                ],
            ),
        };
        let Some(value) = value else { return Ok(Vec::new()) };
        let from_ms = user.at_ms.saturating_sub(window_ms);
        let to_ms = user.at_ms.saturating_add(window_ms);
        let mut found = Vec::new();
        for (sql, from_ms, to_ms) in [(before, from_ms, user.at_ms), (after, user.at_ms, to_ms)] {
            let rows = sqlx::query(sql)
                .bind(user.campaign_id.to_string())
                .bind(value)
                .bind(user.id.to_string())
                .bind(from_ms)
                .bind(to_ms)
                .bind(rows_max(most))
                .fetch_all(self.on())
                .await?;
            for row in &rows {
                found.push(NearRow {
                    id: super::id_at(row, "id")?,
                    at_ms: row.try_get("created_at_ms")?,
                    network: row.try_get("network")?,
                    device_fingerprint: row.try_get("device_fingerprint")?,
                    noted: row.try_get("noted")?,
                });
            }
        }
        Ok(found)
    }

    /// How many others of this user's network somebody has confirmed to be fraud; so many at most.
    pub async fn confirmed_nearby(
        &mut self,
        user: &SuspectRow,
        most: usize,
    ) -> Result<usize, StoreError> {
        let rows = sqlx::query(
            "SELECT DISTINCT detection.user_id
             FROM fraud_detections AS detection
             JOIN waitlist_users AS suspect ON suspect.id = detection.user_id
             WHERE detection.campaign_id = $1 AND detection.status = 'confirmed'
               AND suspect.campaign_id = $1 AND suspect.network = $2 AND suspect.id <> $3
             LIMIT $4",
        )
        .bind(user.campaign_id.to_string())
        .bind(user.network.as_deref())
        .bind(user.id.to_string())
        .bind(rows_max(most))
        .fetch_all(self.on())
        .await?;
        Ok(rows.len())
    }

    /// Of who referred and who joined, the one that signed up later; of two at once who joined. None
    /// while one of them is not on the list.
    pub async fn later_of(
        &mut self,
        by_id: Uuid,
        joined_id: Uuid,
    ) -> Result<Option<Uuid>, StoreError> {
        let rows = sqlx::query(
            "SELECT id FROM waitlist_users WHERE id IN ($1, $2)
             ORDER BY created_at_ms DESC, CASE WHEN id = $2 THEN 0 ELSE 1 END",
        )
        .bind(by_id.to_string())
        .bind(joined_id.to_string())
        .fetch_all(self.on())
        .await?;
        match rows.as_slice() {
            [later, _] => Ok(Some(super::id_at(later, "id")?)),
            _ => Ok(None),
        }
    }
}

fn rows_max(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

fn suspect(row: &AnyRow) -> Result<SuspectRow, StoreError> {
    Ok(SuspectRow {
        id: super::id_at(row, "id")?,
        campaign_id: super::id_at(row, "campaign_id")?,
        email: row.try_get("email")?,
        first_name: row.try_get("first_name")?,
        last_name: row.try_get("last_name")?,
        status: row.try_get("status")?,
        mailbox: row.try_get("mailbox")?,
        ip_address: row.try_get("ip_address")?,
        network: row.try_get("network")?,
        user_agent: row.try_get("user_agent")?,
        device_fingerprint: row.try_get("device_fingerprint")?,
        honeypot: row.try_get::<i64, _>("honeypot")? != 0,
        blocked_by_fraud: row.try_get::<i64, _>("blocked_by_fraud")? != 0,
        at_ms: row.try_get("created_at_ms")?,
    })
}
