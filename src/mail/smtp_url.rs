//! A mail server's address and login, as one URL. Keeps the password from every output.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

/// Ports by custom: submission with STARTTLS, submission over TLS, relay.
const SUBMISSION_PORT: u16 = 587;
const SUBMISSIONS_PORT: u16 = 465;
const RELAY_PORT: u16 = 25;

/// How the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// TLS from the first byte (`smtps://`).
    Wrapped,
    /// STARTTLS, or nothing is sent. The certificate is verified.
    Required,
    /// STARTTLS where the server offers it. The certificate is not verified: whoever could forge
    /// one could as well hide the offer. Keeps out listeners, not impostors.
    Opportunistic,
    /// In the clear.
    None,
}

/// `smtp://user:password@host:587?tls=required|opportunistic|none` or `smtps://...`.
///
/// - User and password are percent-encoded (`@` is `%40`).
/// - Without `tls`, a URL with a login means `required`, one without means `opportunistic`.
/// - Without a port: `smtps` 465, `tls=required` 587, else 25.
/// - `ca_file=/path/ca.pem` trusts that authority too, beside the system's.
///
/// `Display` and `Debug` show neither user nor password; for some providers the user name is a
/// secret as well.
#[derive(Clone, PartialEq, Eq)]
pub struct SmtpUrl {
    host: String,
    port: u16,
    tls: TlsMode,
    login: Option<(String, String)>,
    ca_file: Option<PathBuf>,
}

/// Why a URL is not a mail server's. Holds nothing of the URL, for that has a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SmtpUrlError {
    /// Not a URL at all.
    #[error(
        "the mail server's URL is not a URL: {0}; write smtp://user:password@host:587, with @ : / in user or password percent-encoded"
    )]
    Syntax(#[from] url::ParseError),
    /// Neither smtp nor smtps.
    #[error("the mail server's URL must begin with smtp:// or smtps://")]
    Scheme,
    /// No host.
    #[error("the mail server's URL names no host")]
    Host,
    /// A login that is not a pair of UTF-8 texts.
    #[error(
        "the mail server's URL needs both user and password, or neither, in percent-encoded UTF-8"
    )]
    Login,
    /// A path, a fragment, an unknown or a contradicting parameter.
    #[error(
        "the mail server's URL may only have the parameters tls=required, tls=opportunistic, tls=none (smtp only) and ca_file=PATH after the port"
    )]
    Parameter,
}

impl SmtpUrl {
    /// The server's host name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The server's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How the connection is encrypted.
    pub fn tls(&self) -> TlsMode {
        self.tls
    }

    pub(super) fn login(&self) -> Option<(&str, &str)> {
        let (user, password) = self.login.as_ref()?;
        Some((user, password))
    }

    pub(super) fn ca_file(&self) -> Option<&PathBuf> {
        self.ca_file.as_ref()
    }

    /// `host:port`, as an error names the server.
    pub(super) fn server(&self) -> String {
        match self.host.parse() {
            Ok(IpAddr::V6(address)) => format!("[{address}]:{}", self.port),
            _ => format!("{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for SmtpUrl {
    type Err = SmtpUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text.trim())?;
        let wrapped = match url.scheme() {
            "smtp" => false,
            "smtps" => true,
            _ => return Err(SmtpUrlError::Scheme),
        };
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            _ => return Err(SmtpUrlError::Host),
        };
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(SmtpUrlError::Parameter);
        }
        let login = login(&url)?;
        let default = match (wrapped, &login) {
            (true, _) => TlsMode::Wrapped,
            (false, Some(_)) => TlsMode::Required,
            (false, None) => TlsMode::Opportunistic,
        };
        let (mut tls, mut ca_file) = (default, None);
        for (name, value) in url.query_pairs() {
            match (&*name, &*value) {
                ("tls", "required") => {
                    tls = if wrapped { TlsMode::Wrapped } else { TlsMode::Required }
                }
                ("tls", "opportunistic") if !wrapped => tls = TlsMode::Opportunistic,
                ("tls", "none") if !wrapped => tls = TlsMode::None,
                ("ca_file", path) if !path.is_empty() => ca_file = Some(PathBuf::from(path)),
                _ => return Err(SmtpUrlError::Parameter),
            }
        }
        let port = url.port().unwrap_or(match tls {
            TlsMode::Wrapped => SUBMISSIONS_PORT,
            TlsMode::Required => SUBMISSION_PORT,
            TlsMode::Opportunistic | TlsMode::None => RELAY_PORT,
        });
        Ok(Self { host, port, tls, login, ca_file })
    }
}

fn login(url: &Url) -> Result<Option<(String, String)>, SmtpUrlError> {
    let decode = |text: &str| {
        percent_decode_str(text).decode_utf8().map(Cow::into_owned).map_err(|_| SmtpUrlError::Login)
    };
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        (user, Some(password)) if !user.is_empty() && !password.is_empty() => {
            Ok(Some((decode(user)?, decode(password)?)))
        }
        _ => Err(SmtpUrlError::Login),
    }
}

impl fmt::Display for SmtpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, tls) = match self.tls {
            TlsMode::Wrapped => ("smtps", ""),
            TlsMode::Required => ("smtp", "?tls=required"),
            TlsMode::Opportunistic => ("smtp", "?tls=opportunistic"),
            TlsMode::None => ("smtp", "?tls=none"),
        };
        let login = if self.login.is_some() { "***@" } else { "" };
        write!(f, "{scheme}://{login}{}{tls}", self.server())
    }
}

impl fmt::Debug for SmtpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SmtpUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> SmtpUrl {
        text.parse().expect("a good URL")
    }

    #[test]
    fn defaults_never_send_a_password_in_the_clear() {
        for (text, port, tls) in [
            ("smtp://u:p@mail.example.com", 587, TlsMode::Required),
            ("smtps://u:p@mail.example.com", 465, TlsMode::Wrapped),
            ("smtp://localhost", 25, TlsMode::Opportunistic),
            ("smtp://localhost:1025/?tls=none", 1025, TlsMode::None),
            ("smtp://u:p@h:2525?tls=opportunistic", 2525, TlsMode::Opportunistic),
        ] {
            let url = parse(text);
            assert_eq!((url.port(), url.tls()), (port, tls), "{text}");
        }
        assert_eq!(parse("smtp://[::1]:25").server(), "[::1]:25");
    }

    #[test]
    fn neither_login_nor_fault_is_shown() {
        let url = parse("smtp://us%40er:s3cr%2Fet@h?tls=required&ca_file=/etc/ca.pem");
        assert_eq!(url.login(), Some(("us@er", "s3cr/et")));
        assert_eq!(
            format!("{url} {url:?}"),
            "smtp://***@h:587?tls=required SmtpUrl(smtp://***@h:587?tls=required)"
        );
        for bad in [
            "smtp://u:s3cret@",
            "u:s3cret@h",
            "http://u:s3cret@h",
            "smtp://u:s3cret@h/x",
            "smtp://u:s3cret@h?tls=s3cret",
            "smtps://u:s3cret@h?tls=none",
            "smtp://:s3cret@h",
            "smtp://s3cret@h",
            "smtp://u:s3cret@h:99999",
            "smtp://u:s3cret/x@h",
            "smtp://u:s3cret%ff@h",
        ] {
            let error = bad.parse::<SmtpUrl>().expect_err(bad);
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{bad}: {error}");
        }
    }
}
