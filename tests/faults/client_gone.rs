//! Clients that go away: the record is there whole or not at all, and the server goes on.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::harness::{Jobgate, Options, uuid, verification};
use super::ledger::{VERIFICATIONS, number_of, records};

/// Requests of each kind that are sent whole.
const WHOLE: usize = 100;
/// Requests that are cut short: more than the 1,024 connections that jobgate holds at once,
/// so that a connection that is never let go would be missed.
const CUT: usize = 1_100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    /// The whole request, then the end of the connection.
    Closes,
    /// The whole request, then a reset.
    Resets,
    /// Half of the body, then the end of the connection.
    Cuts,
}

fn job(campaign_id: &str, number: usize) -> Value {
    let mut job = verification(campaign_id, &uuid());
    job["template_data"]["verification_link"] =
        json!(format!("https://example.com/verify/{number}."));
    job
}

async fn send_and_leave(address: &str, body: &str, leaving: Leaving) {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let head = format!(
        "POST /jobs/email.verification HTTP/1.1\r\nhost: {address}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let sent = if leaving == Leaving::Cuts { &body[..body.len() / 2] } else { body };
    stream.write_all(format!("{head}{sent}").as_bytes()).await.expect("sent");
    if leaving == Leaving::Resets {
        stream.set_zero_linger().expect("set");
    }
    drop(stream);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_leaves_a_whole_record_or_none() {
    let _turn = super::alone().await;
    let jobgate = Jobgate::start(Options::default()).await;
    let address = jobgate.base.strip_prefix("http://").expect("an address").to_owned();
    let campaign_id = uuid();
    let mut sent: HashMap<usize, (Leaving, Value)> = HashMap::new();
    let mut slowest = Duration::ZERO;
    let kinds = [(Leaving::Closes, WHOLE), (Leaving::Resets, WHOLE), (Leaving::Cuts, CUT)];
    for (leaving, count) in kinds {
        for _ in 0..count {
            let number = sent.len();
            let job = job(&campaign_id, number);
            send_and_leave(&address, &job.to_string(), leaving).await;
            sent.insert(number, (leaving, job));
            if number % 100 == 50 {
                let begun = Instant::now();
                let staying = verification(&campaign_id, &uuid());
                let answer = jobgate.post("/jobs/email.verification", &staying).await;
                assert_eq!(answer.status, StatusCode::ACCEPTED, "after {number} that left");
                slowest = slowest.max(begun.elapsed());
            }
        }
    }
    let last = jobgate.post("/jobs/email.verification", &verification(&campaign_id, &uuid())).await;
    jobgate.mail(last.json()["id"].as_str().expect("an id")).await;

    let mut there: HashMap<String, usize> = HashMap::new();
    let mut seen = std::collections::HashSet::new();
    for record in records(&jobgate.brokers(), VERIFICATIONS).await {
        let value: Value = serde_json::from_slice(&record.value).expect("whole JSON");
        if value["template_data"]["verification_link"] == "https://example.com/verify/1" {
            continue; // one of those that stayed
        }
        let number = number_of(&record.value);
        let (leaving, job) = &sent[&number];
        assert_ne!(*leaving, Leaving::Cuts, "half a request made a record");
        for member in ["campaign_id", "user_id", "template_data"] {
            assert_eq!(value[member], job[member], "the record is not what was sent");
        }
        assert!(seen.insert(number), "one request made two records");
        *there.entry(format!("{leaving:?}")).or_default() += 1;
    }
    println!(
        "[client gone] whole and closed {WHOLE}: records {} | whole and reset {WHOLE}: records {} \
         | cut {CUT}: records 0 | slowest 202 of those that stayed {:.3} s",
        there.get("Closes").unwrap_or(&0),
        there.get("Resets").unwrap_or(&0),
        slowest.as_secs_f64()
    );
    assert!(slowest < Duration::from_secs(5), "those that stay are held up: {slowest:?}");
}
