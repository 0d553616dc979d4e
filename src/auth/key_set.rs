//! The keys of an issuer, as its document has them (RFC 7517, 5), and which of them a token is
//! checked with. No IO.

use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

use super::VerifyingKey;
use super::jwk::Jwk;

/// The most keys of a set: issuers have two or three, and while they rotate them one more.
const KEYS_MAX: usize = 100;

/// The keys that are of use, in the order of their fingerprints: sets of the same keys are equal.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    keys: Vec<Jwk>,
    /// Why others are not, each with its name.
    pub(super) passed_over: Vec<String>,
}

/// The text is no set of keys.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum NoSet {
    /// It is something else.
    #[error("the answer is no JSON object with a list \"keys\"")]
    NotKeys,
    /// It is too much.
    #[error("the answer has {0} keys, of which {KEYS_MAX} at most are taken")]
    TooMany(usize),
}

/// No key of the set is the token's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoKey {
    /// There is none of this name, or of this algorithm where it names none.
    Unknown,
    /// It names none, and several would fit.
    NotNamed,
    /// The one that it names has another algorithm.
    WrongAlgorithm(Algorithm),
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Box<RawValue>>,
}

impl KeySet {
    pub(super) fn read(body: &[u8]) -> Result<Self, NoSet> {
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(NoSet::NotKeys);
        }
        let document: Document = serde_json::from_slice(body).map_err(|_| NoSet::NotKeys)?;
        if document.keys.len() > KEYS_MAX {
            return Err(NoSet::TooMany(document.keys.len()));
        }
        let mut keys = Vec::new();
        let mut passed_over = Vec::new();
        for (number, text) in (1..).zip(&document.keys) {
            match Jwk::read(text) {
                Ok(key) => keys.push(key),
                Err(why) => passed_over.push(format!("key {number}: {why}")),
            }
        }
        keys.sort_by_key(|key| key.fingerprint);
        keys.dedup_by_key(|key| key.fingerprint);
        // Which of two is meant would be a guess.
        let is_twice = |key: &Jwk| {
            let same =
                |other: &&Jwk| other.kid == key.kid && other.key.algorithm == key.key.algorithm;
            key.kid.is_some() && keys.iter().filter(same).count() > 1
        };
        let (twice, once): (Vec<Jwk>, Vec<Jwk>) = keys.clone().into_iter().partition(is_twice);
        passed_over.extend(twice.iter().map(|key| {
            format!("a key whose name (kid {:?}) another one has too", key.kid.as_deref())
        }));
        Ok(Self { keys: once, passed_over })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether the other one has the same keys.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let fingerprints =
            |set: &Self| -> Vec<[u8; 32]> { set.keys.iter().map(|key| key.fingerprint).collect() };
        fingerprints(self) == fingerprints(other)
    }

    /// The key of a token that says this of it.
    pub(super) fn key(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<&VerifyingKey, NoKey> {
        let fits = |key: &&Jwk| key.key.algorithm == algorithm;
        let Some(kid) = kid else {
            let mut fitting = self.keys.iter().filter(fits);
            return match (fitting.next(), fitting.next()) {
                (Some(only), None) => Ok(&only.key),
                (Some(_), Some(_)) => Err(NoKey::NotNamed),
                (None, _) => Err(NoKey::Unknown),
            };
        };
        let named = |key: &&Jwk| key.kid.as_deref() == Some(kid);
        match self.keys.iter().filter(named).find(fits) {
            Some(found) => Ok(&found.key),
            None => Err(match self.keys.iter().find(named) {
                Some(other) => NoKey::WrongAlgorithm(other.key.algorithm),
                None => NoKey::Unknown,
            }),
        }
    }
}

#[cfg(test)]
#[path = "key_set_test.rs"]
mod tests;
