//! One key of a set (RFC 7517, RFC 7518, 6; RFC 8037), as far as it signs tokens. The key decides
//! the algorithm: by its `alg` where it has one, else by what it is.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use ring::digest::{self, SHA256};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use thiserror::Error;

use super::VerifyingKey;
use super::key::{RSA_BITS_MAX, RSA_BITS_MIN, bits};

/// The longest name of a key, bytes: a hash in hex is 64.
const KID_BYTES_MAX: usize = 256;

/// A key that tokens may be signed with.
#[derive(Debug, Clone)]
pub(super) struct Jwk {
    /// Its name.
    pub(super) kid: Option<Box<str>>,
    /// The key.
    pub(super) key: VerifyingKey,
    /// What it is, its name included: two of the same are one key.
    pub(super) fingerprint: [u8; 32],
}

/// Why a key is passed over. Nothing of the key is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Unfit {
    /// Not an object, a member of the wrong kind or twice.
    #[error("it cannot be read")]
    Unreadable,
    /// A shared secret, which everybody can read where it stands.
    #[error("a secret (kty oct) is none any more in a set of public keys")]
    Secret,
    /// The private half is there: anybody could sign.
    #[error("its private half is published with it")]
    Private,
    /// For something else.
    #[error("it is for something else than signatures (use, key_ops)")]
    Use,
    /// Of no kind that is known here.
    #[error("it is of a kind that is not known here (kty, crv)")]
    Kind,
    /// Its `alg` is none of its kind.
    #[error("its algorithm (alg) is not one of its kind that is known here")]
    Algorithm,
    /// Its numbers are missing or odd.
    #[error("its numbers are not what such a key has")]
    Numbers,
    /// It could be broken.
    #[error("an RSA key has {RSA_BITS_MIN} to {RSA_BITS_MAX} bits here, this one has {0}")]
    RsaSize(usize),
    /// Its name is too long.
    #[error("its name (kid) is longer than {KID_BYTES_MAX} bytes")]
    Name,
}

/// A member that stands there twice is refused by serde; those that are not here do not count.
#[derive(Deserialize)]
struct Members {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<IgnoredAny>,
}

impl Jwk {
    pub(super) fn read(text: &RawValue) -> Result<Self, Unfit> {
        // serde would take an array for the object, its items for the members in their order.
        if !text.get().starts_with('{') {
            return Err(Unfit::Unreadable);
        }
        let members: Members = serde_json::from_str(text.get()).map_err(|_| Unfit::Unreadable)?;
        if members.kty == "oct" {
            return Err(Unfit::Secret);
        }
        if members.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Err(Unfit::Use);
        }
        if members.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            return Err(Unfit::Use);
        }
        if members.kid.as_ref().is_some_and(|kid| kid.len() > KID_BYTES_MAX) {
            return Err(Unfit::Name);
        }
        let (algorithm, key, bytes) = match (members.kty.as_str(), members.crv.as_deref()) {
            ("RSA", _) => rsa(&members)?,
            ("EC", Some("P-256")) => curve(&members, Algorithm::ES256, 32)?,
            ("EC", Some("P-384")) => curve(&members, Algorithm::ES384, 48)?,
            ("OKP", Some("Ed25519")) => edwards(&members)?,
            _ => return Err(Unfit::Kind),
        };
        if members.d.is_some() {
            return Err(Unfit::Private);
        }
        let kid = members.kid.map(String::into_boxed_str);
        let fingerprint = fingerprint(kid.as_deref(), algorithm, &bytes);
        Ok(Self { kid, key: VerifyingKey { algorithm, key }, fingerprint })
    }
}

type Read = (Algorithm, DecodingKey, Vec<u8>);

fn rsa(members: &Members) -> Result<Read, Unfit> {
    let algorithm = match members.alg.as_deref() {
        // What every provider of OpenID Connect has; some leave it out.
        None | Some("RS256") => Algorithm::RS256,
        Some("RS384") => Algorithm::RS384,
        Some("RS512") => Algorithm::RS512,
        Some("PS256") => Algorithm::PS256,
        Some("PS384") => Algorithm::PS384,
        Some("PS512") => Algorithm::PS512,
        Some(_) => return Err(Unfit::Algorithm),
    };
    let (n, e) = (number(members.n.as_deref())?, number(members.e.as_deref())?);
    let size = bits(&n).ok_or(Unfit::Numbers)?;
    if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&size) {
        return Err(Unfit::RsaSize(size));
    }
    // An exponent of 1 makes every message its own signature.
    let is_odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    if !is_odd(&n) || !is_odd(&e) || bits(&e).is_none_or(|size| !(2..=33).contains(&size)) {
        return Err(Unfit::Numbers);
    }
    let (n, e) = (without_zeros(&n), without_zeros(&e));
    Ok((algorithm, DecodingKey::from_rsa_raw_components(n, e), [n, e].concat()))
}

fn curve(members: &Members, algorithm: Algorithm, size: usize) -> Result<Read, Unfit> {
    check_algorithm(members, &format!("{algorithm:?}"))?;
    let (x, y) = (number(members.x.as_deref())?, number(members.y.as_deref())?);
    if x.len() != size || y.len() != size {
        return Err(Unfit::Numbers);
    }
    // A point as it stands in certificates, uncompressed. ring looks whether it is on the curve.
    let point = [&[4], &x[..], &y[..]].concat();
    Ok((algorithm, DecodingKey::from_ec_der(&point), point))
}

fn edwards(members: &Members) -> Result<Read, Unfit> {
    // RFC 9864 calls it by the curve's name.
    if members.alg.as_deref() != Some("Ed25519") {
        check_algorithm(members, "EdDSA")?;
    }
    let x = number(members.x.as_deref())?;
    if x.len() != 32 {
        return Err(Unfit::Numbers);
    }
    Ok((Algorithm::EdDSA, DecodingKey::from_ed_der(&x), x))
}

fn check_algorithm(members: &Members, expected: &str) -> Result<(), Unfit> {
    if members.alg.as_deref().is_none_or(|alg| alg == expected) {
        Ok(())
    } else {
        Err(Unfit::Algorithm)
    }
}

fn number(text: Option<&str>) -> Result<Vec<u8>, Unfit> {
    BASE64_URL_SAFE_NO_PAD.decode(text.ok_or(Unfit::Numbers)?).map_err(|_| Unfit::Numbers)
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let first = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    number.get(first..).unwrap_or_default()
}

fn fingerprint(kid: Option<&str>, algorithm: Algorithm, key: &[u8]) -> [u8; 32] {
    let name = serde_json::json!([kid, format!("{algorithm:?}")]).to_string();
    let mut context = digest::Context::new(&SHA256);
    context.update(name.as_bytes());
    context.update(&[0]);
    context.update(key);
    context.finish().as_ref().try_into().unwrap_or_default()
}
