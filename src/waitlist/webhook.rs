//! The payload of `webhook.delivery`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::domain::catalog::Payload;

/// Delivers one event to a customer's webhook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookDelivery {
    /// The webhook.
    pub webhook_id: Uuid,
    /// What happened, in the customer's words: `user.verified`.
    #[schemars(length(min = 1, max = 100))]
    pub event_type: String,
    /// The event itself, sent as it is.
    pub payload: Map<String, Value>,
    /// How often the producer has tried before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000))]
    pub attempt: Option<u32>,
    /// Attempts after the first that the producer asks for; the webhook's own setting when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100))]
    pub max_retries: Option<u32>,
}

impl Payload for WebhookDelivery {
    fn example() -> Self {
        let mut payload = Map::new();
        payload.insert("user_id".to_owned(), json!(super::examples::USER));
        Self {
            webhook_id: super::examples::WEBHOOK,
            event_type: "user.verified".to_owned(),
            payload,
            attempt: None,
            max_retries: Some(5),
        }
    }
}
