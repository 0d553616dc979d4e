//! The request that both sides get: a verification mail, each for another user.

use uuid::Uuid;

/// Bytes of each payload.
const PAYLOAD_BYTES: usize = 300;
/// Stands where the user's id goes.
const USER: Uuid = Uuid::nil();

/// A whole HTTP/1.1 request, of which only the user's id changes.
pub(crate) struct Request {
    bytes: Vec<u8>,
    /// Where the user's id stands: in the body, and in the key if there is one.
    user_at: Vec<usize>,
}

impl Request {
    /// A request to this path of this authority, with an `Idempotency-Key` of its own or without.
    pub(crate) fn new(authority: &str, path: &str, is_keyed: bool) -> Self {
        let body = payload();
        let key = if is_keyed { format!("Idempotency-Key: \"{USER}\"\r\n") } else { String::new() };
        let text = format!(
            "POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\n\
             {key}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let user_at = text.match_indices(&USER.to_string()).map(|(at, _)| at).collect();
        Self { bytes: text.into_bytes(), user_at }
    }

    /// The request for another user.
    pub(crate) fn of_user(&mut self, user: Uuid) -> &[u8] {
        for at in &self.user_at {
            user.hyphenated().encode_lower(&mut self.bytes[*at..]);
        }
        &self.bytes
    }
}

fn payload() -> String {
    let of_link = |link: &str| {
        serde_json::json!({
            "campaign_id": "7f0c9a52-6b1d-4e3f-8a2b-1c5d7e9f0a11",
            "user_id": USER,
            "template_data": {
                "email": "ada@example.com",
                "first_name": "Ada",
                "verification_link": format!("https://example.com/verify/{link}"),
            }
        })
        .to_string()
    };
    let token = "t".repeat(PAYLOAD_BYTES - of_link("").len());
    of_link(&token)
}
