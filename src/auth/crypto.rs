//! The signatures of jsonwebtoken, made and checked by ring, which TLS brings anyway: its own
//! choices would bring a second set of ciphers or a C build.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind, new_error};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
    VerificationAlgorithm,
};

static RING: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| {
        check(*algorithm, key.family() == algorithm.family())?;
        Ok(Box::new(RingSigner { algorithm: *algorithm, key: key.clone() }))
    },
    verifier_factory: |algorithm, key| {
        check(*algorithm, key.family() == algorithm.family())?;
        Ok(Box::new(RingVerifier { algorithm: *algorithm, key: key.clone() }))
    },
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes ring the process's choice. To be called before any signature; again is no harm.
pub(super) fn install() {
    // The first call wins, and all of them say the same.
    RING.install_default().ok();
}

fn check(algorithm: Algorithm, is_of_the_keys_family: bool) -> Result<(), Error> {
    use Algorithm::{ES256, EdDSA, HS256, RS256};
    match algorithm {
        HS256 | RS256 | ES256 | EdDSA if is_of_the_keys_family => Ok(()),
        _ => Err(new_error(ErrorKind::InvalidAlgorithm)),
    }
}

struct RingSigner {
    algorithm: Algorithm,
    key: EncodingKey,
}

impl JwtSigner for RingSigner {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Signer<Vec<u8>> for RingSigner {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        let key = self.key.as_bytes();
        let random = SystemRandom::new();
        let failed = |_| signature::Error::new();
        match self.algorithm {
            Algorithm::HS256 => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, key);
                Ok(hmac::sign(&key, message).as_ref().to_vec())
            }
            Algorithm::RS256 => {
                let pair = rsa_pair(key).ok_or_else(signature::Error::new)?;
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Algorithm::ES256 => {
                let pair = ecdsa_pair(key).ok_or_else(signature::Error::new)?;
                Ok(pair.sign(&random, message).map_err(failed)?.as_ref().to_vec())
            }
            Algorithm::EdDSA => {
                let pair = ed25519_pair(key).ok_or_else(signature::Error::new)?;
                Ok(pair.sign(message).as_ref().to_vec())
            }
            _ => Err(signature::Error::new()),
        }
    }
}

/// Of PKCS #8, or of the older PKCS #1.
pub(super) fn rsa_pair(der: &[u8]) -> Option<RsaKeyPair> {
    RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der)).ok()
}

/// Of PKCS #8.
pub(super) fn ecdsa_pair(der: &[u8]) -> Option<EcdsaKeyPair> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &SystemRandom::new()).ok()
}

/// Of PKCS #8, also of the form without the public half, which OpenSSL writes.
pub(super) fn ed25519_pair(der: &[u8]) -> Option<Ed25519KeyPair> {
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()
}

struct RingVerifier {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let failed = |_| signature::Error::new();
        let key = self.key.try_get_as_bytes().map_err(|_| signature::Error::new())?;
        let scheme: &'static dyn VerificationAlgorithm = match self.algorithm {
            Algorithm::HS256 => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, key);
                return hmac::verify(&key, message, signature).map_err(failed);
            }
            Algorithm::RS256 => &RSA_PKCS1_2048_8192_SHA256,
            Algorithm::ES256 => &ECDSA_P256_SHA256_FIXED,
            Algorithm::EdDSA => &ED25519,
            _ => return Err(signature::Error::new()),
        };
        UnparsedPublicKey::new(scheme, key).verify(message, signature).map_err(failed)
    }
}
