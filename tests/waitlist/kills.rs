//! 5,000 users with referrals, a worker that is killed in the middle again and again: the totals
//! are those of what was sent, and sending it all once more changes nothing.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::harness::{until, uuid};
use super::stage::{Kind, SOON, Stage, on_both_databases, referral, signup, verified, with};

on_both_databases! { what_was_sent_is_what_is_counted_whatever_is_killed }

/// `JOBGATE_TEST_WAITLIST_USERS=5000` is the whole of it.
const USERS: usize = 400;
/// Times that the process is killed while it works.
const KILLS: usize = 3;
/// Events that are on their way at the same time.
const SENDERS: usize = 16;

/// What is sent, by a rule that has no chance in it: who refers whom, and who confirms.
struct Story {
    campaign: String,
    users: Vec<String>,
    /// referrer and referred, by their numbers.
    referrals: Vec<(usize, usize)>,
    confirmed: Vec<usize>,
}

impl Story {
    fn new(campaign: String, count: usize) -> Self {
        // Two of three are referred by one of the first tenth, unevenly; three of four confirm.
        let tenth = (count / 10).max(1);
        let referrals = (tenth..count)
            .filter(|number| number % 3 != 0)
            .map(|number| (number * number % tenth * number % tenth, number))
            .collect();
        let confirmed = (0..count).filter(|number| number % 4 != 3).collect();
        Self { campaign, users: (0..count).map(|_| uuid()).collect(), referrals, confirmed }
    }

