//! The jobs that follow from an event: rows of the schedule, due now, in the event's own effect.
//! The schedule is the outbox, so none is lost between database and Kafka.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::database_away;
use crate::domain::catalog::Catalog;
use crate::domain::clock::SharedClock;
use crate::domain::handler::{Failure, Job, Outcome};
use crate::domain::scheduled::ScheduledRecord;
use crate::domain::trace::Trace;
use crate::store::Effect;
use crate::waitlist::email::{Email, EmailKind};

/// Asks for the jobs that follow. Cheap to clone.
#[derive(Clone)]
pub(super) struct FanOut {
    catalog: Arc<Catalog>,
    clock: SharedClock,
    producer_name: Arc<str>,
}

impl FanOut {
    pub(super) fn new(
        catalog: &Arc<Catalog>,
        clock: &SharedClock,
        producer_name: &Arc<str>,
    ) -> Self {
        Self {
            catalog: Arc::clone(catalog),
            clock: Arc::clone(clock),
            producer_name: Arc::clone(producer_name),
        }
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Asks for a job of this type as part of what a job does. Its id is the `UUIDv5` (RFC 9562)
    /// of `{type}/{key}` in the namespace of the cause's id: a cause that comes twice asks for
    /// the same job. A replay that has the effects again asks for them again, under ids of its own.
    /// A trace goes on in it.
    pub(super) async fn ask(
        &self,
        effect: &mut Effect,
        cause: &Job,
        type_name: &str,
        payload: &impl Serialize,
    ) -> Result<(), Outcome> {
        self.ask_for(effect, cause, type_name, None, payload).await
    }

    /// The same where the key does not tell apart what one cause asks for: the name does, in its
    /// place. Events are asked for as jobs are.
    pub(super) async fn ask_for(
        &self,
        effect: &mut Effect,
        cause: &Job,
        type_name: &str,
        name: Option<&str>,
        payload: &impl Serialize,
    ) -> Result<(), Outcome> {
        let namespace = self.namespace_of(cause);
        let id = |key: &str| {
            let name = name.unwrap_or(key);
            Uuid::new_v5(&namespace, format!("{type_name}/{name}").as_bytes())
        };
        self.ask_as(effect, cause, (type_name, payload), id).await
    }

    /// The same for a job whose id says what it is asked for, so that others who ask for the same
    /// ask for this one.
    pub(super) async fn ask_as(
        &self,
        effect: &mut Effect,
        cause: &Job,
        (type_name, payload): (&str, &impl Serialize),
        id: impl FnOnce(&str) -> Uuid,
    ) -> Result<(), Outcome> {
        let mut record = self.job(type_name, payload, id, self.now_ms())?;
        if let Some(trace) = Trace::of(&cause.record.headers) {
            record.headers.push_trace(&trace);
        }
        effect.schedule(&record).await.map_err(database_away)?;
        Ok(())
    }

    /// Asks for a mail to a user of a campaign; what the data lacks comes from the tables.
    pub(super) async fn ask_mail(
        &self,
        effect: &mut Effect,
        cause: &Job,
        kind: EmailKind,
        (campaign_id, user_id): (Uuid, Uuid),
        template_data: Map<String, Value>,
    ) -> Result<(), Outcome> {
        let email = Email {
            kind: Some(kind),
            campaign_id,
            user_id,
            template_id: None,
            template_data,
            priority: None,
        };
        self.ask(effect, cause, &kind.job_type(), &email).await
    }

    fn namespace_of(&self, cause: &Job) -> Uuid {
        let of_type = self.catalog.by_name(&cause.type_name);
        if of_type.is_none_or(|of_type| of_type.group == *cause.scope) {
            return cause.id;
        }
        Uuid::new_v5(&cause.id, cause.scope.as_bytes())
    }

    /// A job of this type, due at a time, whose id may follow from its key.
    pub(super) fn job(
        &self,
        type_name: &str,
        payload: &impl Serialize,
        id: impl FnOnce(&str) -> Uuid,
        due_ms: i64,
    ) -> Result<ScheduledRecord, Outcome> {
        let record_type = self.catalog.by_name(type_name).ok_or_else(|| {
            Outcome::Fail(Failure::new("unknown_type", format!("there is no type {type_name}")))
        })?;
        let bytes = serde_json::to_vec(payload).map_err(|error| {
            Outcome::Fail(Failure::caused_by("fan_out", format!("{type_name} is no JSON"), &error))
        })?;
        let accepted = record_type.accept(&bytes).map_err(|refusal| {
            let message = format!("{type_name} would not be accepted: {refusal:?}");
            Outcome::Fail(Failure::new("fan_out", message))
        })?;
        let (id, now_ms) = (id(&accepted.key), self.now_ms());
        Ok(ScheduledRecord::job(id, record_type, accepted, &self.producer_name, now_ms, due_ms))
    }
}
