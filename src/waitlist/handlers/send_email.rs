//! Runs the e-mail jobs: what the tables and the payload say becomes a mail.
//!
//! A mail leaves the database's reach, so it goes out at least once. Once it is out that is
//! written down together with the job's claim, and a delivery or a replay that finds the claim
//! sends none. A crash between the two, or a worker that takes over there, sends it once more,
//! under the same `Message-ID`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use super::fan_out::FanOut;
use super::mail_data::{Known, RECIPIENT, UNSUBSCRIBE, full_name};
use super::unrecorded::Unrecorded;
use super::{Attempt, database_away, end, wait_for_row};
use crate::domain::clock::SharedClock;
use crate::domain::handler::{Failure, Handler, Job, Outcome};
use crate::mail::{Mail, Mailer, SendError};
use crate::store::{MailEnd, MailRecord, Store, UserRow};
use crate::waitlist::email::{Email, EmailKind};
use crate::waitlist::site::Site;

/// Sends mails. At least once, with an id that stays the same.
pub(super) struct SendEmail {
    kind: EmailKind,
    tools: Tools,
    unrecorded: Unrecorded<String>,
    /// Somebody names a template, which has no effect: said once.
    has_warned: AtomicBool,
}

/// What all kinds of mail are sent with.
pub(super) struct Tools {
    pub(super) mailer: Arc<Mailer>,
    pub(super) store: Store,
    pub(super) clock: SharedClock,
    /// Where the pages of a campaign are that has none of its own.
    pub(super) site: Site,
    /// Asks for the analytics of what was sent.
    pub(super) fan_out: FanOut,
}

impl SendEmail {
    /// The handler of one kind of mail.
    pub(super) fn new(kind: EmailKind, tools: Tools) -> Self {
        Self { kind, tools, unrecorded: Unrecorded::default(), has_warned: AtomicBool::new(false) }
    }

    async fn send(&self, job: &Job) -> Attempt {
        let email: Email = job.payload()?;
        self.warn_of_template(&email);
        let store = &self.tools.store;
        // Asked before the mail goes out: while the database is away none does that could not
        // be claimed, or each try would send it once more.
        if store.is_claimed(&job.scope, job.id).await.map_err(database_away)? {
            return Ok(Outcome::AlreadyDone);
        }
        if let Some(recipient) = self.unrecorded.get(&job.scope, job.id) {
            return self.record_sent(job, &email, &recipient).await;
        }
        let user = store.user(email.user_id).await.map_err(database_away)?;
        if user.as_ref().is_some_and(|user| user.campaign_id != email.campaign_id) {
            return Err(Outcome::Fail(of_another_campaign(&email)));
        }
        let campaign = store.campaign(email.campaign_id).await.map_err(database_away)?;
        let known = Known {
            kind: self.kind,
            email: &email,
            user: user.as_ref(),
            campaign: campaign.as_ref(),
            site: &self.tools.site,
        };
        if let Some(reason) = known.reason_to_skip() {
            return self.record(job, &email, MailEnd::Skipped { reason }).await;
        }
        let values = known.values().map_err(Outcome::Fail)?;
        let missing = known.missing(&values);
        if !missing.is_empty() {
            return Err(lack(&email, known.user, &missing, job.attempt));
        }
        let mail = self.mail(job, &known, &values)?;
        self.tools
            .mailer
            .send(&mail, self.tools.clock.now_ms())
            .await
            .map_err(|error| outcome(&error))?;
        self.unrecorded.add(&job.scope, job.id, mail.to.clone());
        self.record_sent(job, &email, &mail.to).await
    }

    async fn record_sent(&self, job: &Job, email: &Email, recipient: &str) -> Attempt {
        let end = self.record(job, email, MailEnd::Sent { recipient }).await?;
        self.unrecorded.remove(&job.scope, job.id);
        Ok(end)
    }

