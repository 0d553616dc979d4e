//! The signatures of jsonwebtoken, made and checked by ring, which TLS brings anyway: its own
//! choices would bring a second set of ciphers or a C build.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind, new_error};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED, ED25519,
    EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_SHA256, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaKeyPair, RsaParameters,
    RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

static RING: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| {
        check(key.family() == algorithm.family() && is_made(*algorithm))?;
        Ok(Box::new(RingSigner { algorithm: *algorithm, key: key.clone() }))
    },
    verifier_factory: |algorithm, key| {
        check(key.family() == algorithm.family() && is_checked(*algorithm))?;
        Ok(Box::new(RingVerifier { algorithm: *algorithm, key: key.clone() }))
    },
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes ring the process's choice. To be called before any signature; again is no harm.
pub(super) fn install() {
    // The first call wins, and all of them say the same.
    RING.install_default().ok();
}

fn check(is_known: bool) -> Result<(), Error> {
    if is_known { Ok(()) } else { Err(new_error(ErrorKind::InvalidAlgorithm)) }
}

/// What a key of one's own signs with.
const fn is_made(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::HS256 | Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA)
}

/// What is checked: all that jsonwebtoken knows, but for the longer HMACs. Who shares a secret
/// with jobgate makes its tokens for it, and has no use for them.
const fn is_checked(algorithm: Algorithm) -> bool {
    !matches!(algorithm, Algorithm::HS384 | Algorithm::HS512)
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
        if self.key.family() == AlgorithmFamily::Rsa {
            let scheme = rsa_scheme(self.algorithm).ok_or_else(signature::Error::new)?;
            return match self.key.kind() {
                DecodingKeyKind::SecretOrDer(key) => {
                    UnparsedPublicKey::new(scheme, key).verify(message, signature)
                }
                DecodingKeyKind::RsaModulusExponent { n, e } => {
                    RsaPublicKeyComponents { n, e }.verify(scheme, message, signature)
                }
            }
            .map_err(failed);
        }
        let key = self.key.try_get_as_bytes().map_err(|_| signature::Error::new())?;
        let scheme: &'static dyn VerificationAlgorithm = match self.algorithm {
            Algorithm::HS256 => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, key);
                return hmac::verify(&key, message, signature).map_err(failed);
            }
            Algorithm::ES256 => &ECDSA_P256_SHA256_FIXED,
            Algorithm::ES384 => &ECDSA_P384_SHA384_FIXED,
            Algorithm::EdDSA => &ED25519,
            _ => return Err(signature::Error::new()),
        };
        UnparsedPublicKey::new(scheme, key).verify(message, signature).map_err(failed)
    }
}

const fn rsa_scheme(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        Algorithm::RS256 => &RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}
