//! `velocity`: many signups from one network or one device within a short time.
//!
//! A network is no person: an office that hears of the list, or the phones of a carrier, make
//! bursts too. So a network alone blocks nobody, however many come from it; a device does, from
//! ten within an hour.
//!
//! A burst counts for all of it, also for those who came first: a check looks both ways, and
//! names the others of whom that was not noted yet.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use uuid::Uuid;

use super::self_referral::Other;
use super::{DetectionType, Finding, Ground, Sign};

/// A burst from a network.
pub(in crate::waitlist) const NETWORK_WINDOW_MS: i64 = 10 * 60_000;
/// Signups of one network within its window, and how sure they make one.
const OF_NETWORK: [(usize, f64); 3] = [(10, 0.3), (30, 0.5), (100, 0.7)];
/// In such a burst there is one device for so many signups or more: not so many people. It is
/// looked at where that many signups name their device.
const SIGNUPS_PER_DEVICE: usize = 3;
const FEW_DEVICES: f64 = 0.5;

/// A burst from a device.
pub(in crate::waitlist) const DEVICE_WINDOW_MS: i64 = 60 * 60_000;
/// Signups of one device in one network. Three are a family with a tablet.
const OF_DEVICE: [(usize, f64); 3] = [(4, 0.5), (6, 0.7), (10, 0.9)];
/// Signups of one device over many networks, or in a crowd: phones of one model often have one
/// fingerprint.
const OF_DEVICE_ANYWHERE: [(usize, f64); 2] = [(10, 0.4), (50, 0.7)];

/// So many different devices near each other in one network are a crowd: an office, or a carrier's
/// customers.
const CROWD_DEVICES_MIN: usize = 8;

/// Signups that a check looks at, before the user's own and after it: as many as any rule asks for.
pub(in crate::waitlist) const NEAR_MAX: usize = 100;

/// A signup near the user's, or the user's own.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::waitlist) struct Near {
    pub(in crate::waitlist) id: Uuid,
    /// When, milliseconds since the epoch.
    pub(in crate::waitlist) at_ms: i64,
    pub(in crate::waitlist) network: Option<String>,
    pub(in crate::waitlist) device: Option<String>,
    /// How sure its burst has made one by now; 1 where somebody has decided.
    pub(in crate::waitlist) noted: f64,
}

/// What was found of the user, and the others of the bursts of whom it was not noted yet.
#[derive(Debug, Default, PartialEq)]
pub(in crate::waitlist) struct Checked {
    pub(in crate::waitlist) finding: Option<Finding>,
    pub(in crate::waitlist) others: Vec<Other>,
}

/// Whether many devices come from the user's network at about the time, by these signups of it.
pub(in crate::waitlist) fn is_crowd(user: &Near, network: &[Near]) -> bool {
    let reach = reach(user, NETWORK_WINDOW_MS);
    let near = network.iter().filter(|near| reach.contains(&near.at_ms));
    let devices: BTreeSet<&str> = near.filter_map(|near| near.device.as_deref()).collect();
    user.network.is_some() && devices.len() >= CROWD_DEVICES_MIN
}

