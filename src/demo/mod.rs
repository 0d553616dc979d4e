//! The demo: a day of a waitlist, sent to a running jobgate as its website would send it, with
//! some fraud, a webhook that is gone and a few poison mails; what came of it, and whether that
//! adds up.
//!
//! Owns the story and its sums. It is a client like any other: what it sends goes over HTTP, and
//! it looks into the tables only to set the campaign up and to count. The only home of indicatif.

mod day;
mod people;
mod receiver;
mod scene;
mod send;
mod summary;
mod sums;

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::domain::clock::SharedClock;
use crate::outbound::{
    Client, ClientSettings, Dns, InvalidSecret, InvalidUrl, OutboundError, Reach, SendError,
};
use crate::store::{CampaignAccount, Store, StoreError};
use day::Day;
use receiver::Receiver;
use scene::{Scene, Shared};
use send::Door;
use sums::Seen;

/// Mails that nobody can send.
const POISON: usize = 5;
/// Their type: one of which no other fails.
const POISON_TYPE: &str = "email.milestone";
/// How often the tables are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Looks that find nothing new before it is said that nothing moves any more.
const STILL_MAX: u32 = 100;
/// The groups whose jobs are counted.
const GROUPS: [&str; 7] = [
    "email-workers",
    "reward-workers",
    "position-workers",
    "fraud-workers",
    "webhook-workers",
    "analytics-workers",
    "event-processor",
];

/// What the demo is played with.
pub struct Stage {
    /// The tables of the jobgate that it is sent to.
    pub store: Store,
    /// Where that one is, `http://127.0.0.1:8088`.
    pub url: String,
    /// A token with `events:write` and `jobs:write`, if it asks for one.
    pub token: Option<String>,
    /// The topic of its dead letters.
    pub dlq_topic: String,
    /// The one clock.
    pub clock: SharedClock,
}

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub struct Play {
    /// Honest people.
    pub people: usize,
    /// The same seed is the same day.
    pub seed: u64,
}

