//! What became of each attempt to tell a webhook of an event, and what that says of the webhook.

use sqlx::Row as _;
use sqlx::any::AnyRow;
use uuid::Uuid;

use crate::store::limited::OpenTransaction;
use crate::store::{Effect, Store, StoreError};

/// An attempt that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// The webhook.
    pub webhook_id: Uuid,
    /// The job.
    pub message_id: Uuid,
    /// When the attempt began, milliseconds since the epoch.
    pub at_ms: i64,
    /// Its number, from 1.
    pub attempt: u32,
    /// What it told of.
    pub event_type: String,
    /// The beginning of what was sent.
    pub payload: String,
    /// The answer's status code and the beginning of its body, if one came.
    pub response: Option<(u16, String)>,
    /// How long it took.
    pub duration_ms: i64,
    /// Why it failed; none: it did not.
    pub error: Option<String>,
}

/// What an attempt that failed says of its webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisableWebhook<'a> {
    /// Nothing for which it is disabled.
    No,
    /// It is disabled for this reason.
    Now {
        /// Why.
        reason: &'a str,
    },
    /// It is disabled for this reason if nothing but failures has come of it for so long.
    After {
        /// How long.
        failing_ms: i64,
        /// Why.
        reason: &'a str,
    },
}

/// An earlier attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastDelivery {
    /// Its number.
    pub attempt: i64,
    /// When it began.
    pub at_ms: i64,
    /// Why it failed.
    pub error: Option<String>,
}

impl Effect {
    /// Writes down an attempt that succeeded, as part of the effect that claims it.
    pub async fn record_delivery(&mut self, delivery: &DeliveryRecord) -> Result<(), StoreError> {
        insert(self.on(), delivery).await?;
        sqlx::query(
            "UPDATE webhooks SET total_deliveries = total_deliveries + 1, last_success_ms = $1,
                 failing_since_ms = NULL, disabled_reason = CASE WHEN status = 'failed'
                     THEN disabled_reason END
             WHERE id = $2",
        )
        .bind(delivery.at_ms)
        .bind(delivery.webhook_id.to_string())
        .execute(self.on())
        .await?;
        Ok(())
    }
}

impl Store {
    /// Writes down an attempt that failed. Returns whether that has disabled the webhook.
    ///
    /// One that was disabled and is active again has failed since the attempt after that, and
    /// not since the first one in its life.
    pub async fn record_failed_delivery(
        &self,
        delivery: &DeliveryRecord,
        disable: DisableWebhook<'_>,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.writer.begin().await?;
        insert(&mut transaction, delivery).await?;
        sqlx::query(
            "UPDATE webhooks SET total_deliveries = total_deliveries + 1,
                 total_failures = total_failures + 1, last_failure_ms = $1,
                 failing_since_ms = CASE
                     WHEN status = 'active' AND disabled_reason IS NOT NULL THEN $1
                     ELSE COALESCE(failing_since_ms, $1) END,
                 disabled_reason = CASE WHEN status = 'failed' THEN disabled_reason END
             WHERE id = $2",
        )
        .bind(delivery.at_ms)
        .bind(delivery.webhook_id.to_string())
        .execute(&mut *transaction)
        .await?;
        let (reason, failing_since_ms) = match disable {
            DisableWebhook::No => (None, 0),
            DisableWebhook::Now { reason } => (Some(reason), i64::MAX),
            DisableWebhook::After { failing_ms, reason } => {
                (Some(reason), delivery.at_ms.saturating_sub(failing_ms))
            }
        };
        let mut is_disabled = false;
        if let Some(reason) = reason {
            let done = sqlx::query(
                "UPDATE webhooks SET status = 'failed', disabled_reason = $1
                 WHERE id = $2 AND status = 'active' AND failing_since_ms <= $3",
            )
            .bind(reason)
            .bind(delivery.webhook_id.to_string())
            .bind(failing_since_ms)
            .execute(&mut *transaction)
            .await?;
            is_disabled = done.rows_affected() == 1;
        }
        transaction.commit().await?;
        Ok(is_disabled)
    }

