//! `self_referral`: two users of a referral who may be one person.
//!
//! Of the two it is the later one who may be the copy, so that one is marked and the other keeps
//! the place. What people share that live or work together is weak: a network is a family's, an
//! office's or a carrier's, and a device a couple's.

use uuid::Uuid;

use super::{DetectionType, Finding, Ground, Sign, together};

/// One mailbox is one person.
const SAME_MAILBOX: f64 = 0.98;
/// A couple's laptop; and fingerprints of phones of one model are often the same.
const SAME_DEVICE: f64 = 0.75;
/// In a crowd, which is a network that many devices come from at the time, a device is a model.
const SAME_MODEL: f64 = 0.4;
/// Families, offices and carriers have one each.
const SAME_NETWORK: f64 = 0.35;
/// Given and family name. Weak alone: some names are frequent.
const SAME_NAME: f64 = 0.5;
/// Many whom one user has referred share a device in one network.
const DEVICE_OF_MANY: f64 = 0.9;
/// So many beside the user. With the one who referred them they are six, more than a family on one
/// laptop.
const SIBLINGS_MIN: usize = 4;
/// Signs that the details name. A user is referred by one, as a rule.
const SIGNS_MAX: usize = 10;

/// Who signed up, as far as two can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::waitlist) struct Person {
    pub(in crate::waitlist) id: Uuid,
    /// When, milliseconds since the epoch.
    pub(in crate::waitlist) at_ms: i64,
    pub(in crate::waitlist) mailbox: String,
    pub(in crate::waitlist) network: Option<String>,
    pub(in crate::waitlist) device: Option<String>,
    pub(in crate::waitlist) first_name: Option<String>,
    pub(in crate::waitlist) last_name: Option<String>,
}

/// The other user of a referral.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::waitlist) struct Partner {
    pub(in crate::waitlist) person: Person,
    /// Whether it was the other one who referred.
    pub(in crate::waitlist) has_referred: bool,
    /// How sure it is by now that the other one is a copy; 1 where somebody has decided.
    pub(in crate::waitlist) noted: f64,
}

/// Somebody whom the same user has referred, from the same device and network.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::waitlist) struct Sibling {
    pub(in crate::waitlist) id: Uuid,
    pub(in crate::waitlist) noted: f64,
}

/// What a check says, of the user and of others.
#[derive(Debug, Default, PartialEq)]
pub(in crate::waitlist) struct Checked {
    pub(in crate::waitlist) finding: Option<Finding>,
    /// Users of whom the same can be said now, and was not.
    pub(in crate::waitlist) others: Vec<Other>,
}

/// Somebody else who is to be checked once more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::waitlist) struct Other {
    pub(in crate::waitlist) id: Uuid,
    /// How sure it will be of the other one.
    pub(in crate::waitlist) confidence: f64,
}

/// The partners, the siblings, and whether the user came in a crowd (`velocity::is_crowd`).
pub(in crate::waitlist) fn check(
    user: &Person,
    partners: &[Partner],
    siblings: &[Sibling],
    in_crowd: bool,
) -> Checked {
    let mut signs = Vec::new();
    let mut others = Vec::new();
    for partner in partners {
        let shared = shared(user, partner, in_crowd);
        if is_the_later(user, partner) {
            signs.extend(shared);
        } else {
            let confidence = together(&shared);
            if partner.noted < confidence {
                others.push(Other { id: partner.person.id, confidence });
            }
        }
    }
    if siblings.len() >= SIBLINGS_MIN && !in_crowd {
        let why = format!(
            "{SIBLINGS_MIN} others or more whom the same user has referred came from the same \
             device and network"
        );
        signs.push(Sign::new("device_of_many", Ground::Device, DEVICE_OF_MANY, why));
        let unnoted = siblings.iter().filter(|sibling| sibling.noted < DEVICE_OF_MANY);
        others.extend(unnoted.map(|it| Other { id: it.id, confidence: DEVICE_OF_MANY }));
    }
    signs.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    signs.truncate(SIGNS_MAX);
    Checked { finding: Finding::of(DetectionType::SelfReferral, signs), others }
}

/// Whether the user came after the partner; of two who came at once, whoever was referred.
fn is_the_later(user: &Person, partner: &Partner) -> bool {
    let other = &partner.person;
    user.at_ms > other.at_ms || (user.at_ms == other.at_ms && partner.has_referred)
}

