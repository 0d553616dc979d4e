//! Make tokens, for those who have no identity provider.

use std::time::Duration;

use jsonwebtoken::{Header, encode};
use serde::Serialize;
use thiserror::Error;

use super::caller::CallerName;
use super::scope::Scopes;
use super::{SigningKey, crypto};
use crate::domain::clock::SharedClock;

/// The longest life of a token: a year, as long as the longest of them. A token cannot be
/// taken back.
pub const TTL_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Why there is no token.
#[derive(Debug, Error)]
pub enum MintError {
    /// It would live too long, or not at all.
    #[error("a token lives for 1 s at least and for a year at most")]
    Ttl,
    /// The key does not sign.
    #[error("the token cannot be signed")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

/// Makes tokens.
#[derive(Clone)]
pub struct Minter {
    key: SigningKey,
    issuer: Box<str>,
    audience: Box<str>,
    clock: SharedClock,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    scope: String,
    iat: i64,
    exp: i64,
}

impl Minter {
    /// Makes tokens with this key, as `issuer`, for `audience`.
    pub fn new(key: SigningKey, issuer: &str, audience: &str, clock: SharedClock) -> Self {
        crypto::install();
        Self { key, issuer: issuer.into(), audience: audience.into(), clock }
    }

    /// A token for this caller.
    pub fn mint(
        &self,
        name: &CallerName,
        scopes: &Scopes,
        ttl: Duration,
    ) -> Result<String, MintError> {
        if ttl < Duration::from_secs(1) || ttl > TTL_MAX {
            return Err(MintError::Ttl);
        }
        let iat = self.clock.now_ms().div_euclid(1_000);
        let claims = Claims {
            iss: &self.issuer,
            aud: &self.audience,
            sub: name.as_str(),
            scope: scopes.to_string(),
            iat,
            exp: iat.saturating_add_unsigned(ttl.as_secs()),
        };
        encode(&Header::new(self.key.algorithm), &claims, &self.key.key).map_err(MintError::Sign)
    }
}
