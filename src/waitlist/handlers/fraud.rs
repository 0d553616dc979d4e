//! `fraud.detection`: what the tables know of a user is held against the rules, what is found is
//! written down, and a user against whom enough speaks is blocked.
//!
//! Facts only come to be: a later check sees what an earlier one did not. So where a check sees
//! something that holds of others too (the first signups of a burst, a copy that was quicker than
//! the original), it asks for theirs once more.

use std::net::IpAddr;

use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::fan_out::FanOut;
use super::milestones::Milestones;
use super::{Attempt, database_away, end, of_another_campaign, wait_for_row};
use crate::domain::handler::{Failure, Handler, Job, Outcome};
use crate::outbound::{Dns, MailDomain, NoMail};
use crate::store::{
    DetectionRow, Effect, Near, NearRow, NewDetection, PartnerRow, Store, StoreError, SuspectRow,
};
use crate::waitlist::fraud::{FraudCheck, FraudDetection};
use crate::waitlist::fraud_signs::self_referral::{Other, Partner, Person, Sibling};
use crate::waitlist::fraud_signs::verdict::{
    Decision, Detected, Standing, Verdict, judge, overall,
};
use crate::waitlist::fraud_signs::{
    DetectionType, Finding, address, fake_email, network, programs, self_referral, suspicious_ip,
    velocity,
};
use crate::waitlist::position::PositionRecalculation;

const JOB: &str = "fraud.detection";
/// Partners in referrals that are compared: a user has one who referred, and of those whom the user
/// has referred the least known come first, so that none is left out for good.
const PARTNERS_MAX: usize = 200;
/// Users of one device whom one user has referred that are looked at: more than the rule asks for.
const SIBLINGS_MAX: usize = 50;
/// Users of one mailbox who came later and are checked once more.
const LATER_MAX: usize = 100;
/// How sure a check has to be of a later user of a mailbox: one that is less so may have missed
/// somebody.
const SURE_OF_MAILBOX: f64 = 0.9;

/// Checks users.
pub(super) struct DetectFraud {
    store: Store,
    fan_out: FanOut,
    /// Who is asked whether an address's domain takes mail; none: nobody is.
    mail_dns: Option<Dns>,
}

/// What the rules have said.
#[derive(Default)]
struct Found {
    findings: Vec<Finding>,
    /// Others of whom the same can be said now. Asked for once, however many see it.
    others: Vec<(DetectionType, Other)>,
    /// Others of the mailbox, whose own check may say more each time.
    again: Vec<Uuid>,
}

impl DetectFraud {
    pub(super) fn new(store: &Store, fan_out: &FanOut, mail_dns: Option<&Dns>) -> Self {
        Self { store: store.clone(), fan_out: fan_out.clone(), mail_dns: mail_dns.cloned() }
    }

    /// Why the user's domain takes no mail, where the DNS is asked and says so. Asked outside of
    /// the effect, which must not wait for it. That nobody could say is no sign of anything.
    async fn no_mail(&self, asked: &FraudDetection) -> Result<Option<NoMail>, Outcome> {
        let Some(dns) = self.mail_dns.as_ref() else { return Ok(None) };
        if !asked.check_types.contains(&FraudCheck::FakeEmail) {
            return Ok(None);
        }
        let user = self.store.user(asked.user_id).await.map_err(database_away)?;
        let Some(user) = user else { return Ok(None) };
        let Some((_, domain)) = address::parts(&user.email) else { return Ok(None) };
        match dns.takes_mail(&domain).await {
            Ok(MailDomain::No(why)) => Ok(Some(why)),
            Ok(MailDomain::Servers | MailDomain::Address) => Ok(None),
            Err(error) => {
                tracing::debug!(%error, "whether a domain takes mail is not known");
                Ok(None)
            }
        }
    }

    async fn check(&self, job: &Job) -> Attempt {
        let asked: FraudDetection = job.payload()?;
        let (campaign_id, id) = (asked.campaign_id, asked.user_id);
        let no_mail = self.no_mail(&asked).await?;
        let now_ms = self.fan_out.now_ms();
        let effect = self.store.effect(&job.scope, job.id, now_ms).await.map_err(database_away)?;
        let Some(mut effect) = effect else { return Ok(Outcome::AlreadyDone) };
        effect.take_turns(&[id]).await.map_err(database_away)?;
        let user = effect.suspect(id).await.map_err(database_away)?;
        let Some(user) = user else { return Err(unknown(&asked, job.attempt)) };
        if user.campaign_id != campaign_id {
            return Err(Outcome::Fail(of_another_campaign()));
        }
        let user = identified(&mut effect, user).await.map_err(database_away)?;
        let found =
            find(&mut effect, &user, &asked.check_types, no_mail).await.map_err(database_away)?;
        for finding in &found.findings {
            let details = finding.details();
            let detection = NewDetection {
                campaign_id,
                user_id: id,
                detection_type: finding.kind.as_str(),
                confidence: finding.confidence(),
                details: &details,
                at_ms: now_ms,
            };
            effect.detect(&detection).await.map_err(database_away)?;
        }
        self.judge(&mut effect, job, &user).await?;
        self.ask_for_others(&mut effect, job, campaign_id, found).await?;
        effect.commit().await.map_err(database_away)?;
        Ok(Outcome::Done)
    }

