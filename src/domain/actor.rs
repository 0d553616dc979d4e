//! Who asks: the name that an audit entry bears.

use std::sync::Arc;

/// The name of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor(Arc<str>);

impl Actor {
    /// A caller of this name, as a verified token has it.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Somebody on this machine, where callers have no tokens.
    pub fn loopback() -> Self {
        Self::new("loopback")
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }
}
