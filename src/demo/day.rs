//! What a day brings: who comes when, through whom, and who means no good. Pure: the same seed is
//! the same day.

use chrono::{DateTime, Utc};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use uuid::Uuid;

use super::people::{Person, household, one_of};

const HOUR_MS: i64 = 3_600_000;
const DAY_HOURS: i64 = 24;
/// How many come in each hour, of a thousand: asleep until six, most in the evening.
const CURVE: [u32; 24] =
    [12, 8, 5, 4, 4, 7, 14, 26, 42, 52, 50, 46, 54, 50, 42, 40, 44, 54, 70, 88, 100, 92, 64, 32];
/// Of a hundred who come, so many through somebody who is there.
const REFERRED_PERCENT: u32 = 45;
/// Of a hundred who come, so many confirm their address.
const VERIFIED_PERCENT: u32 = 78;
/// How many of those who come mean no good, each kind.
const CHEATS_PER_THOUSAND: usize = 4;
const THROWAWAYS_PER_THOUSAND: usize = 6;
const BOTS_PER_THOUSAND: usize = 15;
/// The bots come within this time.
const BOTS_WITHIN_MS: i64 = 60_000;
const SHARED_ON: [&str; 5] = ["email", "twitter", "facebook", "linkedin", "whatsapp"];

/// A request that the website behind the waitlist makes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Post {
    /// When it happened.
    pub(super) at_ms: i64,
    /// The event type.
    pub(super) event: &'static str,
    /// The payload.
    pub(super) payload: Value,
}

/// A day, in the order of its hours.
#[derive(Debug)]
pub(super) struct Day {
    pub(super) posts: Vec<Post>,
    pub(super) signups: usize,
    pub(super) verified: usize,
    pub(super) referrals: usize,
    /// Those who mean no good.
    pub(super) cheats: usize,
}

impl Day {
    /// The day that ends at this time, with so many honest people and some that are not.
    pub(super) fn new(campaign_id: Uuid, people: usize, seed: u64, ends_ms: i64) -> Self {
        let mut author = Author {
            campaign_id,
            random: StdRng::seed_from_u64(seed),
            ends_ms,
            day: Self { posts: Vec::new(), signups: 0, verified: 0, referrals: 0, cheats: 0 },
        };
        author.write(people);
        let mut day = author.day;
        day.posts.sort_by_key(|post| post.at_ms);
        day
    }
}

struct Author {
    campaign_id: Uuid,
    random: StdRng,
    ends_ms: i64,
    day: Day,
}

impl Author {
    fn write(&mut self, people: usize) {
        let mut arrivals: Vec<i64> = (0..people).map(|_| self.moment()).collect();
        arrivals.sort_unstable();
        // Whoever has brought somebody brings the next one sooner: a name for each of them.
        let mut hat: Vec<Person> = Vec::new();
        let mut number = 0;
        for at_ms in arrivals {
            number += 1;
            let person = Person::honest(number, &mut self.random);
            let is_referred = !hat.is_empty() && self.percent(REFERRED_PERCENT);
            let by = is_referred.then(|| {
                let place = self.random.random_range(0..hat.len());
                hat.swap_remove(place)
            });
            if let Some(by) = by {
                self.sign_up(&person, Some(&by), at_ms);
                hat.extend([by.clone(), by]);
            } else {
                self.sign_up(&person, None, at_ms);
            }
            if self.percent(VERIFIED_PERCENT) {
                self.verify(&person, at_ms);
            }
            hat.push(person);
        }
        self.write_fraud(people, &hat, number);
    }

    fn write_fraud(&mut self, people: usize, hat: &[Person], mut number: usize) {
        let of_thousand = |share: usize| (people * share).div_ceil(1_000);
        for _ in 0..of_thousand(CHEATS_PER_THOUSAND) {
            number += 1;
            let Some(place) =
                hat.len().checked_sub(1).map(|last| self.random.random_range(0..=last))
            else {
                break;
            };
            let Some(by) = hat.get(place) else { break };
            let again = by.again(number, &mut self.random);
            // After whoever it is: at the end of the day everybody is there.
            let at_ms = self.ends_ms - self.random.random_range(1..HOUR_MS);
            self.sign_up(&again, Some(by), at_ms);
            self.verify(&again, at_ms);
            self.day.cheats += 1;
        }
        for _ in 0..of_thousand(THROWAWAYS_PER_THOUSAND) {
            number += 1;
            let person = Person::throwaway(number, &mut self.random);
            let at_ms = self.moment();
            self.sign_up(&person, None, at_ms);
            self.day.cheats += 1;
        }
        let (den, begin_ms) = (household(&mut self.random), self.moment() - BOTS_WITHIN_MS);
        for _ in 0..of_thousand(BOTS_PER_THOUSAND) {
            number += 1;
            let bot = Person::bot(number, &den, &mut self.random);
            let at_ms = begin_ms + self.random.random_range(0..BOTS_WITHIN_MS);
            self.sign_up(&bot, None, at_ms);
            self.day.cheats += 1;
        }
    }

