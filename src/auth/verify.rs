//! From a token to a caller.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Header, decode_header};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::caller::{Caller, CallerName, CallerNameError};
use super::crypto;
use super::issuer::{Issuer, IssuerSettings, Keys, Miss};
use super::jwks::Looked;
use super::memory::{Known, Memory, TokenHash};
use super::scope::Scopes;
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
    /// The issuer has no such key.
    #[error("its key (kid) is none of its issuer's, or not any more")]
    UnknownKey,
    /// Which key is meant cannot be told.
    #[error("its header must name its key (kid): its issuer has several")]
    KeyNotNamed,
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
    /// Made by none of several.
    #[error("its issuer (iss) is none that is trusted here")]
    UnknownIssuer,
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
    /// The name is one of another issuer's.
    #[error("its subject (sub) must not begin with {0}: these are the callers of another issuer")]
    ForeignName(Box<str>),
}

/// Why there is no caller.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// The token does not count.
    #[error(transparent)]
    Refused(#[from] TokenError),
    /// Whether it counts cannot be told: the issuer's keys cannot be read.
    #[error("the keys of the issuer {0} cannot be read")]
    NoKeys(Box<str>),
}

/// Checks tokens.
pub struct Verifier {
    issuers: Box<[Issuer]>,
    /// The tokens that were accepted lately.
    memory: Arc<Memory>,
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

/// What is looked at before the signature: whose token it says it is.
#[derive(Deserialize)]
struct Issued {
    iss: Option<Value>,
}

impl Verifier {
    /// Accepts the tokens of these issuers.
    pub fn new(issuers: Vec<IssuerSettings>, clock: SharedClock) -> Self {
        crypto::install();
        let issuers = issuers.into_iter().map(|settings| Issuer::new(settings, &clock)).collect();
        Self { issuers, memory: Arc::new(Memory::new()), clock }
    }

    /// What checks the tokens: `hs256`, `rs256`, `es256`, `eddsa`, `jwks`, one for each issuer.
    pub fn kinds(&self) -> String {
        self.issuers.iter().map(Issuer::kind).collect::<Vec<_>>().join(", ")
    }

    /// Starts to read the keys that are behind URLs.
    pub fn start(&self, tasks: &TaskTracker, stop: &CancellationToken) {
        for issuer in &self.issuers {
            if let Keys::Set(set) = &issuer.keys {
                tasks.spawn(Arc::clone(set).keep(Arc::clone(&self.memory), stop.clone()));
            }
        }
    }

    /// Whether there is an issuer whose tokens can be checked.
    pub fn is_ready(&self) -> bool {
        let now_ms = self.clock.now_ms();
        self.issuers.iter().any(|issuer| issuer.is_usable(now_ms))
    }

    /// Reads the keys behind each URL once: the `iss`, and how many keys are of use, with why
    /// others are not, or what stands in the way.
    pub async fn probe(&self) -> Vec<(&str, Result<(usize, Vec<String>), String>)> {
        let mut found = Vec::new();
        for issuer in &self.issuers {
            if let Keys::Set(set) = &issuer.keys {
                let probed = set.probe().await.map_err(|error| {
                    let cause = std::error::Error::source(&error);
                    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
                });
                found.push((&*issuer.iss, probed));
            }
        }
        found
    }

