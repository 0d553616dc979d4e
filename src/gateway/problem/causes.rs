//! What each error of a use case is to a caller.

use axum::http::StatusCode;
use uuid::Uuid;

use super::super::endpoints::later::record_url;
use super::Problem;
use crate::domain::catalog::Refusal;
use crate::domain::clock::rfc3339;
use crate::domain::fault::{Fault, quoted};
use crate::kafka::KafkaFault;
use crate::operations::{
    EdgeError, EnqueueError, KeyedError, LagError, LetterError, OPEN_REPLAYS_MAX, QuarantineError,
    ReplayError, ReplayLetterError, ResetError, SEARCH_RECORDS_MAX, ScheduleError, StatsError,
    StatusError, TopicError,
};
use crate::store::StoreError;

impl Problem {
    /// A point that is none of the topic, named by this member of the request.
    fn of_edge(member: &str, error: &EdgeError) -> Self {
        let pointer = match error {
            EdgeError::NoPartition(_) => "/partitions".to_owned(),
            _ => format!("/{member}/offset"),
        };
        Self::invalid_payload(vec![Fault { pointer, detail: error.to_string() }])
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotJson { detail } => Self::bad_request("not-json", detail),
            Refusal::Invalid(faults) => Self::invalid_payload(faults),
        }
    }
}

impl From<EnqueueError> for Problem {
    fn from(error: EnqueueError) -> Self {
        match error {
            EnqueueError::Away => Self::kafka_unavailable(),
            EnqueueError::Overloaded => Self::unavailable(
                "overloaded",
                "More is being written than Kafka takes; nothing was written. Send the request \
                 again later",
            ),
            EnqueueError::OverShare => Self::over_share(
                "What this caller has on its way to Kafka is all that it may have there; nothing was \
                 written. Wait for some of it, then send the request again",
            ),
            EnqueueError::TooLarge(_) => {
                Self::too_large("The record is larger than its topic takes; nothing was written")
            }
            EnqueueError::Refused(source) => {
                tracing::error!(error = %source, cause = ?source, "Kafka refused a record");
                Self::unavailable(
                    "kafka-refused",
                    "Kafka refused the record; nothing was written. The operator finds the \
                     reason in the log",
                )
            }
            EnqueueError::OutcomeUnknown { id } => Self::outcome_unknown(
                id,
                "Kafka did not acknowledge the record in time: it may have been written, or may \
                 still be, under this id; GET /jobs/by-id/{id} tells. Sending the request again \
                 may write it twice: with an Idempotency-Key it has the same id each time",
            ),
        }
    }
}

impl Problem {
    /// Why a request with an `Idempotency-Key` has no answer of its own.
    pub(in super::super) fn of_key<E>(error: &KeyedError<E>) -> Self {
        match error {
            KeyedError::InFlight => Self::conflict(
                "idempotency-key-in-flight",
                "The first request with this Idempotency-Key is still being answered. Send it \
                 again later: it then gets that answer",
            )
            .retryable(),
            KeyedError::OtherRequest => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "The Idempotency-Key is that of another request",
                "This Idempotency-Key was sent with another body or query; nothing was done. Give \
                 each request a key of its own, and repeat a request as it was",
            ),
            KeyedError::Away => Self::unavailable(
                "database-unavailable",
                "The database, which keeps each Idempotency-Key, cannot be used; nothing was \
                 accepted. Send the request again later",
            ),
            KeyedError::Overloaded => Self::unavailable(
                "overloaded",
                "More requests with an Idempotency-Key are sent than the database takes; nothing \
                 was accepted. Send the request again later",
            ),
            KeyedError::OutcomeUnknown { id } => Self::keyed_outcome_unknown(*id),
            KeyedError::Failed(_) => Self::internal(),
        }
    }

    /// Of a record that was sent under a key.
    pub(in super::super) fn of_keyed_record(error: EnqueueError) -> Self {
        match error {
            EnqueueError::OutcomeUnknown { id } => Self::keyed_outcome_unknown(id),
            error => error.into(),
        }
    }

    /// Of a job that was put off under a key.
    pub(in super::super) fn of_keyed_delay(error: ScheduleError) -> Self {
        match error {
            ScheduleError::OutcomeUnknown { id } => Self::keyed_outcome_unknown(id),
            error => error.into(),
        }
    }

    /// Of a request that can be sent again without harm.
    fn keyed_outcome_unknown(id: Uuid) -> Self {
        let detail = "It is not known in time what became of it: it may have been accepted, or may \
                      still be, under this id. Send the request again with the same \
                      Idempotency-Key: it has the same id then";
        Self::outcome_unknown(id, detail).retryable()
    }
}

