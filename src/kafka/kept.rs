//! A client that is kept for the next question, until one gets no answer: then the next question
//! makes a new one. Most often Kafka is away, and the old one would have done as well; but it
//! may be [stranded](super::stranded), and no question tells.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::KafkaFault;

/// Keeps a client that answers questions and holds nothing that its end would lose.
pub(super) struct Kept<C>(Mutex<Option<Arc<C>>>);

impl<C> Default for Kept<C> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<C> Kept<C> {
    /// The client, made where there is none.
    pub(super) fn client(
        &self,
        make: impl FnOnce() -> Result<C, KafkaFault>,
    ) -> Result<Arc<C>, KafkaFault> {
        let mut kept = self.kept();
        if let Some(client) = &*kept {
            return Ok(Arc::clone(client));
        }
        Ok(Arc::clone(kept.insert(Arc::new(make()?))))
    }

    /// Asks the client, made where there is none. Blocks.
    pub(super) fn ask<T>(
        &self,
        make: impl FnOnce() -> Result<C, KafkaFault>,
        question: impl FnOnce(&C) -> Result<T, KafkaFault>,
    ) -> Result<T, KafkaFault> {
        let client = self.client(make)?;
        let answer = question(&client);
        if answer.as_ref().is_err_and(KafkaFault::is_silence) {
            // Its end, which may take a moment, comes with the last who asks it.
            self.kept().take_if(|kept| Arc::ptr_eq(kept, &client));
        }
        answer
    }

    fn kept(&self) -> MutexGuard<'_, Option<Arc<C>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

    use super::*;

    #[test]
    fn a_client_is_kept_until_it_is_silent() {
        let kept = Kept::default();
        let mut count = 0;
        let mut ask = |code: Option<Code>| {
            let make = || {
                count += 1;
                Ok(count)
            };
            let fault = |code| KafkaFault::failed("answer")(KafkaError::MetadataFetch(code));
            kept.ask(make, |client| code.map_or(Ok(*client), |code| Err(fault(code))))
        };
        assert_eq!(ask(None).unwrap(), 1);
        ask(Some(Code::UnknownTopicOrPartition)).unwrap_err();
        assert_eq!(ask(None).unwrap(), 1, "it has answered");
        for (silence, next) in [(Code::OperationTimedOut, 2), (Code::BrokerTransportFailure, 3)] {
            ask(Some(silence)).unwrap_err();
            assert_eq!(ask(None).unwrap(), next);
        }
    }
}
