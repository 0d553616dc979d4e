//! What a request is repeated by: its `Idempotency-Key`, and the fingerprint that tells whether
//! it is the same request. Knows nothing of HTTP but how the key is written.

use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// The longest key, characters: more than any UUID or hash in any writing, and short enough for
/// an index.
const KEY_CHARS_MAX: usize = 255;

/// A key that a client has given a request. The same key is the same request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey(Box<str>);

/// The text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "must be a string of 1 to {KEY_CHARS_MAX} printable ASCII characters in double quotes, for example \
     \"8e03978e-40d5-43dd-bc93-6894a57f9324\""
)]
pub struct InvalidKey;

impl IdempotencyKey {
    /// Reads a header's value: a string as RFC 8941 has it, whose parameters say nothing. Many
    /// clients leave the quotes away: a word without them is the same key as the one within.
    pub fn read(value: &[u8]) -> Result<Self, InvalidKey> {
        let text = std::str::from_utf8(value).map_err(|_| InvalidKey)?;
        let text = text.trim_matches([' ', '\t']);
        let key = match text.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None if text.bytes().all(is_of_a_word) => text.to_owned(),
            None => return Err(InvalidKey),
        };
        if (1..=KEY_CHARS_MAX).contains(&key.len()) {
            Ok(Self(key.into()))
        } else {
            Err(InvalidKey)
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What stands up to the closing quote.
fn unquoted(quoted: &str) -> Result<String, InvalidKey> {
    let mut key = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                let rest = chars.as_str().trim_start_matches([' ', '\t']);
                let is_end = rest.is_empty() || rest.starts_with(';');
                return if is_end { Ok(key) } else { Err(InvalidKey) };
            }
            '\\' => match chars.next() {
                Some(escaped @ ('"' | '\\')) => key.push(escaped),
                _ => return Err(InvalidKey),
            },
            ' '..='~' => key.push(c),
            _ => return Err(InvalidKey),
        }
    }
    Err(InvalidKey)
}

/// Without quotes these would be taken for something else: a list, a parameter.
fn is_of_a_word(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b',' | b';')
}

/// Tells requests with the same key apart: SHA-256 of query and body, in hex.
pub fn fingerprint(query: &str, body: &[u8]) -> String {
    let mut hash = Sha256::new();
    // A query has no line feed, so the two cannot be cut differently.
    hash.update(query.as_bytes());
    hash.update(b"\n");
    hash.update(body);
    let digest = hash.finalize();
    let mut text = String::with_capacity(64);
    for byte in digest {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        IdempotencyKey::read(text.as_bytes()).ok().map(|key| key.as_str().to_owned())
    }

    #[test]
    fn a_key_is_a_quoted_string_and_a_word_is_the_same_key() {
        let id = "8e03978e-40d5-43dd-bc93-6894a57f9324";
        assert_eq!(read(&format!("\"{id}\"")).as_deref(), Some(id));
        assert_eq!(read(id).as_deref(), Some(id));
        assert_eq!(read(r#" "a b\"\\,;c" "#).as_deref(), Some(r#"a b"\,;c"#));
        assert_eq!(read("\"a\";v=1").as_deref(), Some("a"), "parameters say nothing");
        assert_eq!(read("order/17:3=").as_deref(), Some("order/17:3="));
        let longest = "x".repeat(KEY_CHARS_MAX);
        assert_eq!(read(&format!("\"{longest}\"")), Some(longest.clone()));
        assert_eq!(read(&longest), Some(longest));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let too_long = "x".repeat(KEY_CHARS_MAX + 1);
        let quoted = format!("\"{too_long}\"");
        for text in [
            "",
            "\"\"",
            "\"",
            "\"a",
            "a\"",
            "\"a\"b",
            "\"a\" \"b\"",
            "a b",
            "a,b",
            "a;v=1",
            "\"a\\b\"",
            "\"a\\",
            "é",
            "\"é\"",
            "\"a\tb\"",
            "\"a\0\"",
            &too_long,
            &quoted,
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert_eq!(IdempotencyKey::read(&[b'"', 0xff, b'"']), Err(InvalidKey));
    }

    #[test]
    fn a_fingerprint_is_of_query_and_body_and_of_where_one_ends() {
        let of = fingerprint("delay=1m", b"{}");
        assert_eq!(of.len(), 64);
        assert_eq!(of, fingerprint("delay=1m", b"{}"));
        for (query, body) in
            [("delay=2m", "{}"), ("delay=1m", "{ }"), ("", "{}"), ("delay=1m{}", "")]
        {
            assert_ne!(of, fingerprint(query, body.as_bytes()), "{query} {body}");
        }
        // As sha256sum says.
        let empty = "01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b";
        assert_eq!(fingerprint("", b""), empty);
    }
}
