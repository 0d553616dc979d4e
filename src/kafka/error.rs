//! What can go wrong with Kafka, in words that the floors above can act on.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use thiserror::Error;

/// A call to Kafka that did not succeed.
#[derive(Debug, Error)]
pub enum KafkaFault {
    /// The call failed or took too long; it may work later.
    #[error("Kafka could not {action}")]
    Failed {
        /// What was asked of it.
        action: String,
        /// What the client library says.
        #[source]
        source: KafkaError,
    },
    /// The partition or record asked for is not there.
    #[error("{what} is not in Kafka")]
    Missing {
        /// What was asked for.
        what: String,
    },
    /// The topic asked for is not there.
    #[error("the topic {topic} is not in Kafka")]
    MissingTopic {
        /// Its name.
        topic: String,
    },
    /// A change that may have been made, may be made yet, or may not.
    #[error("Kafka did not say whether it could {action}")]
    Unknown {
        /// What was asked of it.
        action: String,
    },
    /// So much is being read that this could not begin in time; it may work later.
    #[error("too much is being read from Kafka at once")]
    Busy,
    /// The thread that asked has ended; jobgate is stopping.
    #[error("the Kafka client is stopping")]
    Stopping,
}

impl KafkaFault {
    pub(super) fn failed(action: impl Into<String>) -> impl FnOnce(KafkaError) -> Self {
        let action = action.into();
        move |source| Self::Failed { action, source }
    }

    /// What the client library calls it.
    pub(super) fn code(&self) -> Option<Code> {
        let Self::Failed { source, .. } = self else { return None };
        source.rdkafka_error_code()
    }

    /// Whether no answer came.
    pub(super) fn is_silence(&self) -> bool {
        matches!(
            self.code(),
            Some(Code::OperationTimedOut | Code::BrokerTransportFailure | Code::AllBrokersDown)
        )
    }
}

/// A record that is not known to be durable.
#[derive(Debug, Clone, Error)]
pub enum ProduceError {
    /// The queue towards Kafka is full: nothing was written.
    #[error("the queue towards Kafka is full")]
    QueueFull,
    /// Kafka is known to be away: nothing was written.
    #[error("Kafka cannot be reached")]
    Away,
    /// Kafka has refused the record: nothing was written, and asking again will not help.
    #[error("Kafka refused the record")]
    Refused(#[source] KafkaError),
    /// The record is larger than its topic takes: nothing was written.
    #[error("the record is larger than its topic takes")]
    TooLarge(#[source] KafkaError),
    /// No acknowledgement came. The record may have been written or may still be.
    #[error("no acknowledgement from Kafka: the record may have been written or not")]
    Unknown(#[source] Option<KafkaError>),
}

impl ProduceError {
    pub(super) fn from_delivery(error: KafkaError) -> Self {
        match error.rdkafka_error_code() {
            Some(Code::QueueFull) => Self::QueueFull,
            Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => Self::TooLarge(error),
            Some(
                Code::UnknownTopicOrPartition
                | Code::UnknownTopic
                | Code::UnknownPartition
                | Code::TopicAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::InvalidRecord
                | Code::InvalidTimestamp
                | Code::PolicyViolation
                | Code::InvalidTopic
                | Code::InvalidArgument,
            ) => Self::Refused(error),
            // Everything else may have reached the log: a timeout above all.
            _ => Self::Unknown(Some(error)),
        }
    }
}
