//! The SMTP client: connections, their reuse, and the dialogue for one mail.
//!
//! It drives lettre's connection command by command in place of lettre's pooled transport, because
//! that transport (0.11) does not say which command a code answers, has no timeout past the TCP
//! connect, and puts a connection back into its pool when a send is cut off in the middle, where
//! the next mail would read the answers meant for the last. Here a connection belongs to its send
//! and dies with it; only one between two mails goes back.
//!
//! Must never know what a mail says.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use lettre::address::Envelope;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use lettre::transport::smtp::response::Response;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::smtp_failure::{Failure, Fault, Stage, one_line};
use super::{MailError, SendError, SmtpUrl, TlsMode};

/// TCP, TLS and greeting. A server that is up greets within a second; one that makes strangers
/// wait (greet delay) does so for about 5 s.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// TCP to one address. Less than half of the above, so that a host whose first address (often
/// IPv6) is a black hole still gets its second.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(4);

/// One command and its answer. Servers that slow down a suspicious sender take up to 10 s.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(15);

/// The content and its answer, for which servers scan the mail. Generous, because giving up here
/// can mean that the mail arrives twice.
pub const CONTENT_TIMEOUT: Duration = Duration::from_mins(1);

/// Connections at once. Common servers allow 10 to 50 from one client.
const CONNECTIONS_MAX: usize = 8;

/// How long a send waits for one of them.
const PLACE_TIMEOUT: Duration = Duration::from_secs(30);

/// An idle connection older than this is not used again: servers and firewalls close theirs after
/// one to five minutes.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// RSET between mails is a courtesy; a server that is slow at it gets a new connection.
const RESET_TIMEOUT: Duration = Duration::from_secs(2);

const MECHANISMS: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];

pub(super) struct Smtp {
    url: SmtpUrl,
    tls: Option<TlsParameters>,
    hello: ClientId,
    idle: Mutex<Vec<Idle>>,
    places: Semaphore,
}

/// A connection between two mails.
struct Idle {
    connection: AsyncSmtpConnection,
    since: Instant,
}

impl Smtp {
    pub(super) fn new(url: SmtpUrl, host: &str) -> Result<Self, MailError> {
        Ok(Self {
            tls: tls_parameters(&url)?,
            url,
            hello: ClientId::Domain(host.to_owned()),
            idle: Mutex::new(Vec::new()),
            places: Semaphore::new(CONNECTIONS_MAX),
        })
    }

    pub(super) fn url(&self) -> &SmtpUrl {
        &self.url
    }

    /// Sends one mail and answers the server's line.
    ///
    /// An idle connection that turns out to be dead is replaced once by a fresh one.
    pub(super) async fn deliver(
        &self,
        envelope: &Envelope,
        content: &[u8],
    ) -> Result<String, SendError> {
        let _place = timeout(PLACE_TIMEOUT, self.places.acquire()).await.map_err(|_| {
            SendError::Unavailable {
                reason: format!(
                    "All {CONNECTIONS_MAX} connections to the mail server {} are busy.",
                    self.url.server()
                ),
                source: None,
            }
        })?;
        if let Some(mut connection) = self.take_idle() {
            let outcome = transact(&mut connection, envelope, content).await;
            match outcome {
                Err(failure) if failure.blames_idle_connection() => {
                    tracing::debug!(?failure, "an idle mail connection was dead; opening another");
                }
                outcome => return self.settle(connection, outcome).await,
            }
        }
        let mut connection = self.open().await.map_err(|failure| self.explain(failure))?;
        let outcome = transact(&mut connection, envelope, content).await;
        self.settle(connection, outcome).await
    }

    /// Connects, logs in, and keeps the connection for the next mail.
    pub(super) async fn probe(&self) -> Result<(), SendError> {
        let connection = self.open().await.map_err(|failure| self.explain(failure))?;
        self.keep(connection);
        Ok(())
    }

    async fn open(&self) -> Result<AsyncSmtpConnection, Failure> {
        let wrapped = match self.url.tls() {
            TlsMode::Wrapped => self.tls.clone(),
            _ => None,
        };
        let connecting = AsyncSmtpConnection::connect_tokio1(
            (self.url.host(), self.url.port()),
            Some(ADDRESS_TIMEOUT),
            &self.hello,
            wrapped,
            None,
        );
        let mut connection = within(Stage::Connect, CONNECT_TIMEOUT, connecting).await?;
        self.encrypt(&mut connection).await?;
        if let Some((user, password)) = self.url.login() {
            let offered = connection.server_info().get_auth_mechanism(&MECHANISMS);
            if offered.is_none() {
                return Err(Failure {
                    stage: Stage::Login,
                    fault: Fault::Lacks("offers no login by PLAIN or LOGIN on this connection"),
                });
            }
            let credentials = Credentials::new(user.to_owned(), password.to_owned());
            let login = connection.auth(&MECHANISMS, &credentials);
            within(Stage::Login, COMMAND_TIMEOUT, login).await?;
        }
        Ok(connection)
    }

