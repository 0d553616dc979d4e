//! Several hundred made-up people and some hundred frauds, with what makes people look like frauds and
//! frauds like people: how many of either are blocked. The figures of docs/waitlist.md are those
//! of this test, which prints them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::fan_out::FanOut;
use super::fraud::DetectFraud;
use super::referral_created::RecordReferral;
use super::user_signup::SignUp;
use crate::domain::catalog::Catalog;
use crate::domain::clock::{ManualClock, SharedClock};
use crate::domain::handler::{AttemptEnd, Handler, Job, Outcome};
use crate::domain::receipt::Place;
use crate::domain::record::{Headers, Record};
use crate::store::{ClaimLimits, Database, SentRow, Store};

const CAMPAIGN: Uuid = Uuid::from_u128(0xca);
const NOW_MS: i64 = 1_735_689_600_000;
const SEED: u64 = 42;
const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// What is to become of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Truth {
    Honest,
    Fraud,
}

struct Signup {
    group: &'static str,
    truth: Truth,
    at_ms: i64,
    id: Uuid,
    payload: Value,
    referrer: Option<Uuid>,
}

/// Draws (splitmix64): the same for a seed, whatever the version of a library.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn within(&mut self, span_ms: i64) -> i64 {
        i64::try_from(self.below(u64::try_from(span_ms).unwrap())).unwrap()
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[usize::try_from(self.below(words.len() as u64)).unwrap()]
    }

    fn letters(&mut self, count: usize, from: &str) -> String {
        let from: Vec<char> = from.chars().collect();
        (0..count).map(|_| from[usize::try_from(self.below(from.len() as u64)).unwrap()]).collect()
    }
}

const FIRST: &[&str] = &[
    "Anna",
    "Bjørn",
    "Chiamaka",
    "Dmitri",
    "Eszter",
    "Fatima",
    "Grzegorz",
    "Hrvoje",
    "Ingrid",
    "João",
    "Krzysztof",
    "Linh",
    "Mehmet",
    "Nguyen",
    "Oluwaseun",
    "Priya",
    "Quentin",
    "Rashid",
    "Siobhan",
    "Thamsanqa",
    "Ursula",
    "Venkat",
    "Wei",
    "Xiaoxia",
    "Yuki",
    "Zdeněk",
];
const LAST: &[&str] = &[
    "Adebayo",
    "Brzęczyszczykiewicz",
    "Chen",
    "Dvořák",
    "Eriksson",
    "Fernández",
    "García",
    "Horváth",
    "Ivanov",
    "Jørgensen",
    "Krstulović",
    "Lee",
    "Müller",
    "Ndlovu",
    "O'Neill",
    "Papadopoulos",
    "Qureshi",
    "Rossi",
    "Srinivasan",
    "Tanaka",
    "Usman",
    "Vlk",
    "Wójcik",
    "Xu",
    "Yilmaz",
    "Zhang",
];
const MAIL: &[&str] = &[
    "gmail.com",
    "gmail.com",
    "gmail.com",
    "outlook.com",
    "hotmail.fr",
    "yahoo.com",
    "icloud.com",
    "gmx.de",
    "web.de",
    "wp.pl",
    "onet.pl",
    "seznam.cz",
    "freemail.hu",
    "mail.ru",
    "qq.com",
    "163.com",
    "naver.com",
    "libero.it",
    "orange.fr",
    "proton.me",
    "uol.com.br",
    "rediffmail.com",
];
const BROWSERS: &[&str] = &[
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 9; CUBOT NOVA) AppleWebKit/537.36 Chrome/120.0.0.0 Mobile",
    "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
    "Mozilla/5.0 (Linux; Android 13) AppleWebKit/537.36 [FBAN/EMA;FBLC/de_DE]",
];

/// Everybody, in the order of their signups.
struct Population {
    draw: Draw,
    signups: Vec<Signup>,
    addresses: u64,
}

/// What a group's members have; the rest is drawn.
#[derive(Clone, Default)]
struct Traits {
    email: Option<String>,
    name: Option<(String, String)>,
    network: Option<String>,
    device: Option<String>,
    /// Overrides and adds members of the payload.
    more: Option<Value>,
    referrer: Option<Uuid>,
}

