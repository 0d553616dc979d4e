//! The database away, Kafka away: nothing is accepted that is not kept, and what is kept goes out.

use reqwest::StatusCode;

use super::harness::{until, uuid, verification};
use super::{Cluster, SOON, text};

const JOB: &str = "/jobs/email.verification";

#[tokio::test]
async fn an_outage_costs_no_accepted_job() {
    let mut cluster = Cluster::start().await;
    let jobgate = cluster.member().await;
    let post = async |query: &str| {
        jobgate.post(&format!("{JOB}{query}"), &verification(&uuid(), &uuid())).await
    };
    let kept = post("?delay=1s").await;
    assert_eq!(kept.status, StatusCode::ACCEPTED, "{}", kept.text);

    cluster.database.kill();
    let refused = post("?delay=1s").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.text);
    assert_eq!(refused.problem(), "database-unavailable");
    assert!(refused.text.contains("nothing was accepted"), "{}", refused.text);
    assert!(refused.headers.contains_key("retry-after"));
    let at_once = post("").await;
    assert_eq!(at_once.status, StatusCode::ACCEPTED, "no row, no database: {}", at_once.text);
    cluster.database.start_again();
    jobgate.mail(text(&kept.json()["id"])).await;
    let again = until("a job can be put off again", SOON, async || {
        let answer = post("?delay=1ms").await;
        (answer.status == StatusCode::ACCEPTED).then(|| answer.json())
    })
    .await;
    jobgate.mail(text(&again["id"])).await;

    cluster.kafka.kill_node(1).await.expect("killed");
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let answer = post("?delay=200ms").await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "it needs no Kafka: {}", answer.text);
        waiting.push(answer.json());
    }
    until("Kafka is known to be away", SOON, async || {
        (post("").await.status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    for job in &waiting {
        let status = jobgate.get(text(&job["status_url"])).await.json();
        assert_eq!(status["state"], "scheduled", "{status}");
    }
    // Known to be away, Kafka is sent nothing: a job that is due can be cancelled still.
    let late = post("?delay=1ms").await.json();
    let path = text(&late["status_url"]);
    let cancelled = jobgate.send(jobgate.client().delete(jobgate.url(path))).await;
    assert_eq!(cancelled.status, StatusCode::OK, "{}", cancelled.text);
    cluster.kafka.restart_node(1).await.expect("started again");
    for job in &waiting {
        jobgate.mail(text(&job["id"])).await;
    }
    assert!(!jobgate.mail_path(text(&late["id"])).exists());
    cluster.kafka.stop().await.expect("it stops");
}