    async fn encrypt(&self, connection: &mut AsyncSmtpConnection) -> Result<(), Failure> {
        let offered = connection.can_starttls();
        let parameters = match (self.url.tls(), &self.tls) {
            (TlsMode::Required, _) if !offered => {
                return Err(Failure {
                    stage: Stage::Encrypt,
                    fault: Fault::Lacks(
                        "offers no STARTTLS, and tls=required forbids sending in the clear",
                    ),
                });
            }
            (TlsMode::Required, Some(parameters)) => parameters,
            (TlsMode::Opportunistic, Some(parameters)) if offered => parameters,
            _ => return Ok(()),
        };
        let starting = connection.starttls(parameters.clone(), &self.hello);
        within(Stage::Encrypt, CONNECT_TIMEOUT, starting).await
    }

    /// Keeps a connection that is still good, and translates the outcome.
    async fn settle(
        &self,
        mut connection: AsyncSmtpConnection,
        outcome: Result<Response, Failure>,
    ) -> Result<String, SendError> {
        match outcome {
            Ok(response) => {
                self.keep(connection);
                let words: Vec<&str> = response.message().collect();
                Ok(one_line(&format!("{} {}", response.code(), words.join(" "))))
            }
            Err(failure) => {
                if failure.leaves_connection_usable() {
                    let reset = timeout(RESET_TIMEOUT, connection.command(Rset)).await;
                    if matches!(reset, Ok(Ok(_))) {
                        self.keep(connection);
                    }
                }
                Err(self.explain(failure))
            }
        }
    }

    fn explain(&self, failure: Failure) -> SendError {
        // The server has user and password only at the login.
        let secrets = match self.url.login() {
            Some((user, password)) if failure.stage == Stage::Login => secrets(user, password),
            _ => Vec::new(),
        };
        failure.into_send_error(&self.url.server(), &secrets)
    }

    fn take_idle(&self) -> Option<AsyncSmtpConnection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|one| one.since.elapsed() < IDLE_MAX);
        idle.pop().map(|one| one.connection)
    }

    fn keep(&self, connection: AsyncSmtpConnection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // A probe comes without a place of its own.
        if idle.len() < CONNECTIONS_MAX {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }
}

/// The dialogue for one mail.
async fn transact(
    connection: &mut AsyncSmtpConnection,
    envelope: &Envelope,
    content: &[u8],
) -> Result<Response, Failure> {
    let mut parameters = Vec::new();
    // Domains are ASCII by now; the part before the @ may not be.
    let mut addresses = envelope.to().iter().chain(envelope.from());
    if !addresses.all(|address| AsRef::<str>::as_ref(address).is_ascii()) {
        if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
            return Err(Failure {
                stage: Stage::Recipient,
                fault: Fault::Lacks("cannot take an address that is not ASCII (no SMTPUTF8)"),
            });
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    let sender = connection.command(Mail::new(envelope.from().cloned(), parameters));
    within(Stage::Sender, COMMAND_TIMEOUT, sender).await?;
    for address in envelope.to() {
        let recipient = connection.command(Rcpt::new(address.clone(), Vec::new()));
        within(Stage::Recipient, COMMAND_TIMEOUT, recipient).await?;
    }
    within(Stage::Data, COMMAND_TIMEOUT, connection.command(Data)).await?;
    within(Stage::Content, CONTENT_TIMEOUT, connection.message(content)).await
}

/// Every form in which a server may repeat a login: as it is, and as PLAIN and LOGIN send it.
/// The user counts, for some providers give one token for both.
fn secrets(user: &str, password: &str) -> Vec<String> {
    vec![
        BASE64_STANDARD.encode(format!("\0{user}\0{password}")),
        BASE64_STANDARD.encode(password),
        BASE64_STANDARD.encode(user),
        password.to_owned(),
        user.to_owned(),
    ]
}

async fn within<T>(
    stage: Stage,
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Failure> {
    match timeout(limit, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Failure { stage, fault: Fault::Smtp(error) }),
        Err(_) => Err(Failure { stage, fault: Fault::Timeout(limit) }),
    }
}

fn tls_parameters(url: &SmtpUrl) -> Result<Option<TlsParameters>, MailError> {
    if url.tls() == TlsMode::None {
        return Ok(None);
    }
    let mut builder = TlsParameters::builder(url.host().to_owned())
        .dangerous_accept_invalid_certs(url.tls() == TlsMode::Opportunistic);
    if let Some(path) = url.ca_file() {
        let pem = std::fs::read(path).map_err(|error| MailError::Tls {
            reason: format!("{} cannot be read: {error}", path.display()),
            source: Some(Box::new(error)),
        })?;
        let authority = Certificate::from_pem(&pem).map_err(|error| MailError::Tls {
            reason: format!("{} is not a PEM certificate", path.display()),
            source: Some(Box::new(error)),
        })?;
        builder = builder.add_root_certificate(authority);
    }
    builder.build().map(Some).map_err(|error| MailError::Tls {
        reason: error.to_string(),
        source: Some(Box::new(error)),
    })
}
