//! What a token allows.
//!
//! ```text
//! scope   = "jobs:write" / "events:write" / "jobs:read" / "admin:read" / "admin:write"
//!         / ("jobs:write" / "events:write" / "jobs:read") ":" types
//! types   = "*" / name / name ".*"
//! name    = the name of a type, in whole parts: "email", "email.welcome"
//! ```
//!
//! `jobs:write:email.*` is for every type whose name begins with `email.`, `jobs:write:*` the same
//! as `jobs:write`. A `*` stands nowhere else: what is written otherwise is no scope.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// One permission. None contains another: a token lists all that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Enqueue jobs.
    JobsWrite,
    /// Publish events.
    EventsWrite,
    /// Ask what became of a job.
    JobsRead,
    /// See dead letters, lag, stats, topics, workers.
    AdminRead,
    /// Replay, discard, reset, pause.
    AdminWrite,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 5] =
        [Self::JobsWrite, Self::EventsWrite, Self::JobsRead, Self::AdminRead, Self::AdminWrite];

    /// As it stands in a token. Tokens outlive releases: never change one.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JobsWrite => "jobs:write",
            Self::EventsWrite => "events:write",
            Self::JobsRead => "jobs:read",
            Self::AdminRead => "admin:read",
            Self::AdminWrite => "admin:write",
        }
    }

    /// Whether a token may have it for some types alone.
    pub const fn is_by_type(self) -> bool {
        matches!(self, Self::JobsWrite | Self::EventsWrite | Self::JobsRead)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One word of a token's scopes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Grant {
    /// For all types, or for what has none.
    Whole(Scope),
    /// For these types alone.
    Narrow(Scope, Types),
}

/// Which types.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Types {
    /// That of this name.
    One(Box<str>),
    /// Those whose names begin so, the dot included.
    Under(Box<str>),
}

impl Grant {
    fn parse(word: &str) -> Option<Self> {
        let known = |scope: &Scope| {
            word.strip_prefix(scope.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        };
        let scope = Scope::ALL.into_iter().find(known)?;
        match word.get(scope.as_str().len()..)?.strip_prefix(':') {
            None => Some(Self::Whole(scope)),
            Some("*") if scope.is_by_type() => Some(Self::Whole(scope)),
            Some(types) if scope.is_by_type() => Some(Self::Narrow(scope, Types::parse(types)?)),
            Some(_) => None,
        }
    }
}

impl Types {
    fn parse(text: &str) -> Option<Self> {
        let name = text.strip_suffix(".*").unwrap_or(text);
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b);
        let is_part = |part: &str| !part.is_empty() && part.bytes().all(is_plain);
        if !name.split('.').all(is_part) {
            return None;
        }
        Some(if name.len() == text.len() {
            Self::One(name.into())
        } else {
            Self::Under(format!("{name}.").into())
        })
    }

    fn contain(&self, type_name: &str) -> bool {
        match self {
            Self::One(name) => **name == *type_name,
            Self::Under(prefix) => type_name.starts_with(&**prefix),
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(scope) => write!(f, "{scope}"),
            Self::Narrow(scope, Types::One(name)) => write!(f, "{scope}:{name}"),
            Self::Narrow(scope, Types::Under(prefix)) => write!(f, "{scope}:{prefix}*"),
        }
    }
}

/// Several scopes; shown as in a token, separated by spaces. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scopes {
    /// Those that hold for all types, a bit each.
    whole: u8,
    /// The others; none of a scope that holds for all types.
    narrow: Arc<[(Scope, Types)]>,
}

/// The word is no scope.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "there is no scope {0:?}; there are jobs:write, events:write, jobs:read, admin:read and \
         admin:write, and of the first three those for one type or several, such as \
         jobs:write:email.welcome and jobs:write:email.*"
)]
pub struct UnknownScope(String);

impl Scopes {
    /// The scopes of a token's claim. A token may be for several services: unknown ones are
    /// passed over.
    pub fn of_claim(claim: &str) -> Self {
        claim.split(' ').filter_map(Grant::parse).collect()
    }

    /// Whether this scope is among them, for all types.
    pub fn contains(&self, scope: Scope) -> bool {
        self.whole & bit(scope) != 0
    }

    /// Whether this scope is among them, for this type.
    pub fn contains_for(&self, scope: Scope, type_name: &str) -> bool {
        let is_for = |(of, types): &(Scope, Types)| *of == scope && types.contain(type_name);
        self.contains(scope) || self.narrow.iter().any(is_for)
    }

    /// Whether this scope is among them, for some type at least.
    pub fn contains_for_some(&self, scope: Scope) -> bool {
        self.contains(scope) || self.narrow.iter().any(|(of, _)| *of == scope)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.whole == 0 && self.narrow.is_empty()
    }

