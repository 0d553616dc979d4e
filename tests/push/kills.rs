//! The worker is killed while a service works: the same job comes again under the same key.

use crate::harness::until;
use crate::receiver::{Receiver, Reply};
use crate::stage::{CatalogFile, SOON, enqueue, job, until_state};

const JOBS: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_the_same_idempotency_key_comes_again() {
    let receiver = Receiver::start().await;
    let handler = format!(
        "handler = {{ url = \"{}\", secret_env = \"PUSH_SECRET\" }}",
        receiver.url("/killed")
    );
    let file = CatalogFile::new(&job("t.killed", "", &handler));
    let mut jobgate = file.start().await;
    receiver.reply("/killed", &[Reply::Hang]);
    let mut ids = Vec::new();
    for number in 0..JOBS {
        ids.push(enqueue(&jobgate, "t.killed", &format!("account-{number}"), number).await);
    }
    until("jobs are under way", SOON, async || (!receiver.requests().is_empty()).then_some(()))
        .await;
    let held = receiver.requests();
    jobgate.kill().await;
    receiver.reply("/killed", &[Reply::Status(200)]);
    jobgate.start_again().await;
    for id in &ids {
        until_state(&jobgate, id, "succeeded").await;
    }
    println!(
        "[killed] {} requests were under way, {} in all",
        held.len(),
        receiver.requests().len()
    );
    for first in &held {
        let requests = receiver.of(first.id());
        assert!(requests.len() >= 2, "{} was held and came again", first.id());
        for again in &requests {
            assert_eq!(again.header("idempotency-key"), first.header("idempotency-key"));
            assert_eq!(again.header("webhook-id"), first.id());
            assert_eq!(again.body, first.body, "the same bytes");
        }
    }
}