impl From<ScheduleError> for Problem {
    fn from(error: ScheduleError) -> Self {
        match error {
            ScheduleError::NoDelay | ScheduleError::TooFar => {
                Self::bad_request("invalid-query", format!("The time cannot be taken: {error}"))
            }
            ScheduleError::NotTaken(source) => {
                tracing::error!(error = %source, cause = ?source, "database");
                Self::unavailable(
                    "database-unavailable",
                    "The database, which keeps a job until its time, cannot be used; nothing was \
                     accepted. Send the request again later",
                )
            }
            ScheduleError::OutcomeUnknown { id } => Self::outcome_unknown(
                id,
                "The database did not say in time what became of the job: it may have been \
                 accepted, under this id; GET /jobs/scheduled/{id} tells. Sending the request \
                 again may have it run twice",
            ),
            ScheduleError::Unknown(id) => Self::not_found(
                "unknown-id",
                format!(
                    "There is no delayed job with the id {id} (any more); of one that was sent at \
                     once ask GET /jobs/by-id/{{id}}"
                ),
            ),
            ScheduleError::OnItsWay(id) => Self::conflict(
                "job-on-its-way",
                format!("{id} is being sent, or may have been; it cannot be taken back"),
            ),
            ScheduleError::Sent { type_name, place } => {
                let record = record_url(&type_name, &place);
                Self::conflict("job-sent", format!("It was sent; its record is at {record}"))
            }
            ScheduleError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, cause = ?error, "database");
        Self::unavailable(
            "database-unavailable",
            "The database cannot be used. Send the request again later",
        )
    }
}

impl From<KafkaFault> for Problem {
    fn from(error: KafkaFault) -> Self {
        tracing::warn!(%error, cause = ?error, "kafka");
        match error {
            KafkaFault::MissingTopic { topic } => Self::unavailable(
                "missing-topic",
                format!("The topic {topic} is not on the cluster; a start of jobgate makes it"),
            ),
            KafkaFault::Unknown { .. } => Self::change_without_answer(),
            KafkaFault::Busy => Self::unavailable(
                "overloaded",
                "More is being read from Kafka than may be at once. Send the request again later",
            ),
            KafkaFault::Failed { .. } | KafkaFault::Missing { .. } | KafkaFault::Stopping => {
                Self::unavailable(
                    "kafka-unavailable",
                    "Kafka did not answer; nothing was changed. Send the request again later",
                )
            }
        }
    }
}

impl From<LetterError> for Problem {
    fn from(error: LetterError) -> Self {
        match error {
            LetterError::NotFound { partition, offset } => Self::not_found(
                "no-such-dead-letter",
                format!(
                    "The dead-letter topic has no record at {partition}/{offset}, or not any \
                     more; GET /admin/dlq lists what there is"
                ),
            ),
            LetterError::Settled(resolution) => Self::conflict(
                "dead-letter-settled",
                format!("The dead letter is already {}", resolution.state.as_str()),
            ),
            LetterError::Busy => Self::conflict(
                "replay-under-way",
                "A replay of this dead letter is under way; read its state in a moment",
            ),
            LetterError::IndexBehind => Self::unavailable(
                "index-behind",
                "The index of the dead letters has not reached the end of the topic; ask again",
            ),
            LetterError::Kafka(error) => error.into(),
            LetterError::Store(error) => error.into(),
        }
    }
}

impl From<QuarantineError> for Problem {
    fn from(error: QuarantineError) -> Self {
        match error {
            QuarantineError::NotQuarantined => Self::not_found(
                "not-quarantined",
                "This group has no such key in quarantine, or not any more; \
                 GET /admin/quarantines lists what there is",
            ),
            QuarantineError::Store(error) => error.into(),
        }
    }
}

impl From<ReplayLetterError> for Problem {
    fn from(error: ReplayLetterError) -> Self {
        match error {
            ReplayLetterError::Letter(error) => error.into(),
            // The payload is a member of the request, which is JSON: no byte of it is not.
            ReplayLetterError::Payload(Refusal::NotJson { detail }) => {
                Self::invalid_payload(vec![Fault { pointer: String::new(), detail }])
            }
            ReplayLetterError::Payload(refusal) => refusal.into(),
            ReplayLetterError::NotReplayable(detail) => {
                Self::conflict("not-replayable", format!("It cannot be replayed: {detail}"))
            }
            ReplayLetterError::Enqueue(error) => error.into(),
        }
    }
}

impl From<ReplayError> for Problem {
    fn from(error: ReplayError) -> Self {
        let fault = |pointer: String| {
            Self::invalid_payload(vec![Fault { pointer, detail: error.to_string() }])
        };
        match error {
            ReplayError::UnknownTopic(topic) => Self::not_found(
                "unknown-topic",
                format!(
                    "The catalog has no topic {} of jobs or events; see GET /catalog",
                    quoted(&topic)
                ),
            ),
            ReplayError::NoHandler { .. } => fault("/handler".to_owned()),
            ReplayError::NoLetters(_) => fault("/dead_letters".to_owned()),
            ReplayError::Edge { member, source } => Self::of_edge(member, &source),
            ReplayError::GroupOfWorkers(_) => fault("/group".to_owned()),
            ReplayError::GroupInUse(group) => Self::conflict(
                "group-in-use",
                format!("The group {group} has members, or an open replay; name another one"),
            ),
            ReplayError::TooMany => Self::conflict(
                "too-many-replays",
                format!("{OPEN_REPLAYS_MAX} replays have not ended; wait, or cancel some"),
            ),
            ReplayError::Unknown(_) => Self::not_found(
                "unknown-replay",
                "There is no replay of this id, or not any more; see GET /admin/replays",
            ),
            ReplayError::Ended(state) => {
                Self::conflict("replay-ended", format!("The replay is {} already", state.as_str()))
            }
            ReplayError::OutcomeUnknown => Self::change_without_answer(),
            ReplayError::Kafka(error) => error.into(),
            ReplayError::Store(error) => error.into(),
        }
    }
}

