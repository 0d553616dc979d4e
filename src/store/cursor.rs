//! Where the next page of a list starts that goes from the newest to the oldest.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

/// Behind an item with this time and id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeCursor {
    /// Milliseconds since the epoch.
    pub at_ms: i64,
    /// Tells items of one millisecond apart.
    pub id: Uuid,
}

impl TimeCursor {
    /// As it goes to a client, who need not understand it.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}.{}", self.at_ms, self.id))
    }

    /// The reverse of [`TimeCursor::encode`].
    pub fn decode(text: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (at_ms, id) = text.split_once('.')?;
        Some(Self { at_ms: at_ms.parse().ok()?, id: Uuid::parse_str(id).ok()? })
    }
}
