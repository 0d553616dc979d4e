//! From a token to a caller.

use std::fmt;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::caller::{Caller, CallerName, CallerNameError};
use super::scope::Scopes;
use super::{VerifyingKey, crypto, key};
use crate::domain::clock::{SharedClock, millis};

/// The largest token, bytes: several times what an identity provider makes.
pub const TOKEN_BYTES_MAX: usize = 8 << 10;
/// How far the clocks of this machine and the token's maker may be apart.
pub const LEEWAY: Duration = Duration::from_secs(5);

/// Why a token was refused. The sentences go to the caller: nothing of the key is in them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Larger than any real one.
    #[error("it is larger than {TOKEN_BYTES_MAX} bytes")]
    TooLarge,
    /// Not three parts of base64, or not JSON inside, or a member twice.
    #[error("it is not a signed JWT, or was cut")]
    Malformed,
    /// Its header asks for what is not understood here.
    #[error("its header has crit, which is not understood here")]
    Critical,
    /// Not the algorithm of the key.
    #[error("its algorithm (alg) must be {0}")]
    WrongAlgorithm(String),
    /// Not signed by the key, or changed since.
    #[error("its signature does not match")]
    WrongSignature,
    /// A claim is not there.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// A claim is not what the standard says.
    #[error("its {claim} must be {expected}")]
    Unreadable {
        /// The claim.
        claim: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// Made by another.
    #[error("its issuer (iss) must be {0}")]
    WrongIssuer(Box<str>),
    /// Made for another.
    #[error("its audience (aud) must be or contain {0}")]
    WrongAudience(Box<str>),
    /// Its time is over.
    #[error("it has expired (exp)")]
    Expired,
    /// Its time has not come.
    #[error("it is not valid yet (nbf)")]
    NotYetValid,
    /// The name cannot be used.
    #[error("its subject (sub) {0}")]
    Name(#[from] CallerNameError),
}

/// Checks tokens.
pub struct Verifier {
    key: VerifyingKey,
    /// What jsonwebtoken is to check: the signature, by the key's algorithm.
    signature: Validation,
    issuer: Box<str>,
    audience: Box<str>,
    clock: SharedClock,
}

/// The claims that count. `null` is as good as none; a claim that stands there twice is
/// refused by serde.
#[derive(Deserialize)]
struct Claims {
    exp: Option<Value>,
    nbf: Option<Value>,
    iss: Option<Value>,
    aud: Option<Value>,
    sub: Option<Value>,
    scope: Option<Value>,
}

impl Verifier {
    /// Accepts tokens that are signed by this key, made by `issuer`, for `audience`.
    pub fn new(key: VerifyingKey, issuer: &str, audience: &str, clock: SharedClock) -> Self {
        crypto::install();
        let mut signature = Validation::new(key.algorithm);
        signature.required_spec_claims.clear();
        signature.validate_exp = false;
        signature.validate_nbf = false;
        signature.validate_aud = false;
        Self { key, signature, issuer: issuer.into(), audience: audience.into(), clock }
    }

    /// The algorithm of the key: `hs256`, `rs256`, `es256` or `eddsa`.
    pub fn algorithm(&self) -> &'static str {
        key::name(self.key.algorithm)
    }

    /// The caller that a token speaks for.
    pub fn verify(&self, token: &str) -> Result<Caller, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLarge);
        }
        let token =
            decode::<Claims>(token, &self.key.key, &self.signature).map_err(|error| match error
                .kind()
            {
                ErrorKind::InvalidAlgorithm => {
                    TokenError::WrongAlgorithm(format!("{:?}", self.key.algorithm))
                }
                ErrorKind::InvalidSignature => TokenError::WrongSignature,
                _ => TokenError::Malformed,
            })?;
        if token.header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        self.check_times(&token.claims)?;
        self.check_parties(&token.claims)?;
        let name = text("sub", token.claims.sub.as_ref())?.ok_or(TokenError::Missing("sub"))?;
        let scopes = text("scope", token.claims.scope.as_ref())?.unwrap_or_default();
        Ok(Caller { name: CallerName::try_from(name)?, scopes: Scopes::of_claim(scopes) })
    }

    fn check_times(&self, claims: &Claims) -> Result<(), TokenError> {
        let now_ms = self.clock.now_ms();
        let leeway_ms = millis(LEEWAY);
        let exp_ms = time_ms("exp", claims.exp.as_ref())?.ok_or(TokenError::Missing("exp"))?;
        if now_ms >= exp_ms.saturating_add(leeway_ms) {
            return Err(TokenError::Expired);
        }
        match time_ms("nbf", claims.nbf.as_ref())? {
            Some(nbf_ms) if nbf_ms > now_ms.saturating_add(leeway_ms) => {
                Err(TokenError::NotYetValid)
            }
            _ => Ok(()),
        }
    }

    fn check_parties(&self, claims: &Claims) -> Result<(), TokenError> {
        let issuer = text("iss", claims.iss.as_ref())?.ok_or(TokenError::Missing("iss"))?;
        if issuer != &*self.issuer {
            return Err(TokenError::WrongIssuer(self.issuer.clone()));
        }
        let is_for_us = match claims.aud.as_ref() {
            None => return Err(TokenError::Missing("aud")),
            Some(Value::String(audience)) => **audience == *self.audience,
            Some(Value::Array(all)) => all.iter().any(|one| one.as_str() == Some(&self.audience)),
            Some(_) => {
                let expected = "a string or a list of strings";
                return Err(TokenError::Unreadable { claim: "aud", expected });
            }
        };
        if is_for_us { Ok(()) } else { Err(TokenError::WrongAudience(self.audience.clone())) }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("algorithm", &self.algorithm())
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}

fn text<'a>(claim: &'static str, value: Option<&'a Value>) -> Result<Option<&'a str>, TokenError> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(TokenError::Unreadable { claim, expected: "a string" }),
    }
}

/// Seconds since the epoch, also with a fraction (RFC 7519, 2), as milliseconds. What is far
/// outside of any calendar stays so.
fn time_ms(claim: &'static str, value: Option<&Value>) -> Result<Option<i64>, TokenError> {
    let Some(value) = value else { return Ok(None) };
    if let Some(seconds) = value.as_i64() {
        return Ok(Some(seconds.saturating_mul(1_000)));
    }
    match value.as_f64() {
        Some(seconds) if seconds < 0.0 => Ok(Some(0)),
        Some(seconds) => {
            let since_epoch = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
            Ok(Some(millis(since_epoch)))
        }
        None => Err(TokenError::Unreadable { claim, expected: "a number of seconds" }),
    }
}
