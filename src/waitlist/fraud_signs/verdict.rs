//! What speaks against a user as a whole, and what follows from it.

use serde::Deserialize;

use super::{Ground, Sign, together};

/// What somebody has decided of a detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::waitlist) enum Decision {
    /// Nobody has.
    Pending,
    /// It is fraud.
    Confirmed,
    /// It is none, or it was dealt with otherwise: it speaks against nobody any more.
    Settled,
}

/// A detection as it stands in the table.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::waitlist) struct Detected {
    pub(in crate::waitlist) decision: Decision,
    pub(in crate::waitlist) confidence: f64,
    /// JSON; see [`super::Finding::details`].
    pub(in crate::waitlist) details: String,
}

/// How a user stands on the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::waitlist) struct Standing<'a> {
    pub(in crate::waitlist) status: &'a str,
    /// A check has blocked the user, be it undone by hand since.
    pub(in crate::waitlist) blocked_by_fraud: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::waitlist) enum Verdict {
    /// The user is blocked.
    Block,
    /// The user stays blocked.
    StayBlocked,
    /// A check has blocked the user, and there is not enough for that any more.
    LetIn,
    /// Somebody has let the user in by hand.
    WasLetIn,
    /// Nothing.
    Leave,
}

/// How much speaks against a user, of all detections together. What somebody has confirmed is
/// certain, what somebody has settled speaks no more.
pub(in crate::waitlist) fn overall(detections: &[Detected]) -> f64 {
    if detections.iter().any(|one| one.decision == Decision::Confirmed) {
        return 1.0;
    }
    let pending = detections.iter().filter(|one| one.decision == Decision::Pending);
    let signs: Vec<Sign> = pending.flat_map(signs_of).collect();
    together(&signs)
}

/// No threshold: nobody is blocked. A user who was let in, has left or was blocked by hand is
/// left alone.
pub(in crate::waitlist) fn judge(
    standing: Standing<'_>,
    overall: f64,
    threshold: Option<f64>,
) -> Verdict {
    let is_enough = threshold.is_some_and(|threshold| overall >= threshold);
    match (standing.status, standing.blocked_by_fraud) {
        ("pending" | "verified", false) if is_enough => Verdict::Block,
        ("pending" | "verified" | "converted", true) => Verdict::WasLetIn,
        ("blocked", true) if is_enough => Verdict::StayBlocked,
        ("blocked", true) => Verdict::LetIn,
        _ => Verdict::Leave,
    }
}

/// The signs of a detection; where somebody has written other details, its confidence as one.
fn signs_of(detected: &Detected) -> Vec<Sign> {
    #[derive(Deserialize)]
    struct Details {
        signs: Vec<Sign>,
    }
    match serde_json::from_str::<Details>(&detected.details) {
        Ok(Details { signs }) if !signs.is_empty() => signs,
        _ => vec![Sign::new("unknown", Ground::Program, detected.confidence, "")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waitlist::fraud_signs::{DetectionType, Finding};

    fn detected(decision: Decision, ground: Ground, confidence: f64) -> Detected {
        let sign = Sign::new("s", ground, confidence, "why");
        let finding = Finding::of(DetectionType::Bot, vec![sign]).unwrap();
        Detected { decision, confidence, details: finding.details() }
    }

    #[test]
    fn what_is_pending_adds_up_and_decisions_go_before_it() {
        let mail = detected(Decision::Pending, Ground::Mail, 0.8);
        let network = detected(Decision::Pending, Ground::Network, 0.5);
        let same = detected(Decision::Pending, Ground::Network, 0.4);
        let settled = detected(Decision::Settled, Ground::Device, 0.99);
        let confirmed = detected(Decision::Confirmed, Ground::Network, 0.3);
        let edited = Detected { details: "seen".to_owned(), ..mail.clone() };
        let table = [
            (vec![], 0.0),
            (vec![mail.clone()], 0.8),
            (vec![mail.clone(), network.clone(), same], 0.9),
            (vec![network, settled], 0.5),
            (vec![mail, confirmed], 1.0),
            (vec![edited], 0.8),
        ];
        for (detections, expected) in table {
            assert!((overall(&detections) - expected).abs() < 1e-9, "{detections:?}");
        }
    }

    #[test]
    fn who_is_on_the_list_is_blocked_from_the_threshold_on_and_nobody_else() {
        let table = [
            ("pending", false, 0.9, Some(0.9), Verdict::Block),
            ("verified", false, 0.95, Some(0.9), Verdict::Block),
            ("verified", false, 0.89, Some(0.9), Verdict::Leave),
            ("verified", false, 1.0, None, Verdict::Leave),
            ("verified", false, 1.0, Some(1.5), Verdict::Leave),
            ("converted", false, 1.0, Some(0.9), Verdict::Leave),
            ("removed", false, 1.0, Some(0.9), Verdict::Leave),
            ("blocked", false, 1.0, Some(0.9), Verdict::Leave),
            ("blocked", false, 0.0, Some(0.9), Verdict::Leave),
            ("blocked", true, 0.9, Some(0.9), Verdict::StayBlocked),
            ("blocked", true, 0.5, Some(0.9), Verdict::LetIn),
            ("blocked", true, 1.0, None, Verdict::LetIn),
            ("pending", true, 1.0, Some(0.9), Verdict::WasLetIn),
            ("verified", true, 0.0, Some(0.9), Verdict::WasLetIn),
            ("converted", true, 1.0, Some(0.9), Verdict::WasLetIn),
        ];
        for (status, blocked_by_fraud, overall, threshold, expected) in table {
            let standing = Standing { status, blocked_by_fraud };
            let verdict = judge(standing, overall, threshold);
            assert_eq!(verdict, expected, "{standing:?} {overall} {threshold:?}");
        }
    }
}
