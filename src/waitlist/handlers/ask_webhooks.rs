//! The webhooks that want to be told of an event: a job for each, in the event's own effect.

use serde_json::Value;
use uuid::Uuid;

use super::database_away;
use super::fan_out::FanOut;
use super::webhooks::DELIVERY;
use crate::domain::handler::{Job, Outcome};
use crate::store::Effect;
use crate::waitlist::webhook::WebhookDelivery;

/// Active webhooks of a campaign, those of all campaigns included, that are told of one event:
/// what an event asks for is bounded. Of more the oldest are.
const WEBHOOKS_MAX: usize = 100;

/// What stands for all events.
const ALL: &str = "*";

impl FanOut {
    /// Asks that each active webhook of the campaign that wants this event is told of it.
    pub(super) async fn ask_webhooks(
        &self,
        effect: &mut Effect,
        job: &Job,
        campaign_id: Uuid,
    ) -> Result<(), Outcome> {
        let found = effect.active_webhooks(campaign_id, WEBHOOKS_MAX + 1).await;
        let mut webhooks = found.map_err(database_away)?;
        if webhooks.len() > WEBHOOKS_MAX {
            webhooks.truncate(WEBHOOKS_MAX);
            tracing::warn!(campaign.id = %campaign_id, webhooks_max = WEBHOOKS_MAX,
                "a campaign has more active webhooks than are told of an event");
        }
        let Value::Object(payload) = &job.payload else { return Ok(()) };
        for (webhook_id, events) in webhooks {
            if !wants(webhook_id, &events, &job.type_name) {
                continue;
            }
            let delivery = WebhookDelivery {
                webhook_id,
                event_type: job.type_name.to_string(),
                payload: payload.clone(),
                attempt: None,
                max_retries: None,
            };
            match self.ask(effect, job, DELIVERY, &delivery).await {
                // An event that is just within what one may hold is not, wrapped in another: it
                // must not fail for that.
                Err(Outcome::Fail(failure)) => {
                    let error = failure.message;
                    tracing::warn!(webhook.id = %webhook_id, job.id = %job.id, error,
                        "a webhook cannot be told of an event");
                }
                asked => asked?,
            }
        }
        Ok(())
    }
}

/// Whether its row names this event. One that cannot be read wants none: it must not be in the way
/// of the event itself.
fn wants(webhook_id: Uuid, events: &str, event_type: &str) -> bool {
    let Ok(events) = serde_json::from_str::<Vec<String>>(events) else {
        tracing::warn!(webhook.id = %webhook_id, "webhooks.events is no list of event types");
        return false;
    };
    events.iter().any(|event| event == ALL || event == event_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_wants_what_its_row_names() {
        for (events, expected) in [
            (r#"["*"]"#, true),
            (r#"["user.signup"]"#, true),
            (r#"["user.verified", "user.signup"]"#, true),
            (r#"["user.verified"]"#, false),
            (r#"["user.*"]"#, false),
            ("[]", false),
            ("", false),
            (r#""*""#, false),
            ("user.signup", false),
        ] {
            assert_eq!(wants(Uuid::nil(), events, "user.signup"), expected, "{events}");
        }
    }
}