    /// What follows for the user.
    async fn judge(
        &self,
        effect: &mut Effect,
        job: &Job,
        user: &SuspectRow,
    ) -> Result<(), Outcome> {
        let (id, campaign_id) = (user.id, user.campaign_id);
        let threshold = effect.block_threshold(campaign_id).await.map_err(database_away)?;
        let detections = effect.detections_of(id).await.map_err(database_away)?;
        let detected = detections.into_iter().map(detected).collect::<Result<Vec<_>, _>>()?;
        let overall = overall(&detected);
        let standing = Standing { status: &user.status, blocked_by_fraud: user.blocked_by_fraud };
        let verdict = judge(standing, overall, threshold);
        let (has_moved, has_counted) = match verdict {
            Verdict::Leave => return Ok(()),
            Verdict::Block => (
                effect.block_user(id).await.map_err(database_away)?,
                effect.invalidate_referrals_of(id).await.map_err(database_away)?,
            ),
            Verdict::StayBlocked => {
                (false, effect.invalidate_referrals_of(id).await.map_err(database_away)?)
            }
            Verdict::LetIn => (
                effect.let_in_again(id).await.map_err(database_away)?,
                effect.restore_referrals_of(id).await.map_err(database_away)?,
            ),
            Verdict::WasLetIn => {
                (false, effect.restore_referrals_of(id).await.map_err(database_away)?)
            }
        };
        if !has_moved && !has_counted {
            return Ok(());
        }
        tracing::info!(
            campaign.id = %campaign_id, user.id = %id, ?verdict, confidence = overall,
            "a check for fraud has changed a user's standing"
        );
        let referrers = effect.referrers_of(id).await.map_err(database_away)?;
        effect.take_turns(&referrers).await.map_err(database_away)?;
        let now_ms = self.fan_out.now_ms();
        let campaign = effect.campaign(campaign_id, now_ms).await.map_err(database_away)?;
        let milestones = Milestones { fan_out: &self.fan_out, campaign: &campaign, job };
        for referrer in &referrers {
            milestones.count(effect, *referrer).await?;
        }
        // All places are worked out; told are those whose score has changed.
        let places = PositionRecalculation { campaign_id, user_ids: Some(referrers) };
        self.fan_out.ask(effect, job, "position.recalculation", &places).await
    }

    async fn ask_for_others(
        &self,
        effect: &mut Effect,
        job: &Job,
        campaign_id: Uuid,
        found: Found,
    ) -> Result<(), Outcome> {
        for (kind, Other { id, confidence }) in found.others {
            // A burst may be a crowd, in which less follows from a device that two share.
            let check_types = vec![FraudCheck::SelfReferral, FraudCheck::Bot];
            let payload = FraudDetection { campaign_id, user_id: id, check_types };
            let name = format!("{JOB}/{}/{confidence}", kind.as_str());
            let job_id = |_: &str| Uuid::new_v5(&id, name.as_bytes());
            self.fan_out.ask_as(effect, job, (JOB, &payload), job_id).await?;
        }
        for user_id in found.again {
            let check_types = vec![FraudCheck::FakeEmail];
            let payload = FraudDetection { campaign_id, user_id, check_types };
            self.fan_out.ask(effect, job, JOB, &payload).await?;
        }
        Ok(())
    }
}

impl Handler for DetectFraud {
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Outcome> {
        Box::pin(async move { end(self.check(job).await) })
    }
}

/// A user whose mailbox and network are known: written down where nobody has.
async fn identified(effect: &mut Effect, mut user: SuspectRow) -> Result<SuspectRow, StoreError> {
    if user.mailbox.is_none() {
        let mailbox = address::mailbox(&user.email);
        let address = user.ip_address.as_deref().and_then(|text| text.parse::<IpAddr>().ok());
        user.network = address.and_then(network::of);
        effect.note_identity(user.id, &mailbox, user.network.as_deref()).await?;
        user.mailbox = Some(mailbox);
    }
    Ok(user)
}