    fn sign_up(&mut self, person: &Person, by: Option<&Person>, at_ms: i64) {
        let source = match by {
            Some(_) => "referral",
            None => one_of(&["direct", "direct", "social", "ad"], &mut self.random),
        };
        let mut payload = json!({
            "user_id": person.id,
            "campaign_id": self.campaign_id,
            "email": person.email,
            "source": source,
            "timestamp": time(at_ms),
            "first_name": person.first_name,
            "last_name": person.last_name,
            "ip_address": person.ip_address,
            "user_agent": person.user_agent,
            "device_fingerprint": person.device,
        });
        if let (Some(by), Some(members)) = (by, payload.as_object_mut()) {
            members.insert("referred_by_id".to_owned(), json!(by.id));
        }
        self.push(at_ms, "user.signup", payload);
        self.day.signups += 1;
        if let Some(by) = by {
            let payload = json!({
                "campaign_id": self.campaign_id,
                "referrer_id": by.id,
                "referred_id": person.id,
                "timestamp": time(at_ms + 1),
                "source": one_of(&SHARED_ON, &mut self.random),
            });
            self.push(at_ms + 1, "referral.created", payload);
            self.day.referrals += 1;
        }
    }

    fn verify(&mut self, person: &Person, signed_up_ms: i64) {
        let wait_ms = self.random.random_range(20_000..HOUR_MS);
        let at_ms = (signed_up_ms + wait_ms).min(self.ends_ms);
        let payload = json!({
            "user_id": person.id,
            "campaign_id": self.campaign_id,
            "timestamp": time(at_ms),
        });
        self.push(at_ms, "user.verified", payload);
        self.day.verified += 1;
    }

    fn push(&mut self, at_ms: i64, event: &'static str, payload: Value) {
        self.day.posts.push(Post { at_ms, event, payload });
    }

    fn percent(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    /// A time of the day, by its curve.
    fn moment(&mut self) -> i64 {
        let all: u32 = CURVE.iter().sum();
        let mut left = self.random.random_range(0..all);
        let mut hour = 0;
        for share in CURVE {
            if left < share {
                break;
            }
            left -= share;
            hour += 1;
        }
        let begin_ms = self.ends_ms - DAY_HOURS * HOUR_MS;
        begin_ms + hour * HOUR_MS + self.random.random_range(0..HOUR_MS)
    }
}

fn time(at_ms: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(at_ms)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const ENDS_MS: i64 = 1_767_225_600_000;

    fn day() -> Day {
        Day::new(Uuid::nil(), 1_000, 7, ENDS_MS)
    }

    #[test]
    fn the_same_seed_is_the_same_day() {
        assert_eq!(day().posts, day().posts);
        assert_ne!(day().posts, Day::new(Uuid::nil(), 1_000, 8, ENDS_MS).posts);
    }

    #[test]
    fn it_counts_what_it_brings() {
        let day = day();
        let count = |event| day.posts.iter().filter(|post| post.event == event).count();
        assert_eq!(count("user.signup"), day.signups);
        assert_eq!(count("user.verified"), day.verified);
        assert_eq!(count("referral.created"), day.referrals);
        assert_eq!((day.signups, day.cheats), (1_025, 25));
        assert!(day.referrals > 300 && day.verified > 700, "{day:?}");
    }

    #[test]
    fn nobody_is_referred_by_a_stranger_and_no_address_comes_twice() {
        let day = day();
        let of = |event: &'static str, member: &'static str| {
            let posts = day.posts.iter().filter(move |post| post.event == event);
            posts.filter_map(move |post| post.payload[member].as_str().map(str::to_owned))
        };
        let users: HashSet<String> = of("user.signup", "user_id").collect();
        assert!(of("referral.created", "referrer_id").all(|id| users.contains(&id)));
        let addresses: HashSet<String> = of("user.signup", "email").collect();
        assert_eq!((users.len(), addresses.len()), (day.signups, day.signups));
        let within = |at_ms: i64| (ENDS_MS - 25 * HOUR_MS..=ENDS_MS).contains(&at_ms);
        assert!(day.posts.iter().all(|post| within(post.at_ms)));
    }
}