/// Looks at the signups of the user's network and of the user's device, with the user's own in
/// each, near enough to be in one window with it.
pub(in crate::waitlist) fn check(user: &Near, network: &[Near], device: &[Near]) -> Checked {
    let at_home: Vec<Near> =
        device.iter().filter(|near| near.network == user.network).cloned().collect();
    let mut checked = Vec::new();
    if user.network.is_some() {
        let burst = burst(user, network, NETWORK_WINDOW_MS);
        if let Some(confidence) = level(burst.len(), &OF_NETWORK) {
            let why = format!("{} signups from its network within 10 minutes", shown(burst.len()));
            checked.push((Sign::new("burst_of_network", Ground::Network, confidence, why), burst));
        }
    }
    let mut of_device = |near, levels: &[(usize, f64)], word, what| {
        let burst = burst(user, near, DEVICE_WINDOW_MS);
        if let Some(confidence) = level(burst.len(), levels) {
            let why = format!("{} signups of {what} within an hour", shown(burst.len()));
            checked.push((Sign::new(word, Ground::Device, confidence, why), burst));
        }
    };
    if user.device.is_some() {
        if !is_crowd(user, network) {
            of_device(&at_home, &OF_DEVICE, "burst_of_device", "one device in one network");
        }
        let anywhere = "one device, whatever its network";
        of_device(device, &OF_DEVICE_ANYWHERE, "device_anywhere", anywhere);
    }
    let few =
        checked.iter().find(|(sign, _)| sign.word == "burst_of_network").and_then(|(_, burst)| {
            let devices: Vec<&str> =
                burst.iter().filter_map(|near| near.device.as_deref()).collect();
            let distinct = devices.iter().collect::<BTreeSet<_>>().len();
            let is_few = devices.len() >= OF_NETWORK.first().map_or(0, |(least, _)| *least)
                && distinct * SIGNUPS_PER_DEVICE <= devices.len();
            let why = "the signups of that burst come from few devices";
            is_few.then(|| Sign::new("few_devices", Ground::Device, FEW_DEVICES, why))
        });
    let mut others: Vec<Other> = Vec::new();
    for (sign, burst) in &checked {
        for near in burst.iter().filter(|near| near.id != user.id) {
            if near.noted >= sign.confidence || others.iter().any(|other| other.id == near.id) {
                continue;
            }
            others.push(Other { id: near.id, confidence: sign.confidence });
        }
    }
    let signs = checked.into_iter().map(|(sign, _)| sign).chain(few).collect();
    Checked { finding: Finding::of(DetectionType::Velocity, signs), others }
}

/// The times that may be in one window with the user's.
fn reach(user: &Near, window_ms: i64) -> RangeInclusive<i64> {
    user.at_ms.saturating_sub(window_ms)..=user.at_ms.saturating_add(window_ms)
}

/// The most signups that are in one window with the user's.
fn burst<'a>(user: &Near, near: &'a [Near], window_ms: i64) -> Vec<&'a Near> {
    let reach = reach(user, window_ms);
    let mut near: Vec<&Near> = near.iter().filter(|one| reach.contains(&one.at_ms)).collect();
    near.sort_by_key(|one| (one.at_ms, one.id));
    let mut most: &[&Near] = &[];
    let mut start = 0;
    for (end, last) in near.iter().enumerate() {
        while near.get(start).is_some_and(|first| last.at_ms - first.at_ms > window_ms) {
            start += 1;
        }
        let window = near.get(start..=end).unwrap_or_default();
        let has_user = window.first().is_some_and(|first| first.at_ms <= user.at_ms)
            && last.at_ms >= user.at_ms;
        if has_user && window.len() > most.len() {
            most = window;
        }
    }
    most.to_vec()
}

/// The last of these levels that a number reaches.
fn level(number: usize, levels: &[(usize, f64)]) -> Option<f64> {
    levels.iter().rev().find(|(least, _)| number >= *least).map(|(_, confidence)| *confidence)
}

