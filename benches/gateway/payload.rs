//! The request that both sides get: a verification mail, each for another user.

use uuid::Uuid;

/// Bytes of each payload.
const PAYLOAD_BYTES: usize = 300;
/// Stands where the user's id goes.
const USER: Uuid = Uuid::nil();

/// A whole HTTP/1.1 request, of which only the user's id changes.
pub(crate) struct Request {
    bytes: Vec<u8>,
    user_at: usize,
}

impl Request {
    /// A request to this path of this authority.
    pub(crate) fn new(authority: &str, path: &str) -> Self {
        let body = payload();
        let text = format!(
            "POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let user_at = text.find(&USER.to_string()).expect("the user's id");
        Self { bytes: text.into_bytes(), user_at }
    }

    /// The request for another user.
    pub(crate) fn of_user(&mut self, user: Uuid) -> &[u8] {
        let place = &mut self.bytes[self.user_at..];
        user.hyphenated().encode_lower(place);
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
