//! The position-workers: who stands where, who is told, and how many runs that takes.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};

use super::harness::{Jobgate, Options, until, uuid};
use super::stage::{Kind, SOON, Stage, on_both_databases, referral, signup, verified};

on_both_databases! {
    places_follow_the_events_and_those_who_have_moved_are_told,
    many_recalculations_are_a_few_runs_and_a_kill_repeats_none,
}

const JOB: &str = "position.recalculation";
/// Recalculations of one campaign that wait.
const WAITING: usize = 500;

/// One process for both promises, since each has a Kafka of its own.
async fn places_follow_the_events_and_those_who_have_moved_are_told(kind: Kind) {
    let stage = Stage::start(kind).await;
    tokio::join!(
        a_referral_moves_the_referrer_to_the_front(&stage),
        only_those_who_are_named_are_told(&stage),
        a_replay_that_has_the_effects_again_tells_again(&stage),
        a_campaign_that_nobody_knows_has_nobody_to_move(&stage),
    );
    all_who_have_moved_are_told_however_many(&stage).await;
}

async fn positions(stage: &Stage, campaign: &str) -> Vec<(String, String)> {
    let rows = stage
        .rows(&format!(
            "SELECT email, position FROM waitlist_users WHERE campaign_id = '{campaign}'
             ORDER BY position, email"
        ))
        .await;
    rows.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect()
}

async fn until_positions(stage: &Stage, campaign: &str, expected: &[&str]) {
    let expected: Vec<(String, String)> = (1..)
        .zip(expected)
        .map(|(place, name)| (format!("{name}@example.com"), i32::to_string(&place)))
        .collect();
    until(&format!("the places {expected:?}"), SOON, async || {
        (positions(stage, campaign).await == expected).then_some(())
    })
    .await;
}

/// Users a, b, c and d, a second apart, in a campaign that tells nobody meanwhile: their events
/// come in any order. From then on it goes by this threshold.
async fn four_users(stage: &Stage, campaign: &str, threshold: i64) -> Vec<String> {
    let mut users = Vec::new();
    for (second, name) in ["a", "b", "c", "d"].iter().enumerate() {
        let (user, at) = (uuid(), format!("2025-01-01T10:00:0{second}Z"));
        let email = format!("{name}@example.com");
        stage.publish("user.signup", &signup(campaign, &user, &email, &at)).await;
        users.push(user);
    }
    until_positions(stage, campaign, &["a", "b", "c", "d"]).await;
    until_recalculated(stage).await;
    let settled = format!(
        "UPDATE waitlist_users SET told_position = position, original_position = position
         WHERE campaign_id = '{campaign}'"
    );
    stage.execute(settled).await;
    let goes_by = format!(
        "UPDATE campaigns SET position_update_threshold = {threshold} WHERE id = '{campaign}'"
    );
    stage.execute(goes_by).await;
    users
}

/// Whatever the events have asked for has run.
async fn until_recalculated(stage: &Stage) {
    let open = format!(
        "SELECT COUNT(*) FROM schedule WHERE type_name = '{JOB}' AND NOT EXISTS (
             SELECT 1 FROM claims WHERE claims.scope = 'position-workers'
                 AND claims.message_id = schedule.message_id)"
    );
    stage.until_number("all recalculations have run", &open, 0).await;
}

/// The mails of new positions that were asked for, as another client reads them.
async fn told(stage: &Stage, campaign: &str) -> Vec<Value> {
    let brokers = stage.jobgate.brokers();
    let topic = "waitlist.email.position-update";
    let all = tokio::task::spawn_blocking(move || read_all(&brokers, topic, 10)).await;
    all.expect("it was read").into_iter().filter(|mail| mail["campaign_id"] == campaign).collect()
}

/// The values of a topic, to its end.
pub(super) fn read_all(brokers: &str, topic: &str, partitions: i32) -> Vec<Value> {
    let wait = Duration::from_secs(20);
    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "tests-positions")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let (mut start, mut left) = (TopicPartitionList::new(), 0);
    for partition in 0..partitions {
        let (low, high) = reader.fetch_watermarks(topic, partition, wait).expect("watermarks");
        left += high - low;
        start.add_partition_offset(topic, partition, Offset::Offset(low)).expect("a partition");
    }
    reader.assign(&start).expect("assigned");
    let (mut values, deadline) = (Vec::new(), Instant::now() + SOON);
    while left > 0 {
        assert!(Instant::now() < deadline, "the topic could not be read");
        let Some(Ok(message)) = reader.poll(Duration::from_secs(1)) else { continue };
        left -= 1;
        values.push(serde_json::from_slice(message.payload().expect("a value")).expect("JSON"));
    }
    values
}