/// A number as it stays from check to check of a long burst: the level that it reaches.
fn shown(number: usize) -> String {
    let steps = [4, 6, 10, 30, 50, 100];
    let reached = steps.into_iter().rev().find(|step| number >= *step).unwrap_or(number);
    format!("{reached} or more")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn near(id: usize, at_ms: i64, network: &str, device: Option<&str>) -> Near {
        Near {
            id: Uuid::from_u128(id as u128),
            at_ms,
            network: Some(network.to_owned()),
            device: device.map(str::to_owned),
            noted: 0.0,
        }
    }

    fn confidence(checked: &Checked) -> f64 {
        checked.finding.as_ref().map_or(0.0, Finding::confidence)
    }

    #[track_caller]
    fn is(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
    }

    /// So many from one network, each on a device of its own, a second apart.
    fn office(count: usize) -> Vec<Near> {
        let second = |n: usize| i64::try_from(n).unwrap() * 1_000;
        (0..count).map(|n| near(n, second(n), "n", Some(&format!("d{n}")))).collect()
    }

    #[test]
    fn a_network_makes_a_burst_and_never_blocks_alone() {
        for (count, expected) in [(1, 0.0), (9, 0.0), (10, 0.3), (29, 0.3), (30, 0.5), (150, 0.7)] {
            let signups = office(count);
            is(confidence(&check(&signups[count / 2], &signups, &[])), expected);
        }
    }

    #[test]
    fn the_first_and_the_last_of_a_burst_are_of_it() {
        let signups = office(30);
        for at in [0, 15, 29] {
            let checked = check(&signups[at], &signups, &[]);
            is(confidence(&checked), 0.5);
            assert_eq!(checked.others.len(), 29, "and each of the others");
        }
    }

    #[test]
    fn others_are_named_until_it_is_noted_of_them() {
        let mut signups = office(12);
        for near in &mut signups[..5] {
            near.noted = 0.3;
        }
        signups[5].noted = 0.2;
        let others = check(&signups[11], &signups, &[]).others;
        let ids: Vec<u128> = others.iter().map(|other| other.id.as_u128()).collect();
        assert_eq!(ids, [5, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn signups_that_are_in_no_window_together_are_no_burst() {
        let slow: Vec<Near> = (0..40)
            .map(|n: usize| near(n, i64::try_from(n).unwrap() * 2 * MINUTE, "n", None))
            .collect();
        is(confidence(&check(&slow[20], &slow, &[])), 0.0);
        // Nine before and nine after, and no window has ten of them with the user's.
        let mut apart: Vec<Near> = (0..9).map(|n| near(n, 0, "n", None)).collect();
        apart.extend((10..19).map(|n| near(n, 20 * MINUTE, "n", None)));
        let user = near(20, 10 * MINUTE + 1, "n", None);
        apart.push(user.clone());
        is(confidence(&check(&user, &apart, &[])), 0.3);
        apart.retain(|one| one.id.as_u128() != 18);
        is(confidence(&check(&user, &apart, &[])), 0.0);
    }

    #[test]
    fn a_burst_of_few_devices_is_surer() {
        let mut signups = office(30);
        for (n, near) in signups.iter_mut().enumerate() {
            near.device = Some(format!("d{}", n % 10));
        }
        is(confidence(&check(&signups[3], &signups, &[])), 0.75);
        for near in &mut signups {
            near.device = None;
        }
        is(confidence(&check(&signups[3], &signups, &[])), 0.5);
    }

    #[test]
    fn a_device_makes_a_burst_from_four_on() {
        let signups = |count: usize, networks: usize| -> Vec<Near> {
            let network = |n: usize| format!("n{}", n % networks);
            (0..count)
                .map(|n| near(n, i64::try_from(n).unwrap() * MINUTE, &network(n), Some("d")))
                .collect()
        };
        for (count, expected) in [(3, 0.0), (4, 0.5), (6, 0.7), (10, 0.9), (60, 0.9)] {
            let all = signups(count, 1);
            is(confidence(&check(&all[0], &[], &all)), expected);
        }
        for (count, expected) in [(9, 0.0), (10, 0.4), (55, 0.7)] {
            let all = signups(count, count);
            is(confidence(&check(&all[0], &[], &all)), expected);
        }
    }

    /// Phones of three models among those of many.
    #[test]
    fn in_a_crowd_a_device_is_a_model() {
        let crowd: Vec<Near> = (0..60_usize)
            .map(|n| {
                let at_ms = i64::try_from(n).unwrap() * 10_000;
                let model = if n % 3 == 0 { n } else { n % 2 };
                near(n, at_ms, "n", Some(&format!("d{model}")))
            })
            .collect();
        let of_model: Vec<Near> =
            crowd.iter().filter(|near| near.device == crowd[1].device).cloned().collect();
        assert!(of_model.len() >= 20 && is_crowd(&crowd[1], &crowd));
        let confidence = confidence(&check(&crowd[1], &crowd, &of_model));
        assert!(confidence < 0.9, "{confidence}");
        assert!(!is_crowd(&crowd[1], &of_model), "one model alone is no crowd");
    }

    #[test]
    fn without_network_and_device_there_is_nothing_to_see() {
        let mut user = near(1, 0, "n", None);
        user.network = None;
        let others = office(50);
        assert_eq!(check(&user, &others, &others), Checked::default());
    }
}