/// What the two have in common.
fn shared(user: &Person, partner: &Partner, in_crowd: bool) -> Vec<Sign> {
    let other = &partner.person;
    let who = if partner.has_referred { "who referred this one" } else { "whom this one referred" };
    let is_same = |one: &Option<String>, two: &Option<String>| one.is_some() && one == two;
    let mut signs = Vec::new();
    let mut sign = |is_so: bool, sign, ground, confidence, what: &str| {
        if is_so {
            let why = format!("user {}, {who}, has the same {what}", other.id);
            signs.push(Sign::new(sign, ground, confidence, why));
        }
    };
    let has_mailbox = user.mailbox == other.mailbox;
    sign(has_mailbox, "same_mailbox", Ground::Mail, SAME_MAILBOX, "mailbox");
    let has_device = is_same(&user.device, &other.device);
    let (of_device, what) =
        if in_crowd { (SAME_MODEL, "device, or model of it") } else { (SAME_DEVICE, "device") };
    sign(has_device, "same_device", Ground::Device, of_device, what);
    let has_network = is_same(&user.network, &other.network);
    sign(has_network, "same_network", Ground::Network, SAME_NETWORK, "network (IP address)");
    let name = |person: &Person| {
        let (first, last) = (person.first_name.as_deref()?, person.last_name.as_deref()?);
        let whole = format!("{} {}", first.trim(), last.trim()).to_lowercase();
        (whole.trim().len() > 1).then_some(whole)
    };
    let has_name = is_same(&name(user), &name(other));
    sign(has_name, "same_name", Ground::Name, SAME_NAME, "given and family name");
    signs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(id: u128, at_ms: i64, mailbox: &str) -> Person {
        Person {
            id: Uuid::from_u128(id),
            at_ms,
            mailbox: mailbox.to_owned(),
            network: None,
            device: None,
            first_name: None,
            last_name: None,
        }
    }

    fn with(mut person: Person, network: &str, device: &str, name: &str) -> Person {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        (person.network, person.device) = (some(network), some(device));
        let (first, last) = name.split_once(' ').unwrap_or((name, ""));
        (person.first_name, person.last_name) = (some(first), some(last));
        person
    }

    fn partner(person: Person) -> Partner {
        Partner { person, has_referred: true, noted: 0.0 }
    }

    fn confidence(user: &Person, other: Person) -> f64 {
        let checked = check(user, &[partner(other)], &[], false);
        checked.finding.map_or(0.0, |finding| finding.confidence())
    }

    #[test]
    fn what_two_share_adds_up() {
        let user = with(person(2, 10, "b@x.de"), "n", "d", "Ada Byron");
        let table = [
            // Nothing.
            (with(person(1, 1, "a@x.de"), "m", "e", "Ada King"), 0.0),
            // A colleague, somebody of the family, somebody with the same carrier.
            (with(person(1, 1, "a@x.de"), "n", "e", "Ada King"), 0.35),
            // A namesake.
            (with(person(1, 1, "a@x.de"), "m", "e", "ADA byron "), 0.5),
            // A phone of the same model.
            (with(person(1, 1, "a@x.de"), "m", "d", "Max King"), 0.75),
            // A couple with one laptop: below the default threshold.
            (with(person(1, 1, "a@x.de"), "n", "d", "Max Byron"), 0.838),
            // The same person with another address.
            (with(person(1, 1, "a@x.de"), "n", "d", "Ada Byron"), 0.919),
            // The same mailbox.
            (with(person(1, 1, "b@x.de"), "m", "e", "Max King"), 0.98),
        ];
        for (other, expected) in table {
            let found = confidence(&user, other.clone());
            assert!((found - expected).abs() < 1e-9, "{other:?}: {found}");
        }
    }

    #[test]
    fn in_a_crowd_a_device_is_a_model_of_phones() {
        let user = with(person(2, 10, "b@x.de"), "n", "d", "Ada Byron");
        let other = with(person(1, 1, "a@x.de"), "n", "d", "Max King");
        let found = |in_crowd| {
            let checked = check(&user, &[partner(other.clone())], &[], in_crowd);
            checked.finding.unwrap().confidence()
        };
        assert!((found(false) - 0.838).abs() < 1e-9 && (found(true) - 0.61).abs() < 1e-9);
    }

    #[test]
    fn what_is_not_known_is_not_the_same() {
        let user = with(person(2, 10, "b@x.de"), "", "", "Ada");
        let other = with(person(1, 1, "a@x.de"), "", "", "Ada");
        assert!(confidence(&user, other).abs() < 1e-9);
    }

    #[test]
    fn the_later_one_is_the_copy() {
        let early = person(1, 1, "a@x.de");
        let late = person(2, 2, "a@x.de");
        let of_late = check(&late, &[partner(early.clone())], &[], false);
        assert!(of_late.finding.is_some() && of_late.others.is_empty());
        // Also where it is the early one that was referred.
        let of_early = check(&early, &[partner(late.clone())], &[], false);
        let told = [Other { id: late.id, confidence: SAME_MAILBOX }];
        assert_eq!((of_early.finding, of_early.others), (None, told.to_vec()));
        // It is known of the other one already, or somebody has decided.
        let noted = Partner { noted: SAME_MAILBOX, ..partner(late) };
        assert_eq!(check(&early, &[noted], &[], false), Checked::default());
    }

    #[test]
    fn of_two_at_once_the_referred_one_is_the_copy() {
        let (one, other) = (person(1, 1, "a@x.de"), person(2, 1, "a@x.de"));
        let by_other = partner(other.clone());
        assert!(check(&one, &[by_other], &[], false).finding.is_some());
        let has_referred = Partner { has_referred: false, ..partner(other) };
        assert!(check(&one, &[has_referred], &[], false).finding.is_none());
    }

    #[test]
    fn a_device_of_many_marks_all_of_them() {
        let user = person(9, 1, "a@x.de");
        let sibling = |n: u8| Sibling { id: Uuid::from_u128(n.into()), noted: f64::from(n) * 0.45 };
        let few: Vec<Sibling> = (0..3).map(sibling).collect();
        assert_eq!(check(&user, &[], &few, false), Checked::default(), "a family");
        let many: Vec<Sibling> = (0..4).map(sibling).collect();
        let checked = check(&user, &[], &many, false);
        assert!((checked.finding.unwrap().confidence() - DEVICE_OF_MANY).abs() < 1e-9);
        let others: Vec<Uuid> = checked.others.iter().map(|other| other.id).collect();
        assert_eq!(others, [Uuid::from_u128(0), Uuid::from_u128(1)], "the rest is noted");
        assert_eq!(check(&user, &[], &many, true), Checked::default(), "in a crowd");
    }
}