    /// The last attempts at a job, the newest first.
    pub async fn past_deliveries(
        &self,
        (webhook_id, message_id): (Uuid, Uuid),
        attempts_max: i64,
    ) -> Result<Vec<PastDelivery>, StoreError> {
        let rows = sqlx::query(
            "SELECT attempt, at_ms, error FROM webhook_deliveries
             WHERE webhook_id = $1 AND message_id = $2 ORDER BY at_ms DESC LIMIT $3",
        )
        .bind(webhook_id.to_string())
        .bind(message_id.to_string())
        .bind(attempts_max)
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(past).collect()
    }
}

async fn insert(on: &mut OpenTransaction, delivery: &DeliveryRecord) -> Result<(), StoreError> {
    let status = if delivery.error.is_none() { "succeeded" } else { "failed" };
    let (code, body) = match &delivery.response {
        Some((code, body)) => (Some(i64::from(*code)), Some(body.as_str())),
        None => (None, None),
    };
    sqlx::query(
        "INSERT INTO webhook_deliveries
             (webhook_id, message_id, at_ms, attempt, event_type, payload, status,
              response_status, response_body, duration_ms, error)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT DO NOTHING",
    )
    .bind(delivery.webhook_id.to_string())
    .bind(delivery.message_id.to_string())
    .bind(delivery.at_ms)
    .bind(i64::from(delivery.attempt))
    .bind(&delivery.event_type)
    .bind(&delivery.payload)
    .bind(status)
    .bind(code)
    .bind(body)
    .bind(delivery.duration_ms)
    .bind(delivery.error.as_deref())
    .execute(on)
    .await?;
    Ok(())
}

