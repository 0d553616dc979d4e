//! The requests that both sides get: verification mails, each for another user.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Stands where the user's id goes.
const USER: Uuid = Uuid::nil();
/// The campaign of all.
const CAMPAIGN: &str = "7f0c9a52-6b1d-4e3f-8a2b-1c5d7e9f0a11";

/// What a request is like.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// Bytes of its payload.
    pub(crate) bytes: usize,
    /// Whether it has an `Idempotency-Key` of its own.
    pub(crate) is_keyed: bool,
    /// The token that it bears.
    pub(crate) token: Option<String>,
}

impl Shape {
    /// Without key and token.
    pub(crate) fn plain(bytes: usize) -> Self {
        Self { bytes, is_keyed: false, token: None }
    }
}

/// A text of which only the user's id changes.
pub(crate) struct Template {
    bytes: Vec<u8>,
    /// Where the user's id stands.
    user_at: Vec<usize>,
}

impl Template {
    /// A whole HTTP/1.1 request to this path of this authority.
    pub(crate) fn request(authority: &str, path: &str, shape: &Shape) -> Self {
        let body = payload(shape.bytes);
        let key =
            if shape.is_keyed { format!("Idempotency-Key: \"{USER}\"\r\n") } else { String::new() };
        let token = shape.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n"));
        let token = token.unwrap_or_default();
        Self::of(format!(
            "POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\n\
             {key}{token}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    /// The payload alone.
    pub(crate) fn payload(bytes: usize) -> Self {
        Self::of(payload(bytes))
    }

    /// The key of such a payload's record.
    pub(crate) fn key() -> Self {
        Self::of(format!("{CAMPAIGN}_{USER}"))
    }

    fn of(text: String) -> Self {
        let user_at = text.match_indices(&USER.to_string()).map(|(at, _)| at).collect();
        Self { bytes: text.into_bytes(), user_at }
    }

    /// The text for another user.
    pub(crate) fn of_user(&mut self, user: Uuid) -> &[u8] {
        for at in &self.user_at {
            user.hyphenated().encode_lower(&mut self.bytes[*at..]);
        }
        &self.bytes
    }
}

/// A payload of this size: small ones have a long link, large ones a note as well.
fn payload(bytes: usize) -> String {
    const LINK_CHARS_MAX: usize = 500;
    let of = |link: &str, note: &str| {
        let mut payload = serde_json::json!({
            "campaign_id": CAMPAIGN,
            "user_id": USER,
            "template_data": {
                "email": "ada@example.com",
                "first_name": "Ada",
                "verification_link": format!("https://example.com/verify/{link}"),
            }
        });
        if !note.is_empty() {
            payload["template_data"]["note"] = note.into();
        }
        payload.to_string()
    };
    let left = bytes - of("", "").len();
    if left <= LINK_CHARS_MAX {
        return of(&"t".repeat(left), "");
    }
    let link = "t".repeat(100);
    // Words, as in a text: a single letter would all but vanish when it is packed.
    let words: Vec<String> =
        (0..bytes as u64).map(|at| format!("{:x}", at * 2_654_435_761)).collect();
    let words = words.join(" ");
    let left = bytes - of(&link, "x").len() + 1;
    of(&link, &words[..left])
}
