//! The HTTP surface of a started `jobgate` on a real Kafka.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../harness/mod.rs"]
mod harness;

use harness::{Jobgate, Options, uuid, verification};
use reqwest::StatusCode;

#[tokio::test]
async fn a_job_becomes_a_mail() {
    let jobgate = Jobgate::start(Options::default()).await;
    let answer = jobgate.post("/jobs/email.verification", &verification(&uuid(), &uuid())).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    let receipt = answer.json();
    let mail = jobgate.mail(receipt["id"].as_str().expect("an id")).await;
    assert!(String::from_utf8_lossy(&mail).contains("https://example.com/verify/1"));
}
