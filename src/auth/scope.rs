//! What a token allows.

use std::fmt;
use std::str::FromStr;

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

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Several scopes; shown as in a token, separated by spaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scopes(Vec<Scope>);

/// The word is no scope.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "there is no scope {0:?}; there are jobs:write, events:write, jobs:read, admin:read and \
         admin:write"
)]
pub struct UnknownScope(String);

impl Scopes {
    /// The scopes of a token's claim. A token may be for several services: unknown ones are
    /// passed over.
    pub fn of_claim(claim: &str) -> Self {
        claim.split(' ').filter_map(Scope::parse).collect()
    }

    /// Whether this scope is among them.
    pub fn contains(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let given: Vec<Scope> = scopes.into_iter().collect();
        Self(Scope::ALL.into_iter().filter(|scope| given.contains(scope)).collect())
    }
}

/// As a person writes them: separated by spaces, and an unknown one is a mistake.
impl FromStr for Scopes {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        text.split_whitespace()
            .map(|word| Scope::parse(word).ok_or_else(|| UnknownScope(word.to_owned())))
            .collect()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.0.iter().map(|scope| scope.as_str()).collect();
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
}