    /// The caller that a token speaks for.
    pub async fn verify(&self, token: &str) -> Result<Caller, VerifyError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLarge.into());
        }
        let now_ms = self.clock.now_ms();
        let hash = TokenHash::of(token);
        if let Some((issuer, caller)) = self.memory.get(hash, now_ms)
            && self.issuers.get(issuer).is_some_and(|issuer| issuer.is_usable(now_ms))
        {
            return Ok(caller);
        }
        match self.check(token, hash) {
            Ok(caller) => Ok(caller),
            Err((_, Miss::Refused(error))) => Err(error.into()),
            Err((issuer, miss)) => Box::pin(self.check_again(token, hash, issuer, miss)).await,
        }
    }

    /// Checks a token and remembers it. A miss comes with the place of the issuer.
    fn check(&self, token: &str, hash: TokenHash) -> Result<Caller, (usize, Miss)> {
        let now_ms = self.clock.now_ms();
        let slots = self.memory.slots();
        let known = self.read(token, now_ms)?;
        let caller = known.caller.clone();
        slots.put(hash, known, now_ms);
        Ok(caller)
    }

    /// Waits for the keys that a token misses, where that is worth while.
    async fn check_again(
        &self,
        token: &str,
        hash: TokenHash,
        issuer: usize,
        miss: Miss,
    ) -> Result<Caller, VerifyError> {
        let Some(issuer) = self.issuers.get(issuer) else {
            return Err(TokenError::UnknownIssuer.into());
        };
        let no_keys = || VerifyError::NoKeys(issuer.iss.clone());
        let Keys::Set(set) = &issuer.keys else { return Err(no_keys()) };
        match miss {
            Miss::Refused(error) => return Err(error.into()),
            Miss::NoKeys => set.first_reading().await,
            Miss::NotThere(error) => {
                let is_there = || !matches!(self.check(token, hash), Err((_, Miss::NotThere(_))));
                match set.look_again(is_there).await {
                    Looked::Found => {}
                    Looked::NotThere => return Err(error.into()),
                    Looked::Away => return Err(no_keys()),
                }
            }
        }
        self.check(token, hash).map_err(|(_, miss)| match miss {
            Miss::Refused(error) | Miss::NotThere(error) => error.into(),
            Miss::NoKeys => no_keys(),
        })
    }

    /// What a token says, once it is known that its issuer says so.
    fn read(&self, token: &str, now_ms: i64) -> Result<Known, (usize, Miss)> {
        let refused = |error| (0, Miss::Refused(error));
        let malformed = || refused(TokenError::Malformed);
        let header = decode_header(token).map_err(|_| malformed())?;
        let (message, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
        let (_, payload) = message.rsplit_once('.').ok_or_else(malformed)?;
        let at = self.issuer_of(payload).map_err(refused)?;
        let issuer = self.issuers.get(at).ok_or_else(|| refused(TokenError::UnknownIssuer))?;
        let checked = issuer.with_key(&header, now_ms, |key| {
            let is_signed = jsonwebtoken::crypto::verify(
                signature,
                message.as_bytes(),
                &key.key,
                key.algorithm,
            );
            match is_signed {
                Ok(true) => Ok(()),
                Ok(false) => Err(TokenError::WrongSignature),
                Err(_) => Err(TokenError::Malformed),
            }
        });
        checked.map_err(|miss| (at, miss))?;
        self.read_claims(&header, payload, at, issuer, now_ms)
            .map_err(|error| (at, Miss::Refused(error)))
    }

    /// Whose token it says it is. Of one issuer alone that is looked at with the other claims,
    /// after the signature.
    fn issuer_of(&self, payload: &str) -> Result<usize, TokenError> {
        if self.issuers.len() == 1 {
            return Ok(0);
        }
        let issued: Issued = object(payload)?;
        let said = text("iss", issued.iss.as_ref())?.ok_or(TokenError::Missing("iss"))?;
        let is_said = |issuer: &Issuer| *issuer.iss == *said;
        self.issuers.iter().position(is_said).ok_or(TokenError::UnknownIssuer)
    }

    fn read_claims(
        &self,
        header: &Header,
        payload: &str,
        at: usize,
        issuer: &Issuer,
        now_ms: i64,
    ) -> Result<Known, TokenError> {
        let claims: Claims = object(payload)?;
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        let (from_ms, until_ms) = check_times(&claims, now_ms)?;
        check_parties(&claims, issuer)?;
        let sub = text("sub", claims.sub.as_ref())?.ok_or(TokenError::Missing("sub"))?;
        let name = self.name(sub, issuer)?;
        let scopes = text("scope", claims.scope.as_ref())?.unwrap_or_default();
        let caller = Caller { name, scopes: Scopes::of_claim(scopes) };
        Ok(Known { issuer: at, from_ms, until_ms, caller })
    }

    /// The name of a caller: no two issuers give the same.
    fn name(&self, sub: &str, issuer: &Issuer) -> Result<CallerName, TokenError> {
        let name = CallerName::try_from(sub)?;
        if let Some(prefix) = &issuer.prefix {
            return Ok(CallerName::try_from(format!("{prefix}{sub}").as_str())?);
        }
        let mut prefixes = self.issuers.iter().filter_map(|issuer| issuer.prefix.as_deref());
        match prefixes.find(|prefix| sub.starts_with(prefix)) {
            Some(prefix) => Err(TokenError::ForeignName(prefix.into())),
            None => Ok(name),
        }
    }
}

/// From when to when a token is valid; now is in between.
fn check_times(claims: &Claims, now_ms: i64) -> Result<(i64, i64), TokenError> {
    let leeway_ms = millis(LEEWAY);
    let exp_ms = time_ms("exp", claims.exp.as_ref())?.ok_or(TokenError::Missing("exp"))?;
    let until_ms = exp_ms.saturating_add(leeway_ms);
    if now_ms >= until_ms {
        return Err(TokenError::Expired);
    }
    let nbf_ms = time_ms("nbf", claims.nbf.as_ref())?;
    let from_ms = nbf_ms.map_or(i64::MIN, |nbf_ms| nbf_ms.saturating_sub(leeway_ms));
    if now_ms < from_ms { Err(TokenError::NotYetValid) } else { Ok((from_ms, until_ms)) }
}

fn check_parties(claims: &Claims, expected: &Issuer) -> Result<(), TokenError> {
    let issuer = text("iss", claims.iss.as_ref())?.ok_or(TokenError::Missing("iss"))?;
    if *issuer != *expected.iss {
        return Err(TokenError::WrongIssuer(expected.iss.clone()));
    }
    let audience = &expected.audience;
    let is_for_us = match claims.aud.as_ref() {
        None => return Err(TokenError::Missing("aud")),
        Some(Value::String(said)) => **said == **audience,
        Some(Value::Array(all)) => all.iter().any(|one| one.as_str() == Some(audience)),
        Some(_) => {
            let expected = "a string or a list of strings";
            return Err(TokenError::Unreadable { claim: "aud", expected });
        }
    };
    if is_for_us { Ok(()) } else { Err(TokenError::WrongAudience(audience.clone())) }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("kinds", &self.kinds()).finish_non_exhaustive()
    }
}

/// The JSON object of a part.
fn object<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, TokenError> {
    let json = BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)?;
    // serde would take an array for the object, its items for the members in their order.
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(TokenError::Malformed);
    }
    serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)
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
