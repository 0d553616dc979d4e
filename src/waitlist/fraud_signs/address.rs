//! An e-mail address, taken apart as mail systems do.

/// Domains of one mail system that ignores dots before the `@`.
const GMAIL: [&str; 2] = ["gmail.com", "googlemail.com"];

/// The part before the `@`, and the domain in lower case without a last dot. None without an `@`
/// that has something on both sides.
pub(in crate::waitlist) fn parts(email: &str) -> Option<(&str, String)> {
    let (local, domain) = email.trim().rsplit_once('@')?;
    let domain = domain.trim_end_matches('.').to_lowercase();
    (!local.is_empty() && !domain.is_empty()).then_some((local, domain))
}

/// The mailbox that an address leads to, for comparing: without case and without what follows a
/// `+` (RFC 5233; hardly any system gives a `+` to somebody as a part of the name), and at Gmail
/// without dots.
pub(in crate::waitlist) fn mailbox(email: &str) -> String {
    let Some((local, domain)) = parts(email) else { return email.trim().to_lowercase() };
    let local = local.to_lowercase();
    let name = match local.split_once('+') {
        Some((name, _)) if !name.is_empty() => name,
        _ => &local,
    };
    if GMAIL.contains(&domain.as_str()) {
        return format!("{}@gmail.com", name.replace('.', ""));
    }
    format!("{name}@{domain}")
}

/// The domain and each domain that it is a part of, the top-level one left out.
pub(super) fn suffixes(domain: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(domain), |rest| rest.split_once('.').map(|(_, parent)| parent))
        .filter(|suffix| suffix.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_mailbox_are_the_same() {
        let table = [
            ("Ada@Example.com", "ada@example.com"),
            ("ada+waitlist@example.com", "ada@example.com"),
            ("ada+a+b@example.com.", "ada@example.com"),
            ("A.da.L+x@GoogleMail.com", "adal@gmail.com"),
            ("adal@gmail.com", "adal@gmail.com"),
            (" ada@example.com ", "ada@example.com"),
        ];
        for (email, expected) in table {
            assert_eq!(mailbox(email), expected, "{email}");
        }
    }

    #[test]
    fn addresses_of_two_mailboxes_are_not() {
        let different = [
            ("a.da@example.com", "ada@example.com"),
            ("ada@example.com", "ada@example.org"),
            ("ada-x@example.com", "ada@example.com"),
            ("+1@example.com", "+2@example.com"),
        ];
        for (one, other) in different {
            assert_ne!(mailbox(one), mailbox(other), "{one} {other}");
        }
    }

    #[test]
    fn what_is_no_address_has_no_parts() {
        for text in ["", "@", "a@", "@b", "a"] {
            assert_eq!(parts(text), None, "{text}");
            assert_eq!(mailbox(text), text);
        }
        assert_eq!(parts("\"a@b\"@C.de."), Some(("\"a@b\"", "c.de".to_owned())));
    }

    #[test]
    fn parents_end_before_the_top_level() {
        let all: Vec<&str> = suffixes("a.b.example.com").collect();
        assert_eq!(all, ["a.b.example.com", "b.example.com", "example.com"]);
        assert_eq!(suffixes("com").count(), 0);
    }
}
