//! The reason that an admin gives.

use super::super::problem::Problem;
use crate::domain::fault::Fault;

/// The longest reason, characters: a paragraph.
pub(super) const REASON_CHARS_MAX: usize = 1_000;

/// A reason without the space around it, if it is one.
pub(super) fn checked(reason: &str) -> Result<&str, Problem> {
    let is_sound = !reason.trim().is_empty()
        && reason.chars().count() <= REASON_CHARS_MAX
        && !reason.contains('\0');
    if is_sound {
        return Ok(reason.trim());
    }
    Err(Problem::invalid_payload(vec![Fault {
        pointer: "/reason".to_owned(),
        detail: format!("must be 1 to {REASON_CHARS_MAX} characters that say why"),
    }]))
}
