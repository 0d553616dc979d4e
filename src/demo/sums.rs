//! Whether it adds up: what was sent, what came of it, and what the tables say.

use crate::store::CampaignAccount;

/// What is known from outside of the tables.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// Events that were accepted.
    pub(super) signups: usize,
    /// The same.
    pub(super) verified: usize,
    /// The same.
    pub(super) referrals: usize,
    /// Jobs that nobody can run.
    pub(super) poison: usize,
    /// Their dead letters.
    pub(super) poison_letters: i64,
    /// Dead letters of webhooks.
    pub(super) webhook_letters: i64,
    /// Dead letters of mails that tell of a reward, without the poison.
    pub(super) reward_mail_letters: i64,
    /// Webhook jobs that were asked for.
    pub(super) webhooks_asked: i64,
    /// Different webhooks that the receiver has.
    pub(super) webhooks_received: usize,
    /// Requests with a wrong signature.
    pub(super) forged: u64,
    /// Jobs that have not ended.
    pub(super) left: i64,
}

/// A sentence that is true or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) says: String,
    pub(super) is_true: bool,
}

/// All that must be true at the end.
pub(super) fn sums(account: &CampaignAccount, seen: &Seen) -> Vec<Sum> {
    let equal = |what: &str, one: i64, other: i64| Sum {
        says: format!("{what}: {one} = {other}"),
        is_true: one == other,
    };
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let sent = [seen.signups, seen.verified, seen.referrals].map(count);
    let recorded = [account.signups, account.verified, account.referrals];
    let [signups, verified, referrals, mails, earned, delivered] = account.analytics;
    let places = [account.places, account.last_place];
    vec![
        equal("jobs that have not ended", seen.left, 0),
        equal("signups sent = written down", sent[0], recorded[0]),
        equal("confirmations sent = written down", sent[1], recorded[1]),
        equal("referrals sent = written down", sent[2], recorded[2]),
        equal("signups = in the analytics", recorded[0], signups),
        equal("confirmations = in the analytics", recorded[1], verified),
        equal("referrals = in the analytics", recorded[2], referrals),
        equal("mails = in the analytics", account.mails, mails),
        equal("signups = users", recorded[0], account.users),
        Sum {
            says: format!(
                "{} on the list, places 1 to {}, each once",
                account.listed, account.last_place
            ),
            is_true: account.first_place == i64::from(account.listed > 0)
                && places == [account.listed; 2],
        },
        equal("rewards of users = rewards earned", account.rewards, account.rewards_earned),
        equal("rewards earned = in the analytics", account.rewards_earned, earned),
        equal("rewards delivered = in the analytics", account.rewards_delivered, delivered),
        equal(
            "rewards delivered, waiting for a person or kept from the blocked = earned",
            account.rewards_delivered + account.rewards_by_hand + account.rewards_kept,
            account.rewards,
        ),
        equal(
            "rewards that go by mail = their mails",
            account.rewards_mailed,
            account.reward_mails + seen.reward_mail_letters,
        ),
        equal(
            "webhooks asked for = delivered or dead letters",
            seen.webhooks_asked,
            account.webhooks_delivered + seen.webhook_letters,
        ),
        equal(
            "webhooks delivered = received",
            account.webhooks_delivered,
            count(seen.webhooks_received),
        ),
        equal(
            "webhooks with a wrong signature",
            count(usize::try_from(seen.forged).unwrap_or(0)),
            0,
        ),
        equal("poison = its dead letters", count(seen.poison), seen.poison_letters),
    ]
}
