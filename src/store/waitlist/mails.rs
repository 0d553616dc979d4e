//! What became of each mail.

use uuid::Uuid;

use super::events::hour_of;
use crate::store::{Effect, StoreError};

/// A mail that went out, or one that was not to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailRecord<'a> {
    /// Where its job is claimed.
    pub scope: &'a str,
    /// The job's id.
    pub message_id: Uuid,
    /// The campaign.
    pub campaign_id: Uuid,
    /// The user.
    pub user_id: Uuid,
    /// Which mail it is.
    pub kind: &'a str,
    /// What became of it.
    pub end: MailEnd<'a>,
    /// When, milliseconds since the epoch.
    pub at_ms: i64,
}

/// What became of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailEnd<'a> {
    /// It went out.
    Sent {
        /// To this address.
        recipient: &'a str,
    },
    /// It was not to go out.
    Skipped {
        /// Why, in a word.
        reason: &'a str,
    },
}

impl Effect {
    /// Writes down what became of a mail, as part of the effect that claims it. One whose claim
    /// was forgotten after years keeps its first row.
    pub async fn record_mail(&mut self, mail: &MailRecord<'_>) -> Result<(), StoreError> {
        let (outcome, reason, recipient) = match mail.end {
            MailEnd::Sent { recipient } => ("sent", None, Some(recipient)),
            MailEnd::Skipped { reason } => ("skipped", Some(reason), None),
        };
        sqlx::query(
            "INSERT INTO sent_emails
                 (scope, message_id, campaign_id, user_id, kind, outcome, reason, recipient,
                  at_ms, hour_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
             ON CONFLICT DO NOTHING",
        )
        .bind(mail.scope)
        .bind(mail.message_id.to_string())
        .bind(mail.campaign_id.to_string())
        .bind(mail.user_id.to_string())
        .bind(mail.kind)
        .bind(outcome)
        .bind(reason)
        .bind(recipient)
        .bind(mail.at_ms)
        .bind(hour_of(mail.at_ms))
        .execute(self.on())
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Row as _;

    use super::*;
    use crate::store::Store;
    use crate::store::tests::on_both_databases;

    on_both_databases! { a_mail_has_one_row_for_each_scope_and_none_without_its_claim }

    const ID: Uuid = Uuid::from_u128(1);
    const HOUR_MS: i64 = 3_600_000;

    fn record<'a>(scope: &'a str, end: MailEnd<'a>) -> MailRecord<'a> {
        MailRecord {
            scope,
            message_id: ID,
            campaign_id: Uuid::from_u128(2),
            user_id: Uuid::from_u128(3),
            kind: "welcome",
            end,
            at_ms: 5 * HOUR_MS + 1,
        }
    }

    async fn a_mail_has_one_row_for_each_scope_and_none_without_its_claim(store: Store) {
        let skipped = record("email-workers", MailEnd::Skipped { reason: "blocked" });
        let sent = record("a replay", MailEnd::Sent { recipient: "ada@example.com" });
        let mut dropped = store.effect(skipped.scope, ID, 1).await.unwrap().unwrap();
        dropped.record_mail(&skipped).await.unwrap();
        drop(dropped);
        for record in [&skipped, &sent, &sent] {
            if let Some(mut effect) = store.effect(record.scope, ID, 1).await.unwrap() {
                effect.record_mail(record).await.unwrap();
                effect.commit().await.unwrap();
            }
        }
        let rows = sqlx::query(
            "SELECT scope, outcome, reason, recipient FROM sent_emails
             WHERE hour_ms = $1 ORDER BY outcome DESC",
        )
        .bind(5 * HOUR_MS)
        .fetch_all(&store.reader)
        .await
        .unwrap();
        let rows: Vec<[Option<String>; 4]> = rows
            .iter()
            .map(|row| [0, 1, 2, 3].map(|column| row.try_get(column).unwrap()))
            .collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            rows,
            [
                [text("email-workers"), text("skipped"), text("blocked"), None],
                [text("a replay"), text("sent"), None, text("ada@example.com")],
            ]
        );
    }
}
