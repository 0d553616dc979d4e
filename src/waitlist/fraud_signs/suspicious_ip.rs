//! `suspicious_ip`: fraud has come from the network before, as somebody has confirmed.
//!
//! Only what a person has decided counts, never what a check has found: or one wrong finding would
//! be the reason of the next.

use super::{DetectionType, Finding, Ground, Sign};

/// One or two users of the network.
const SOME: f64 = 0.3;
/// More: but a carrier's or an office's network has many more users than those.
const MANY: f64 = 0.6;
/// From so many on.
pub(in crate::waitlist) const MANY_MIN: usize = 3;

/// How many other users of the network were confirmed to be fraud, [`MANY_MIN`] at most.
pub(in crate::waitlist) fn check(network: Option<&str>, confirmed: usize) -> Option<Finding> {
    let network = network.filter(|_| confirmed > 0)?;
    let (confidence, how_many) = match confirmed {
        MANY_MIN.. => (MANY, "three users or more".to_owned()),
        one => (SOME, if one == 1 { "one user".to_owned() } else { format!("{one} users") }),
    };
    let why = format!("{how_many} of {network} were confirmed to be fraud");
    let sign = Sign::new("confirmed_fraud_nearby", Ground::Network, confidence, why);
    Finding::of(DetectionType::SuspiciousIp, vec![sign])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confirmed_fraud_of_the_network_counts() {
        let confidence =
            |network, confirmed| check(network, confirmed).map(|found| found.confidence());
        let network = Some("203.0.113.7");
        assert_eq!(confidence(network, 0), None);
        assert_eq!(confidence(network, 1), Some(SOME));
        assert_eq!(confidence(network, 2), Some(SOME));
        assert_eq!(confidence(network, 3), Some(MANY));
        assert_eq!(confidence(None, 3), None);
    }
}