fn plain(text: &str) -> String {
    let plain = |c: char| match c {
        'ø' | 'ó' | 'ö' => 'o',
        'ã' | 'á' => 'a',
        'ě' | 'ę' | 'é' => 'e',
        'ř' => 'r',
        'í' => 'i',
        'ć' => 'c',
        'ü' => 'u',
        other => other,
    };
    text.to_lowercase().chars().map(plain).filter(char::is_ascii_alphanumeric).collect()
}

impl Population {
    fn new() -> Self {
        Self { draw: Draw(SEED), signups: Vec::new(), addresses: 0 }
    }

    /// An address of its own.
    fn address(&mut self) -> String {
        self.addresses += 1;
        let [.., b, c, d] = self.addresses.to_be_bytes();
        format!("198.{}.{c}.{d}", 20 + b)
    }

    fn name(&mut self) -> (String, String) {
        (self.draw.of(FIRST).to_owned(), self.draw.of(LAST).to_owned())
    }

    /// As people make their addresses.
    fn email(&mut self, (first, last): &(String, String)) -> String {
        let (first, last) = (plain(first), plain(last));
        let number = self.draw.below(1_900) + 100;
        let domain = self.draw.of(MAIL);
        if matches!(domain, "qq.com" | "163.com") && self.draw.below(2) == 0 {
            return format!("{}@{domain}", 100_000_000 + self.draw.below(900_000_000));
        }
        let local = match self.draw.below(5) {
            0 => format!("{first}.{last}{number}"),
            1 => format!("{first}{last}{number}"),
            2 => format!("{}{last}{number}", &first[..1]),
            3 => format!("{last}_{first}{number}"),
            _ => format!("{first}{number}{}", self.draw.below(100)),
        };
        format!("{local}@{domain}")
    }

