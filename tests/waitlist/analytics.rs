//! Analytics: from events over HTTP to a campaign's rows, which are those that the events tell by
//! themselves; and back from the event topics, after the rows were lost.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, Days, Duration, Timelike as _, Utc};
use serde_json::{Value, json};

use super::harness::{until, uuid};
use super::stage::{Kind, SOON, Stage, on_both_databases, referral, signup, verified};

on_both_databases! {
    events_are_counted_once_and_their_topics_tell_them_again,
    no_kill_changes_a_total,
}

const TOPICS: [&str; 4] = ["user.signup", "user.verified", "referral.created", "reward.earned"];
/// Everything that the rebuild has to bring back.
const RECORDS: &str = "SELECT event_type, subject, message_id, campaign_id, user_id, email_key,
    at_ms, hour_ms FROM event_records ORDER BY event_type, subject";
const ROWS: &str = "SELECT campaign_id, granularity, time_ms, new_signups, new_verified,
    new_referrals, emails_sent, rewards_earned, rewards_delivered, total_signups, total_verified,
    total_referrals, total_emails_sent, total_rewards_earned, total_rewards_delivered
    FROM campaign_analytics ORDER BY campaign_id, granularity, time_ms";
const CAMPAIGNS: &str =
    "SELECT id, total_signups, total_verified, total_referrals FROM campaigns ORDER BY id";

/// What counts, by the hand of the test: the kind's place among the columns, and when.
#[derive(Default)]
struct Told {
    events: Vec<(&'static str, Value)>,
    counts: Vec<(usize, String)>,
}

impl Told {
    /// An event that counts.
    fn tell(&mut self, kind: &'static str, payload: Value) {
        let column = match kind {
            "user.signup" => 0,
            "user.verified" => 1,
            "referral.created" => 2,
            _ => 4,
        };
        let at = payload["timestamp"].as_str().expect("a time").to_owned();
        self.counts.push((column, at));
        self.events.push((kind, payload));
    }

    /// The rows of the campaign as they should be, in the form of [`ROWS`], but for mails of now.
    fn rows(&self, campaign: &str) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        for granularity in ["day", "hour", "month", "week"] {
            let mut spans: BTreeMap<i64, [i64; 6]> = BTreeMap::new();
            for (column, at) in &self.counts {
                let at = DateTime::parse_from_rfc3339(at).expect("a time").to_utc();
                let start = start_of(granularity, at).timestamp_millis();
                spans.entry(start).or_default()[*column] += 1;
            }
            let mut totals = [0; 6];
            for (start, counts) in spans {
                for (total, count) in totals.iter_mut().zip(counts) {
                    *total += count;
                }
                let mut row = vec![campaign.to_owned(), granularity.to_owned(), start.to_string()];
                row.extend(counts.iter().chain(&totals).map(ToString::to_string));
                rows.push(row);
            }
        }
        rows
    }
}

fn start_of(granularity: &str, at: DateTime<Utc>) -> DateTime<Utc> {
    let hour = at - Duration::nanoseconds(at.timestamp_nanos_of_hour());
    let day = hour - Duration::hours(hour.hour().into());
    match granularity {
        "hour" => hour,
        "day" => day,
        "week" => day - Days::new(day.weekday().num_days_from_monday().into()),
        _ => day - Days::new(u64::from(day.day0())),
    }
}

trait OfHour {
    fn timestamp_nanos_of_hour(&self) -> i64;
}

impl OfHour for DateTime<Utc> {
    fn timestamp_nanos_of_hour(&self) -> i64 {
        let seconds = i64::from(self.minute()) * 60 + i64::from(self.second());
        seconds * 1_000_000_000 + i64::from(self.nanosecond())
    }
}

/// Of the campaign's one reward, which bears its id: a person delivers it, so none is delivered.
fn reward(campaign: &str, user: &str, at: &str) -> Value {
    json!({
        "campaign_id": campaign, "user_id": user, "reward_id": campaign, "user_reward_id": uuid(),
        "timestamp": at,
    })
}

/// The campaign's rows, without those of mails that went out during the test.
async fn rows_of(stage: &Stage, campaign: &str) -> Vec<Vec<String>> {
    let rows = stage.rows(ROWS).await;
    let is_wanted = |row: &Vec<String>| {
        let is_mails_alone = row[3..6].iter().chain(&row[7..9]).all(|count| count == "0");
        row[0] == campaign && !is_mails_alone
    };
    rows.into_iter().filter(is_wanted).collect()
}