/// Gathers the facts that the checks are about, and asks the rules.
async fn find(
    effect: &mut Effect,
    user: &SuspectRow,
    checks: &[FraudCheck],
    no_mail: Option<NoMail>,
) -> Result<Found, StoreError> {
    let mut found = Found::default();
    let (network, device) = bursts(effect, user).await?;
    let own = own(user);
    if checks.contains(&FraudCheck::SelfReferral) {
        let partners = effect.partners(user, PARTNERS_MAX).await?;
        let partners: Vec<Partner> = partners.into_iter().map(partner).collect();
        let siblings = effect.siblings(user, SIBLINGS_MAX).await?;
        let siblings: Vec<Sibling> =
            siblings.into_iter().map(|(id, noted)| Sibling { id, noted }).collect();
        let in_crowd = velocity::is_crowd(&own, &network);
        let checked = self_referral::check(&person(user.clone()), &partners, &siblings, in_crowd);
        found.findings.extend(checked.finding);
        let of_kind = |other| (DetectionType::SelfReferral, other);
        found.others.extend(checked.others.into_iter().map(of_kind));
    }
    if checks.contains(&FraudCheck::FakeEmail) {
        let most = (fake_email::EARLIER_MAX, LATER_MAX);
        let (earlier, later) = effect.same_mailbox(user, most, SURE_OF_MAILBOX).await?;
        found.findings.extend(fake_email::check(&user.email, earlier, no_mail));
        found.again = later;
    }
    if checks.contains(&FraudCheck::Bot) {
        found.findings.extend(programs::check(user.user_agent.as_deref(), user.honeypot));
        let checked = velocity::check(&own, &network, &device);
        found.findings.extend(checked.finding);
        let of_kind = |other| (DetectionType::Velocity, other);
        found.others.extend(checked.others.into_iter().map(of_kind));
        let confirmed = effect.confirmed_nearby(user, suspicious_ip::MANY_MIN).await?;
        found.findings.extend(suspicious_ip::check(user.network.as_deref(), confirmed));
    }
    Ok(found)
}

/// The signups of the user's network and of the user's device at about the same time, with the
/// user's own.
async fn bursts(
    effect: &mut Effect,
    user: &SuspectRow,
) -> Result<(Vec<velocity::Near>, Vec<velocity::Near>), StoreError> {
    let mut all = Vec::with_capacity(2);
    for (near, window_ms) in
        [(Near::Network, velocity::NETWORK_WINDOW_MS), (Near::Device, velocity::DEVICE_WINDOW_MS)]
    {
        let rows = effect.near(user, near, window_ms, velocity::NEAR_MAX).await?;
        all.push(rows.into_iter().map(neighbour).chain([own(user)]).collect());
    }
    let device = all.pop().unwrap_or_default();
    Ok((all.pop().unwrap_or_default(), device))
}

fn own(user: &SuspectRow) -> velocity::Near {
    velocity::Near {
        id: user.id,
        at_ms: user.at_ms,
        network: user.network.clone(),
        device: user.device_fingerprint.clone(),
        noted: 1.0,
    }
}

fn neighbour(row: NearRow) -> velocity::Near {
    let NearRow { id, at_ms, network, device_fingerprint: device, noted } = row;
    velocity::Near { id, at_ms, network, device, noted }
}

fn partner(row: PartnerRow) -> Partner {
    let PartnerRow { user, has_referred, noted } = row;
    Partner { person: person(user), has_referred, noted }
}

fn person(user: SuspectRow) -> Person {
    Person {
        id: user.id,
        at_ms: user.at_ms,
        mailbox: user.mailbox.unwrap_or_else(|| address::mailbox(&user.email)),
        network: user.network,
        device: user.device_fingerprint,
        first_name: user.first_name,
        last_name: user.last_name,
    }
}

fn detected(row: DetectionRow) -> Result<Detected, Outcome> {
    let decision = match row.status.as_str() {
        "pending" => Decision::Pending,
        "confirmed" => Decision::Confirmed,
        "false_positive" | "resolved" => Decision::Settled,
        _ => return Err(database_away(StoreError::Corrupt { what: "status of a detection" })),
    };
    Ok(Detected { decision, confidence: row.confidence, details: row.details })
}

/// What follows from a user whom the tables do not have. The signup may still come.
fn unknown(asked: &FraudDetection, attempt: u32) -> Outcome {
    let message = format!(
        "user {} is not on the list of campaign {}: publish user.signup first, which asks for the \
         check by itself, or replay this when the user is there",
        asked.user_id, asked.campaign_id
    );
    let failure = Failure::new("unknown_user", message);
    wait_for_row(attempt, failure)
}
