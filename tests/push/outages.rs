//! A receiver that is down, slow or hangs: nothing is lost, keys keep their order, other types go on.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use crate::harness::{Jobgate, until};
use crate::receiver::{Receiver, Reply, Request};
use crate::stage::{CatalogFile, SOON, enqueue, job, letters};

/// How long the receiver is down, unless `JOBGATE_TEST_PUSH_OUTAGE=60` says otherwise.
const DOWN_S: u64 = 8;

/// How long the answer of the one that hangs is waited for.
const HANGING: Duration = Duration::from_secs(1);

/// Jobs, by turns of so many accounts.
#[derive(Debug, Clone, Copy)]
struct Load {
    accounts: usize,
    rounds: usize,
}

/// Some keys, each with a queue.
const QUEUES: Load = Load { accounts: 5, rounds: 20 };
/// More keys than a group runs jobs at once.
const MANY_KEYS: Load = Load { accounts: 40, rounds: 2 };

impl Load {
    /// Enqueues its jobs; returns their ids.
    async fn post(self, jobgate: &Jobgate, name: &str) -> HashSet<String> {
        let mut ids = HashSet::new();
        for round in 0..self.rounds {
            for account in 0..self.accounts {
                ids.insert(enqueue(jobgate, name, &format!("account-{account}"), round).await);
            }
        }
        ids
    }

    /// Each job has come, and those of each account in their order.
    fn assert_complete_and_in_order(self, requests: &[Request]) {
        let expected: Vec<u64> = (0..self.rounds as u64).collect();
        let orders = orders(requests);
        assert_eq!(orders.len(), self.accounts);
        for (account, order) in orders {
            assert_eq!(order, expected, "{account}");
        }
    }
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

/// Waits until each of these jobs has come, and returns when the last one did.
async fn until_come(receiver: &Receiver, path: &str, ids: &HashSet<String>) -> Instant {
    until(&format!("all jobs have come to {path}"), SOON, async || {
        let requests = receiver.on(path);
        let come: HashSet<&str> = requests.iter().map(Request::id).collect();
        let all = ids.iter().all(|id| come.contains(id.as_str()));
        all.then(|| requests.last().expect("a request").at)
    })
    .await
}

/// Waits until a group has nothing left to do.
async fn until_idle(jobgate: &Jobgate, group: &str) {
    until(&format!("{group} has done all"), SOON, async || {
        let lag = jobgate.try_get(&format!("/admin/lag/{group}")).await?;
        (lag.status == 200 && lag.json()["groups"][0]["lag"] == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_down_costs_no_attempt_and_no_job() {
    let mut receiver = Receiver::start().await;
    let other = Receiver::start().await;
    let text =
        job("t.down", &receiver.url("/down"), "") + &job("t.other", &other.url("/other"), "");
    let file = CatalogFile::new(&text);
    let jobgate = file.start().await;
    let first = HashSet::from([enqueue(&jobgate, "t.down", "first", 0).await]);
    until_come(&receiver, "/down", &first).await;
    until_idle(&jobgate, "t-workers").await;

    receiver.stop().await;
    let gone = Instant::now();
    let waiting = QUEUES.post(&jobgate, "t.down").await;
    let others = QUEUES.post(&jobgate, "t.other").await;
    until_come(&other, "/other", &others).await;
    QUEUES.assert_complete_and_in_order(&other.on("/other"));
    let down = std::env::var("JOBGATE_TEST_PUSH_OUTAGE").ok();
    let down = down.map_or(DOWN_S, |seconds| seconds.parse().expect("seconds"));
    tokio::time::sleep(Duration::from_secs(down).saturating_sub(gone.elapsed())).await;
    assert_eq!(receiver.on("/down").len(), 1, "nothing can have arrived");
    assert!(letters(&jobgate).await.is_empty(), "an outage is not a dead letter");
    let down = gone.elapsed();

    receiver.start_again();
    let back = Instant::now();
    let last = until_come(&receiver, "/down", &waiting).await;
    until_idle(&jobgate, "t-workers").await;
    let mut requests = receiver.on("/down");
    requests.remove(0);
    println!(
        "[receiver down] {:.1} s | waiting {} | the last one came {:.1} s after its return | \
         requests {}",
        down.as_secs_f64(),
        waiting.len(),
        (last - back).as_secs_f64(),
        requests.len(),
    );
    QUEUES.assert_complete_and_in_order(&requests);
    assert!(requests.iter().all(|request| request.attempt() == 1), "an attempt was spent");
    assert!(letters(&jobgate).await.is_empty(), "an outage is not a dead letter");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_hangs_or_is_slow_holds_up_nobody_else() {
    let (bad, good) = (Receiver::start().await, Receiver::start().await);
    let hanging = format!(
        "group = \"hanging-workers\"\nhandler = {{ url = \"{}\", timeout = \"{}s\" }}",
        bad.url("/hanging"),
        HANGING.as_secs(),
    );
    let text = job("t.hanging", "", &hanging)
        + &job("t.slow", &bad.url("/slow"), "")
        + &job("t.good", &good.url("/good"), "");
    let file = CatalogFile::new(&text);
    let jobgate = file.start().await;
    bad.reply("/hanging", &[Reply::Hang]);
    bad.reply("/slow", &[Reply::Slow(200, Duration::from_millis(150))]);
    let hanging = MANY_KEYS.post(&jobgate, "t.hanging").await;
    let slow = QUEUES.post(&jobgate, "t.slow").await;
    let good_jobs = QUEUES.post(&jobgate, "t.good").await;
    let posted = Instant::now();
    let good_at = until_come(&good, "/good", &good_jobs).await;
    QUEUES.assert_complete_and_in_order(&good.on("/good"));
    until_come(&bad, "/slow", &slow).await;
    QUEUES.assert_complete_and_in_order(&bad.on("/slow"));
    // Once attempts are spent in vain the type is paused: one probe at a time is under way.
    until("the type is paused", SOON, async || {
        let requests = bad.on("/hanging");
        let is_spent = requests.iter().any(|request| request.attempt() == 3);
        let under_way = requests.iter().filter(|it| it.at.elapsed() < 2 * HANGING).count();
        (is_spent && under_way <= 1).then_some(())
    })
    .await;
    assert!(letters(&jobgate).await.is_empty(), "all of the type fail: the service is to blame");

    bad.reply("/hanging", &[Reply::Status(200)]);
    let back = Instant::now();
    let last = until_come(&bad, "/hanging", &hanging).await;
    until_idle(&jobgate, "hanging-workers").await;
    println!(
        "[receiver hangs] another type's last job came {:.2} s after it was sent | the last \
         hanging one {:.1} s after the receiver answers again",
        good_at.saturating_duration_since(posted).as_secs_f64(),
        last.saturating_duration_since(back).as_secs_f64(),
    );
    MANY_KEYS.assert_complete_and_in_order(&bad.on("/hanging"));
    assert!(letters(&jobgate).await.is_empty());
}