async fn until_rows(stage: &Stage, what: &str, campaign: &str, told: &Told) {
    let expected = without_mails(told.rows(campaign));
    let last = std::cell::RefCell::new(Vec::new());
    let waited = tokio::time::timeout(SOON, async {
        loop {
            let rows = without_mails(rows_of(stage, campaign).await);
            if rows == expected {
                return;
            }
            last.replace(rows);
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    });
    if waited.await.is_err() {
        assert_eq!(last.into_inner(), expected, "{what}");
    }
}

/// Mails that went out are no events: other tests tell what they count.
fn without_mails(mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    for row in &mut rows {
        row.remove(12);
        row.remove(6);
    }
    rows
}

/// Waits until all that was published is written down, and summed up.
async fn until_summed_up(stage: &Stage) {
    let waiting =
        "SELECT COUNT(*) FROM schedule WHERE state = 'waiting' AND type_name LIKE 'analytics%'";
    let is_idle = async |group: &str| {
        let lag = stage.jobgate.get(&format!("/admin/lag/{group}")).await.json();
        lag["groups"][0]["lag"] == 0
    };
    for _ in 0..2 {
        until("all is summed up", SOON * 2, async || {
            let is_done = is_idle("event-processor").await
                && stage.number(waiting).await == 0
                && is_idle("analytics-workers").await;
            is_done.then_some(())
        })
        .await;
    }
}

/// Starts a replay and waits for its end; returns its counts: done, already done, failed.
async fn replayed(stage: &Stage, request: Value) -> [i64; 3] {
    let id = started(stage, request).await;
    ended(stage, &id).await
}

async fn started(stage: &Stage, request: Value) -> String {
    let answer = stage.jobgate.post("/admin/replays", &request).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    answer.json()["id"].as_str().expect("an id").to_owned()
}

async fn ended(stage: &Stage, id: &str) -> [i64; 3] {
    let replay = until("the replay ends", SOON * 2, async || {
        let replay = stage.jobgate.try_get(&format!("/admin/replays/{id}")).await?.json();
        let is_open = ["queued", "running"].contains(&replay["state"].as_str()?);
        (!is_open).then_some(replay)
    })
    .await;
    assert_eq!(replay["state"], "completed", "{replay}");
    ["done", "already_done", "failed"].map(|name| replay["counts"][name].as_i64().expect("a count"))
}

/// Empties the tables and has the event topics tell them again. Returns what became of the
/// records of each topic.
async fn rebuild(stage: &Stage) -> [[i64; 3]; 4] {
    stage.execute("DELETE FROM event_records".to_owned()).await;
    stage.execute("DELETE FROM campaign_analytics".to_owned()).await;
    stage.execute("UPDATE campaigns SET total_signups = 0, total_referrals = 7".to_owned()).await;
    let mut became = [[0; 3]; 4];
    for (topic, became) in TOPICS.into_iter().zip(&mut became) {
        *became = replayed(stage, rebuild_of(topic)).await;
    }
    until_summed_up(stage).await;
    became
}

fn rebuild_of(topic: &str) -> Value {
    json!({
        "topic": format!("waitlist.events.{topic}"), "from": "earliest",
        "handler": "analytics-rebuild",
    })
}

/// Users of a campaign whose times are at every border that there is.
fn story(campaign: &str) -> Told {
    let mut told = Told::default();
    let times = [
        "0000-01-01T00:30:00+01:00",
        "1969-12-31T23:59:59.999Z",
        "1970-01-01T00:00:00Z",
        "2024-02-28T23:59:59.999Z",
        "2024-02-29T00:00:00Z",
        "2024-03-01T00:00:00Z",
        "2024-12-29T23:59:59.999Z",
        "2024-12-30T00:00:00Z",
        "2024-12-31T23:59:59.999Z",
        "2025-01-01T00:00:00.000Z",
        "2025-01-06T00:30:00+01:00",
        "9999-12-31T23:59:59.999Z",
        "9999-12-31T23:59:59.999-23:59",
    ];
    let users: Vec<String> = times.iter().map(|_| uuid()).collect();
    for (number, (user, at)) in users.iter().zip(times).enumerate() {
        let email = format!("u{number}@example.com");
        told.tell("user.signup", signup(campaign, user, &email, at));
        if number % 3 != 0 {
            told.tell("user.verified", verified(campaign, user, "2025-01-07T10:00:00Z"));
        }
        if number % 2 != 0 {
            told.tell("referral.created", referral(campaign, &users[0], user, at));
        }
        if number % 4 == 1 {
            told.tell("reward.earned", reward(campaign, user, at));
        }
    }
    told
}

/// Publishes them side by side. One whose outcome is not known, so soon after a kill, is published
/// once more: it counts once.
async fn publish(stage: &Stage, events: &[(&'static str, Value)]) {
    use futures_util::StreamExt as _;
    futures_util::stream::iter(events)
        .for_each_concurrent(8, |(kind, payload)| async move {
            until("it is published", SOON, async || {
                let answer = stage.jobgate.try_post(&format!("/events/{kind}"), payload).await?;
                (answer.status == 201).then_some(())
            })
            .await;
        })
        .await;
}

async fn events_are_counted_once_and_their_topics_tell_them_again(kind: Kind) {
    let stage = Stage::start(kind).await;
    let campaign = stage.campaign(&[]).await;
    stage.reward(&campaign, &[("id", &campaign), ("delivery_method", "manual")]).await;
    let mut told = story(&campaign);
    publish(&stage, &told.events).await;
    until_rows(&stage, "the events are counted", &campaign, &told).await;

    refused_signups_do_not_count(&stage, &campaign, &mut told).await;
    until_rows(&stage, "the mended one counts, once", &campaign, &told).await;

    // A mail in a span of its own, and one that was not sent.
    for (outcome, at) in [("sent", "2023-05-05T05:05:05Z"), ("skipped", "2023-06-06T06:06:06Z")] {
        mailed(&stage, &campaign, outcome, at).await;
        for granularity in ["hour", "day", "week", "month"] {
            let (start_time, end_time) = (at, at.replace("5Z", "9Z").replace("6Z", "9Z"));
            let job = json!({
                "campaign_id": campaign, "start_time": start_time, "end_time": end_time,
                "granularity": granularity,
            });
            stage.enqueue("analytics.aggregation", &job).await;
        }
    }
    let mails = "SELECT COUNT(*) FROM campaign_analytics
        WHERE time_ms < 1700000000000 AND time_ms > 1600000000000 AND emails_sent = 1";
    stage.until_number("the mail is counted", mails, 4).await;
    until_summed_up(&stage).await;
    let before = dump(&stage).await;
    assert_eq!(
        without_mails(rows_of(&stage, &campaign).await),
        without_mails(told.rows(&campaign))
    );

    // The same events under the same ids, and under new ones.
    for topic in TOPICS {
        let [done, ..] = replayed(&stage, json!({"topic": topic, "from": "earliest"})).await;
        assert_eq!(done, 0, "{topic}: each has been done");
    }
    publish(&stage, &told.events).await;
    until_summed_up(&stage).await;
    assert_eq!(dump(&stage).await, before, "the same events once more");

    let [signups, verified, referrals, rewards] = rebuild(&stage).await;
    assert_eq!(signups[1], REFUSED, "those that were refused are passed over");
    assert_eq!([signups[2], verified[2], referrals[2], rewards[2]], [0; 4]);
    assert_eq!(dump(&stage).await, before, "every column is as it was");

    // Once more, upon rows that are there; by a group of its own.
    for topic in TOPICS {
        let mut request = rebuild_of(topic);
        request["group"] = json!("another-rebuild");
        let [done, already_done, failed] = replayed(&stage, request).await;
        let is_as_before = already_done == if topic == "user.signup" { REFUSED } else { 0 };
        assert!(done > 0 && is_as_before && failed == 0, "{topic}: each replay begins anew");
    }
    until_summed_up(&stage).await;
    assert_eq!(dump(&stage).await, before, "nothing counts twice");
    cannot_be_rebuilt(&stage).await;
}

/// How many signups the event processor refuses here.
const REFUSED: i64 = 4;

/// Signups that become dead letters; one of them is mended and replayed under its id.
async fn refused_signups_do_not_count(stage: &Stage, campaign: &str, told: &mut Told) {
    let at = "2022-01-01T00:00:00Z";
    let other = uuid();
    let first = &told.events[0].1;
    let user = first["user_id"].as_str().expect("an id").to_owned();
    // Users with one address, in whatever partitions their ids lead to.
    let mut same = Vec::new();
    for number in 0..3 {
        let at = format!("2022-02-0{}T00:00:00Z", number + 1);
        same.push(signup(campaign, &uuid(), "same@example.com", &at));
    }
    // The first one is on the list before the others come.
    stage.publish("user.signup", &same[0]).await;
    told.counts.push((0, "2022-02-01T00:00:00Z".to_owned()));
    let listed = "SELECT COUNT(*) FROM waitlist_users WHERE email = 'same@example.com'";
    stage.until_number("the first has the address", listed, 1).await;
    for payload in &same[1..] {
        let id = stage.publish("user.signup", payload).await;
        let letter = stage.dead_letter(&id).await;
        assert_eq!(letter["error"]["class"], "email_taken");
    }
    let id = stage.publish("user.signup", &signup(&other, &user, "x@example.com", at)).await;
    let letter = stage.dead_letter(&id).await;
    assert_eq!(letter["error"]["class"], "user_of_another_campaign");

    let late = uuid();
    let taken = signup(campaign, &late, "SAME@example.com", at);
    let id = stage.publish("user.signup", &taken).await;
    let letter = stage.dead_letter(&id).await;
    let mut mended = taken.clone();
    mended["email"] = json!("late@example.com");
    let path = format!("/admin/dlq/{}/{}/replay", letter["partition"], letter["offset"]);
    let answer = stage.jobgate.post(&path, &json!({ "payload": mended })).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    told.counts.push((0, at.to_owned()));
}

async fn mailed(stage: &Stage, campaign: &str, outcome: &str, at: &str) {
    let at_ms = DateTime::parse_from_rfc3339(at).expect("a time").timestamp_millis();
    let hour_ms = at_ms - at_ms.rem_euclid(3_600_000);
    let id = uuid();
    stage
        .execute(format!(
            "INSERT INTO sent_emails
                 (scope, message_id, campaign_id, user_id, kind, outcome, at_ms, hour_ms)
             VALUES ('email-workers', '{id}', '{campaign}', '{id}', 'welcome', '{outcome}',
                 {at_ms}, {hour_ms})"
        ))
        .await;
}

async fn dump(stage: &Stage) -> [Vec<Vec<String>>; 3] {
    [stage.rows(RECORDS).await, stage.rows(ROWS).await, stage.rows(CAMPAIGNS).await]
}

async fn cannot_be_rebuilt(stage: &Stage) {
    let mut letters = rebuild_of("user.signup");
    letters["dead_letters"] = json!(true);
    let mails = json!({
        "topic": "email.welcome", "from": "earliest", "handler": "analytics-rebuild",
    });
    let unknown = json!({"topic": "user.signup", "from": "earliest", "handler": "rebuild"});
    for (request, pointer, words) in [
        (letters, "/dead_letters", "listed with the replay"),
        (mails, "/handler", "no handler analytics-rebuild runs the records of"),
        (unknown, "/handler", "user.signup and analytics-rebuild may"),
    ] {
        let answer = stage.jobgate.post("/admin/replays", &request).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (422, "invalid-payload"));
        let fault = answer.json()["errors"][0].clone();
        assert_eq!(fault["pointer"], pointer, "{fault}");
        assert!(fault["detail"].as_str().expect("text").contains(words), "{fault}");
    }
}

/// Killed while events come, and while they are told again.
async fn no_kill_changes_a_total(kind: Kind) {
    const USERS: usize = 240;
    const KILLS: usize = 3;
    let mut stage = Stage::start(kind).await;
    let campaign = stage.campaign(&[]).await;
    let mut told = Told::default();
    for number in 0..USERS {
        let (user, at) =
            (uuid(), format!("2025-01-{:02}T{:02}:10:00Z", 1 + number % 28, number % 24));
        told.tell("user.signup", signup(&campaign, &user, &format!("u{number}@example.com"), &at));
        if number % 2 == 0 {
            told.tell("user.verified", verified(&campaign, &user, &at));
        }
    }
    let part = told.events.len().div_ceil(KILLS);
    for some in told.events.chunks(part) {
        publish(&stage, some).await;
        stage.jobgate.kill().await;
        stage.jobgate.start_again().await;
    }
    until_rows(&stage, "what was sent is counted", &campaign, &told).await;
    until_summed_up(&stage).await;
    let before = dump(&stage).await;

    stage.execute("DELETE FROM event_records".to_owned()).await;
    stage.execute("DELETE FROM campaign_analytics".to_owned()).await;
    let mut request = rebuild_of("user.signup");
    request["rate_per_second"] = json!(60);
    let id = started(&stage, request).await;
    let records = "SELECT COUNT(*) FROM event_records";
    until("a part is told", SOON, async || (stage.number(records).await >= 60).then_some(())).await;
    stage.jobgate.kill().await;
    assert!(stage.number(records).await < 240, "it was killed in the middle");
    stage.jobgate.start_again().await;
    let [done, already_done, failed] = ended(&stage, &id).await;
    assert!(done + already_done >= 240 && failed == 0, "{done}, {already_done}, {failed}");
    let [done, already_done, failed] = replayed(&stage, rebuild_of("user.verified")).await;
    assert!(done >= 120 && already_done + failed == 0, "{done}, {already_done}, {failed}");
    until_summed_up(&stage).await;
    until_rows(&stage, "what was told again is counted", &campaign, &told).await;
    let after = dump(&stage).await;
    assert_eq!(after[0], before[0]);
    assert_eq!(after[2], before[2]);
    println!("[analytics {kind:?}] events {} | killed 4 times | totals as sent", told.events.len());
}
