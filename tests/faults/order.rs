//! Per key in order, one at a time; different keys side by side, also inside one partition.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::harness::{Jobgate, Options, until, uuid, verification};
use super::ledger::{dead_letters, message_id, until_buried};
use super::mail_server::{Arrived, MailServer};

/// A job that was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) id: Uuid,
    pub(crate) key: String,
    pub(crate) partition: i64,
    pub(crate) offset: i64,
}

/// A mail to this address, of this user.
pub(crate) fn mail_to(campaign_id: &str, user_id: &str, address: &str) -> Value {
    let mut job = verification(campaign_id, user_id);
    job["template_data"]["email"] = json!(address);
    job
}

/// POSTs a mail that must be accepted.
pub(crate) async fn accepted(client: &reqwest::Client, base: &str, job: &Value) -> Accepted {
    let url = format!("{base}/jobs/email.verification");
    let response = client.post(url).json(job).send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::ACCEPTED, "nothing is away, so it is accepted");
    let receipt: Value =
        serde_json::from_slice(&response.bytes().await.expect("a body")).expect("JSON");
    Accepted {
        id: Uuid::parse_str(receipt["id"].as_str().expect("an id")).expect("a UUID"),
        key: receipt["key"].as_str().expect("a key").to_owned(),
        partition: receipt["partition"].as_i64().expect("a partition"),
        offset: receipt["offset"].as_i64().expect("an offset"),
    }
}

/// Waits until each of these has arrived.
pub(crate) async fn until_arrived(
    server: &MailServer,
    jobs: &[Accepted],
    limit: Duration,
) -> Vec<Arrived> {
    until(&format!("the mails of {} jobs", jobs.len()), limit, async || {
        let arrived = server.arrived();
        let there: HashSet<Uuid> = arrived.iter().map(|mail| mail.id).collect();
        jobs.iter().all(|job| there.contains(&job.id)).then_some(arrived)
    })
    .await
}

/// Each key's mails arrived in the order of their offsets. Returns how many came twice.
pub(crate) fn assert_order_per_key(jobs: &[Accepted], arrived: &[Arrived]) -> usize {
    let by_id: HashMap<Uuid, &Accepted> = jobs.iter().map(|job| (job.id, job)).collect();
    let mut last: HashMap<&str, i64> = HashMap::new();
    let mut repeated = 0;
    for job in arrived.iter().filter_map(|mail| by_id.get(&mail.id)) {
        let former = last.insert(&job.key, job.offset);
        if former == Some(job.offset) {
            repeated += 1;
            continue;
        }
        assert!(
            former.is_none_or(|former| former < job.offset),
            "key {}: offset {} arrived after offset {former:?}",
            job.key,
            job.offset
        );
    }
    repeated
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mails_of_a_user_arrive_in_order_although_some_are_deferred() {
    const KEYS: usize = 40;
    const JOBS_PER_KEY: usize = 25;
    let _turn = super::beside_another().await;
    let server = MailServer::start().await;
    let jobgate =
        Jobgate::start(Options { smtp_url: Some(server.url()), ..Options::default() }).await;
    let campaign_id = uuid();
    let mut senders = JoinSet::new();
    for _ in 0..KEYS {
        let (client, base) = (jobgate.client().clone(), jobgate.base.clone());
        let (campaign_id, user_id) = (campaign_id.clone(), uuid());
        senders.spawn(async move {
            let mut jobs = Vec::new();
            for number in 0..JOBS_PER_KEY {
                // Every tenth is deferred once; what comes behind it must wait.
                let wish = if number % 10 == 3 { "greylist-once" } else { "ada" };
                let address = format!("{wish}+{user_id}-{number}@example.com");
                let job = mail_to(&campaign_id, &user_id, &address);
                jobs.push(accepted(&client, &base, &job).await);
            }
            jobs
        });
    }
    let jobs: Vec<Accepted> = senders.join_all().await.into_iter().flatten().collect();
    let arrived = until_arrived(&server, &jobs, Duration::from_mins(3)).await;
    let repeated = assert_order_per_key(&jobs, &arrived);
    println!(
        "[order] keys {KEYS} | jobs {} | deferred once {} | arrived {} | repeated {repeated} | \
         out of order 0",
        jobs.len(),
        KEYS * JOBS_PER_KEY.div_ceil(10),
        arrived.len()
    );
    assert_eq!(repeated, 0, "nothing was killed, so nothing comes twice");
    assert_eq!(arrived.len(), jobs.len());
    assert_eq!(dead_letters(&jobgate).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deferred_recipient_holds_up_nobody_else_and_an_unknown_one_is_not_tried_again() {
    let _turn = super::beside_another().await;
    let server = MailServer::start().await;
    let jobgate =
        Jobgate::start(Options { smtp_url: Some(server.url()), ..Options::default() }).await;
    let (client, base) = (jobgate.client(), jobgate.base.as_str());
    let campaign_id = uuid();
    let deferred_user = uuid();
    let post = async |user_id: &str, address: &str| {
        accepted(client, base, &mail_to(&campaign_id, user_id, address)).await
    };
    let begun = Instant::now();
    let deferred = post(&deferred_user, "greylist@example.com").await;
    let behind_it = post(&deferred_user, "ada@example.com").await;
    let unknown = post(&uuid(), "unknown@example.com").await;

    // The unknown one is a dead letter at once, with the server's words.
    let letters = until_buried(&jobgate, &[unknown.id], Duration::from_secs(15)).await;
    let unknown_after = begun.elapsed();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["attempts"], 1);
    let words = letters[0]["error"]["message"].as_str().expect("a message");
    assert!(words.contains("550 5.1.1 No such user here"), "{words}");

    // Others go on all the while, also in the partition of the deferred one.
    let (mut others, mut beside_it) = (Vec::new(), 0);
    let letters = loop {
        let other = post(&uuid(), "ada@example.com").await;
        until_arrived(&server, std::slice::from_ref(&other), Duration::from_secs(10)).await;
        let letters = dead_letters(&jobgate).await;
        if letters.iter().any(|letter| message_id(letter) == deferred.id) {
            break letters;
        }
        let arrived = server.arrived();
        assert!(
            !arrived.iter().any(|mail| mail.id == behind_it.id),
            "its own next mail waits for the end of the deferred one"
        );
        beside_it += usize::from(other.partition == deferred.partition);
        others.push(other);
        assert!(begun.elapsed() < Duration::from_secs(75), "the deferred one never ends");
    };
    let deferred_after = begun.elapsed();
    until_arrived(&server, &[behind_it], Duration::from_secs(15)).await;
    println!(
        "[deferred] 550: dead letter after {:.1} s, attempts 1 | 450: dead letter after {:.1} s | \
         others sent meanwhile {}, in its partition {beside_it}",
        unknown_after.as_secs_f64(),
        deferred_after.as_secs_f64(),
        others.len()
    );
    assert!(beside_it > 0, "some of {} shared its partition", others.len());
    assert_eq!(letters.len(), 2, "{letters:?}");
    let letter = letters.iter().find(|l| message_id(l) == deferred.id).expect("it is there");
    assert_eq!(letter["attempts"], 5);
    assert_eq!(letter["error"]["class"], "mail_deferred");
    let words = letter["error"]["message"].as_str().expect("a message");
    assert!(words.contains("450 4.2.0 Greylisted, come back later"), "{words}");
    // Waits of 1, 3, 9 and 27 s, each up to a fifth shorter.
    assert!(deferred_after > Duration::from_secs(32), "tried patiently: {deferred_after:?}");
}