fn past(row: &AnyRow) -> Result<PastDelivery, StoreError> {
    Ok(PastDelivery {
        attempt: row.try_get("attempt")?,
        at_ms: row.try_get("at_ms")?,
        error: row.try_get("error")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::WebhookStatus;
    use crate::store::tests::on_both_databases;

    on_both_databases! {
        attempts_are_counted_and_a_success_ends_the_failures,
        a_webhook_is_disabled_after_days_of_nothing_but_failures,
        one_that_says_it_is_gone_is_disabled_at_once,
        active_webhooks_are_those_of_the_campaign_and_of_all,
    }

    const HOOK: Uuid = Uuid::from_u128(1);
    const DAY_MS: i64 = 86_400_000;
    const AFTER: DisableWebhook<'_> =
        DisableWebhook::After { failing_ms: 5 * DAY_MS, reason: "days of failures" };

    async fn make(store: &Store, id: Uuid, campaign: Option<Uuid>, status: &str) {
        sqlx::query(
            "INSERT INTO webhooks (id, campaign_id, url, secret, status, created_at_ms)
             VALUES ($1, $2, 'https://example.com', 'whsec_', $3, 1)",
        )
        .bind(id.to_string())
        .bind(campaign.map(|id| id.to_string()))
        .bind(status)
        .execute(&store.writer)
        .await
        .unwrap();
    }

    fn delivery(at_ms: i64, error: Option<&str>) -> DeliveryRecord {
        DeliveryRecord {
            webhook_id: HOOK,
            message_id: Uuid::from_u128(2),
            at_ms,
            attempt: 1,
            event_type: "user.signup".into(),
            payload: "{}".into(),
            response: error.is_none().then(|| (204, String::new())),
            duration_ms: 7,
            error: error.map(str::to_owned),
        }
    }

    async fn succeed(store: &Store, id: u128, at_ms: i64) {
        let mut effect = store.effect("g", Uuid::from_u128(id), 1).await.unwrap().unwrap();
        effect.record_delivery(&delivery(at_ms, None)).await.unwrap();
        effect.commit().await.unwrap();
    }

    /// Deliveries, failures, and since when it fails.
    async fn state(store: &Store) -> (i64, i64, Option<i64>) {
        let row = sqlx::query(
            "SELECT total_deliveries, total_failures, failing_since_ms FROM webhooks WHERE id = $1",
        )
        .bind(HOOK.to_string())
        .fetch_one(&store.reader)
        .await
        .unwrap();
        (row.get(0), row.get(1), row.get(2))
    }

    async fn fail(store: &Store, at_ms: i64, disable: DisableWebhook<'_>) -> bool {
        store.record_failed_delivery(&delivery(at_ms, Some("500")), disable).await.unwrap()
    }

    async fn attempts_are_counted_and_a_success_ends_the_failures(store: Store) {
        make(&store, HOOK, None, "active").await;
        for at_ms in [10, 20] {
            assert!(!fail(&store, at_ms, AFTER).await);
        }
        assert_eq!(state(&store).await, (2, 2, Some(10)));
        succeed(&store, 9, 30).await;
        assert_eq!(state(&store).await, (3, 2, None));
        assert!(!fail(&store, 40, DisableWebhook::No).await);
        assert_eq!(state(&store).await, (4, 3, Some(40)));
        let past = store.past_deliveries((HOOK, Uuid::from_u128(2)), 2).await.unwrap();
        let told: Vec<(i64, Option<&str>)> =
            past.iter().map(|past| (past.at_ms, past.error.as_deref())).collect();
        assert_eq!(told, [(40, Some("500")), (30, None)]);
    }

    async fn a_webhook_is_disabled_after_days_of_nothing_but_failures(store: Store) {
        make(&store, HOOK, None, "active").await;
        assert!(!fail(&store, 0, AFTER).await);
        succeed(&store, 9, DAY_MS).await;
        assert!(!fail(&store, 2 * DAY_MS, AFTER).await, "the first since the success");
        assert!(!fail(&store, 7 * DAY_MS - 1, AFTER).await);
        assert!(fail(&store, 7 * DAY_MS, AFTER).await);
        assert!(!fail(&store, 8 * DAY_MS, AFTER).await, "it is disabled once");
        let row = store.webhook(HOOK).await.unwrap().unwrap();
        assert_eq!(row.status, WebhookStatus::Failed);
        assert_eq!(row.disabled_reason.as_deref(), Some("days of failures"));

        sqlx::query("UPDATE webhooks SET status = 'active'").execute(&store.writer).await.unwrap();
        assert!(!fail(&store, 9 * DAY_MS, AFTER).await, "it has five days anew");
        assert!(!fail(&store, 14 * DAY_MS - 1, AFTER).await);
        assert!(fail(&store, 14 * DAY_MS, AFTER).await);
    }

    async fn one_that_says_it_is_gone_is_disabled_at_once(store: Store) {
        make(&store, HOOK, None, "active").await;
        assert!(fail(&store, 10, DisableWebhook::Now { reason: "gone" }).await);
        let row = store.webhook(HOOK).await.unwrap().unwrap();
        assert_eq!((row.status, row.disabled_reason), (WebhookStatus::Failed, Some("gone".into())));
    }

    async fn active_webhooks_are_those_of_the_campaign_and_of_all(store: Store) {
        let (own, other) = (Uuid::from_u128(10), Uuid::from_u128(11));
        for (id, campaign, status) in [
            (1, Some(own), "active"),
            (2, None, "active"),
            (3, Some(other), "active"),
            (4, Some(own), "paused"),
            (5, None, "failed"),
        ] {
            make(&store, Uuid::from_u128(id), campaign, status).await;
        }
        let mut effect = store.effect("g", Uuid::from_u128(9), 1).await.unwrap().unwrap();
        let found = effect.active_webhooks(own, 9).await.unwrap();
        let expected = [1, 2].map(|id| (Uuid::from_u128(id), r#"["*"]"#.to_owned()));
        assert_eq!(found, expected);
        assert_eq!(effect.active_webhooks(own, 1).await.unwrap(), expected[..1]);
    }
}
