//! Where a campaign's own pages are, and the links to them that mails carry. What the pages do
//! is the site's matter; which they are, and what they are asked with, is fixed here.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;
use uuid::Uuid;

/// Longest address of a site in bytes. With the longest code of a user in its link (100
/// characters, percent-encoded) that stays below what may be mailed, 2,048.
const SITE_BYTES_MAX: usize = 512;

/// What a value in a link may hold as it is (RFC 3986, unreserved).
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The address that the pages stand under, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site(String);

/// Why an address cannot be that of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSite {
    /// It is none, or not one of the web.
    #[error("must be an http or https address such as https://waitlist.example")]
    NotOfTheWeb,
    /// A page could not be put behind it.
    #[error("must end with its host or path: no user, no query, no fragment")]
    NoBase,
    /// It is too long.
    #[error("must have at most {SITE_BYTES_MAX} bytes")]
    TooLong,
}

impl Site {
    /// Where a user confirms the address.
    pub(super) fn verification_link(&self, campaign: Uuid, user: Uuid, token: &str) -> String {
        let (campaign, user) = (campaign.to_string(), user.to_string());
        self.page("verify", &[("campaign", &campaign), ("user", &user), ("token", token)])
    }

    /// Where others join through a user.
    pub(super) fn referral_link(&self, campaign: Uuid, code: &str) -> String {
        self.page("join", &[("campaign", &campaign.to_string()), ("code", code)])
    }

    /// Where a user says that there is enough mail.
    pub(super) fn unsubscribe_link(&self, campaign: Uuid, user: Uuid) -> String {
        let (campaign, user) = (campaign.to_string(), user.to_string());
        self.page("unsubscribe", &[("campaign", &campaign), ("user", &user)])
    }

    fn page(&self, name: &str, query: &[(&str, &str)]) -> String {
        let pairs: Vec<String> = query
            .iter()
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, VALUE)))
            .collect();
        format!("{}/{name}?{}", self.0, pairs.join("&"))
    }

    /// Whether it leads nowhere but to the machine that it is opened on.
    pub fn is_loopback(&self) -> bool {
        Url::parse(&self.0).is_ok_and(|url| match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        })
    }
}

impl FromStr for Site {
    type Err = InvalidSite;

    fn from_str(text: &str) -> Result<Self, InvalidSite> {
        let url = Url::parse(text).map_err(|_| InvalidSite::NotOfTheWeb)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(InvalidSite::NotOfTheWeb);
        }
        let has_user = !url.username().is_empty() || url.password().is_some();
        if has_user || url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidSite::NoBase);
        }
        let normalised = url.as_str().trim_end_matches('/');
        if normalised.len() > SITE_BYTES_MAX {
            return Err(InvalidSite::TooLong);
        }
        Ok(Self(normalised.to_owned()))
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(text: &str) -> Site {
        text.parse().unwrap()
    }

    #[test]
    fn a_site_is_an_address_that_pages_can_stand_under() {
        for (text, shown) in [
            ("https://waitlist.example", "https://waitlist.example"),
            ("HTTP://Waitlist.Example/", "http://waitlist.example"),
            ("https://bücher.example/list/", "https://xn--bcher-kva.example/list"),
            ("http://[::1]:3000", "http://[::1]:3000"),
        ] {
            assert_eq!(site(text).to_string(), shown);
        }
        for text in ["", "waitlist.example", "ftp://e.com", "javascript:x", "http://", "/x"] {
            assert_eq!(text.parse::<Site>(), Err(InvalidSite::NotOfTheWeb), "{text}");
        }
        for text in
            ["https://u@e.com", "https://u:p@e.com", "https://e.com?x=1", "https://e.com/#a"]
        {
            assert_eq!(text.parse::<Site>(), Err(InvalidSite::NoBase), "{text}");
        }
        let long = format!("https://e.com/{}", "a".repeat(SITE_BYTES_MAX));
        assert_eq!(long.parse::<Site>(), Err(InvalidSite::TooLong));
    }

    #[test]
    fn a_value_cannot_leave_its_place_in_a_link() {
        let (campaign, user) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let of = |code| site("https://e.com/w/").referral_link(campaign, code);
        let start = format!("https://e.com/w/join?campaign={campaign}&code=");
        assert_eq!(of("ADA-2025_x.~"), format!("{start}ADA-2025_x.~"));
        assert_eq!(of("a b&c=d#e/%\"é"), format!("{start}a%20b%26c%3Dd%23e%2F%25%22%C3%A9"));
        assert_eq!(
            site("https://e.com").verification_link(campaign, user, "t+k"),
            format!("https://e.com/verify?campaign={campaign}&user={user}&token=t%2Bk")
        );
        assert_eq!(
            site("https://e.com").unsubscribe_link(campaign, user),
            format!("https://e.com/unsubscribe?campaign={campaign}&user={user}")
        );
    }

    #[test]
    fn the_longest_code_fits_a_link_that_may_be_mailed() {
        let long = format!("https://e.com/{}", "a".repeat(SITE_BYTES_MAX - 14));
        let link = site(&long).referral_link(Uuid::nil(), &"\u{1F600}".repeat(100));
        assert!(link.len() <= crate::mail::LINK_BYTES_MAX, "{}", link.len());
    }

    #[test]
    fn a_site_of_one_machine_is_known() {
        for text in ["http://localhost:3000", "http://127.0.0.1", "http://[::1]/x"] {
            assert!(site(text).is_loopback(), "{text}");
        }
        assert!(!site("https://localhost.example").is_loopback());
    }
}
