//! What is told at the end: what came of the day, whether it adds up, and what to look at next.

use super::POISON_TYPE;
use super::day::Day;
use super::scene::Scene;
use super::sums::{Seen, Sum};
use crate::store::CampaignAccount;

/// All that there is to tell.
pub(super) struct Told<'a> {
    pub(super) account: &'a CampaignAccount,
    pub(super) seen: &'a Seen,
    pub(super) day: &'a Day,
    pub(super) scene: &'a Scene,
    pub(super) sums: &'a [Sum],
    pub(super) url: &'a str,
    pub(super) took_ms: i64,
}

#[expect(clippy::print_stdout, reason = "the summary is what the command is for")]
pub(super) fn print(told: &Told<'_>) {
    let Told { account, seen, day, scene, sums, url, took_ms } = told;
    let seconds = took_ms / 1_000;
    println!(
        "
A day of the campaign {campaign}, in {seconds} s:

  events    {signups} signups, {verified} confirmations, {referrals} referrals
  mails     {mails} sent, {skipped} not to be sent
  fraud     {blocked} users blocked; {cheats} meant no good, {detections} signs were found
  list      {listed} places
  rewards   {delivered} delivered, {by_hand} wait for a person, {kept} kept from users who are blocked
  webhooks  {webhooks} delivered; one endpoint is gone: {webhook_letters} dead letters
  poison    {poison} mails, {poison_letters} dead letters
",
        campaign = scene.campaign,
        signups = account.signups,
        verified = account.verified,
        referrals = account.referrals,
        mails = account.mails,
        skipped = account.mails_skipped,
        cheats = day.cheats,
        detections = account.detections,
        blocked = account.blocked,
        listed = account.listed,
        delivered = account.rewards_delivered,
        by_hand = account.rewards_by_hand,
        kept = account.rewards_kept,
        webhooks = account.webhooks_delivered,
        webhook_letters = seen.webhook_letters,
        poison = seen.poison,
        poison_letters = seen.poison_letters,
    );
    let wrong: Vec<&Sum> = sums.iter().filter(|sum| !sum.is_true).collect();
    if wrong.is_empty() {
        println!("It adds up: {} sums, all of them right.", sums.len());
    } else {
        println!("It does NOT add up:");
        for sum in wrong {
            println!("  {}", sum.says);
        }
    }
    println!(
        "
What to try next:

  curl '{url}/admin/dlq?type=webhook.delivery&limit=1'  # what the endpoint that is gone left
  curl '{url}/admin/dlq?type={POISON_TYPE}&limit=1'     # the poison
  curl {url}/admin/lag                             # how far the workers are
  curl {url}/admin/stats                           # what was done, by type
  curl {url}/catalog                               # every type, with its schema
"
    );
}