async fn a_referral_moves_the_referrer_to_the_front(stage: &Stage) {
    const AT: &str = "2025-01-01T11:00:00Z";
    let settings = [("referrer_positions_to_jump", 5), ("position_update_threshold", 100)];
    let campaign = stage.campaign(&settings).await;
    let users = four_users(stage, &campaign, 1).await;
    // d has referred a: that counts when a has confirmed.
    stage.publish("referral.created", &referral(&campaign, &users[3], &users[0], AT)).await;
    stage.publish("user.verified", &verified(&campaign, &users[0], AT)).await;
    until_positions(stage, &campaign, &["d", "a", "b", "c"]).await;
    let mut mails = until("the mails are in Kafka", SOON, async || {
        let mails = told(stage, &campaign).await;
        (mails.len() >= 2).then_some(mails)
    })
    .await;
    assert_eq!(mails.len(), 2, "those whom they have overtaken are not told: {mails:?}");
    mails.sort_by_key(|mail| mail["template_data"]["new_position"].as_i64());
    for (mail, user, places) in [(&mails[0], &users[3], (4, 1)), (&mails[1], &users[0], (1, 2))] {
        assert_eq!((&mail["user_id"], &mail["type"]), (&json!(user), &json!("position-update")));
        let data = json!({"old_position": places.0, "new_position": places.1});
        assert_eq!(mail["template_data"], data);
    }
    let places = stage
        .rows(&format!(
            "SELECT position, told_position, original_position FROM waitlist_users
             WHERE campaign_id = '{campaign}' ORDER BY email"
        ))
        .await;
    assert_eq!(places, [["2", "2", "1"], ["3", "2", "2"], ["4", "3", "3"], ["1", "1", "4"]]);
    // Who leaves the list makes room.
    stage
        .execute(format!("UPDATE waitlist_users SET status = 'removed' WHERE id = '{}'", users[0]))
        .await;
    stage.enqueue(JOB, &json!({"campaign_id": campaign})).await;
    until("the places", SOON, async || {
        let places = positions(stage, &campaign).await;
        let places: Vec<&str> = places.iter().map(|(_, place)| &**place).collect();
        (places == ["-1", "1", "2", "3"]).then_some(())
    })
    .await;
}

async fn only_those_who_are_named_are_told(stage: &Stage) {
    let campaign =
        stage.campaign(&[("verification_required", 0), ("position_update_threshold", 100)]).await;
    let users = four_users(stage, &campaign, 1).await;
    stage
        .execute(format!("UPDATE waitlist_users SET referral_count = 9 WHERE id = '{}'", users[3]))
        .await;
    let named = json!({"campaign_id": campaign, "user_ids": [users[1], uuid()]});
    stage.enqueue(JOB, &named).await;
    until_positions(stage, &campaign, &["d", "a", "b", "c"]).await;
    let first = until("the mail is in Kafka", SOON, async || {
        let mails = told(stage, &campaign).await;
        (!mails.is_empty()).then_some(mails)
    })
    .await;
    assert_eq!((first.len(), &first[0]["user_id"]), (1, &json!(users[1])), "{first:?}");
    stage.enqueue(JOB, &json!({"campaign_id": campaign})).await;
    let all = until("the others are told", SOON, async || {
        let mails = told(stage, &campaign).await;
        (mails.len() >= 4).then_some(mails)
    })
    .await;
    assert_eq!(all.len(), 4, "each once: {all:?}");
}

/// Whom it counts as told, it has told: under an id of its own, or the mail of the first time would
/// stand for this one.
async fn a_replay_that_has_the_effects_again_tells_again(stage: &Stage) {
    let campaign = stage.campaign(&[("position_update_threshold", 100)]).await;
    let users = four_users(stage, &campaign, 1).await;
    let forgotten =
        format!("UPDATE waitlist_users SET told_position = 9 WHERE id = '{}'", users[0]);
    stage.execute(forgotten.clone()).await;
    stage.enqueue(JOB, &json!({"campaign_id": campaign, "user_ids": [users[0]]})).await;
    let until_told = async |times: usize| {
        until("the mail is in Kafka", SOON, async || {
            (told(stage, &campaign).await.len() == times).then_some(())
        })
        .await;
    };
    until_told(1).await;
    stage.execute(forgotten).await;
    let replay = json!({"topic": JOB, "from": "earliest", "effects": "again", "key": campaign});
    let answer = stage.jobgate.post("/admin/replays", &replay).await;
    assert!(answer.status.is_success(), "{answer:?}");
    until_told(2).await;
}

