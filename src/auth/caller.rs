//! Who calls.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::scope::Scopes;

/// The longest name, characters. It travels with every record that the caller produces.
const NAME_CHARS_MAX: usize = 128;

/// A caller whose token was accepted. Cheap to clone: it goes with the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The token's `sub`, after the name of its issuer where that has one: `partners/orders`.
    pub name: CallerName,
    /// What the token allows.
    pub scopes: Scopes,
}

/// The name of a caller. It becomes a header of records and a word in the audit: printable
/// ASCII, no space at its ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CallerName(Arc<str>);

/// The text is no name of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be 1 to {NAME_CHARS_MAX} printable ASCII characters, without a space at either end")]
pub struct CallerNameError;

impl CallerName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for CallerName {
    type Error = CallerNameError;

    fn try_from(text: &str) -> Result<Self, CallerNameError> {
        let is_sound = (1..=NAME_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
            && text.trim() == text;
        if is_sound { Ok(Self(text.into())) } else { Err(CallerNameError) }
    }
}

impl fmt::Display for CallerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_safe_in_a_header_and_a_log() {
        let longest = "x".repeat(NAME_CHARS_MAX);
        for name in ["a", "base-server", "svc:orders@eu 2", longest.as_str()] {
            assert_eq!(CallerName::try_from(name).unwrap().as_str(), name);
        }
        let too_long = "x".repeat(NAME_CHARS_MAX + 1);
        for name in ["", " a", "a ", "a\nb", "a\r\nb", "a\0", "a\x7f", "é", &too_long] {
            assert_eq!(CallerName::try_from(name), Err(CallerNameError), "{name:?}");
        }
    }
}
