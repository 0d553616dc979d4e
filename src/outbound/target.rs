//! Where a request goes: an http or https URL that says no more than that.

use std::net::IpAddr;
use std::str::FromStr;

use url::{Host, Url};

/// Longest URL in bytes. Receivers' own limits begin at about this.
const URL_BYTES_MAX: usize = 2_048;

/// A URL that a request may be sent to, as far as its text tells.
#[derive(Clone, PartialEq, Eq)]
pub struct TargetUrl(Url);

/// Why a text is no such URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// It is none, or of another kind.
    #[error("must be an http or https URL such as https://example.com/hooks")]
    NotOfTheWeb,
    /// It holds a user or a password.
    #[error("must hold no user and no password: use the signature to know who calls")]
    Credentials,
    /// No connection can be made to it.
    #[error("must name a port from 1 to 65535")]
    Port,
    /// It is too long.
    #[error("must have at most {URL_BYTES_MAX} bytes")]
    TooLong,
}

impl TargetUrl {
    /// The host with its port, where one is named: what may be shown, since paths and queries
    /// hold secrets.
    pub fn host(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Whether what is sent can be read on its way.
    pub fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }

    /// Whether it leads to this machine, as far as its text tells: a name may, and is not known to.
    pub fn is_loopback(&self) -> bool {
        self.address().is_some_and(|address| super::canonical(address).is_loopback())
    }

    /// The address, where the host is one and no name. The forms that browsers know as addresses
    /// (`2130706433`, `0x7f.1`, `0177.0.0.1`) are addresses here too.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self.0.host()? {
            Host::Ipv4(address) => Some(IpAddr::V4(address)),
            Host::Ipv6(address) => Some(IpAddr::V6(address)),
            Host::Domain(_) => None,
        }
    }

    pub(super) fn url(&self) -> Url {
        self.0.clone()
    }
}

impl FromStr for TargetUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        if text.len() > URL_BYTES_MAX {
            return Err(InvalidUrl::TooLong);
        }
        // The parser leaves these out without a word: what is written is not what is called.
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err(InvalidUrl::NotOfTheWeb);
        }
        let mut url = Url::parse(text).map_err(|_| InvalidUrl::NotOfTheWeb)?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(InvalidUrl::NotOfTheWeb);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidUrl::Credentials);
        }
        if url.port() == Some(0) {
            return Err(InvalidUrl::Port);
        }
        url.set_fragment(None);
        Ok(Self(url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> TargetUrl {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_seen_in_every_form_that_a_browser_knows() {
        let forms = [
            "127.0.0.1",
            "127.0.0.1.",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0x7F.0.0.1",
            "0177.0.0.1",
            "017700000001",
            "127.0.0.0x1",
            "%31%32%37.0.0.1",
            "127。0。0。1",
            "１２７.0.0.1",
            "①②⑦.0.0.1",
        ];
        for form in forms {
            let address = target(&format!("http://{form}/hook")).address();
            assert_eq!(address, Some("127.0.0.1".parse().unwrap()), "{form}");
        }
        for (form, address) in [("[::1]", "::1"), ("[::ffff:127.0.0.1]", "::ffff:127.0.0.1")] {
            let seen = target(&format!("http://{form}:8080/")).address();
            assert_eq!(seen, Some(address.parse().unwrap()), "{form}");
        }
    }

    #[test]
    fn a_name_is_left_to_the_resolver() {
        for name in
            ["localhost", "LOCALHOST", "localhost.", "bücher.example", "a.b.c", "1.1.1.1.nip.io"]
        {
            assert_eq!(target(&format!("https://{name}/")).address(), None, "{name}");
        }
        assert_eq!(target("HTTPS://BÜCHER.example/").host(), "xn--bcher-kva.example");
    }

    #[test]
    fn what_is_no_plain_url_of_the_web_is_refused() {
        use InvalidUrl::{Credentials, NotOfTheWeb, Port, TooLong};
        let long = format!("https://example.com/{}", "a".repeat(2_048));
        let refused = [
            ("", NotOfTheWeb),
            ("example.com/hook", NotOfTheWeb),
            ("//example.com", NotOfTheWeb),
            ("ftp://example.com/", NotOfTheWeb),
            ("file:///etc/passwd", NotOfTheWeb),
            ("gopher://127.0.0.1:6379/_", NotOfTheWeb),
            ("unix:/run/docker.sock", NotOfTheWeb),
            ("http://", NotOfTheWeb),
            ("http:///", NotOfTheWeb),
            ("http://[fe80::1%25eth0]/", NotOfTheWeb),
            ("http://[fe80::1%eth0]/", NotOfTheWeb),
            ("http://256.256.256.256/", NotOfTheWeb),
            ("http://1.2.3.4.5/", NotOfTheWeb),
            ("http://exa mple.com/", NotOfTheWeb),
            ("http://example.com\\@127.0.0.1/", NotOfTheWeb),
            ("http://exam\tple.com/", NotOfTheWeb),
            ("http://example.com/\r\nHost: inside", NotOfTheWeb),
            ("http://user@example.com/", Credentials),
            ("http://user:password@example.com/", Credentials),
            ("http://example.com:80@127.0.0.1/", Credentials),
            ("http://:password@example.com/", Credentials),
            ("http://example.com:0/", Port),
            ("http://example.com:65536/", NotOfTheWeb),
            (&long, TooLong),
        ];
        for (text, why) in refused {
            assert_eq!(text.parse::<TargetUrl>().err(), Some(why), "{text}");
        }
    }

    #[test]
    fn only_the_host_is_shown() {
        let url = target("https://hooks.example:8443/T0/B0/secret?token=secret#secret");
        assert_eq!((url.host(), url.is_plain()), ("hooks.example:8443".to_owned(), false));
        assert!(target("http://hooks.example").is_plain());
    }
}