    fn join(&mut self, (group, truth): (&'static str, Truth), at_ms: i64, traits: Traits) -> Uuid {
        let id = Uuid::from_u128(u128::from(self.draw.next()) << 64 | u128::from(self.draw.next()));
        let name = traits.name.unwrap_or_else(|| self.name());
        let email = traits.email.unwrap_or_else(|| self.email(&name));
        let network = traits.network.unwrap_or_else(|| self.address());
        let device = traits.device.unwrap_or_else(|| format!("{:016x}", self.draw.next()));
        let time = chrono::DateTime::from_timestamp_millis(NOW_MS + at_ms).unwrap();
        let mut payload = json!({
            "user_id": id, "campaign_id": CAMPAIGN, "email": email,
            "source": if traits.referrer.is_some() { "referral" } else { "direct" },
            "timestamp": time.to_rfc3339(), "first_name": name.0, "last_name": name.1,
            "ip_address": network, "device_fingerprint": device,
            "user_agent": self.draw.of(BROWSERS),
        });
        let members = payload.as_object_mut().unwrap();
        if let Some(referrer) = traits.referrer {
            members.insert("referred_by_id".to_owned(), json!(referrer));
        }
        for (member, value) in traits.more.as_ref().and_then(Value::as_object).into_iter().flatten()
        {
            if value.is_null() {
                members.remove(member);
            } else {
                members.insert(member.clone(), value.clone());
            }
        }
        let referrer = traits.referrer;
        self.signups.push(Signup { group, truth, at_ms, id, payload, referrer });
        id
    }

    fn honest(&mut self) {
        let ordinary = ("ordinary", Truth::Honest);
        let mut known: Vec<Uuid> = Vec::new();
        for _ in 0..200 {
            let at_ms = i64::try_from(known.len()).unwrap() * 3 * MINUTE;
            let pick = usize::try_from(self.draw.below(known.len().max(1) as u64)).unwrap();
            let referrer = known.get(pick).copied().filter(|_| self.draw.below(5) < 2);
            let user = self.join(ordinary, at_ms, Traits { referrer, ..Traits::default() });
            known.push(user);
        }
        self.offices();
        self.families();
        self.carriers();
        self.of_odd_addresses();
    }

    fn offices(&mut self) {
        for office in 0..2_i64 {
            let (network, start) = (self.address(), office * HOUR);
            let mut evangelist = None;
            for _ in 0..40 {
                let at_ms = start + self.draw.within(8 * MINUTE) + i64::from(evangelist.is_some());
                let referrer = evangelist.filter(|_| self.draw.below(5) < 3);
                let name = self.name();
                let email = format!(
                    "{}.{}{}@office{office}.de",
                    plain(&name.0),
                    plain(&name.1),
                    self.draw.below(1_000_000)
                );
                let traits = Traits {
                    email: Some(email),
                    name: Some(name),
                    network: Some(network.clone()),
                    referrer,
                    ..Traits::default()
                };
                let user = self.join(("office", Truth::Honest), at_ms, traits);
                evangelist.get_or_insert(user);
            }
        }
        // Laptops of one make have one fingerprint.
        for (group, people, models) in
            [("office, few models", 15_u64, 3_u64), ("office, one model", 24, 1)]
        {
            let network = self.address();
            for person in 0..people {
                let at_ms = 5 * HOUR + self.draw.within(8 * MINUTE);
                let device = Some(format!("{group} {}", person % models));
                let traits = Traits { network: Some(network.clone()), device, ..Traits::default() };
                self.join((group, Truth::Honest), at_ms, traits);
            }
        }
    }

    fn families(&mut self) {
        for family in 0..40_i64 {
            let (network, last) = (self.address(), self.draw.of(LAST).to_owned());
            let laptop = (family % 2 == 0).then(|| format!("laptop {family}"));
            let mut parent = None;
            let first = self.draw.below(FIRST.len() as u64);
            for member in 0..2 + self.draw.below(4) {
                // Nobody of a family is called like another one.
                let name = FIRST[usize::try_from(first + member).unwrap() % FIRST.len()];
                let name = (name.to_owned(), last.clone());
                let span = if family % 3 == 0 { HOUR } else { 48 * HOUR };
                let at_ms = family * 20 * MINUTE + self.draw.within(span);
                let traits = Traits {
                    name: Some(name),
                    network: Some(network.clone()),
                    device: laptop.clone(),
                    referrer: parent,
                    ..Traits::default()
                };
                let user = self.join(("family", Truth::Honest), at_ms, traits);
                parent.get_or_insert(user);
            }
        }
    }

    fn carriers(&mut self) {
        for carrier in 0..2_i64 {
            let network = self.address();
            let mut known: Vec<Uuid> = Vec::new();
            for _ in 0..120 {
                let at_ms = carrier * HOUR + self.draw.within(HOUR);
                let device = Some(format!("phone model {}", self.draw.below(25)));
                let pick = usize::try_from(self.draw.below(known.len().max(1) as u64)).unwrap();
                let referrer = known.get(pick).copied().filter(|_| self.draw.below(5) == 0);
                let traits = Traits {
                    network: Some(network.clone()),
                    device,
                    referrer,
                    ..Traits::default()
                };
                known.push(self.join(("carrier's network", Truth::Honest), at_ms, traits));
            }
        }
        for pair in 0..20_i64 {
            let device = Some(format!("same phone {pair}"));
            let first = Traits { device: device.clone(), ..Traits::default() };
            let group = ("friends, same phone", Truth::Honest);
            let referrer = Some(self.join(group, pair * 10 * MINUTE, first));
            let second = Traits { device, referrer, ..Traits::default() };
            self.join(group, pair * 10 * MINUTE + HOUR, second);
        }
    }

    fn of_odd_addresses(&mut self) {
        for tagger in 0..25_i64 {
            let name = self.name();
            let email = self.email(&name);
            let tag = email.replace('@', "+list@");
            let group = ("plus-tag", Truth::Honest);
            let traits = |email| Traits { email: Some(email), ..Traits::default() };
            self.join(group, tagger * 7 * MINUTE, traits(tag));
            if tagger % 5 == 0 {
                // Forgotten, and signed up again.
                self.join(group, tagger * 7 * MINUTE + 20 * HOUR, traits(email));
            }
        }
        for relay in 0..20_i64 {
            let domain = self.draw.of(&["duck.com", "mozmail.com", "simplelogin.com", "addy.io"]);
            let word = self.draw.letters(9, "bcdfghjkmnprstvz023456789");
            let traits = Traits { email: Some(format!("{word}@{domain}")), ..Traits::default() };
            self.join(("mail relay", Truth::Honest), relay * 11 * MINUTE, traits);
        }
        for silent in 0..20_i64 {
            let none = json!({
                "ip_address": null, "device_fingerprint": null, "user_agent": null,
                "first_name": null, "last_name": null,
            });
            let traits = Traits { more: Some(none), ..Traits::default() };
            self.join(("nothing but an address", Truth::Honest), silent * MINUTE, traits);
        }
        for proxied in 0..30_i64 {
            let traits = Traits { network: Some("10.0.0.1".to_owned()), ..Traits::default() };
            self.join(("behind the site's proxy", Truth::Honest), proxied * 5 * SECOND, traits);
        }
    }

    fn frauds(&mut self) {
        for farmer in 0..15_i64 {
            let name = self.name();
            let local = format!("{}{}{}", plain(&name.0), plain(&name.1), self.draw.below(10_000));
            let at_ms = farmer * 25 * MINUTE;
            let main = Traits {
                email: Some(format!("{local}@gmail.com")),
                name: Some(name),
                ..Traits::default()
            };
            let referrer = Some(self.join(("a farmer's own account", Truth::Honest), at_ms, main));
            let copies =
                [format!("{local}+a@gmail.com"), format!("{local}+b@gmail.com"), dotted(&local)];
            for (copy, email) in (1..).zip(copies) {
                // By other networks and devices: the mailbox alone tells.
                let traits = Traits { email: Some(email), referrer, ..Traits::default() };
                let group = ("copies of one mailbox", Truth::Fraud);
                self.join(group, at_ms + copy * MINUTE, traits);
            }
        }
        for (group, farmers, copies, same_name) in [
            ("two copies, own name", 10_i64, 2_i64, true),
            ("two copies, other names", 10, 2, false),
            ("six copies, other names", 5, 6, false),
        ] {
            for farmer in 0..farmers {
                let (network, device) = (self.address(), format!("{group} {farmer}"));
                let name = self.name();
                let at_ms = farmer * 31 * MINUTE;
                let own = Traits {
                    name: Some(name.clone()),
                    network: Some(network),
                    device: Some(device),
                    ..Traits::default()
                };
                let main = ("a farmer's own account", Truth::Honest);
                let referrer = Some(self.join(main, at_ms, own.clone()));
                for copy in 1..=copies {
                    let name = if same_name { Some(name.clone()) } else { None };
                    // Half a day apart: too slow for a burst.
                    let traits = Traits { name, referrer, ..own.clone() };
                    self.join((group, Truth::Fraud), at_ms + copy * 12 * HOUR, traits);
                }
            }
        }
        self.bots();
        self.throw_away();
    }

    fn bots(&mut self) {
        let device = |name: &str| Some(name.to_owned());
        let network = self.address();
        for bot in 0..30_i64 {
            let traits = Traits {
                network: Some(network.clone()),
                device: device("bot"),
                ..Traits::default()
            };
            self.join(("bots, one machine", Truth::Fraud), 2 * HOUR + bot * 20 * SECOND, traits);
        }
        for bot in 0..20_i64 {
            let network = Some(format!("2001:db8:7:7::{bot:x}"));
            let traits = Traits { network, device: device("bot of six"), ..Traits::default() };
            self.join(("bots, one IPv6 /64", Truth::Fraud), HOUR + bot * 30 * SECOND, traits);
        }
        for bot in 0..60_i64 {
            let traits = Traits { device: device("proxied bot"), ..Traits::default() };
            self.join(("bots behind proxies", Truth::Fraud), 3 * HOUR + bot * 30 * SECOND, traits);
        }
        for bot in 0..30_i64 {
            let email =
                format!("{}@gmail.com", self.draw.letters(11, "bcdfghjklmnpqrstvwxz0123456789"));
            let traits = Traits { email: Some(email), ..Traits::default() };
            self.join(("careful bots", Truth::Fraud), bot * 17 * MINUTE, traits);
        }
        for (group, more) in [
            ("honeypot filled", json!({ "metadata": { "honeypot": "x" } })),
            ("scripts", json!({ "user_agent": "python-requests/2.31.0" })),
            ("headless browsers", json!({ "user_agent": "Mozilla/5.0 HeadlessChrome/120.0.0.0" })),
        ] {
            for bot in 0..10_i64 {
                let traits = Traits { more: Some(more.clone()), ..Traits::default() };
                self.join((group, Truth::Fraud), bot * 13 * MINUTE, traits);
            }
        }
    }

    fn throw_away(&mut self) {
        let known = ["mailinator.com", "yopmail.com", "guerrillamail.com", "x.temp-mail.org"];
        let listed = ["ahouse.top", "aij.freeml.net", "aichou.org", "y.10mail.org"];
        for (group, domains) in
            [("throw-away, well known", &known), ("throw-away, on the list", &listed)]
        {
            for user in 0..25_i64 {
                let email =
                    format!("{}{}@{}", plain(self.draw.of(FIRST)), user, self.draw.of(domains));
                let traits = Traits { email: Some(email), ..Traits::default() };
                self.join((group, Truth::Fraud), user * 9 * MINUTE, traits);
            }
        }
    }
}

/// Gmail looks at none of these dots.
fn dotted(local: &str) -> String {
    let (one, two) = local.split_at(2);
    format!("{one}.{two}@googlemail.com")
}

/// The handlers on a database.
struct Stage {
    store: Store,
    sign_up: SignUp,
    refer: RecordReferral,
    detect: DetectFraud,
    clock: Arc<ManualClock>,
    number: u128,
    _dir: tempfile::TempDir,
}

impl Stage {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Database::Sqlite(dir.path().join("t.db")).open().await.unwrap();
        let clock = Arc::new(ManualClock::at_ms(NOW_MS));
        let types = crate::waitlist::catalog().unwrap();
        let catalog = Catalog::new(types, crate::waitlist::dead_letters()).unwrap();
        let shared: SharedClock = Arc::clone(&clock) as _;
        let fan_out = FanOut::new(&Arc::new(catalog), &shared, &"test".into());
        Self {
            sign_up: SignUp::new(&store, &fan_out),
            refer: RecordReferral::new(&store, &fan_out),
            detect: DetectFraud::new(&store, &fan_out, None),
            store,
            clock,
            number: 0,
            _dir: dir,
        }
    }

