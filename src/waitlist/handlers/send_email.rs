//! Runs the e-mail jobs: what the payload says becomes a mail.
//!
//! A mail leaves the database's reach, so it goes out at least once. Once it is out that is
//! written down as the job's claim, and a delivery or a replay that finds the claim sends none.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use super::fan_out::FanOut;
use super::{database_away, end};
use crate::domain::clock::SharedClock;
use crate::domain::handler::{Failure, Handler, Job, Outcome};
use crate::mail::{Mail, Mailer, SendError};
use crate::store::Store;
use crate::waitlist::email::{Email, EmailKind};

/// The member of `template_data` that names the recipient.
const RECIPIENT: &str = "email";

/// Sends mails. At least once, with an id that stays the same.
pub(super) struct SendEmail {
    kind: EmailKind,
    mailer: Arc<Mailer>,
    store: Store,
    fan_out: FanOut,
    clock: SharedClock,
}

impl SendEmail {
    /// The handler of one kind of mail.
    pub(super) fn new(
        kind: EmailKind,
        mailer: Arc<Mailer>,
        store: Store,
        fan_out: FanOut,
        clock: SharedClock,
    ) -> Self {
        Self { kind, mailer, store, fan_out, clock }
    }

    async fn send(&self, job: &Job) -> Result<Outcome, Outcome> {
        let email: Email = job.payload()?;
        let to = self.recipient(&email.template_data).map_err(Outcome::Fail)?;
        let kind = self.kind.as_str();
        let rendered = self.mailer.render(kind, &email.template_data).map_err(|error| {
            // The same data fails again, whatever the template.
            Outcome::Fail(Failure::new("template", error.to_string()))
        })?;
        // Asked before the mail goes out: while the database is away none does that could not
        // be claimed, or each try would send it once more.
        if self.store.is_claimed(&job.scope, job.id).await.map_err(database_away)? {
            return Ok(Outcome::AlreadyDone);
        }
        let mail = Mail { message_id: job.id, to, kind: kind.to_owned(), rendered };
        self.mailer.send(&mail, self.clock.now_ms()).await.map_err(|error| outcome(&error))?;
        let now_ms = self.clock.now_ms();
        let effect = self.store.effect(&job.scope, job.id, now_ms).await.map_err(database_away)?;
        if let Some(mut effect) = effect {
            self.fan_out.keep_analytics(&mut effect, email.campaign_id, now_ms).await?;
            effect.commit().await.map_err(database_away)?;
        }
        Ok(Outcome::Done)
    }

    /// The recipient, if nothing that the mail needs is missing: all of it is named at once.
    fn recipient(&self, data: &Map<String, Value>) -> Result<String, Failure> {
        let needed = std::iter::once(RECIPIENT).chain(self.kind.needs().iter().copied());
        let missing: Vec<&str> =
            needed.filter(|name| data.get(*name).is_none_or(Value::is_null)).collect();
        if !missing.is_empty() {
            let message = format!("template_data lacks {}", missing.join(", "));
            return Err(Failure::new("missing_data", message));
        }
        data.get(RECIPIENT).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| {
            Failure::new("invalid_recipient", "template_data.email must be an address, a string")
        })
    }
}

impl Handler for SendEmail {
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Outcome> {
        Box::pin(async move { end(self.send(job).await) })
    }
}

fn outcome(error: &SendError) -> Outcome {
    let failure = |class| Failure::caused_by(class, error.to_string(), error);
    match error {
        SendError::Unavailable { .. } => Outcome::Unavailable(failure("mail_server_away")),
        SendError::Retry { .. } => Outcome::Retry(failure("mail_deferred")),
        SendError::Rejected { .. } => Outcome::Fail(failure("mail_rejected")),
    }
}
