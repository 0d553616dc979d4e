//! One who makes tokens: how they are known, and which key checks them.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, Header};
use thiserror::Error;

use super::VerifyingKey;
use super::jwks::{Jwks, JwksSettings};
use super::key_set::{KeySet, NoKey};
use super::verify::TokenError;
use crate::domain::clock::SharedClock;

/// The longest name, characters: it takes from those of a caller's.
const NAME_CHARS_MAX: usize = 32;

/// The name of an issuer, which stands before those of its callers: `partners/orders`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerName(Box<str>);

/// The text is no name of an issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be 1 to {NAME_CHARS_MAX} of a-z, 0-9 and -")]
pub struct IssuerNameError;

impl TryFrom<&str> for IssuerName {
    type Error = IssuerNameError;

    fn try_from(text: &str) -> Result<Self, IssuerNameError> {
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let is_sound = (1..=NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(is_plain);
        if is_sound { Ok(Self(text.into())) } else { Err(IssuerNameError) }
    }
}

impl IssuerName {
    /// What the names of its callers begin with.
    pub fn prefix(&self) -> String {
        format!("{}/", self.0)
    }
}

/// An issuer that is trusted.
pub struct IssuerSettings {
    /// Its name; one may have none, and the names of its callers are their `sub` alone.
    pub name: Option<IssuerName>,
    /// What its tokens have as `iss`.
    pub issuer: Box<str>,
    /// What they have as `aud`, or in it.
    pub audience: Box<str>,
    /// What they are checked with.
    pub keys: KeySource,
}

/// Where keys come from.
pub enum KeySource {
    /// One key, which is there.
    Key(VerifyingKey),
    /// A set behind a URL.
    Url(Box<JwksSettings>),
}

/// The same at work.
pub(super) struct Issuer {
    /// What the names of its callers begin with.
    pub(super) prefix: Option<Box<str>>,
    /// What its tokens have as `iss`.
    pub(super) iss: Box<str>,
    pub(super) audience: Box<str>,
    pub(super) keys: Keys,
}

pub(super) enum Keys {
    Key(VerifyingKey),
    Set(Arc<Jwks>),
}

/// There is no key for a token.
pub(super) enum Miss {
    /// Nor will there be one.
    Refused(TokenError),
    /// The issuer may have one by now; if it has not, this is what is said.
    NotThere(TokenError),
    /// There are no keys at all.
    NoKeys,
}

impl Issuer {
    pub(super) fn new(settings: IssuerSettings, clock: &SharedClock) -> Self {
        let IssuerSettings { name, issuer, audience, keys } = settings;
        let keys = match keys {
            KeySource::Key(key) => Keys::Key(key),
            KeySource::Url(settings) => Keys::Set(Jwks::new(*settings, clock.clone()).into()),
        };
        let prefix = name.map(|name| name.prefix().into());
        Self { prefix, iss: issuer, audience, keys }
    }

    /// What its tokens are checked with, for people.
    pub(super) fn kind(&self) -> &'static str {
        match &self.keys {
            Keys::Key(key) => key.kind(),
            Keys::Set(_) => "jwks",
        }
    }

    /// Whether its tokens can be checked now.
    pub(super) fn is_usable(&self, now_ms: i64) -> bool {
        match &self.keys {
            Keys::Key(_) => true,
            Keys::Set(set) => set.is_usable(now_ms),
        }
    }

    /// Hands the key of a token on. It decides the algorithm, never the token.
    pub(super) fn with_key<T>(
        &self,
        header: &Header,
        now_ms: i64,
        check: impl FnOnce(&VerifyingKey) -> Result<T, TokenError>,
    ) -> Result<T, Miss> {
        match &self.keys {
            Keys::Key(key) => {
                check_algorithm(key, header.alg).and_then(|()| check(key)).map_err(Miss::Refused)
            }
            Keys::Set(set) => {
                let keys = set.keys(now_ms).ok_or(Miss::NoKeys)?;
                let key = key_of(&keys, header)?;
                check(key).map_err(|error| match error {
                    // Without names of keys nothing else tells that there is a new one.
                    TokenError::WrongSignature if header.kid.is_none() => Miss::NotThere(error),
                    _ => Miss::Refused(error),
                })
            }
        }
    }
}

fn check_algorithm(key: &VerifyingKey, algorithm: Algorithm) -> Result<(), TokenError> {
    if key.algorithm == algorithm { Ok(()) } else { Err(wrong_algorithm(key.algorithm)) }
}

fn wrong_algorithm(expected: Algorithm) -> TokenError {
    TokenError::WrongAlgorithm(format!("{expected:?}"))
}

fn key_of<'k>(keys: &'k KeySet, header: &Header) -> Result<&'k VerifyingKey, Miss> {
    keys.key(header.kid.as_deref(), header.alg).map_err(|why| match why {
        NoKey::Unknown => Miss::NotThere(TokenError::UnknownKey),
        NoKey::NotNamed => Miss::Refused(TokenError::KeyNotNamed),
        NoKey::WrongAlgorithm(expected) => Miss::Refused(wrong_algorithm(expected)),
    })
}
