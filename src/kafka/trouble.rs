//! What keeps a client from reading although Kafka is there, for the log: said once, since the
//! client library says it again with each try.

use std::sync::{Mutex, PoisonError};

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// What a client has heard that somebody must mend.
#[derive(Default)]
pub(super) struct Troubles {
    said: Mutex<Vec<Code>>,
}

impl Troubles {
    /// Logs an error: as a warning where somebody must mend something and it is news.
    pub(super) fn heard(&self, client: &str, error: &KafkaError, reason: &str) {
        if let Some(remedy) = self.news(error) {
            tracing::warn!(client, %error, reason, remedy, "Kafka cannot be read");
        } else {
            tracing::debug!(client, %error, reason, "kafka");
        }
    }

    /// It reads again: whatever comes now is news.
    pub(super) fn over(&self) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn news(&self, error: &KafkaError) -> Option<&'static str> {
        let code = error.rdkafka_error_code()?;
        let remedy = remedy(code)?;
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.contains(&code) {
            return None;
        }
        said.push(code);
        Some(remedy)
    }
}

/// What mends an error that does not pass by itself.
fn remedy(code: Code) -> Option<&'static str> {
    match code {
        Code::Authentication | Code::SaslAuthenticationFailed => {
            Some("check the user and the password in the SASL properties")
        }
        Code::SSL => Some("check the ssl properties"),
        Code::GroupAuthorizationFailed => Some("allow this user to read the group (an ACL)"),
        Code::TopicAuthorizationFailed => Some("allow this user to read the topics (an ACL)"),
        Code::ClusterAuthorizationFailed => Some("allow this user to use the cluster (an ACL)"),
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
            Some("a topic is gone; a start of jobgate makes it anew")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_mended_is_news_once_until_it_is_over() {
        let troubles = Troubles::default();
        let error = KafkaError::MessageConsumption;
        assert!(troubles.news(&error(Code::GroupAuthorizationFailed)).is_some());
        assert!(troubles.news(&error(Code::GroupAuthorizationFailed)).is_none());
        assert!(troubles.news(&error(Code::TopicAuthorizationFailed)).is_some());
        assert!(troubles.news(&error(Code::BrokerTransportFailure)).is_none(), "it passes");
        troubles.over();
        assert!(troubles.news(&error(Code::GroupAuthorizationFailed)).is_some());
    }
}