/// More than one run tells: the run asks for another one.
async fn all_who_have_moved_are_told_however_many(stage: &Stage) {
    const USERS: usize = 5_200;
    let campaign = stage.campaign(&[("position_update_threshold", 1)]).await;
    stage.fill_list(&campaign, USERS).await;
    let everybody = json!({"campaign_id": campaign});
    stage.enqueue(JOB, &everybody).await;
    let count = i64::try_from(USERS).expect("a count");
    let of_campaign =
        format!("SELECT COUNT(*) FROM waitlist_users WHERE campaign_id = '{campaign}'");
    let have_first = format!("{of_campaign} AND position > 0 AND told_position = position");
    stage.until_number("everybody has a place", &have_first, count).await;
    // The last is the first now.
    let turned = format!(
        "UPDATE waitlist_users SET created_at_ms = 10000 - created_at_ms
         WHERE campaign_id = '{campaign}'"
    );
    stage.execute(turned).await;
    stage.enqueue(JOB, &everybody).await;
    let are_told = format!(
        "{of_campaign} AND position = {USERS} + 1 - original_position AND told_position = position"
    );
    stage.until_number("everybody is told", &are_told, count).await;
    until("a mail for each", SOON, async || {
        (told(stage, &campaign).await.len() == USERS).then_some(())
    })
    .await;
}

async fn a_campaign_that_nobody_knows_has_nobody_to_move(stage: &Stage) {
    let campaign = uuid();
    let id = stage.enqueue(JOB, &json!({"campaign_id": campaign})).await;
    stage.until_number("it is done", &claims_of(&[id]), 1).await;
    let none = format!("SELECT COUNT(*) FROM campaigns WHERE id = '{campaign}'");
    assert_eq!(stage.number(&none).await, 0, "a job makes no campaign");
}

fn claims_of(ids: &[String]) -> String {
    let ids: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
    format!(
        "SELECT COUNT(*) FROM claims WHERE scope = 'position-workers' AND message_id IN ({})",
        ids.join(", ")
    )
}

/// What each run says of itself: how many jobs it did.
fn runs(jobgate: &Jobgate) -> Vec<u64> {
    let log = jobgate.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == "positions").filter_map(|l| l["jobs"].as_u64()).collect()
}

async fn many_recalculations_are_a_few_runs_and_a_kill_repeats_none(kind: Kind) {
    let said = "info,jobgate::waitlist=debug,rdkafka=off,librdkafka=off,sqlx=warn";
    let env = vec![("RUST_LOG".to_owned(), said.to_owned())];
    let mut stage = Stage::start_with(kind, Options { env, ..Options::default() }).await;
    let campaign = stage.campaign(&[("verification_required", 0)]).await;
    let users = four_users(&stage, &campaign, 100).await;
    // What waits waits together: nobody runs it meanwhile.
    let pause = json!({"reason": "all at once"});
    let path = format!("/admin/jobs/{JOB}");
    assert!(stage.jobgate.post(&format!("{path}/pause"), &pause).await.status.is_success());
    let mut ids = Vec::with_capacity(WAITING);
    for place in 0..WAITING {
        let job = if place % 2 == 0 {
            json!({"campaign_id": campaign})
        } else {
            json!({"campaign_id": campaign, "user_ids": [users[place % 4]]})
        };
        ids.push(stage.enqueue(JOB, &job).await);
    }
    let before = runs(&stage.jobgate).len();
    // Killed as soon as some are claimed: after one run of many, or in the middle of another.
    assert!(stage.jobgate.post(&format!("{path}/resume"), &pause).await.status.is_success());
    until("some are claimed", SOON, async || {
        (stage.number(&claims_of(&ids)).await > 0).then_some(())
    })
    .await;
    stage.jobgate.kill().await;
    stage.jobgate.start_again().await;
    let all = i64::try_from(ids.len()).expect("a count");
    stage.until_number("all are claimed", &claims_of(&ids), all).await;
    until_recalculated(&stage).await;
    let runs = runs(&stage.jobgate);
    let of_many: u64 = runs[before..].iter().sum();
    assert!(runs.len() - before <= 25, "{} runs for {WAITING} jobs: {runs:?}", runs.len() - before);
    // Those of the signups may be among them.
    let most = (WAITING + users.len()) as u64;
    assert!(of_many <= most, "a job is claimed once: {of_many}");
    // Kafka has just been started again.
    let letters = until("the dead letters are told", SOON, async || {
        stage.jobgate.get(&format!("/admin/dlq?type={JOB}")).await.json()["total"].as_i64()
    })
    .await;
    assert_eq!(letters, 0);
    println!("[positions {kind:?}] {WAITING} jobs in {} runs", runs.len() - before);
    tokio::time::timeout(Duration::from_secs(60), stage.jobgate.terminate())
        .await
        .expect("it ends");
}
