//! Questions to the DNS: the addresses of a name, and whether a domain takes mail.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError as Negative, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData};
use url::Host;

/// One question to one server. A resolver of one's own answers in milliseconds, and in a second
/// what it must ask around for.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a question is asked that nobody answers.
const QUESTIONS_MAX: usize = 2;
/// All questions of one look-up, over all servers.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(6);
/// No answer is believed for longer than this, whatever its author says: an endpoint that moves is
/// found again.
const ANSWER_AGE_MAX: Duration = Duration::from_mins(5);
/// And none that says no: a name that was just made is found soon.
const REFUSAL_AGE_MAX: Duration = Duration::from_secs(30);
/// Answers that are remembered.
const ANSWERS_MAX: u64 = 1_024;
/// The port of a server that names none.
const DNS_PORT: u16 = 53;

/// Asks the DNS. Cheap to clone: all clones remember the same answers.
#[derive(Clone)]
pub struct Dns {
    /// None: the system names no servers that could be read.
    resolver: Option<Arc<TokioResolver>>,
}

/// A server to ask in place of the system's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DnsServer(SocketAddr);

/// A text that is no such server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the address of a DNS server, such as 10.0.0.2 or 127.0.0.1:5353")]
pub struct InvalidDnsServer;

/// Why a name has no addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// The DNS says so.
    #[error("there is no such name in the DNS, or it has no address")]
    NoSuchName,
    /// Nobody could say, now.
    #[error("the DNS could not be asked: {reason}")]
    CouldNotAsk {
        /// What stood in the way.
        reason: String,
    },
}

/// Whether a domain takes mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailDomain {
    /// It names mail servers.
    Servers,
    /// It names none and has an address, where mail goes in that case.
    Address,
    /// It takes none.
    No(NoMail),
}

/// Why a domain takes no mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoMail {
    /// It is not written as a domain is.
    NotADomain,
    /// It does not exist.
    NoSuchDomain,
    /// It exists, and has neither mail servers nor an address.
    NoServer,
    /// It says itself that it takes none (RFC 7505).
    NullMx,
}

impl Dns {
    /// Asks this server, or those that the system names. Takes nothing of the hosts file in the
    /// first case.
    pub fn new(server: Option<DnsServer>) -> Self {
        let resolver = match server {
            Some(server) => of_server(server),
            None => of_system(),
        };
        let warn =
            |error| tracing::warn!(%error, "no name can be looked up: set JOBGATE_DNS_SERVER");
        Self { resolver: resolver.map(Arc::new).map_err(warn).ok() }
    }

    /// The addresses of a name; at least one.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, DnsError> {
        let resolver = self.resolver()?;
        let found = within(resolver.lookup_ip(name)).await?;
        let addresses: Vec<IpAddr> = found.iter().collect();
        if addresses.is_empty() { Err(DnsError::NoSuchName) } else { Ok(addresses) }
    }

    /// Whether a domain takes mail. An error says that nobody could say, never that it does not.
    pub async fn takes_mail(&self, domain: &str) -> Result<MailDomain, DnsError> {
        let Some(name) = domain_name(domain) else {
            return Ok(MailDomain::No(NoMail::NotADomain));
        };
        let resolver = self.resolver()?;
        let answer = tokio::time::timeout(LOOKUP_TIMEOUT, resolver.mx_lookup(name.clone())).await;
        let found = match answer.map_err(|_| too_slow())? {
            Ok(found) => found,
            Err(error) if error.is_nx_domain() => {
                return Ok(MailDomain::No(NoMail::NoSuchDomain));
            }
            Err(error) if error.is_no_records_found() => return self.has_address(name).await,
            Err(error) => return Err(could_not_ask(&error)),
        };
        let exchanges = found.answers().iter().filter_map(|record| match &record.data {
            RData::MX(mx) => Some(mx.exchange.is_root()),
            _ => None,
        });
        let are_null: Vec<bool> = exchanges.collect();
        if are_null.is_empty() {
            return self.has_address(name).await;
        }
        let is_null = are_null.iter().all(|is_null| *is_null);
        Ok(if is_null { MailDomain::No(NoMail::NullMx) } else { MailDomain::Servers })
    }

    async fn has_address(&self, name: Name) -> Result<MailDomain, DnsError> {
        match within(self.resolver()?.lookup_ip(name)).await {
            Ok(found) if found.iter().next().is_some() => Ok(MailDomain::Address),
            Ok(_) | Err(DnsError::NoSuchName) => Ok(MailDomain::No(NoMail::NoServer)),
            Err(error) => Err(error),
        }
    }

    fn resolver(&self) -> Result<&TokioResolver, DnsError> {
        self.resolver.as_deref().ok_or_else(|| DnsError::CouldNotAsk {
            reason: "this system names no DNS server (set JOBGATE_DNS_SERVER)".to_owned(),
        })
    }
}

fn of_server(DnsServer(address): DnsServer) -> Result<TokioResolver, NetError> {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    let server = NameServerConfig::new(address.ip(), true, connections.into());
    let config = ResolverConfig::from_name_servers(vec![server]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    bound(builder.options_mut());
    builder.options_mut().use_hosts_file = ResolveHosts::Never;
    builder.build()
}

fn of_system() -> Result<TokioResolver, NetError> {
    let mut builder = TokioResolver::builder_tokio()?;
    bound(builder.options_mut());
    builder.build()
}

fn bound(options: &mut ResolverOpts) {
    options.timeout = QUESTION_TIMEOUT;
    options.attempts = QUESTIONS_MAX;
    options.cache_size = ANSWERS_MAX;
    options.positive_max_ttl = Some(ANSWER_AGE_MAX);
    options.negative_max_ttl = Some(REFUSAL_AGE_MAX);
}

/// A domain as the DNS has it, whole: no search list is tried behind it.
fn domain_name(domain: &str) -> Option<Name> {
    let Ok(Host::Domain(ascii)) = Host::parse(domain.trim_end_matches('.')) else { return None };
    let mut name = Name::from_ascii(ascii).ok()?;
    name.set_fqdn(true);
    Some(name)
}

async fn within<T>(asking: impl Future<Output = Result<T, NetError>>) -> Result<T, DnsError> {
    let answer = tokio::time::timeout(LOOKUP_TIMEOUT, asking).await.map_err(|_| too_slow())?;
    answer
        .map_err(|error| if says_no(&error) { DnsError::NoSuchName } else { could_not_ask(&error) })
}

fn says_no(error: &NetError) -> bool {
    match error {
        NetError::Dns(Negative::NoRecordsFound(no)) => {
            matches!(no.response_code, ResponseCode::NXDomain | ResponseCode::NoError)
        }
        // A name that cannot be asked for is nobody's.
        NetError::Proto(_) => true,
        _ => false,
    }
}

fn could_not_ask(error: &NetError) -> DnsError {
    DnsError::CouldNotAsk { reason: error.to_string() }
}

fn too_slow() -> DnsError {
    DnsError::CouldNotAsk { reason: format!("no answer within {LOOKUP_TIMEOUT:?}") }
}

impl FromStr for DnsServer {
    type Err = InvalidDnsServer;

    fn from_str(text: &str) -> Result<Self, InvalidDnsServer> {
        let alone = || text.parse().map(|ip: IpAddr| SocketAddr::new(ip, DNS_PORT));
        text.parse().or_else(|_| alone()).map(Self).map_err(|_| InvalidDnsServer)
    }
}

impl fmt::Display for DnsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
#[path = "dns_test.rs"]
mod tests;