    async fn run(handler: &dyn Handler, id: Uuid, type_name: &str, scope: &str, payload: Value) {
        let record = Record {
            place: Place { topic: "t".into(), partition: 0, offset: 0 },
            key: None,
            value: None,
            headers: Headers::new(),
            broken_headers: None,
            timestamp_ms: None,
        };
        let job = Job {
            id,
            type_name: type_name.into(),
            scope: scope.into(),
            attempt: 1,
            payload,
            record: Arc::new(record),
            end: AttemptEnd::default(),
        };
        let outcome = handler.run(&job).await;
        assert!(matches!(outcome, Outcome::Done | Outcome::AlreadyDone), "{outcome:?}");
    }

    fn id(&mut self) -> Uuid {
        self.number += 1;
        Uuid::from_u128(self.number)
    }

    async fn join(&mut self, signup: &Signup) {
        let id = self.id();
        let payload = signup.payload.clone();
        Self::run(&self.sign_up, id, "user.signup", "event-processor", payload).await;
        if let Some(referrer) = signup.referrer {
            let referral = json!({
                "campaign_id": CAMPAIGN, "referrer_id": referrer, "referred_id": signup.id,
                "timestamp": signup.payload["timestamp"],
            });
            let id = self.id();
            Self::run(&self.refer, id, "referral.created", "event-processor", referral).await;
        }
    }

