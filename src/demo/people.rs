//! The people of the demo's day: who they are, and how they look to a website.

use rand::RngExt as _;
use rand::rngs::StdRng;
use uuid::Uuid;

const FIRST_NAMES: [&str; 32] = [
    "Amara", "Ana", "Anders", "Aiko", "Bilal", "Chiara", "Chloé", "Diego", "Elif", "Emma",
    "Fatima", "Felix", "Giulia", "Hana", "Ingrid", "Ivan", "Jakub", "João", "Kofi", "Lena", "Linh",
    "Luca", "Mateo", "Mei", "Nadia", "Noah", "Olga", "Priya", "Rania", "Samir", "Sofia", "Tomás",
];
const LAST_NAMES: [&str; 32] = [
    "Almeida",
    "Andersson",
    "Bauer",
    "Bianchi",
    "Chen",
    "Costa",
    "Demir",
    "Diallo",
    "Fischer",
    "García",
    "Haddad",
    "Hansen",
    "Ivanova",
    "Janssen",
    "Kaya",
    "Khan",
    "Kowalski",
    "Kumar",
    "Larsen",
    "Lopez",
    "Mensah",
    "Moreau",
    "Nguyen",
    "Nowak",
    "Okafor",
    "Patel",
    "Rossi",
    "Sato",
    "Schmidt",
    "Silva",
    "Tanaka",
    "Weber",
];
/// Names of a home's own network (RFC 8375): a mail server that is asked to deliver for the demo
/// reaches no stranger. Addresses of example.com would be taken for those of somebody who tries a
/// form, and they are.
const MAIL_DOMAINS: [&str; 3] = ["post.home.arpa", "mail.home.arpa", "inbox.home.arpa"];
const BROWSERS: [&str; 4] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
];

/// Somebody who signs up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) id: Uuid,
    pub(super) first_name: &'static str,
    pub(super) last_name: &'static str,
    pub(super) email: String,
    pub(super) ip_address: String,
    pub(super) user_agent: String,
    pub(super) device: String,
}

impl Person {
    /// An honest one: the `number` keeps addresses apart.
    pub(super) fn honest(number: usize, random: &mut StdRng) -> Self {
        let (first_name, last_name) = (one_of(&FIRST_NAMES, random), one_of(&LAST_NAMES, random));
        let domain = one_of(&MAIL_DOMAINS, random);
        let local = format!("{}.{}{number}", plain(first_name), plain(last_name));
        Self {
            id: id(random),
            first_name,
            last_name,
            email: format!("{local}@{domain}"),
            ip_address: household(random),
            user_agent: one_of(&BROWSERS, random).to_owned(),
            device: format!("{:016x}", random.random::<u64>()),
        }
    }

    /// The same person under another address, who hopes for a better place.
    pub(super) fn again(&self, number: usize, random: &mut StdRng) -> Self {
        let (local, domain) = self.email.split_once('@').unwrap_or((&self.email, "mail.home.arpa"));
        let email = format!("{local}+{number}@{domain}");
        Self { id: id(random), email, ..self.clone() }
    }

    /// One with an address to throw away.
    pub(super) fn throwaway(number: usize, random: &mut StdRng) -> Self {
        Self { email: format!("win{number}@mailinator.com"), ..Self::honest(number, random) }
    }

    /// A program: many of it come from one place.
    pub(super) fn bot(number: usize, ip_address: &str, random: &mut StdRng) -> Self {
        Self {
            ip_address: ip_address.to_owned(),
            user_agent: "python-requests/2.32.3".to_owned(),
            device: "headless".to_owned(),
            ..Self::honest(number, random)
        }
    }
}

/// A household's own address, of the range that is kept for documents (RFC 3849).
pub(super) fn household(random: &mut StdRng) -> String {
    let [a, b]: [u16; 2] = [random.random(), random.random()];
    format!("2001:db8:{a:x}:{b:x}::1")
}

fn id(random: &mut StdRng) -> Uuid {
    uuid::Builder::from_random_bytes(random.random()).into_uuid()
}

pub(super) fn one_of<T: Copy>(all: &[T], random: &mut StdRng) -> T {
    // None of the lists is empty.
    #[expect(clippy::indexing_slicing, reason = "the index is below the length")]
    all[random.random_range(0..all.len())]
}

fn plain(name: &str) -> String {
    name.to_lowercase()
        .chars()
        .map(|letter| match letter {
            'é' => 'e',
            'á' | 'ã' => 'a',
            'í' => 'i',
            other => other,
        })
        .collect()
}
