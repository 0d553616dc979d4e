//! `fake_email`: an address that nobody keeps, that leads nowhere, or that is one mailbox with
//! those of other users.

use super::address::{parts, suffixes};
use super::disposable::{Disposable, look_up};
use super::unlikely_name::looks_drawn;
use super::{DetectionType, Finding, Ground, Sign};
use crate::outbound::NoMail;

/// Everybody knows the domain.
const WELL_KNOWN: f64 = 0.95;
/// The list has it. Below the default threshold: it holds people's own mail systems too.
const LISTED: f64 = 0.86;
/// No mail can come there. Nobody confirms such an address, so it brings nobody a place, and as a
/// rule it is the platform's own people who try their form.
const LEADS_NOWHERE: f64 = 0.8;
/// Somebody else's machine has it.
const READ_BY_NOBODY: f64 = 0.6;
/// Typed to get past the form.
const TYPED_AT_RANDOM: f64 = 0.4;
/// Looks drawn by a machine: weak, since people's names and handles look like much.
const DRAWN: f64 = 0.3;
/// A second address of a mailbox: somebody may have forgotten the first signup.
const SECOND: f64 = 0.6;
/// A third one.
const THIRD: f64 = 0.92;
/// Users that have signed up before with the mailbox, from which on it is surely on purpose.
pub(in crate::waitlist) const EARLIER_MAX: usize = 2;

/// Domains that RFC 2606, RFC 6761 and others keep for examples, tests and local networks.
const RESERVED: &[&str] = &["example.com", "example.net", "example.org"];
const RESERVED_TOP: &[&str] =
    &["alt", "example", "internal", "invalid", "lan", "local", "localhost", "onion", "test"];

const NOBODYS: &[&str] = &[
    "abuse",
    "bounce",
    "do-not-reply",
    "donotreply",
    "mailer-daemon",
    "no-reply",
    "noreply",
    "postmaster",
];
const TYPED: &[&str] = &[
    "aaa", "aaaa", "abc", "abcd", "asd", "asdf", "asdfg", "asdfgh", "fake", "foo", "foobar",
    "none", "nobody", "qwe", "qwer", "qwerty", "test", "tester", "testing", "testtest", "testuser",
    "xxx",
];

/// Longest part before the `@`, longest domain and longest label of one, in bytes (RFC 5321 and
/// RFC 1035).
const LOCAL_BYTES_MAX: usize = 64;
const DOMAIN_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// The address as it was given; how many have signed up before with one of the same mailbox,
/// [`EARLIER_MAX`] at most; and what the DNS says against its domain, if that was asked.
pub(in crate::waitlist) fn check(
    email: &str,
    earlier_with_mailbox: usize,
    no_mail: Option<NoMail>,
) -> Option<Finding> {
    let mut signs: Vec<Sign> = of_address(email).into_iter().collect();
    signs.extend(of_mailbox(earlier_with_mailbox));
    signs.extend(no_mail.map(of_dns));
    if let Some((local, _)) = parts(email) {
        signs.extend(of_name(local));
    }
    Finding::of(DetectionType::FakeEmail, signs)
}

fn of_address(email: &str) -> Option<Sign> {
    let mail = |sign, confidence, why: String| Some(Sign::new(sign, Ground::Mail, confidence, why));
    let nowhere = |why: &str| mail("leads_nowhere", LEADS_NOWHERE, why.to_owned());
    let Some((local, domain)) = parts(email) else {
        return nowhere("the address has nothing before or after its @");
    };
    if let Some(fault) = fault(local, &domain) {
        return nowhere(fault);
    }
    if is_reserved(&domain) {
        let why = format!("{domain} is kept for examples and tests: no mail can come there");
        return mail("leads_nowhere", LEADS_NOWHERE, why);
    }
    match look_up(&domain)? {
        Disposable::WellKnown(known) => {
            let why = format!("{known} gives throw-away addresses to anybody");
            mail("disposable", WELL_KNOWN, why)
        }
        Disposable::Listed(listed) => {
            let why = format!("{listed} is on a list of domains with throw-away addresses");
            mail("disposable", LISTED, why)
        }
    }
}

/// Why no mail system could have such an address in public.
fn fault(local: &str, domain: &str) -> Option<&'static str> {
    let is_quoted = local.starts_with('"');
    let has_stray_dot = local.starts_with('.') || local.ends_with('.') || local.contains("..");
    let top = domain.rsplit('.').next().unwrap_or_default();
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_BYTES_MAX
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if local.len() > LOCAL_BYTES_MAX {
        Some("the part before the @ is longer than 64 bytes, which no mail system takes")
    } else if has_stray_dot && !is_quoted {
        Some("a dot stands where no address has one")
    } else if domain.starts_with('[') || top.bytes().all(|byte| byte.is_ascii_digit()) {
        Some("an IP address stands in place of a domain")
    } else if !domain.contains('.') {
        Some("the domain has no dot: there are no such addresses in public")
    } else if domain.len() > DOMAIN_BYTES_MAX || !domain.split('.').all(is_label) {
        Some("the domain is none")
    } else {
        None
    }
}

/// The DNS has the last word on where mail can come.
fn of_dns(no_mail: NoMail) -> Sign {
    let why = match no_mail {
        NoMail::NotADomain => "what stands behind the @ is no domain",
        NoMail::NoSuchDomain => "the DNS knows no such domain",
        NoMail::NoServer => "the domain has neither a mail server nor an address",
        NoMail::NullMx => "the domain says itself that it takes no mail (RFC 7505)",
    };
    Sign::new("no_mail_server", Ground::Mail, LEADS_NOWHERE, why)
}