/// What keeps the demo from going on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// jobgate did not take what was sent.
    #[error("{path} was answered {status}: {said}")]
    Refused {
        /// The path.
        path: String,
        /// The status.
        status: u16,
        /// The problem.
        said: String,
    },
    /// Nobody answered.
    #[error("jobgate does not answer")]
    Silent(#[from] SendError),
    /// The address is none.
    #[error("the address of jobgate")]
    Url(#[from] InvalidUrl),
    /// A secret of its own making.
    #[error("the secret of the webhooks")]
    Secret(#[from] InvalidSecret),
    /// The tables could not be used.
    #[error("the tables of jobgate")]
    Store(#[from] StoreError),
    /// The client could not be set up.
    #[error("the client")]
    Client(#[from] OutboundError),
    /// The receiver could not be set up.
    #[error("the receiver of the webhooks")]
    Receiver(#[from] std::io::Error),
}

/// Plays the day and prints what came of it. Returns whether it adds up.
pub async fn play(stage: &Stage, play: Play) -> Result<bool, DemoError> {
    let client = Client::new(ClientSettings {
        reach: Reach::Anywhere,
        dns: Dns::new(None),
        agent: format!("jobgate-demo/{}", env!("CARGO_PKG_VERSION")),
    })?;
    let door = Door {
        client,
        url: stage.url.trim_end_matches('/').to_owned(),
        token: stage.token.clone(),
        clock: stage.clock.clone(),
    };
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let shared = Shared::new();
    let receiver = Receiver::new(shared.signer()?, &stage.clock);
    let address = receiver.start(&tracker, &stop).await?;
    let now_ms = stage.clock.now_ms();
    let scene = scene::set_up(&stage.store, address, &shared, now_ms).await?;
    let day = Day::new(scene.campaign, play.people, play.seed, now_ms);

    let bar = bar(day.posts.len());
    bar.set_message("a day's events are sent");
    let seen = Seen {
        signups: day.signups,
        verified: day.verified,
        referrals: day.referrals,
        poison: POISON,
        ..Seen::default()
    };
    let watch = Watch { stage, scene, receiver: &receiver, since_ms: now_ms, bar: &bar };
    let sending = async {
        door.publish_all(&day.posts, &bar).await?;
        send_poison(&door, scene.campaign).await
    };
    let (account, seen) = watch.until_settled(sending, seen).await?;
    bar.finish_and_clear();
    stop.cancel();
    tracker.close();
    tracker.wait().await;
    let sums = sums::sums(&account, &seen);
    summary::print(&summary::Told {
        account: &account,
        seen: &seen,
        day: &day,
        scene: &scene,
        sums: &sums,
        url: &door.url,
        took_ms: stage.clock.now_ms() - now_ms,
    });
    Ok(sums.iter().all(|sum| sum.is_true))
}

/// Jobs that name what they need but for one thing that no table has.
async fn send_poison(door: &Door, campaign_id: Uuid) -> Result<(), DemoError> {
    for number in 0..POISON {
        let poison = json!({
            "campaign_id": campaign_id,
            "user_id": Uuid::now_v7(),
            "template_data": {"email": format!("nobody{number}@post.home.arpa")},
        });
        door.send(&format!("/jobs/{POISON_TYPE}"), &poison).await?;
    }
    Ok(())
}

/// Looks at what comes of it.
struct Watch<'a> {
    stage: &'a Stage,
    scene: Scene,
    receiver: &'a Receiver,
    since_ms: i64,
    bar: &'a ProgressBar,
}

impl Watch<'_> {
    /// Waits until all is sent and nothing moves any more.
    async fn until_settled(
        &self,
        sending: impl Future<Output = Result<(), DemoError>>,
        mut seen: Seen,
    ) -> Result<(CampaignAccount, Seen), DemoError> {
        let mut sending = std::pin::pin!(sending);
        let (mut is_sent, mut still, mut last) = (false, 0, None);
        loop {
            tokio::select! {
                biased;
                result = &mut sending, if !is_sent => {
                    result?;
                    is_sent = true;
                }
                () = tokio::time::sleep(LOOK) => {}
            }
            let account = self.stage.store.account_of(self.scene.campaign).await?;
            self.look(&mut seen).await?;
            self.bar.set_message(format!(
                "mails {}  rewards {}  webhooks {}  blocked {}  dead letters {}  to do {}",
                account.mails,
                account.rewards_delivered,
                account.webhooks_delivered,
                account.blocked,
                seen.poison_letters + seen.webhook_letters + seen.reward_mail_letters,
                seen.left,
            ));
            let is_over = sums::sums(&account, &seen).iter().all(|sum| sum.is_true);
            let now = Some((account.clone(), seen.left, seen.webhook_letters));
            still = if now == last { still + 1 } else { 0 };
            last = now;
            // Twice: what was asked for in between would be seen.
            if is_sent && ((is_over && still > 0) || still >= STILL_MAX) {
                return Ok((account, seen));
            }
        }
    }

    async fn look(&self, seen: &mut Seen) -> Result<(), DemoError> {
        let (store, dlq_topic) = (&self.stage.store, &self.stage.dlq_topic);
        let letters = |type_name| store.letters_since(self.since_ms, type_name, dlq_topic);
        seen.left = store.followers_left(self.since_ms, GROUPS, dlq_topic).await?;
        seen.poison_letters = letters(POISON_TYPE).await?;
        seen.webhook_letters = letters("webhook.delivery").await?;
        seen.reward_mail_letters = letters("email.reward-earned").await?;
        seen.webhooks_asked = store.asked_since(self.since_ms, "webhook.delivery").await?;
        (seen.webhooks_received, seen.forged) =
            self.receiver.look(|received| (received.ids.len(), received.forged));
        Ok(())
    }
}

fn bar(length: usize) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(length).unwrap_or(u64::MAX));
    // A template of its own that is wrong would show the default one.
    let style =
        ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {pos}/{len} events\n{wide_msg}");
    if let Ok(style) = style {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(LOOK);
    bar
}
