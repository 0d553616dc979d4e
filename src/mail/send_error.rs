//! What a mail that was not sent means for its job. Knows no protocol.

use std::error::Error;

use super::message::MessageError;

/// The fault below, for the error chain.
pub(super) type Cause = Box<dyn Error + Send + Sync>;

/// Why a mail was not sent, in the three meanings that a job engine acts on.
///
/// How an SMTP server's answer becomes one of them depends on the command that it answers:
///
/// | moment | answer | meaning |
/// |---|---|---|
/// | connecting, greeting, EHLO, STARTTLS, login, MAIL FROM | any failure | `Unavailable`: the same for every mail |
/// | any | timeout, lost connection, an answer that is not SMTP, 421 | `Unavailable` |
/// | RCPT, DATA, content | 454, 503, 530, 534, 535, 538 (a login is missing or out of order) | `Unavailable` |
/// | RCPT, DATA, content | other 4xx (450 greylisting, 452 mailbox full) | `Retry` |
/// | RCPT, DATA, content | other 5xx (550, 552, 554) | `Rejected` |
///
/// Each `reason` is a sentence for a person with the server's own words, and has no password.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The mail server, the outbox, or their configuration is away; no job is to blame.
    #[error("{reason}")]
    Unavailable {
        /// A sentence for a person.
        reason: String,
        /// The fault below, where the server did not answer by a code.
        #[source]
        source: Option<Cause>,
    },
    /// Not now, for this recipient or message; later may be another matter.
    #[error("{reason}")]
    Retry {
        /// A sentence for a person.
        reason: String,
        /// The SMTP code.
        code: u16,
    },
    /// Never, for this recipient or message.
    #[error("{reason}")]
    Rejected {
        /// A sentence for a person.
        reason: String,
        /// The SMTP code; absent when the mail was refused before it was sent.
        code: Option<u16>,
        /// The fault below, when the mail was refused before it was sent.
        #[source]
        source: Option<Cause>,
    },
}

impl From<MessageError> for SendError {
    fn from(error: MessageError) -> Self {
        Self::Rejected { reason: error.to_string(), code: None, source: Some(Box::new(error)) }
    }
}