fn is_reserved(domain: &str) -> bool {
    let top = domain.rsplit('.').next().unwrap_or_default();
    RESERVED_TOP.contains(&top) || suffixes(domain).any(|suffix| RESERVED.contains(&suffix))
}

fn of_name(local: &str) -> Option<Sign> {
    let name = local.to_lowercase();
    let word = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let mail = |sign, confidence, why| Some(Sign::new(sign, Ground::Mail, confidence, why));
    if NOBODYS.contains(&name.as_str()) {
        mail("read_by_nobody", READ_BY_NOBODY, "mail to such an address is read by nobody")
    } else if TYPED.contains(&word) {
        mail("typed_at_random", TYPED_AT_RANDOM, "what people type to get past a form")
    } else if looks_drawn(&name) {
        let why = "the part before the @ looks as if a machine had drawn it (a weak sign)";
        mail("drawn", DRAWN, why)
    } else {
        None
    }
}

fn of_mailbox(earlier: usize) -> Option<Sign> {
    let (confidence, how_many) = match earlier {
        0 => return None,
        1 => (SECOND, "one user has"),
        _ => (THIRD, "two users or more have"),
    };
    let why = format!(
        "{how_many} signed up before with an address of the same mailbox (case, +tags and, at \
         Gmail, dots do not count)"
    );
    Some(Sign::new("same_mailbox", Ground::Mail, confidence, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signs(email: &str) -> Vec<String> {
        let signs = check(email, 0, None).map(|finding| finding.signs).unwrap_or_default();
        signs.into_iter().map(|sign| sign.word).collect()
    }

    #[test]
    fn what_is_wrong_with_an_address_is_said() {
        let long = format!("{}@example.de", "a".repeat(65));
        let table = [
            ("ada@mailinator.com", "disposable"),
            ("ada@x.mailinator.com", "disposable"),
            ("ada@ahouse.top", "disposable"),
            ("ada@example.com", "leads_nowhere"),
            ("ada@mail.example.org", "leads_nowhere"),
            ("ada@shop.test", "leads_nowhere"),
            ("ada@nowhere.invalid", "leads_nowhere"),
            ("ada@localhost", "leads_nowhere"),
            ("ada@[192.0.2.1]", "leads_nowhere"),
            ("ada@192.0.2.1", "leads_nowhere"),
            ("ada@-shop.de", "leads_nowhere"),
            ("ada@shop..de", "leads_nowhere"),
            ("a..da@shop.de", "leads_nowhere"),
            (".ada@shop.de", "leads_nowhere"),
            (long.as_str(), "leads_nowhere"),
            ("no address", "leads_nowhere"),
            ("NoReply@shop.de", "read_by_nobody"),
            ("test123@gmail.com", "typed_at_random"),
            ("asdf@gmail.com", "typed_at_random"),
            ("k3j9x2qa7w@gmail.com", "drawn"),
        ];
        for (email, sign) in table {
            assert_eq!(signs(email), [sign], "{email}");
        }
    }

    #[test]
    fn an_ordinary_address_has_no_sign() {
        for email in [
            "ada@gmail.com",
            "ada+waitlist@gmail.com",
            "info@shop.de",
            "admin@verein.org",
            "ada.lovelace@sub.uni-x.ac.uk",
            "\"a..b\"@shop.de",
            "13800138000@qq.com",
            "lukasz@onet.pl",
            "xyz@duck.com",
            "ada@müller.de",
            "o'neill@shop.ie",
            "ada@example.de",
            "test.kitchen@shop.de",
        ] {
            assert_eq!(signs(email), Vec::<String>::new(), "{email}");
        }
    }

    #[test]
    fn the_list_alone_blocks_nobody_and_what_everybody_knows_does() {
        let threshold = 0.9;
        assert!(check("ada@mailinator.com", 0, None).unwrap().confidence() >= threshold);
        assert!(check("k3j9x2qa7w@ahouse.top", 0, None).unwrap().confidence() < threshold);
        assert!(check("ada@example.com", 0, None).unwrap().confidence() < threshold);
    }

    #[test]
    fn a_second_address_of_a_mailbox_is_noted_and_a_third_is_sure() {
        let confidence =
            |earlier| check("ada@gmail.com", earlier, None).map(|found| found.confidence());
        assert_eq!(confidence(0), None);
        assert_eq!(confidence(1), Some(SECOND));
        assert_eq!(confidence(2), Some(THIRD));
        assert_eq!(confidence(200), Some(THIRD));
    }

    #[test]
    fn a_domain_that_takes_no_mail_is_told_and_blocks_nobody_by_itself() {
        for no_mail in [NoMail::NotADomain, NoMail::NoSuchDomain, NoMail::NoServer, NoMail::NullMx]
        {
            let finding = check("ada@somewhere.com", 0, Some(no_mail)).unwrap();
            assert!(finding.details().contains("no_mail_server"), "{finding:?}");
            assert!((finding.confidence() - LEADS_NOWHERE).abs() < f64::EPSILON, "{finding:?}");
        }
        assert_eq!(check("ada@somewhere.com", 0, None), None);
    }
}
