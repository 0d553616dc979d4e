//! Keys, read from what an operator has: a secret, or a PEM file. A key knows its algorithm.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use rustls_pki_types::alg_id;
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use thiserror::Error;

use super::crypto;

/// The shortest secret, bytes: as long as what HS256 makes of it (RFC 7518, 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// The smallest RSA key, bits (RFC 7518, 3.3).
pub(super) const RSA_BITS_MIN: usize = 2_048;
/// The largest RSA key, bits: what ring takes.
pub(super) const RSA_BITS_MAX: usize = 8_192;

/// Why a key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The secret could be guessed.
    #[error(
        "the secret has {0} bytes and must have {SECRET_BYTES_MIN} at least; make one with: \
         openssl rand -hex 32"
    )]
    ShortSecret(usize),
    /// It is no PEM, or has no key in it.
    #[error("this is no key in PEM: a block that begins with -----BEGIN {0}-----")]
    NoKey(&'static str),
    /// A private key stands where a public one should.
    #[error(
        "this is a private key, which belongs where tokens are made; the public one comes from: \
         openssl pkey -in private.pem -pubout"
    )]
    NotPublic,
    /// A kind of key that makes none of the known signatures.
    #[error("the key must be of RSA, of the curve P-256 or of Ed25519")]
    UnknownKind,
    /// An elliptic curve's key without its envelope.
    #[error("give the key in PKCS #8: openssl pkcs8 -topk8 -nocrypt -in old.pem -out private.pem")]
    NotPkcs8,
    /// An RSA key of a size that is not safe, or not taken.
    #[error("the RSA key has {0} bits and must have {RSA_BITS_MIN} to {RSA_BITS_MAX}")]
    RsaSize(usize),
}

/// A key that tokens are checked with.
#[derive(Debug, Clone)]
pub struct VerifyingKey {
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

impl VerifyingKey {
    /// Its algorithm, for people: `hs256`, `rs256`, `es256` or `eddsa`.
    pub fn kind(&self) -> &'static str {
        name(self.algorithm)
    }

    /// HS256: whoever has the secret makes tokens.
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        check_secret(secret)?;
        Ok(Self { algorithm: Algorithm::HS256, key: DecodingKey::from_secret(secret) })
    }

    /// A public key: RSA makes it RS256, P-256 ES256, Ed25519 EdDSA.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let info = match key_section(pem) {
            Some((SectionKind::PublicKey, info)) => info,
            Some(_) => return Err(KeyError::NotPublic),
            None => return Err(KeyError::NoKey("PUBLIC KEY")),
        };
        let (kind, key) = subject_public_key(&info).ok_or(KeyError::UnknownKind)?;
        let (algorithm, key) = if kind == alg_id::RSA_ENCRYPTION.as_ref() {
            let bits = rsa_bits(key).ok_or(KeyError::UnknownKind)?;
            if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
                return Err(KeyError::RsaSize(bits));
            }
            (Algorithm::RS256, DecodingKey::from_rsa_der(key))
        } else if kind == alg_id::ECDSA_P256.as_ref() {
            (Algorithm::ES256, DecodingKey::from_ec_der(key))
        } else if kind == alg_id::ED25519.as_ref() {
            (Algorithm::EdDSA, DecodingKey::from_ed_der(key))
        } else {
            return Err(KeyError::UnknownKind);
        };
        Ok(Self { algorithm, key })
    }
}

/// A key that tokens are made with.
#[derive(Debug, Clone)]
pub struct SigningKey {
    pub(super) algorithm: Algorithm,
    pub(super) key: EncodingKey,
}

impl SigningKey {
    /// HS256.
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        check_secret(secret)?;
        Ok(Self { algorithm: Algorithm::HS256, key: EncodingKey::from_secret(secret) })
    }

    /// A private key: RSA makes it RS256, P-256 ES256, Ed25519 EdDSA.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let der = match key_section(pem) {
            Some((SectionKind::PrivateKey | SectionKind::RsaPrivateKey, der)) => der,
            Some((SectionKind::EcPrivateKey, _)) => return Err(KeyError::NotPkcs8),
            _ => return Err(KeyError::NoKey("PRIVATE KEY")),
        };
        let (algorithm, key) = if crypto::rsa_pair(&der).is_some() {
            (Algorithm::RS256, EncodingKey::from_rsa_der(&der))
        } else if crypto::ecdsa_pair(&der).is_some() {
            (Algorithm::ES256, EncodingKey::from_ec_der(&der))
        } else if crypto::ed25519_pair(&der).is_some() {
            (Algorithm::EdDSA, EncodingKey::from_ed_der(&der))
        } else {
            return Err(KeyError::UnknownKind);
        };
        Ok(Self { algorithm, key })
    }
}

/// How an algorithm is called where a person reads it.
const fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::HS256 => "hs256",
        Algorithm::RS256 => "rs256",
        Algorithm::ES256 => "es256",
        Algorithm::EdDSA => "eddsa",
        _ => "other",
    }
}

fn check_secret(secret: &[u8]) -> Result<(), KeyError> {
    if secret.len() < SECRET_BYTES_MIN {
        return Err(KeyError::ShortSecret(secret.len()));
    }
    Ok(())
}

/// The first key in a PEM.
fn key_section(pem: &[u8]) -> Option<(SectionKind, Vec<u8>)> {
    <(SectionKind, Vec<u8>)>::pem_slice_iter(pem).filter_map(Result::ok).find(|(kind, _)| {
        matches!(
            kind,
            SectionKind::PublicKey
                | SectionKind::PrivateKey
                | SectionKind::RsaPrivateKey
                | SectionKind::EcPrivateKey
        )
    })
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// The kind of a key and its bytes, of a `SubjectPublicKeyInfo` (RFC 5280, 4.1).
fn subject_public_key(info: &[u8]) -> Option<(&[u8], &[u8])> {
    let (info, rest) = der_value(SEQUENCE, info)?;
    let (kind, after) = der_value(SEQUENCE, info)?;
    let (key, end) = der_value(BIT_STRING, after)?;
    // A bit string begins with how many bits of its last byte do not count: none.
    let key = key.strip_prefix(&[0])?;
    (rest.is_empty() && end.is_empty()).then_some((kind, key))
}

/// The size of an RSA key, of an `RSAPublicKey` (RFC 8017, A.1.1).
fn rsa_bits(key: &[u8]) -> Option<usize> {
    let (numbers, _) = der_value(SEQUENCE, key)?;
    let (modulus, _) = der_value(INTEGER, numbers)?;
    bits(modulus)
}

/// The size of a number, without the zeros before it.
pub(super) fn bits(number: &[u8]) -> Option<usize> {
    let first = number.iter().position(|byte| *byte != 0)?;
    let (top, rest) = number.get(first..)?.split_first()?;
    Some(rest.len() * 8 + usize::try_from(top.ilog2()).ok()? + 1)
}

/// The value of the DER element that `bytes` begins with, if it has this tag, and what follows.
fn der_value(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match bytes {
        [found, length @ ..=0x7f, rest @ ..] if *found == tag => (usize::from(*length), rest),
        [found, 0x81, length, rest @ ..] if *found == tag => (usize::from(*length), rest),
        [found, 0x82, high, low, rest @ ..] if *found == tag => {
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}
