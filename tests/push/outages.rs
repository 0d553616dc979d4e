//! A receiver that is down, slow or hangs: nothing is lost, keys keep their order, other types go on.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use crate::harness::{Jobgate, until};
use crate::receiver::{Receiver, Reply, Request};
use crate::stage::{CatalogFile, SOON, enqueue, job, letters, until_state};

/// How long the receiver is down, unless `JOBGATE_TEST_PUSH_OUTAGE=60` says otherwise.
const DOWN_S: u64 = 8;

const ACCOUNTS: [&str; 5] = ["acme", "globex", "initech", "umbrella", "hooli"];
const ROUNDS: usize = 20;

/// Jobs of each account in turn; returns their ids.
async fn post(jobgate: &Jobgate, name: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for round in 0..ROUNDS {
        for account in ACCOUNTS {
            ids.push(enqueue(jobgate, name, account, round).await);
        }
    }
    ids
}

/// The numbers of each account in the order of their first request.
fn orders(requests: &[Request]) -> BTreeMap<String, Vec<u64>> {
    let mut seen = HashSet::new();
    let mut orders: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for request in requests.iter().filter(|request| seen.insert(request.id().to_owned())) {
        let payload = request.json();
        let account = payload["account_id"].as_str().expect("an account").to_owned();
        orders.entry(account).or_default().push(payload["number"].as_u64().expect("a number"));
    }
    orders
}

fn assert_complete_and_in_order(requests: &[Request]) {
    let expected: Vec<u64> = (0..ROUNDS as u64).collect();
    let orders = orders(requests);
    assert_eq!(orders.len(), ACCOUNTS.len());
    for (account, order) in orders {
        assert_eq!(order, expected, "{account}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_down_costs_no_attempt_and_no_job() {
    let mut receiver = Receiver::start().await;
    let other = Receiver::start().await;
    let text =
        job("t.down", &receiver.url("/down"), "") + &job("t.other", &other.url("/other"), "");
    let file = CatalogFile::new(&text);
    let jobgate = file.start().await;
    let first = enqueue(&jobgate, "t.down", "first", 0).await;
    until_state(&jobgate, &first, "succeeded").await;

    receiver.stop().await;
    let gone = Instant::now();
    let waiting = post(&jobgate, "t.down").await;
    let others = post(&jobgate, "t.other").await;
    for id in &others {
        until_state(&jobgate, id, "succeeded").await;
    }
    assert_complete_and_in_order(&other.on("/other"));
    let down = std::env::var("JOBGATE_TEST_PUSH_OUTAGE").ok();
    let down = down.map_or(DOWN_S, |seconds| seconds.parse().expect("seconds"));
    tokio::time::sleep(Duration::from_secs(down).saturating_sub(gone.elapsed())).await;
    assert_eq!(receiver.on("/down").len(), 1, "nothing can have arrived");
    assert!(letters(&jobgate).await.is_empty(), "an outage is not a dead letter");
    let down = gone.elapsed();

    receiver.start_again();
    let back = Instant::now();
    for id in &waiting {
        until_state(&jobgate, id, "succeeded").await;
    }
    let mut requests = receiver.on("/down");
    requests.remove(0);
    println!(
        "[receiver down] {:.1} s | waiting {} | all done {:.1} s after its return | requests {}",
        down.as_secs_f64(),
        waiting.len(),
        back.elapsed().as_secs_f64(),
        requests.len(),
    );
    assert_complete_and_in_order(&requests);
    assert!(requests.iter().all(|request| request.attempt() == 1), "an attempt was spent");
    assert!(letters(&jobgate).await.is_empty(), "an outage is not a dead letter");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_hangs_or_is_slow_holds_up_nobody_else() {
    let (bad, good) = (Receiver::start().await, Receiver::start().await);
    let hanging = format!("handler = {{ url = \"{}\", timeout = \"1s\" }}", bad.url("/hanging"));
    let text = job("t.hanging", "", &hanging)
        + &job("t.slow", &bad.url("/slow"), "")
        + &job("t.good", &good.url("/good"), "");
    let file = CatalogFile::new(&text);
    let jobgate = file.start().await;
    bad.reply("/hanging", &[Reply::Hang]);
    bad.reply("/slow", &[Reply::Slow(200, Duration::from_millis(150))]);
    let hanging = post(&jobgate, "t.hanging").await;
    let slow = post(&jobgate, "t.slow").await;
    let posted = Instant::now();
    for id in &post(&jobgate, "t.good").await {
        until_state(&jobgate, id, "succeeded").await;
    }
    let good_after = posted.elapsed();
    assert_complete_and_in_order(&good.on("/good"));
    for id in &slow {
        until_state(&jobgate, id, "succeeded").await;
    }
    assert_complete_and_in_order(&bad.on("/slow"));
    until("the attempts of some hanging job are spent", SOON, async || {
        (bad.on("/hanging").iter().any(|request| request.attempt() == 3)).then_some(())
    })
    .await;
    assert!(letters(&jobgate).await.is_empty(), "all of the type fail: the service is to blame");

    bad.reply("/hanging", &[Reply::Status(200)]);
    let back = Instant::now();
    for id in &hanging {
        until_state(&jobgate, id, "succeeded").await;
    }
    println!(
        "[receiver hangs] others done {:.1} s after their last | all done {:.1} s after it answers",
        good_after.as_secs_f64(),
        back.elapsed().as_secs_f64(),
    );
    assert_complete_and_in_order(&bad.on("/hanging"));
    assert!(letters(&jobgate).await.is_empty());
}
