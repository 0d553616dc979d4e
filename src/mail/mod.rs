//! E-mail: renders templates and hands the messages to an SMTP server or to a directory.
//!
//! The only home of `lettre` and `minijinja`. It owns the built-in templates, the form of a
//! message, the connections to the mail server and the meaning of that server's answers.
//! It must never know what a job, a topic or a campaign is, never read the clock for a message
//! (the time comes in), and never let a password reach an error, a log line or `Debug`.
//!
//! A mail goes out **at least once**: when an answer is lost after the content was sent, the next
//! attempt sends it again, under the same `Message-ID`.
//!
//! To add a kind of mail: add its three files to `templates/`, a line to [`KINDS`] and
//! its files to the list in `builtin.rs`; the tests render every kind.

mod builtin;
mod links;
mod message;
mod outbox;
mod send_error;
mod smtp;
mod smtp_failure;
mod smtp_url;
mod templates;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use message::Sender;
use outbox::Outbox;
use smtp::Smtp;

pub use builtin::KINDS;
pub use links::LINK_BYTES_MAX;
pub use message::{ADDRESS_BYTES_MAX, KIND_BYTES_MAX, Mail, MessageError};
pub use send_error::SendError;
pub use smtp::{COMMAND_TIMEOUT, CONNECT_TIMEOUT, CONTENT_TIMEOUT};
pub use smtp_url::{SmtpUrl, SmtpUrlError, TlsMode};
pub use templates::{
    OVERRIDE_BYTES_MAX, PART_BYTES_MAX, RENDER_FUEL, Rendered, SUBJECT_CHARS_MAX, TemplateError,
    Templates,
};

/// How long one delivery may take, whatever it waits for: a place among the connections, the
/// server, the disk. The sum of what its steps may take, so that a server which is slow at each
/// of them is let finish: giving up after the content can mean that the mail arrives twice.
pub const DELIVERY_TIMEOUT: Duration = Duration::from_secs(170);

/// Where mails go.
#[derive(Debug, Clone)]
pub enum MailTransport {
    /// To a mail server.
    Smtp(SmtpUrl),
    /// Into this directory, one `{message_id}.eml` per mail; it is created.
    Outbox(PathBuf),
}

/// What a [`Mailer`] needs to know.
#[derive(Debug, Clone)]
pub struct MailSettings {
    /// Where mails go.
    pub transport: MailTransport,
    /// The sender of every mail: `noreply@example.com` or `Example <noreply@example.com>`.
    pub from: String,
    /// This installation's host name: the right side of each `Message-ID`, and the name in EHLO.
    /// Keep it stable, for a mail sent twice is recognised by its `Message-ID`.
    pub host: String,
    /// A directory whose files replace built-in templates of the same name.
    pub template_dir: Option<PathBuf>,
}

/// Why a [`Mailer`] cannot be made: each is a fault of the settings.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// A template does not load.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The sender or the host is not usable in a message.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// TLS cannot be set up: a bad CA file.
    #[error("TLS towards the mail server cannot be set up: {reason}")]
    Tls {
        /// What is wrong.
        reason: String,
        /// The fault below.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The outbox cannot be created.
    #[error("the mail outbox {} cannot be created: {source}", path.display())]
    Outbox {
        /// The directory.
        path: PathBuf,
        /// The fault below.
        source: std::io::Error,
    },
}

/// A mail that was handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The outbox file's path, or `smtp` and the server's response line.
    pub where_to: String,
}

/// Renders and sends mails. One per process; share it behind an `Arc`.
pub struct Mailer {
    templates: Templates,
    sender: Sender,
    target: Target,
}

enum Target {
    Smtp(Box<Smtp>),
    Outbox(Outbox),
}

impl Mailer {
    /// Loads the templates and checks the settings; does not talk to the mail server yet.
    ///
    /// Reads the template directory and creates the outbox, so call it at the start.
    ///
    /// # Errors
    /// [`MailError`], each of which names the setting's fault.
    pub fn new(settings: MailSettings) -> Result<Self, MailError> {
        let templates = Templates::load(settings.template_dir.as_deref())?;
        let sender = Sender::new(&settings.from, &settings.host)?;
        let target = match settings.transport {
            MailTransport::Smtp(url) => Target::Smtp(Box::new(Smtp::new(url, sender.host())?)),
            MailTransport::Outbox(path) => Target::Outbox(Outbox::create(path)?),
        };
        Ok(Self { templates, sender, target })
    }

    /// Renders a mail of this kind; see [`Templates::render`].
    ///
    /// # Errors
    /// [`TemplateError`]: the data or the template is at fault, so trying again cannot help.
    pub fn render(&self, kind: &str, data: &Map<String, Value>) -> Result<Rendered, TemplateError> {
        self.templates.render(kind, data)
    }

    /// Sends one mail, dated `now_ms` (milliseconds since the Unix epoch).
    ///
    /// Ends within [`DELIVERY_TIMEOUT`], within 10 s when the server is away. Dropping the
    /// future drops its connection.
    ///
    /// # Errors
    /// [`SendError`] says what the answer means for the job.
    pub async fn send(&self, mail: &Mail, now_ms: i64) -> Result<Sent, SendError> {
        let message = self.sender.message(mail, now_ms)?;
        let delivery = async {
            match &self.target {
                Target::Outbox(outbox) => outbox.write(mail.message_id, message.formatted()).await,
                Target::Smtp(smtp) => {
                    let answer = smtp.deliver(message.envelope(), &message.formatted()).await?;
                    Ok(format!("smtp {answer}"))
                }
            }
        };
        let delivered = tokio::time::timeout(DELIVERY_TIMEOUT, delivery).await;
        let where_to = delivered.unwrap_or_else(|_| {
            let limit_s = DELIVERY_TIMEOUT.as_secs();
            let reason = format!("{self} did not take a mail within {limit_s} s");
            Err(SendError::Unavailable { reason, source: None })
        })?;
        Ok(Sent { where_to })
    }

    /// Asks whether mails could be sent now, without sending one: connects and logs in, or
    /// creates the outbox.
    ///
    /// # Errors
    /// [`SendError::Unavailable`] with the reason.
    pub async fn probe(&self) -> Result<(), SendError> {
        match &self.target {
            Target::Smtp(smtp) => smtp.probe().await,
            Target::Outbox(outbox) => outbox.probe().await,
        }
    }
}

/// Where mails go, for a person; without the login.
impl fmt::Display for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Smtp(smtp) => write!(f, "{}", smtp.url()),
            Target::Outbox(outbox) => write!(f, "outbox {}", outbox.dir().display()),
        }
    }
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailer({self})")
    }
}
