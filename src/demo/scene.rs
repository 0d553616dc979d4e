//! The campaign of the demo: what it promises, and whom it tells.

use base64::prelude::{BASE64_STANDARD, Engine};
use uuid::Uuid;

use super::DemoError;
use super::receiver::{GONE, GOOD};
use crate::outbound::{Secret, Signer};
use crate::store::{NewCampaign, NewReward, NewWebhook, Store};

/// Bytes of the secret that the demo and its receiver share.
const SECRET_BYTES: usize = 32;
/// How many stickers there are: fewer than are earned.
const STICKERS: i64 = 25;

/// The ids of what was set up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene {
    pub(super) campaign: Uuid,
    /// The endpoint that works.
    pub(super) webhook: Uuid,
    /// The one that is gone.
    pub(super) broken_webhook: Uuid,
}

/// What the two share.
pub(super) struct Shared {
    /// As the table has it.
    text: String,
}

impl Shared {
    pub(super) fn new() -> Self {
        let bytes: [u8; SECRET_BYTES] = rand::random();
        Self { text: format!("whsec_{}", BASE64_STANDARD.encode(bytes)) }
    }

    pub(super) fn signer(&self) -> Result<Signer, DemoError> {
        Ok(Signer::new([Secret::parse(&self.text)?]))
    }
}

/// Sets a campaign up, whose webhooks lead to this address.
pub(super) async fn set_up(
    store: &Store,
    receiver: std::net::SocketAddr,
    shared: &Shared,
    now_ms: i64,
) -> Result<Scene, DemoError> {
    let scene =
        Scene { campaign: Uuid::now_v7(), webhook: Uuid::now_v7(), broken_webhook: Uuid::now_v7() };
    store
        .add_campaign(&NewCampaign {
            id: scene.campaign,
            name: "Lighthouse".to_owned(),
            positions_to_jump: 2,
            referrer_positions_to_jump: 5,
            position_update_threshold: 200,
            created_at_ms: now_ms,
        })
        .await?;
    let events = ["user.verified", "referral.created", "reward.earned"];
    for (id, path, events) in [
        (scene.webhook, GOOD, &events[..]),
        (scene.broken_webhook, GONE, &["referral.created"][..]),
    ] {
        let webhook = NewWebhook {
            id,
            campaign_id: scene.campaign,
            url: format!("http://{receiver}{path}"),
            secret: shared.text.clone(),
            events: events.iter().map(|event| (*event).to_owned()).collect(),
            created_at_ms: now_ms,
        };
        store.add_webhook(&webhook).await?;
    }
    for reward in rewards(&scene, now_ms) {
        store.add_reward(&reward).await?;
    }
    Ok(scene)
}

fn rewards(scene: &Scene, now_ms: i64) -> [NewReward; 3] {
    let reward = |name: &str, description: &str, kind: &str| NewReward {
        id: Uuid::now_v7(),
        campaign_id: scene.campaign,
        name: name.to_owned(),
        description: description.to_owned(),
        kind: kind.to_owned(),
        trigger: "referral_count".to_owned(),
        trigger_value: None,
        delivery_method: "email".to_owned(),
        webhook_id: None,
        total_available: None,
        created_at_ms: now_ms,
    };
    [
        NewReward {
            trigger_value: Some(3),
            ..reward("Early access", "You are among the first to come in.", "early_access")
        },
        NewReward {
            trigger_value: Some(1),
            delivery_method: "webhook".to_owned(),
            webhook_id: Some(scene.webhook),
            total_available: Some(STICKERS),
            ..reward("A sheet of stickers", "By post, from our shop.", "merchandise")
        },
        NewReward {
            trigger_value: Some(6),
            delivery_method: "manual".to_owned(),
            ..reward("A call with the founders", "We will write to you.", "custom")
        },
    ]
}
