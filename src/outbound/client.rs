//! Sends one request and reads the beginning of its answer.
//!
//! No redirect is followed and no proxy of the environment used: either would connect to what
//! nobody has looked at. The guard is asked of the addresses that the connection is made to, out of
//! the resolver's answer and at that moment; a connection that is used again was made so too.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use rustls::{ClientConfig, RootCertStore};

use super::OutboundError;
use super::dns::{Dns, DnsError};
use super::guard::{Blocked, Guard};
use super::retry_after::RetryAfter;
use super::target::TargetUrl;

/// Connections to one host that wait for their next request: a process sends so many at once to
/// one only under load.
const IDLE_PER_HOST_MAX: usize = 8;
/// And for how long they wait. Servers close theirs after 60 s and more; one that is closed
/// under a request costs the request.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// Look-up, TCP and TLS; what is not there by then is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends requests. Cheap to clone: all clones share their connections.
#[derive(Clone)]
pub struct Client {
    client: reqwest::Client,
    reach: Arc<Reach>,
}

/// What a client is made of.
#[derive(Clone)]
pub struct ClientSettings {
    /// Where its requests may go.
    pub reach: Reach,
    /// Who looks the names up.
    pub dns: Dns,
    /// How it calls itself (`user-agent`).
    pub agent: String,
}

/// Where requests may go.
#[derive(Clone)]
pub enum Reach {
    /// Where the guard allows: for URLs that customers name.
    Guarded(Guard),
    /// Anywhere: for URLs that the operator has written into the settings.
    Anywhere,
}

/// A request.
#[derive(Clone, Copy)]
pub struct Post<'a> {
    /// Where to.
    pub url: &'a TargetUrl,
    /// Names in lower case, and values.
    pub headers: &'a [(&'a str, &'a str)],
    /// The content.
    pub body: &'a [u8],
    /// From the look-up of the name to the end of the answer.
    pub timeout: Duration,
    /// So much of the answer's body is read; then the connection ends.
    pub answer_bytes_max: usize,
}

/// A question.
#[derive(Clone, Copy)]
pub struct Get<'a> {
    /// What is asked for.
    pub url: &'a TargetUrl,
    /// The kinds of content that are taken (`accept`).
    pub accept: &'static str,
    /// From the look-up of the name to the end of the answer.
    pub timeout: Duration,
    /// So much of the answer's body is read; then the connection ends.
    pub answer_bytes_max: usize,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// When the other side wants to be asked again, if it says.
    pub retry_after: Option<RetryAfter>,
    /// The beginning of the body.
    pub body: Vec<u8>,
    /// Whether that is all of it. It is not where it was too long, too slow or broke off.
    pub is_whole: bool,
}