impl From<StatusError> for Problem {
    fn from(error: StatusError) -> Self {
        match error {
            StatusError::NotFound { topic, partition, offset } => Self::not_found(
                "no-such-record",
                format!("{topic} has no record at {partition}/{offset}, or not yet"),
            ),
            StatusError::UnknownId(id) => Self::not_found(
                "unknown-id",
                format!(
                    "No topic of the catalog has a record with the id {id} (any more). Had it \
                     been answered 504, it would have come by now: it was not written"
                ),
            ),
            StatusError::NotYet(id, until_ms) => {
                let until =
                    until_ms.map_or_else(String::new, |ms| format!(" until {}", rfc3339(ms)));
                let detail = format!(
                    "No topic of the catalog has a record with the id {id} yet. If a POST was \
                     answered 504 with it, jobgate may be trying to write it{until}; ask again \
                     after that to be certain"
                );
                Self::not_found("unknown-id", detail).retryable()
            }
            StatusError::NoTime(id) => Self::not_found(
                "unknown-id",
                format!(
                    "{id} is not a UUIDv7 and carries no time to search from; ask by the \
                     place in the receipt, /jobs/{{type}}/{{partition}}/{{offset}}"
                ),
            ),
            StatusError::SearchCut(id) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "search-bound-reached",
                "The search has a bound",
                format!(
                    "{id} is not among the first {SEARCH_RECORDS_MAX} records of each partition \
                     since its time, and there are more; ask by the place in the receipt, \
                     /jobs/{{type}}/{{partition}}/{{offset}}"
                ),
            ),
            StatusError::TimedOut => Self::unavailable(
                "took-too-long",
                "Kafka and the database took longer than 5 s together; ask again",
            ),
            StatusError::Letter(error) => error.into(),
            StatusError::Kafka(error) => error.into(),
            StatusError::Store(error) => error.into(),
        }
    }
}

impl From<LagError> for Problem {
    fn from(error: LagError) -> Self {
        match error {
            LagError::UnknownGroup(group) => Self::unknown_group(&group),
            LagError::TimedOut => Self::unavailable(
                "took-too-long",
                "Kafka took longer than 8 s to tell offsets and ages; ask again",
            ),
            LagError::Kafka(error) => error.into(),
        }
    }
}

impl From<StatsError> for Problem {
    fn from(error: StatsError) -> Self {
        match error {
            StatsError::Lag(error) => error.into(),
            StatsError::Store(error) => error.into(),
        }
    }
}

impl From<TopicError> for Problem {
    fn from(error: TopicError) -> Self {
        match error {
            TopicError::Unknown(topic) => Self::not_found(
                "unknown-topic",
                format!("The catalog has no topic {}; see GET /admin/topics", quoted(&topic)),
            ),
            TopicError::Missing(topic) => Self::not_found(
                "missing-topic",
                format!("The topic {topic} is not on the cluster; a start of jobgate makes it"),
            ),
            TopicError::NotMore { now } => Self::conflict(
                "not-more-partitions",
                format!("The topic has {now} partitions; they can only become more"),
            ),
            TopicError::TimedOut => Self::unavailable(
                "took-too-long",
                "Kafka took longer than 8 s to describe its topics; ask again",
            ),
            TopicError::OutcomeUnknown => Self::change_without_answer(),
            TopicError::Kafka(error) => error.into(),
            TopicError::Store(error) => error.into(),
        }
    }
}

impl From<ResetError> for Problem {
    fn from(error: ResetError) -> Self {
        let fault = |pointer: &str, detail: String| {
            Self::invalid_payload(vec![Fault { pointer: pointer.to_owned(), detail }])
        };
        match error {
            ResetError::UnknownGroup(group) => Self::unknown_group(&group),
            ResetError::NotItsTopic(topic) => {
                let detail = format!("{} is not a topic that the group consumes", quoted(&topic));
                fault("/topic", detail)
            }
            ResetError::Edge(error) => Self::of_edge("to", &error),
            ResetError::Live => Self::conflict(
                "group-is-live",
                "The group has members, and its offsets are theirs; stop its workers first",
            ),
            ResetError::OutcomeUnknown => Self::change_without_answer(),
            ResetError::Partly(partitions) => {
                let detail = format!(
                    "Kafka set the offsets of the partitions {partitions:?} and of no others; \
                     GET /admin/lag has them all. Ask for the rest again"
                );
                Self::unknown_change(detail)
            }
            ResetError::Kafka(error) => error.into(),
            ResetError::Store(error) => error.into(),
        }
    }
}
