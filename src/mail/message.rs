//! The form of a mail: headers, both parts, addresses. Must never know where it is sent.

use std::time::{Duration, SystemTime};

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, Message, MultiPart, SinglePart, header};
use lettre::{Address, address::AddressError};
use url::Host;
use uuid::Uuid;

use super::links::web_url;
use super::templates::Rendered;

/// Longest address in bytes, display name included: RFC 5321 allows 254 for the address itself.
pub const ADDRESS_BYTES_MAX: usize = 512;

/// Longest kind in bytes; a header line has 998.
pub const KIND_BYTES_MAX: usize = 64;

/// Longest host name in bytes, as in DNS.
const HOST_BYTES_MAX: usize = 253;

/// Longest address in a header in bytes: a line has 998, the header's name among them.
const HEADER_URL_BYTES_MAX: usize = 900;

/// The last millisecond of the year 9999, past which a `Date` header cannot be written.
const LAST_DATE_MS: u64 = 253_402_300_799_999;

/// A mail to send.
#[derive(Debug, Clone)]
pub struct Mail {
    /// The job's id, from which the `Message-ID` is made: the same for every attempt.
    pub message_id: Uuid,
    /// One address: `ada@example.com` or `Ada <ada@example.com>`.
    pub to: String,
    /// The name beside the address, where that has none of its own.
    pub to_name: Option<String>,
    /// What kind of mail it is, for the header `X-Jobgate-Type`.
    pub kind: String,
    /// Where the recipient says that there is enough of this, for the header
    /// `List-Unsubscribe`: an http or https address.
    pub unsubscribe_url: Option<String>,
    /// What it says.
    pub rendered: Rendered,
}

/// Why a message cannot be built: the input is at fault.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// The recipient is not one mail address.
    #[error("the recipient's mail address is not valid: {reason}")]
    InvalidRecipient {
        /// What is wrong.
        reason: String,
        /// The parser's fault.
        #[source]
        source: Option<AddressError>,
    },
    /// The sender is not one mail address.
    #[error("the sender's mail address (from) is not valid: {reason}")]
    InvalidSender {
        /// What is wrong.
        reason: String,
        /// The parser's fault.
        #[source]
        source: Option<AddressError>,
    },
    /// The host name cannot stand in a `Message-ID`.
    #[error("the mail host name {host:?} is not a host name")]
    InvalidHost {
        /// The name.
        host: String,
    },
    /// The kind cannot stand in a header.
    #[error(
        "the mail's kind is not 1 to {KIND_BYTES_MAX} letters, digits, dots, dashes or underscores"
    )]
    InvalidKind,
    /// The address for `List-Unsubscribe` cannot stand in that header.
    #[error("unsubscribe_link cannot be mailed: {reason}")]
    InvalidUnsubscribe {
        /// What is wrong.
        reason: &'static str,
    },
    /// The message cannot be put together.
    #[error("the mail cannot be put together: {0}")]
    Build(#[from] lettre::error::Error),
}

/// Who sends: the same for every mail of this process.
#[derive(Debug)]
pub(super) struct Sender {
    from: Mailbox,
    host: String,
}