/// Why no answer came back.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It was not sent: the guard forbids it.
    #[error("{host} leads to {blocked}")]
    Refused {
        /// The host of the URL.
        host: String,
        /// The first of its addresses that is blocked; none is open.
        #[source]
        blocked: Blocked,
    },
    /// It was not sent: the host is not found.
    #[error("{host} is not found")]
    NotFound {
        /// The host of the URL.
        host: String,
        /// What the DNS said.
        #[source]
        source: DnsError,
    },
    /// It was not sent: there is no connection.
    #[error("{host} could not be connected to")]
    Connect {
        /// The host of the URL.
        host: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// It was not sent: no TLS that both sides take, or a certificate that is not trusted.
    #[error("{host} could not be spoken to over TLS")]
    Tls {
        /// The host of the URL.
        host: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The time was over. It may have been sent.
    #[error("{host} did not answer within {} s", timeout.as_secs_f32())]
    TimedOut {
        /// The host of the URL.
        host: String,
        /// The time that it had.
        timeout: Duration,
    },
    /// The connection broke, or what came over it is not HTTP. It may have been sent.
    #[error("{host} gave no answer that could be read")]
    Answer {
        /// The host of the URL.
        host: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A header's value cannot be sent.
    #[error("a header's value cannot be sent")]
    Header,
}

/// An error of a library, in its own words: it holds no URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Cause(String);

impl Client {
    /// A client.
    pub fn new(settings: ClientSettings) -> Result<Self, OutboundError> {
        let reach = Arc::new(settings.reach);
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls()?)
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .http1_only()
            .user_agent(settings.agent)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .pool_idle_timeout(IDLE_MAX)
            .dns_resolver(Arc::new(Resolver { dns: settings.dns, reach: Arc::clone(&reach) }))
            .build()
            .map_err(OutboundError::Client)?;
        Ok(Self { client, reach })
    }

    /// Sends a request once.
    pub async fn post(&self, post: &Post<'_>) -> Result<Answer, SendError> {
        let mut request = self.client.post(post.url.url()).body(post.body.to_vec());
        for (name, value) in post.headers {
            let value =
                reqwest::header::HeaderValue::from_str(value).map_err(|_| SendError::Header)?;
            request = request.header(*name, value);
        }
        self.send(request, post.url, post.timeout, post.answer_bytes_max).await
    }

    /// Asks once.
    pub async fn get(&self, get: &Get<'_>) -> Result<Answer, SendError> {
        let request = self.client.get(get.url.url());
        let request = request.header(reqwest::header::ACCEPT, get.accept);
        self.send(request, get.url, get.timeout, get.answer_bytes_max).await
    }

    async fn send(
        &self,
        request: reqwest::RequestBuilder,
        url: &TargetUrl,
        timeout: Duration,
        answer_bytes_max: usize,
    ) -> Result<Answer, SendError> {
        let host = url.host();
        // A host that is an address is not asked of the resolver.
        if let Some(address) = url.address() {
            self.reach
                .check(address)
                .map_err(|blocked| SendError::Refused { host: host.clone(), blocked })?;
        }
        let end = tokio::time::Instant::now() + timeout;
        let sent = tokio::time::timeout_at(end, request.send()).await;
        let timed_out = || SendError::TimedOut { host: host.clone(), timeout };
        let response = sent.map_err(|_| timed_out())?;
        let response = response.map_err(|error| explain(&error, &host, timed_out))?;
        Ok(read(response, answer_bytes_max, end).await)
    }
}

impl Reach {
    fn check(&self, address: IpAddr) -> Result<(), Blocked> {
        match self {
            Self::Guarded(guard) => guard.check(address),
            Self::Anywhere => Ok(()),
        }
    }
}

/// The status is the answer; of the body, what comes in time.
async fn read(
    mut response: reqwest::Response,
    bytes_max: usize,
    end: tokio::time::Instant,
) -> Answer {
    let retry_after = response.headers().get(reqwest::header::RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| RetryAfter::parse(value.to_str().ok()?));
    let status = response.status().as_u16();
    let mut body = Vec::new();
    let is_whole = loop {
        match tokio::time::timeout_at(end, response.chunk()).await {
            Ok(Ok(None)) => break true,
            Ok(Ok(Some(chunk))) => {
                let room = bytes_max - body.len();
                body.extend(chunk.iter().take(room));
                if chunk.len() > room {
                    break false;
                }
            }
            Ok(Err(_)) | Err(_) => break false,
        }
    };
    Answer { status, retry_after, body, is_whole }
}

/// Looks names up for the connections that are made.
struct Resolver {
    dns: Dns,
    reach: Arc<Reach>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (dns, reach) = (self.dns.clone(), Arc::clone(&self.reach));
        Box::pin(async move {
            let addresses = dns.addresses(name.as_str()).await?;
            let mut open = Vec::with_capacity(addresses.len());
            let mut blocked = None;
            for address in addresses {
                match reach.check(address) {
                    // Port 0: that of the URL.
                    Ok(()) => open.push(SocketAddr::new(address, 0)),
                    Err(why) => blocked = blocked.or(Some(why)),
                }
            }
            match blocked {
                Some(why) if open.is_empty() => Err(why.into()),
                _ => Ok(Box::new(open.into_iter()) as Addrs),
            }
        })
    }
}

fn explain(error: &reqwest::Error, host: &str, timed_out: impl FnOnce() -> SendError) -> SendError {
    let host = host.to_owned();
    let mut last = None;
    for cause in causes(error) {
        if let Some(blocked) = cause.downcast_ref::<Blocked>() {
            return SendError::Refused { host, blocked: *blocked };
        }
        if let Some(source) = cause.downcast_ref::<DnsError>() {
            return SendError::NotFound { host, source: source.clone() };
        }
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return SendError::Tls { host, source: Cause(tls.to_string()) };
        }
        last = Some(cause);
    }
    let source = Cause(last.map_or_else(|| "no reason is known".to_owned(), ToString::to_string));
    if error.is_connect() && error.is_timeout() {
        let source = Cause(format!("no connection within {CONNECT_TIMEOUT:?}"));
        return SendError::Connect { host, source };
    }
    if error.is_timeout() {
        return timed_out();
    }
    if error.is_connect() {
        return SendError::Connect { host, source };
    }
    SendError::Answer { host, source }
}

/// An error and what is beneath it. Errors of IO keep theirs where `source` does not look.
fn causes<'e>(error: &'e reqwest::Error) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    /// An error that names more causes than this goes round in a circle.
    const CAUSES_MAX: usize = 16;
    std::iter::successors(error.source(), |error| {
        let error: &'e (dyn Error + 'static) = *error;
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        match inner {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
    .take(CAUSES_MAX)
}

fn tls() -> Result<ClientConfig, OutboundError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::warn!("this system trusts no authority: no https URL can be called");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(OutboundError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

#[cfg(test)]
#[path = "client_test.rs"]
mod tests;
