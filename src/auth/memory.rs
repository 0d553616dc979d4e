//! The tokens that were accepted lately, so that each is checked once and then known again.
//!
//! A token is known by its SHA-256; the token itself is not kept. Reading takes no lock. All of it
//! is forgotten when an issuer's keys change.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use ring::digest::{self, SHA256};

use super::caller::Caller;

/// Places that a token may have: a few, so that two tokens seldom push each other out.
const WAYS: usize = 4;
/// Groups of places. With [`WAYS`] 4,096 tokens, a caller's one or two each, in 2 MB at most.
const GROUPS: usize = 1_024;

/// A token's SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct TokenHash([u8; 32]);

impl TokenHash {
    pub(super) fn of(token: &str) -> Self {
        let hash = digest::digest(&SHA256, token.as_bytes());
        Self(hash.as_ref().try_into().unwrap_or_default())
    }

    /// A number that is as random as the hash.
    fn number(self, at: usize) -> usize {
        let bytes = self.0.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| usize::from(u16::from_le_bytes(*bytes)))
    }
}

/// An accepted token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    /// The place of its issuer in the verifier's list.
    pub(super) issuer: usize,
    /// Since when it is valid, milliseconds since the epoch.
    pub(super) from_ms: i64,
    /// Until when.
    pub(super) until_ms: i64,
    /// For whom it speaks.
    pub(super) caller: Caller,
}

/// What is known, as long as no key changes.
pub(super) struct Slots(Box<[ArcSwapOption<(TokenHash, Known)>]>);

impl Slots {
    fn new() -> Self {
        Self((0..WAYS * GROUPS).map(|_| ArcSwapOption::empty()).collect())
    }

    fn group(&self, hash: TokenHash) -> &[ArcSwapOption<(TokenHash, Known)>] {
        let first = hash.number(0) % GROUPS * WAYS;
        self.0.get(first..first + WAYS).unwrap_or_default()
    }

    /// What is known of a token, if it is valid at this time.
    fn get(&self, hash: TokenHash, now_ms: i64) -> Option<(usize, Caller)> {
        self.group(hash).iter().find_map(|slot| {
            let slot = slot.load();
            let (found, known) = slot.as_deref()?;
            let is_valid = (known.from_ms..known.until_ms).contains(&now_ms);
            (*found == hash && is_valid).then(|| (known.issuer, known.caller.clone()))
        })
    }

    /// Remembers a token that was checked with the keys that were there when these slots were
    /// taken out of the memory, or with later ones.
    pub(super) fn put(&self, hash: TokenHash, known: Known, now_ms: i64) {
        let group = self.group(hash);
        let is_free = |slot: &&ArcSwapOption<(TokenHash, Known)>| {
            slot.load().as_deref().is_none_or(|(found, known)| {
                *found == hash || !(known.from_ms..known.until_ms).contains(&now_ms)
            })
        };
        let another = || group.get(hash.number(2) % WAYS);
        if let Some(slot) = group.iter().find(is_free).or_else(another) {
            slot.store(Some(Arc::new((hash, known))));
        }
    }
}

/// The accepted tokens.
pub(super) struct Memory(ArcSwap<Slots>);

impl Memory {
    pub(super) fn new() -> Self {
        Self(ArcSwap::from_pointee(Slots::new()))
    }

    /// The issuer and the caller of a token that is known.
    pub(super) fn get(&self, hash: TokenHash, now_ms: i64) -> Option<(usize, Caller)> {
        self.0.load().get(hash, now_ms)
    }

    /// Where a token that is checked from now on is to be remembered. To be taken before its keys
    /// are: a change of keys in between empties other slots than these.
    pub(super) fn slots(&self) -> Arc<Slots> {
        self.0.load_full()
    }

    /// Forgets all. To be called after the new keys are there.
    pub(super) fn empty(&self) {
        self.0.store(Arc::new(Slots::new()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{CallerName, Scopes};

    fn known(name: &str) -> Known {
        let name = CallerName::try_from(name).unwrap();
        Known {
            issuer: 3,
            from_ms: 10,
            until_ms: 20,
            caller: Caller { name, scopes: Scopes::default() },
        }
    }

    #[test]
    fn a_token_is_known_between_its_times() {
        let memory = Memory::new();
        let hash = TokenHash::of("a.b.c");
        memory.slots().put(hash, known("orders"), 10);
        assert_eq!(memory.get(hash, 10), Some((3, known("orders").caller)));
        for now_ms in [9, 20, i64::MIN, i64::MAX] {
            assert_eq!(memory.get(hash, now_ms), None, "{now_ms}");
        }
        assert_eq!(memory.get(TokenHash::of("a.b.d"), 10), None);
    }

    #[test]
    fn what_is_checked_with_keys_that_are_gone_is_not_remembered() {
        let memory = Memory::new();
        let hash = TokenHash::of("a.b.c");
        memory.slots().put(hash, known("orders"), 10);
        let taken_before = memory.slots();
        memory.empty();
        taken_before.put(hash, known("orders"), 10);
        assert_eq!(memory.get(hash, 10), None);
    }

    #[test]
    fn tokens_without_end_take_no_more_room() {
        let memory = Memory::new();
        let slots = memory.slots();
        let hashes: Vec<TokenHash> = (0..50_000).map(|n| TokenHash::of(&n.to_string())).collect();
        for hash in &hashes {
            slots.put(*hash, known("orders"), 10);
            assert!(memory.get(*hash, 10).is_some(), "the newest is known");
        }
        let remembered = hashes.iter().filter(|hash| memory.get(**hash, 10).is_some()).count();
        assert!((GROUPS * WAYS / 2..=GROUPS * WAYS).contains(&remembered), "{remembered}");
        // Those whose time is over make room first.
        let hash = TokenHash::of("later");
        let later = Known { until_ms: 40, from_ms: 30, ..known("later") };
        slots.put(hash, later, 30);
        assert!(memory.get(hash, 30).is_some());
    }
}
