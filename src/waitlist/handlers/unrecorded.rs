//! Mails that are out and could not be written down. A database that can be read and not written
//! (a full disk, a standby) would else have each probe send the same mail once more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

/// So many are remembered. A worker runs 32 mails at once, and those of an outage wait; what is
/// more than that has gone to another worker with its partition.
const MAILS_MAX: usize = 1_000;

/// The mails, by where their job is claimed and its id, with whom they went to.
#[derive(Default)]
pub(super) struct Unrecorded(Mutex<HashMap<(Arc<str>, Uuid), String>>);

impl Unrecorded {
    /// A mail is out.
    pub(super) fn add(&self, scope: &Arc<str>, id: Uuid, recipient: &str) {
        let mut mails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if mails.len() < MAILS_MAX {
            mails.insert((Arc::clone(scope), id), recipient.to_owned());
        }
    }

    /// Whom it went to, if this process has sent it.
    pub(super) fn recipient(&self, scope: &Arc<str>, id: Uuid) -> Option<String> {
        let mails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        mails.get(&(Arc::clone(scope), id)).cloned()
    }

    /// It is written down.
    pub(super) fn remove(&self, scope: &Arc<str>, id: Uuid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(Arc::clone(scope), id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_is_known_until_it_is_written_down() {
        let (unrecorded, group, replay) = (Unrecorded::default(), "group".into(), "replay".into());
        let id = Uuid::from_u128(1);
        unrecorded.add(&group, id, "ada@example.com");
        assert_eq!(unrecorded.recipient(&group, id).as_deref(), Some("ada@example.com"));
        assert_eq!(unrecorded.recipient(&replay, id), None);
        unrecorded.remove(&group, id);
        assert_eq!(unrecorded.recipient(&group, id), None);
        for number in 0..=MAILS_MAX {
            unrecorded.add(&group, Uuid::from_u128(number as u128), "x");
        }
        assert_eq!(unrecorded.recipient(&group, Uuid::from_u128(MAILS_MAX as u128)), None);
    }
}