    fn grants(&self) -> impl Iterator<Item = Grant> {
        let narrow = |scope: Scope| {
            let of_it = self.narrow.iter().filter(move |(of, _)| *of == scope);
            of_it.map(|(scope, types)| Grant::Narrow(*scope, types.clone()))
        };
        let whole = |scope: Scope| self.contains(scope).then_some(Grant::Whole(scope));
        Scope::ALL.into_iter().flat_map(move |scope| whole(scope).into_iter().chain(narrow(scope)))
    }
}

const fn bit(scope: Scope) -> u8 {
    1 << scope as u8
}

impl FromIterator<Grant> for Scopes {
    fn from_iter<I: IntoIterator<Item = Grant>>(grants: I) -> Self {
        let mut whole = 0;
        let mut narrow = Vec::new();
        for grant in grants {
            match grant {
                Grant::Whole(scope) => whole |= bit(scope),
                Grant::Narrow(scope, types) if !narrow.contains(&(scope, types.clone())) => {
                    narrow.push((scope, types));
                }
                Grant::Narrow(..) => {}
            }
        }
        narrow.retain(|(scope, _)| whole & bit(*scope) == 0);
        Self { whole, narrow: narrow.into() }
    }
}

/// As a person writes them: separated by spaces, and an unknown one is a mistake.
impl FromStr for Scopes {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        text.split_whitespace()
            .map(|word| Grant::parse(word).ok_or_else(|| UnknownScope(word.to_owned())))
            .collect()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.grants().map(|grant| grant.to_string()).collect();
        f.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_passes_over_what_is_unknown_and_a_person_does_not() {
        let scopes = Scopes::of_claim("openid jobs:read  jobs:write JOBS:READ jobs:write");
        assert_eq!(scopes.to_string(), "jobs:write jobs:read");
        assert!(scopes.contains(Scope::JobsRead) && !scopes.contains(Scope::AdminRead));
        assert_eq!("jobs:read\tjobs:write ".parse(), Ok(scopes));
        assert_eq!("job:read".parse::<Scopes>(), Err(UnknownScope("job:read".into())));
        assert!(Scopes::of_claim("").is_empty());
    }

    #[test]
    fn a_narrow_scope_is_for_its_types_and_no_others() {
        let scopes = Scopes::of_claim("jobs:write:email.* jobs:write:reward.delivery");
        for (name, is_in) in [
            ("email.welcome", true),
            ("email.a.b", true),
            ("reward.delivery", true),
            ("email", false),
            ("emails.welcome", false),
            ("xemail.welcome", false),
            ("reward.delivery.late", false),
            ("reward", false),
            ("", false),
        ] {
            assert_eq!(scopes.contains_for(Scope::JobsWrite, name), is_in, "{name}");
            assert!(!scopes.contains_for(Scope::JobsRead, name), "{name}");
            assert!(!scopes.contains_for(Scope::EventsWrite, name), "{name}");
        }
        assert!(!scopes.contains(Scope::JobsWrite), "not for all types");
        assert!(scopes.contains_for_some(Scope::JobsWrite));
        assert!(!scopes.contains_for_some(Scope::JobsRead));
        assert!(!scopes.is_empty());
    }

    #[test]
    fn a_star_alone_is_every_type_and_a_wide_scope_takes_the_narrow_ones_in() {
        for text in ["jobs:write:*", "jobs:write:email.* jobs:write", "jobs:write jobs:write:a"] {
            let scopes = Scopes::of_claim(text);
            assert!(scopes.contains(Scope::JobsWrite), "{text}");
            assert_eq!(scopes.to_string(), "jobs:write", "{text}");
        }
        let text = "events:write:user.* jobs:read:a jobs:read:b.* admin:read";
        assert_eq!(Scopes::of_claim(text).to_string(), text);
        assert_eq!(Scopes::of_claim("jobs:read:a jobs:read:a").to_string(), "jobs:read:a");
    }

    #[test]
    fn a_star_stands_at_the_end_after_a_dot_or_alone() {
        for word in [
            "jobs:write:",
            "jobs:write:.",
            "jobs:write:.*",
            "jobs:write:*.*",
            "jobs:write:*.welcome",
            "jobs:write:**",
            "jobs:write:email*",
            "jobs:write:email.w*",
            "jobs:write:email.",
            "jobs:write:.email",
            "jobs:write:email..welcome",
            "jobs:write:email.*.*",
            "jobs:write:email.*.welcome",
            "jobs:write:Email.welcome",
            "jobs:write:email.welcome:x",
            "jobs:write::email",
            "jobs:write:email,reward",
            "jobs:writeemail",
            "jobs:*",
            "jobs:*:email",
            "*",
            "*:email.*",
            "admin:read:*",
            "admin:write:email.*",
            "jobs:write:\u{435}mail.*",
        ] {
            assert!(Scopes::of_claim(word).is_empty(), "{word}");
            assert_eq!(word.parse::<Scopes>(), Err(UnknownScope(word.into())), "{word}");
        }
    }
}
