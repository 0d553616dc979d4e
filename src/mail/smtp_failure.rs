//! What a mail server's failure means: the table in [`SendError`], as code. Opens no connection.

use std::time::Duration;

use lettre::transport::smtp;

use super::SendError;

/// Codes past MAIL FROM that speak of the session or its login, not of this mail: 421 closing,
/// 454 and 534 to 538 authentication, 503 out of order (as some servers say for "log in first"),
/// 530 login required.
const SESSION_CODES: [u16; 7] = [421, 454, 503, 530, 534, 535, 538];

/// Longest part of a server's answer that is kept, in characters; an answer may have many lines.
const WORDS_CHARS_MAX: usize = 500;

/// Shorter ones hide nothing, and striking every "a" would leave no words.
const SECRET_BYTES_MIN: usize = 3;

/// How far a mail had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// TCP, TLS from the first byte, greeting and EHLO.
    Connect,
    /// STARTTLS and the EHLO after it.
    Encrypt,
    /// AUTH.
    Login,
    /// MAIL FROM.
    Sender,
    /// RCPT TO.
    Recipient,
    /// DATA.
    Data,
    /// The content; from here on the server may have taken the mail.
    Content,
}

/// What went wrong.
#[derive(Debug)]
pub(super) enum Fault {
    /// No answer in time.
    Timeout(Duration),
    /// The server's answer, or none.
    Smtp(smtp::Error),
    /// The server cannot do what the settings or the address need.
    Lacks(&'static str),
}

/// A failure and its moment.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) stage: Stage,
    pub(super) fault: Fault,
}

impl Failure {
    /// Whether the connection may be used for another mail.
    pub(super) fn leaves_connection_usable(&self) -> bool {
        self.stage >= Stage::Sender && self.code().is_some_and(|code| code != 421)
    }

    /// Whether a connection that had been idle may be to blame, and nothing has been sent yet that
    /// could arrive twice: such a mail deserves a fresh connection.
    pub(super) fn blames_idle_connection(&self) -> bool {
        match (self.stage, &self.fault) {
            (Stage::Sender, Fault::Timeout(_) | Fault::Smtp(_)) => true,
            (Stage::Recipient | Stage::Data, Fault::Smtp(_)) => {
                self.code().is_none_or(|code| code == 421)
            }
            _ => false,
        }
    }

    fn code(&self) -> Option<u16> {
        match &self.fault {
            Fault::Smtp(error) => error.status().map(u16::from),
            Fault::Timeout(_) | Fault::Lacks(_) => None,
        }
    }

    /// The failure as the job engine sees it. `secrets` are struck out of the server's words.
    pub(super) fn into_send_error(self, server: &str, secrets: &[String]) -> SendError {
        let code = self.code();
        let reason = self.sentence(server, secrets);
        match (self.stage, self.fault, code) {
            (Stage::Recipient, Fault::Lacks(_), _) => {
                SendError::Rejected { reason, code: None, source: None }
            }
            (Stage::Recipient | Stage::Data | Stage::Content, _, Some(code))
                if !SESSION_CODES.contains(&code) =>
            {
                if code < 500 {
                    SendError::Retry { reason, code }
                } else {
                    SendError::Rejected { reason, code: Some(code), source: None }
                }
            }
            // A reply's words stand in the sentence, struck; its error would show them again.
            (_, Fault::Smtp(error), None) => {
                SendError::Unavailable { reason, source: Some(Box::new(error)) }
            }
            _ => SendError::Unavailable { reason, source: None },
        }
    }

    fn sentence(&self, server: &str, secrets: &[String]) -> String {
        match (&self.fault, self.code()) {
            (Fault::Lacks(what), _) => format!("The mail server {server} {what}."),
            (Fault::Timeout(limit), _) => format!(
                "The mail server {server} did not answer within {} s ({}).",
                limit.as_secs(),
                self.moment()
            ),
            (Fault::Smtp(error), Some(code)) => {
                let words = struck(&words(error), secrets);
                format!("The mail server {server} refused {}: {code} {words}", self.refused())
            }
            (Fault::Smtp(error), None) if self.stage == Stage::Connect => {
                format!("The mail server {server} cannot be reached: {}", deepest(error))
            }
            (Fault::Smtp(error), None) => format!(
                "The connection to the mail server {server} failed ({}): {}",
                self.moment(),
                struck(&deepest(error), secrets)
            ),
        }
    }

    fn refused(&self) -> &'static str {
        match self.stage {
            Stage::Connect => "the connection",
            Stage::Encrypt => "STARTTLS",
            Stage::Login => "the login",
            Stage::Sender => "the sender",
            Stage::Recipient => "the recipient",
            Stage::Data | Stage::Content => "the mail",
        }
    }

    fn moment(&self) -> &'static str {
        match self.stage {
            Stage::Connect => "while connecting",
            Stage::Encrypt => "while starting TLS",
            Stage::Login => "at the login",
            Stage::Sender => "at the sender",
            Stage::Recipient => "at the recipient",
            Stage::Data => "before the content",
            Stage::Content => "at the content; the mail may have arrived",
        }
    }
}

/// The server's own words, on one line and bounded. Also for an answer that is good.
pub(super) fn one_line(words: &str) -> String {
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS_CHARS_MAX).collect()
}

fn words(error: &smtp::Error) -> String {
    std::error::Error::source(error).map_or_else(String::new, |words| one_line(&words.to_string()))
}

/// The deepest cause says it best: "Connection refused (os error 111)".
fn deepest(error: &smtp::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(inner) = deepest.source() {
        deepest = inner;
    }
    match deepest.to_string().as_str() {
        // What lettre calls the end of the stream.
        "incomplete response" => "the server closed it".to_owned(),
        other => one_line(other),
    }
}

fn struck(words: &str, secrets: &[String]) -> String {
    secrets.iter().fold(words.to_owned(), |words, secret| {
        if secret.len() < SECRET_BYTES_MIN { words } else { words.replace(secret, "***") }
    })
}
