//! `user.signup`: the user is put on the list, asked to confirm the address, checked for fraud,
//! and given a place.

use futures_util::future::BoxFuture;
use serde_json::Map;
use uuid::Uuid;

use super::fan_out::FanOut;
use super::{Attempt, database_away, end, of_another_campaign};
use crate::domain::handler::{Failure, Handler, Job, Outcome};
use crate::store::{EventKind, EventRecord, NewUser, NotSignedUp, Store};
use crate::waitlist::email::EmailKind;
use crate::waitlist::events::user_signup::UserSignup;
use crate::waitlist::fraud::{FraudCheck, FraudDetection};
use crate::waitlist::position::PositionRecalculation;

/// Puts users on the list.
pub(super) struct SignUp {
    store: Store,
    fan_out: FanOut,
}

impl SignUp {
    pub(super) fn new(store: &Store, fan_out: &FanOut) -> Self {
        Self { store: store.clone(), fan_out: fan_out.clone() }
    }

    async fn sign_up(&self, job: &Job) -> Attempt {
        let signup: UserSignup = job.payload()?;
        let (id, campaign_id) = (signup.user_id, signup.campaign_id);
        let now_ms = self.fan_out.now_ms();
        let effect = self.store.effect(&job.scope, job.id, now_ms).await.map_err(database_away)?;
        let Some(mut effect) = effect else { return Ok(Outcome::AlreadyDone) };
        effect.take_turns(&[id]).await.map_err(database_away)?;
        let campaign = effect.campaign(campaign_id, now_ms).await.map_err(database_away)?;
        let user = new_user(signup);
        match effect.sign_up(&user).await.map_err(database_away)? {
            Ok(signed_up) => {
                let event = event(job.id, &user);
                effect.record(&event).await.map_err(database_away)?;
                let has_confirmed = signed_up.is_verified || !campaign.verification_required;
                let first_mail =
                    if has_confirmed { EmailKind::Welcome } else { EmailKind::Verification };
                self.fan_out
                    .ask_mail(&mut effect, job, first_mail, (campaign_id, id), Map::new())
                    .await?;
                let check_types =
                    vec![FraudCheck::SelfReferral, FraudCheck::FakeEmail, FraudCheck::Bot];
                let check = FraudDetection { campaign_id, user_id: id, check_types };
                self.fan_out.ask(&mut effect, job, "fraud.detection", &check).await?;
                let places = PositionRecalculation { campaign_id, user_ids: Some(vec![id]) };
                self.fan_out.ask(&mut effect, job, "position.recalculation", &places).await?;
                self.fan_out.ask_webhooks(&mut effect, job, campaign_id).await?;
                self.fan_out.keep_analytics(&mut effect, campaign_id, event.at_ms).await?;
            }
            // The same signup, published once more.
            Err(NotSignedUp::Known) => {}
            Err(reason) => return Err(Outcome::Fail(refusal(reason))),
        }
        effect.commit().await.map_err(database_away)?;
        Ok(Outcome::Done)
    }
}

impl Handler for SignUp {
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Outcome> {
        Box::pin(async move { end(self.sign_up(job).await) })
    }
}

/// The user of a signup.
pub(super) fn new_user(signup: UserSignup) -> NewUser {
    NewUser {
        id: signup.user_id,
        campaign_id: signup.campaign_id,
        referral_code: signup.referral_code.unwrap_or_else(|| code_of(signup.user_id)),
        // 128 random bits: nobody guesses it.
        verification_token: format!("{:032x}", rand::random::<u128>()),
        source: signup.source.as_str().to_owned(),
        email: signup.email,
        first_name: signup.first_name,
        last_name: signup.last_name,
        referred_by_id: signup.referred_by_id,
        ip_address: signup.ip_address.map(|address| address.to_string()),
        user_agent: signup.user_agent,
        device_fingerprint: signup.device_fingerprint,
        at_ms: signup.timestamp.timestamp_millis(),
    }
}

/// The code of a user who brought none: the same for each delivery of the signup. 12 characters
/// of 5 bits, without those that are mistaken for others (Crockford's base 32): among a million
/// users two share one with a probability of less than one in a million.
fn code_of(user_id: Uuid) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let (_, bits) = Uuid::new_v5(&user_id, b"referral code").as_u64_pair();
    (0..12)
        .map(|place| usize::try_from(bits >> (5 * place) & 31).unwrap_or(0))
        .filter_map(|digit| DIGITS.get(digit).copied().map(char::from))
        .collect()
}

/// A signup as it counts.
pub(super) fn event(message_id: Uuid, user: &NewUser) -> EventRecord {
    EventRecord {
        kind: EventKind::Signup,
        subject: user.id.to_string(),
        message_id,
        campaign_id: user.campaign_id,
        user_id: user.id,
        email_key: Some(user.email_key()),
        at_ms: user.at_ms,
    }
}

fn refusal(reason: NotSignedUp) -> Failure {
    let (class, message) = match reason {
        NotSignedUp::Known => ("known_user", "the user is on the list already"),
        NotSignedUp::OfAnotherCampaign => return of_another_campaign(),
        NotSignedUp::EmailTaken => {
            ("email_taken", "another user of the campaign has this e-mail address")
        }
        NotSignedUp::CodeTaken => {
            ("referral_code_taken", "another user of the campaign has this referral_code")
        }
    };
    Failure::new(class, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_without_a_code_gets_one_that_stays() {
        let code = code_of(Uuid::from_u128(7));
        assert_eq!((code.len(), code.as_str()), (12, code_of(Uuid::from_u128(7)).as_str()));
        assert_ne!(code, code_of(Uuid::from_u128(8)));
    }
}
