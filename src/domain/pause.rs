//! An operator's pause of a type: nothing of it starts until somebody resumes it.

use super::snapshot::PausedType;

/// A pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypePause {
    /// The type.
    pub type_name: String,
    /// Since when, milliseconds since the epoch.
    pub paused_at_ms: i64,
    /// Who.
    pub paused_by: String,
    /// Why, if they said.
    pub reason: Option<String>,
}

impl TypePause {
    /// As a worker shows it.
    pub fn shown(&self) -> PausedType {
        let (name, who) = (&self.type_name, &self.paused_by);
        PausedType::by_operator(name, self.paused_at_ms, who, self.reason.as_deref())
    }
}