    fn mail(
        &self,
        job: &Job,
        known: &Known<'_>,
        values: &Map<String, Value>,
    ) -> Result<Mail, Outcome> {
        let kind = self.kind.as_str();
        let rendered = self.tools.mailer.render(kind, values).map_err(|error| {
            // The same data fails again, whatever the template.
            Outcome::Fail(Failure::new("template", error.to_string()))
        })?;
        let to = text(values, RECIPIENT).ok_or_else(|| {
            let message = "template_data.email must be an address, a string";
            Outcome::Fail(Failure::new("invalid_recipient", message))
        })?;
        let is_named = known.named(RECIPIENT).is_some();
        Ok(Mail {
            message_id: job.id,
            to,
            to_name: known.user.filter(|_| !is_named).and_then(full_name),
            kind: kind.to_owned(),
            unsubscribe_url: text(values, UNSUBSCRIBE).filter(|url| !url.is_empty()),
            rendered,
        })
    }

    /// Claims the job, and writes down what became of its mail.
    async fn record(&self, job: &Job, email: &Email, end: MailEnd<'_>) -> Attempt {
        let at_ms = self.tools.clock.now_ms();
        let record = MailRecord {
            scope: &job.scope,
            message_id: job.id,
            campaign_id: email.campaign_id,
            user_id: email.user_id,
            kind: self.kind.as_str(),
            end,
            at_ms,
        };
        let effect = self.tools.store.effect(&job.scope, job.id, at_ms).await;
        // Where another worker has claimed it meanwhile, the mail has gone out twice.
        if let Some(mut effect) = effect.map_err(database_away)? {
            effect.record_mail(&record).await.map_err(database_away)?;
            // The mails of a campaign that is in no table are in nobody's figures.
            let campaign_id = email.campaign_id;
            if matches!(record.end, MailEnd::Sent { .. })
                && effect.has_campaign(campaign_id).await.map_err(database_away)?
            {
                self.tools.fan_out.keep_analytics(&mut effect, campaign_id, at_ms).await?;
            }
            effect.commit().await.map_err(database_away)?;
        }
        Ok(Outcome::Done)
    }

    fn warn_of_template(&self, email: &Email) {
        if email.template_id.is_some() && !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                job.type = self.kind.job_type(),
                "a payload names a template_id, which has no effect: there are no templates by \
                 id; files in --mail-templates replace the built-in ones (said once)"
            );
        }
    }
}

impl Handler for SendEmail {
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Outcome> {
        Box::pin(async move { end(self.send(job).await) })
    }
}

fn text(values: &Map<String, Value>, name: &str) -> Option<String> {
    values.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// What follows from values that nobody has said. A row that may still come is waited for.
fn lack(email: &Email, user: Option<&UserRow>, missing: &[&str], attempt: u32) -> Outcome {
    let (user_id, campaign_id) = (email.user_id, email.campaign_id);
    // No table has it, so no row helps.
    let is_for_good = missing.contains(&"reward_name");
    let failure = if !is_for_good && missing.contains(&RECIPIENT) {
        let message = format!(
            "user {user_id} is not on the list of campaign {campaign_id}: publish user.signup \
             first, or name the recipient in template_data.email with what else the mail needs; \
             then replay this"
        );
        Failure::new("unknown_user", message)
    } else if !is_for_good && user.is_some() && missing.contains(&"new_position") {
        let message = format!(
            "user {user_id} has no position yet: let position.recalculation run for campaign \
             {campaign_id}, or name new_position in template_data; then replay this"
        );
        Failure::new("no_position", message)
    } else {
        let message = format!("template_data lacks {}", missing.join(", "));
        return Outcome::Fail(Failure::new("missing_data", message));
    };
    wait_for_row(attempt, failure)
}

fn of_another_campaign(email: &Email) -> Failure {
    let message = format!(
        "user {} is on the list of another campaign than {}: a user has one campaign",
        email.user_id, email.campaign_id
    );
    Failure::new("user_of_another_campaign", message)
}

fn outcome(error: &SendError) -> Outcome {
    let failure = |class| Failure::caused_by(class, error.to_string(), error);
    match error {
        SendError::Unavailable { .. } => Outcome::Unavailable(failure("mail_server_away")),
        SendError::Retry { .. } => Outcome::Retry(failure("mail_deferred")),
        SendError::Rejected { .. } => Outcome::Fail(failure("mail_rejected")),
    }
}