    /// Every event, in an order that mixes them.
    fn events(&self) -> Vec<(&'static str, Value)> {
        let referred: HashMap<usize, usize> =
            self.referrals.iter().map(|(referrer, referred)| (*referred, *referrer)).collect();
        let mut events: Vec<(usize, &'static str, Value)> = Vec::new();
        for (number, user) in self.users.iter().enumerate() {
            let payload =
                signup(&self.campaign, user, &format!("u{number}@example.com"), &at(number));
            let payload = match referred.get(&number) {
                Some(by) => {
                    with(payload, json!({"referred_by_id": self.users[*by], "source": "referral"}))
                }
                None => payload,
            };
            events.push((number, "user.signup", payload));
        }
        for (referrer, referred) in &self.referrals {
            let (from, to) = (&self.users[*referrer], &self.users[*referred]);
            let payload = referral(&self.campaign, from, to, &at(*referred));
            events.push((referred + 3, "referral.created", payload));
        }
        for number in &self.confirmed {
            let payload = verified(&self.campaign, &self.users[*number], &at(number + 60));
            events.push((number.saturating_sub(2), "user.verified", payload));
        }
        events.sort_by_key(|(at, kind, _)| (*at, *kind));
        events.into_iter().map(|(_, kind, payload)| (kind, payload)).collect()
    }
}

/// Half a minute between two users.
fn at(number: usize) -> String {
    let seconds = i64::try_from(number).expect("a number") * 30;
    let time = chrono::DateTime::from_timestamp(1_735_689_600 + seconds, 0).expect("a time");
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

async fn what_was_sent_is_what_is_counted_whatever_is_killed(kind: Kind) {
    let count = std::env::var("JOBGATE_TEST_WAITLIST_USERS");
    let count = count.map_or(USERS, |count| count.parse().expect("a number of users"));
    let mut stage = Stage::start(kind).await;
    let story = Story::new(
        stage.campaign(&[("positions_to_jump", 5), ("referrer_positions_to_jump", 2)]).await,
        count,
    );
    let events = story.events();
    let part = events.len().div_ceil(KILLS + 1);
    for (round, some) in events.chunks(part).enumerate() {
        publish_all(&stage, some).await;
        if round < KILLS {
            stage.jobgate.kill().await;
            stage.jobgate.start_again().await;
        }
    }
    stage.until_quiet(events.len()).await;
    check(&stage, &story).await;
    let before = snapshot(&stage).await;
    publish_all(&stage, &events).await;
    stage.until_quiet(events.len()).await;
    assert_eq!(snapshot(&stage).await, before, "the same events once more");
    println!(
        "[waitlist {kind:?}] users {count} | events {} twice | killed {KILLS} times | all totals \
         as sent",
        events.len()
    );
}

async fn publish_all(stage: &Stage, events: &[(&'static str, Value)]) {
    use futures_util::StreamExt as _;
    futures_util::stream::iter(events)
        .for_each_concurrent(SENDERS, |(kind, payload)| async move {
            // As a client does: an outcome that is unknown is sent once more, and happens once.
            until("the event is accepted", SOON, async || {
                let answer = stage.jobgate.post(&format!("/events/{kind}"), payload).await;
                assert!([201, 503, 504].contains(&answer.status.as_u16()), "{}", answer.text);
                (answer.status == 201).then_some(())
            })
            .await;
        })
        .await;
}

/// What must not change.
async fn snapshot(stage: &Stage) -> BTreeMap<&'static str, Vec<Vec<String>>> {
    let tables = [
        (
            "users",
            "SELECT id, status, position, referral_count, verified_referral_count, milestone,
                    email_verified, COALESCE(referred_by_id, ''), created_at_ms
             FROM waitlist_users ORDER BY id",
        ),
        ("referrals", "SELECT referrer_id, referred_id, status FROM referrals ORDER BY 1, 2"),
        (
            "events",
            "SELECT event_type, subject, message_id, at_ms FROM event_records ORDER BY 1, 2",
        ),
        ("mails", "SELECT message_id, kind, user_id FROM sent_emails ORDER BY 1"),
        (
            "analytics",
            "SELECT granularity, time_ms, new_signups, new_verified, new_referrals, emails_sent,
                    total_signups, total_verified, total_referrals, total_emails_sent
             FROM campaign_analytics ORDER BY 1, 2",
        ),
    ];
    let mut snapshot = BTreeMap::new();
    for (name, query) in tables {
        snapshot.insert(name, stage.rows(query).await);
    }
    snapshot
}

async fn check(stage: &Stage, story: &Story) {
    let count = |number: usize| i64::try_from(number).expect("a count");
    let confirmed: Vec<bool> = {
        let mut confirmed = vec![false; story.users.len()];
        story.confirmed.iter().for_each(|number| confirmed[*number] = true);
        confirmed
    };
    let users = stage.number("SELECT COUNT(*) FROM waitlist_users").await;
    assert_eq!(users, count(story.users.len()));
    let verified = "SELECT COUNT(*) FROM waitlist_users WHERE status = 'verified'";
    assert_eq!(stage.number(verified).await, count(story.confirmed.len()));
    assert_eq!(stage.number("SELECT COUNT(*) FROM referrals").await, count(story.referrals.len()));
    check_positions(stage, story, &confirmed).await;
    check_jobs(stage, story).await;
    check_analytics(stage, story).await;
}

/// Places by a computation of its own: a permutation of 1 to n, in the order of the rule.
async fn check_positions(stage: &Stage, story: &Story, confirmed: &[bool]) {
    let mut referred = vec![0_i64; story.users.len()];
    let mut verified = vec![0_i64; story.users.len()];
    let mut was_referred = vec![false; story.users.len()];
    for (from, to) in &story.referrals {
        referred[*from] += 1;
        verified[*from] += i64::from(confirmed[*to]);
        was_referred[*to] = true;
    }
    let mut order: Vec<usize> = (0..story.users.len()).collect();
    order.sort_by_key(|&number| {
        let score = verified[number] * 2 + if was_referred[number] { 5 } else { 0 };
        (-score, number, story.users[number].clone())
    });
    let expected: HashMap<&str, usize> = order
        .iter()
        .enumerate()
        .map(|(place, number)| (story.users[*number].as_str(), place + 1))
        .collect();
    let rows = stage
        .rows("SELECT id, position, referral_count, verified_referral_count FROM waitlist_users")
        .await;
    let number_of: HashMap<&str, usize> =
        story.users.iter().enumerate().map(|(number, user)| (user.as_str(), number)).collect();
    for row in rows {
        let number = number_of[row[0].as_str()];
        let place = expected[row[0].as_str()].to_string();
        let counts = [place, referred[number].to_string(), verified[number].to_string()];
        assert_eq!(row[1..], counts, "user {number}");
    }
}

/// One mail to confirm or to welcome at the signup, one welcome for each that confirmed: what the
/// crash between database and Kafka must not lose.
async fn check_jobs(stage: &Stage, story: &Story) {
    let asked = async |name: &str| {
        let jobs = format!("SELECT COUNT(*) FROM schedule WHERE type_name = '{name}'");
        stage.number(&jobs).await
    };
    let users = i64::try_from(story.users.len()).expect("a count");
    // One check at each signup, and one more of a referral whose users were both there by then.
    let checked = "SELECT COUNT(DISTINCT record_key) FROM schedule
                   WHERE type_name = 'fraud.detection'";
    assert_eq!(stage.number(checked).await, users);
    let referrals = i64::try_from(story.referrals.len()).expect("a count");
    let checks = asked("fraud.detection").await;
    assert!(checks <= users + referrals, "{checks}");
    let welcome = asked("email.welcome").await;
    assert_eq!(welcome, i64::try_from(story.confirmed.len()).expect("a count"));
    // Of a user who confirmed first, the signup asks for no confirmation.
    let verification = asked("email.verification").await;
    assert!(verification <= users && verification + welcome >= users, "{verification}");
    let unsent = "SELECT COUNT(*) FROM schedule WHERE state <> 'sent'";
    assert_eq!(stage.number(unsent).await, 0);
}

async fn check_analytics(stage: &Stage, story: &Story) {
    let sums = "SELECT CAST(SUM(new_signups) AS BIGINT), CAST(SUM(new_verified) AS BIGINT),
                       CAST(SUM(new_referrals) AS BIGINT), CAST(SUM(emails_sent) AS BIGINT)
                FROM campaign_analytics WHERE granularity = ";
    let mails = stage.number("SELECT COUNT(*) FROM sent_emails WHERE outcome = 'sent'").await;
    let sent = [
        story.users.len().to_string(),
        story.confirmed.len().to_string(),
        story.referrals.len().to_string(),
        mails.to_string(),
    ];
    for granularity in ["hour", "day", "week", "month"] {
        let rows = stage.rows(&format!("{sums}'{granularity}'")).await;
        assert_eq!(rows[0], sent, "by {granularity}");
    }
    let totals = stage
        .rows(&format!(
            "SELECT total_signups, total_verified, total_referrals FROM campaigns
             WHERE id = '{}'",
            story.campaign
        ))
        .await;
    assert_eq!(totals[0], sent[..3]);
}
