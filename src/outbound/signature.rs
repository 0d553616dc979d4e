//! Signatures as Standard Webhooks has them: HMAC-SHA256 over `id.timestamp.body`.

use base64::prelude::{BASE64_STANDARD, Engine};
use ring::hmac;

/// The headers of a signed request.
pub mod header {
    /// The message's id, the same on every attempt: the receiver's key to know a second one by.
    pub const ID: &str = "webhook-id";
    /// When this attempt was made, in seconds since the epoch.
    pub const TIMESTAMP: &str = "webhook-timestamp";
    /// The signatures, separated by spaces.
    pub const SIGNATURE: &str = "webhook-signature";
}

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Fewer bytes than this could be guessed; more are hashed down by HMAC anyway.
const BYTES_MIN: usize = 24;
const BYTES_MAX: usize = 64;

/// What sender and receiver share.
#[derive(Clone)]
pub struct Secret(hmac::Key);

/// A text that is no secret. It never says the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be {PREFIX} and the base64 of {BYTES_MIN} to {BYTES_MAX} random bytes")]
pub struct InvalidSecret;

/// Signs with one secret or, while one is replaced by another, with both.
#[derive(Clone)]
pub struct Signer(Vec<Secret>);

impl Secret {
    /// Reads `whsec_..`.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let base64 = text.strip_prefix(PREFIX).ok_or(InvalidSecret)?;
        let bytes = BASE64_STANDARD.decode(base64).map_err(|_| InvalidSecret)?;
        if !(BYTES_MIN..=BYTES_MAX).contains(&bytes.len()) {
            return Err(InvalidSecret);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }
}

impl Signer {
    /// Signs with these secrets, the newest first.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        Self(secrets.into_iter().collect())
    }

    /// The value of [`header::SIGNATURE`]: a signature for each secret.
    pub fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let start = format!("{id}.{timestamp_s}.");
        let signature = |Secret(key): &Secret| {
            let mut context = hmac::Context::with_key(key);
            context.update(start.as_bytes());
            context.update(body);
            format!("v1,{}", BASE64_STANDARD.encode(context.sign()))
        };
        self.0.iter().map(signature).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret_of(bytes: usize) -> String {
        format!("{PREFIX}{}", BASE64_STANDARD.encode(vec![7; bytes]))
    }

    /// The example that the specification gives.
    #[test]
    fn the_example_of_the_specification_has_its_signature() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = Signer::new([secret]).sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn two_secrets_make_two_signatures_in_their_order() {
        let secret = |bytes| Secret::parse(&secret_of(bytes)).unwrap();
        let alone = |bytes| Signer::new([secret(bytes)]).sign("a", 1, b"{}");
        let both = Signer::new([secret(24), secret(64)]).sign("a", 1, b"{}");
        assert_eq!(both, format!("{} {}", alone(24), alone(64)));
        assert_ne!(alone(24), alone(64));
    }

    #[test]
    fn every_part_is_signed() {
        let signer = Signer::new([Secret::parse(&secret_of(32)).unwrap()]);
        let first = signer.sign("a", 1, b"{}");
        for (id, timestamp_s, body) in
            [("b", 1, &b"{}"[..]), ("a", 2, b"{}"), ("a", 1, b"{ }"), ("a", 11, b"{}")]
        {
            assert_ne!(signer.sign(id, timestamp_s, body), first);
        }
    }

    #[test]
    fn a_secret_is_long_enough_and_well_written() {
        for (text, is_one) in [
            (secret_of(24), true),
            (secret_of(64), true),
            (secret_of(23), false),
            (secret_of(65), false),
            (secret_of(32).replace(PREFIX, ""), false),
            (format!("{PREFIX}not base64!"), false),
            (PREFIX.to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(Secret::parse(&text).is_ok(), is_one, "{text}");
        }
    }
}
