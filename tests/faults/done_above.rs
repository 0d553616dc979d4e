//! What is done above a stuck job is on record: it does not run again after a crash.

use std::collections::HashMap;
use std::time::Duration;

use jobgate::domain::offset_map::DoneRanges;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;

use super::harness::{Jobgate, Options, until, uuid};
use super::mail_server::MailServer;
use super::order::mail_to;

const TOPIC: &str = "waitlist.email.verification";
const SOON: Duration = Duration::from_secs(60);

/// What the group has committed in a partition: the offset, and what is done above it.
async fn committed(brokers: &str, partition: i32) -> Option<(i64, DoneRanges)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "email-workers")
        .create()
        .expect("a consumer");
    let ask = move || {
        let mut list = TopicPartitionList::new();
        list.add_partition(TOPIC, partition);
        let list = consumer.committed_offsets(list, Duration::from_secs(15)).ok()?;
        let element = list.find_partition(TOPIC, partition)?;
        let Offset::Offset(offset) = element.offset() else { return None };
        Some((offset, DoneRanges::decode(offset, element.metadata())))
    };
    tokio::task::spawn_blocking(ask).await.expect("an answer")
}

async fn post(jobgate: &Jobgate, campaign_id: &str, user_id: &str, address: &str) -> Value {
    let job = mail_to(campaign_id, user_id, address);
    let answer = jobgate.post("/jobs/email.verification", &job).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    answer.json()
}

fn place(receipt: &Value) -> (i32, i64) {
    let partition = receipt["partition"].as_i64().and_then(|number| i32::try_from(number).ok());
    (partition.expect("a partition"), receipt["offset"].as_i64().expect("an offset"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_done_behind_a_stuck_one_do_not_run_again_after_kill_9() {
    let _turn = super::beside_another().await;
    let server = MailServer::start().await;
    let options = Options { smtp_url: Some(server.url()), ..Options::default() };
    let mut jobgate = Jobgate::start(options).await;
    let campaign_id = uuid();

    // In every partition some jobs, one that is refused for now, and jobs behind it.
    let mut stuck: HashMap<i32, i64> = HashMap::new();
    let mut last: HashMap<i32, (i64, String)> = HashMap::new();
    let mut good = 0;
    while stuck.len() < 10 {
        let (partition, offset) =
            place(&post(&jobgate, &campaign_id, &uuid(), "greylist@example.com").await);
        stuck.entry(partition).or_insert(offset);
    }
    for _ in 0..200 {
        let user_id = uuid();
        let receipt = post(&jobgate, &campaign_id, &user_id, "ada@example.com").await;
        let (partition, offset) = place(&receipt);
        last.insert(partition, (offset, user_id));
        good += 1;
    }
    until("the mails of the others", SOON, async || (server.arrived().len() == good).then_some(()))
        .await;
    let brokers = jobgate.brokers();
    for (partition, (offset, _)) in &last {
        let first_open = stuck[partition];
        until("what is done above is committed", SOON, async || {
            let (at, done) = committed(&brokers, *partition).await?;
            assert!(at <= first_open, "a job that was refused is not done: {at} {first_open}");
            done.contains(*offset).then_some(())
        })
        .await;
        let status = jobgate.get(&format!("/jobs/email.verification/{partition}/{offset}")).await;
        assert_eq!(status.json()["state"], "succeeded", "{}", status.text);
    }

    jobgate.kill().await;
    jobgate.start_again().await;
    // One more behind each of them: when its mail is out, all before it have been looked at.
    for (_, user_id) in last.values() {
        post(&jobgate, &campaign_id, user_id, "ada@example.com").await;
    }
    let all = good + last.len();
    until("the mails behind them", SOON, async || (server.arrived().len() >= all).then_some(()))
        .await;
    assert_eq!(server.arrived().len(), all);
    let metrics = jobgate.get("/metrics").await.text;
    let of_type = "type=\"email.verification\"";
    let again = metrics.lines().find(|line| {
        line.starts_with("jobgate_attempts_total")
            && line.contains(of_type)
            && line.contains("outcome=\"already_done\"")
    });
    let again = again.expect("the counter").rsplit(' ').next().expect("a number");
    assert_eq!(again, "0", "nothing that was done was tried again");
}
