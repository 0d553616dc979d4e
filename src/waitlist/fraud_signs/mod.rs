//! Signs of fraud: the rules, one file each, as pure functions over facts.
//!
//! A rule says what it has seen, how sure that makes one, and why, in words for an operator. It
//! knows nothing of tables; who gathers the facts and what follows is the handler's
//! (`handlers/fraud.rs`). `verdict.rs` adds up what speaks against a user.

pub(super) mod address;
pub(super) mod disposable;
pub(super) mod fake_email;
pub(super) mod network;
pub(super) mod programs;
pub(super) mod self_referral;
pub(super) mod suspicious_ip;
mod unlikely_name;
pub(super) mod velocity;
pub(super) mod verdict;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

/// What kind of fraud it looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum DetectionType {
    SelfReferral,
    FakeEmail,
    Bot,
    SuspiciousIp,
    Velocity,
}

impl DetectionType {
    /// The word in the table.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::SelfReferral => "self_referral",
            Self::FakeEmail => "fake_email",
            Self::Bot => "bot",
            Self::SuspiciousIp => "suspicious_ip",
            Self::Velocity => "velocity",
        }
    }
}

/// What a sign rests on. Two signs on one ground are the same evidence seen twice (a busy network
/// and a referrer in that network, say), so only the stronger counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ground {
    /// The e-mail address.
    Mail,
    /// Where the request came from.
    Network,
    /// The device.
    Device,
    /// The person's name.
    Name,
    /// What filled in the form.
    Program,
}

/// Something that speaks for fraud.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Sign {
    /// A stable word for it.
    #[serde(rename = "sign")]
    pub(super) word: String,
    /// What it rests on.
    pub(super) ground: Ground,
    /// From 0 to 1: how sure it alone makes one.
    pub(super) confidence: f64,
    /// For a person.
    pub(super) why: String,
}

impl Sign {
    fn new(word: &str, ground: Ground, confidence: f64, why: impl Into<String>) -> Self {
        Self { word: word.to_owned(), ground, confidence, why: why.into() }
    }
}

/// The signs of one type that a check has found; at least one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Finding {
    pub(super) kind: DetectionType,
    signs: Vec<Sign>,
}

impl Finding {
    /// None without a sign.
    pub(super) fn of(kind: DetectionType, signs: Vec<Sign>) -> Option<Self> {
        (!signs.is_empty()).then_some(Self { kind, signs })
    }

    /// How sure the signs make one together.
    pub(super) fn confidence(&self) -> f64 {
        together(&self.signs)
    }

    /// What the table says of it.
    pub(super) fn details(&self) -> String {
        json!({ "signs": self.signs }).to_string()
    }
}

/// How sure signs make one together: the strongest of each ground, as if the grounds were
/// independent. To a thousandth, so that the same signs give the same number.
pub(super) fn together<'a>(signs: impl IntoIterator<Item = &'a Sign>) -> f64 {
    let mut strongest: BTreeMap<Ground, f64> = BTreeMap::new();
    for sign in signs {
        let of_ground = strongest.entry(sign.ground).or_default();
        *of_ground = of_ground.max(sign.confidence.clamp(0.0, 1.0));
    }
    let doubt: f64 = strongest.values().map(|confidence| 1.0 - confidence).product();
    ((1.0 - doubt) * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(ground: Ground, confidence: f64) -> Sign {
        Sign::new("s", ground, confidence, "why")
    }

    #[test]
    fn grounds_add_up_and_signs_of_one_ground_do_not() {
        let table: [(Vec<Sign>, f64); 5] = [
            (vec![], 0.0),
            (vec![sign(Ground::Mail, 0.5)], 0.5),
            (vec![sign(Ground::Network, 0.35), sign(Ground::Network, 0.7)], 0.7),
            (vec![sign(Ground::Network, 0.5), sign(Ground::Device, 0.5)], 0.75),
            (vec![sign(Ground::Mail, 1.0), sign(Ground::Device, 0.2)], 1.0),
        ];
        for (signs, expected) in table {
            assert!((together(&signs) - expected).abs() < 1e-9, "{signs:?}");
        }
    }

    #[test]
    fn a_finding_has_a_sign_and_tells_why() {
        assert_eq!(Finding::of(DetectionType::Bot, vec![]), None);
        let finding = Finding::of(DetectionType::Bot, vec![sign(Ground::Program, 0.9)]).unwrap();
        assert_eq!(
            finding.details(),
            r#"{"signs":[{"confidence":0.9,"ground":"program","sign":"s","why":"why"}]}"#
        );
    }
}