    /// Runs the checks that are asked for by now, until none is.
    async fn check(&self) -> usize {
        let term = std::time::Duration::from_secs(10);
        let limits = ClaimLimits { rows: 500, bytes: 1 << 23, term };
        let mut checks = 0;
        loop {
            self.clock.advance_ms(1);
            let now_ms = crate::domain::clock::Clock::now_ms(&*self.clock);
            let rows = self.store.claim_due("a", now_ms, limits).await.unwrap();
            if rows.is_empty() {
                return checks;
            }
            let sent: Vec<SentRow> = rows
                .iter()
                .map(|row| SentRow { id: row.record.id, partition: 0, offset: 0 })
                .collect();
            self.store.settle_due("a", now_ms, &sent, &[]).await.unwrap();
            for row in rows.into_iter().filter(|row| row.record.type_name == "fraud.detection") {
                let payload = serde_json::from_slice(&row.record.value.unwrap()).unwrap();
                let id = row.record.message_id;
                Self::run(&self.detect, id, "fraud.detection", "fraud-workers", payload).await;
                checks += 1;
            }
        }
    }
}

/// Of a group: all, those of whom something was found, those that were blocked.
type Counts = BTreeMap<(Truth, &'static str), [usize; 3]>;

#[tokio::test]
async fn people_are_let_be_and_frauds_are_found() {
    let mut population = Population::new();
    population.honest();
    population.frauds();
    let mut signups = population.signups;
    signups.sort_by_key(|signup| signup.at_ms);
    let mut stage = Stage::start().await;
    let mut checks = 0;
    for (number, signup) in signups.iter().enumerate() {
        stage.join(signup).await;
        // Some checks run at once, others see what has come meanwhile.
        if number % 7 == 0 {
            checks += stage.check().await;
        }
    }
    checks += stage.check().await;

    let mut counts = Counts::new();
    let mut effect = stage.store.effect("count", Uuid::nil(), NOW_MS).await.unwrap().unwrap();
    for signup in &signups {
        let of_group = counts.entry((signup.truth, signup.group)).or_default();
        let found = effect.detections_of(signup.id).await.unwrap();
        let user = effect.suspect(signup.id).await.unwrap().unwrap();
        of_group[0] += 1;
        of_group[1] += usize::from(!found.is_empty());
        of_group[2] += usize::from(user.status == "blocked");
    }
    let sum = |truth: Truth, at: usize| -> usize {
        counts.iter().filter(|((of, _), _)| *of == truth).map(|(_, counts)| counts[at]).sum()
    };
    for ((truth, group), [all, found, blocked]) in &counts {
        println!("{truth:?} | {group} | {all} | {found} | {blocked}");
    }
    for truth in [Truth::Honest, Truth::Fraud] {
        let [all, found, blocked] = [0, 1, 2].map(|at| sum(truth, at));
        println!("{truth:?} | all | {all} | {found} | {blocked}");
    }
    println!("{} signups, {checks} checks", signups.len());

    // An office whose laptops are all of one fingerprint looks like one machine; nobody else is
    // blocked.
    let blocked_of = |truth: Truth, group: &str| {
        counts.iter().find(|((of, name), _)| *of == truth && *name == group).unwrap().1[2]
    };
    let unlucky = blocked_of(Truth::Honest, "office, one model");
    assert_eq!(sum(Truth::Honest, 2) - unlucky, 0, "people who are blocked");
    let missed = sum(Truth::Fraud, 0) - sum(Truth::Fraud, 2);
    assert!(missed * 100 <= sum(Truth::Fraud, 0) * 42, "frauds who are not: {missed}");
    let unseen = sum(Truth::Fraud, 0) - sum(Truth::Fraud, 1);
    assert!(unseen * 100 <= sum(Truth::Fraud, 0) * 5, "frauds of whom nothing is found: {unseen}");
    for (group, least) in [
        ("copies of one mailbox", 45),
        ("two copies, own name", 20),
        ("six copies, other names", 30),
        ("bots, one machine", 30),
        ("bots, one IPv6 /64", 20),
        ("honeypot filled", 10),
        ("scripts", 10),
        ("headless browsers", 10),
        ("throw-away, well known", 25),
    ] {
        assert_eq!(blocked_of(Truth::Fraud, group), least, "{group}");
    }
    assert!(checks <= signups.len() * 3, "{checks} checks of {} users", signups.len());
}