impl Sender {
    pub(super) fn new(from: &str, host: &str) -> Result<Self, MessageError> {
        let from = mailbox(from)
            .map_err(|(reason, source)| MessageError::InvalidSender { reason, source })?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        if host.is_empty() || host.len() > HOST_BYTES_MAX || !host.bytes().all(allowed) {
            return Err(MessageError::InvalidHost {
                host: host.chars().take(HOST_BYTES_MAX).collect(),
            });
        }
        Ok(Self { from, host: host.to_owned() })
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The message, the same bytes for the same input and time.
    pub(super) fn message(&self, mail: &Mail, now_ms: i64) -> Result<Message, MessageError> {
        let to = mailbox(&mail.to)
            .map_err(|(reason, source)| MessageError::InvalidRecipient { reason, source })?;
        let to = match &mail.to_name {
            Some(name) if to.name.is_none() => Mailbox::new(Some(one_line(name)), to.email),
            _ => to,
        };
        let kind = kind(&mail.kind)?;
        let bodies = MultiPart::alternative()
            .boundary(format!("=_{}", mail.message_id.simple()))
            .singlepart(part(header::ContentType::TEXT_PLAIN, &mail.rendered.text))
            .singlepart(part(header::ContentType::TEXT_HTML, &mail.rendered.html));
        let mut builder = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(mail.rendered.subject.as_str())
            .date(date(now_ms))
            .message_id(Some(format!("<{}@{}>", mail.message_id, self.host)))
            // Asks others' autoresponders not to answer (RFC 3834).
            .raw_header(raw("Auto-Submitted", "auto-generated"))
            .raw_header(raw("X-Jobgate-Type", kind));
        if let Some(url) = &mail.unsubscribe_url {
            // RFC 2369. Without List-Unsubscribe-Post (RFC 8058): that promises an https endpoint
            // which takes a POST and asks nothing, and the site is another's.
            builder = builder.raw_header(raw("List-Unsubscribe", &unsubscribe(url)?));
        }
        Ok(builder.multipart(bodies)?)
    }
}

/// Quoted-printable whatever the text is: it leaves no `=` in the body, so no text can hold the
/// boundary, which begins with one; and no line is too long for SMTP.
fn part(content_type: header::ContentType, text: &str) -> SinglePart {
    let encoding = header::ContentTransferEncoding::QuotedPrintable;
    let builder = SinglePart::builder().header(content_type);
    match Body::new_with_encoding(text.to_owned(), encoding) {
        Ok(body) => builder.body(body),
        Err(text) => builder.body(text),
    }
}

fn date(now_ms: i64) -> SystemTime {
    let ms = u64::try_from(now_ms).unwrap_or(0).min(LAST_DATE_MS);
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
}

fn raw(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

fn kind(kind: &str) -> Result<&str, MessageError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if kind.is_empty() || kind.len() > KIND_BYTES_MAX || !kind.bytes().all(allowed) {
        return Err(MessageError::InvalidKind);
    }
    Ok(kind)
}

/// In angle brackets, as a list of one. A header has no way to write what is not visible ASCII.
fn unsubscribe(url: &str) -> Result<String, MessageError> {
    let refused = |reason| MessageError::InvalidUnsubscribe { reason };
    let url = web_url(url).map_err(refused)?;
    if url.len() > HEADER_URL_BYTES_MAX {
        return Err(refused("it is longer than a header's line (900 bytes)"));
    }
    if url.contains(['<', '>']) {
        return Err(refused("it holds an angle bracket"));
    }
    Ok(format!("<{url}>"))
}

/// A display name without what could end its header.
fn one_line(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// One address with an optional display name. Control characters are refused first, so that no
/// leniency of a parser can let a second header in.
fn mailbox(text: &str) -> Result<Mailbox, (String, Option<AddressError>)> {
    if text.len() > ADDRESS_BYTES_MAX {
        return Err((format!("it is longer than {ADDRESS_BYTES_MAX} bytes"), None));
    }
    if text.chars().any(char::is_control) {
        return Err(("it holds a control character".to_owned(), None));
    }
    let mailbox: Mailbox =
        text.parse().map_err(|error: AddressError| (error.to_string(), Some(error)))?;
    let email = ascii_domain(&mailbox.email)?;
    Ok(Mailbox::new(mailbox.name, email))
}

/// An international domain in the form that every mail server takes.
fn ascii_domain(address: &Address) -> Result<Address, (String, Option<AddressError>)> {
    if address.domain().is_ascii() {
        return Ok(address.clone());
    }
    match Host::parse(address.domain()) {
        Ok(Host::Domain(domain)) => {
            Address::new(address.user(), domain).map_err(|error| (error.to_string(), Some(error)))
        }
        _ => Err(("its domain is not a host name".to_owned(), None)),
    }
}

#[cfg(test)]
#[path = "message_test.rs"]
mod tests;
