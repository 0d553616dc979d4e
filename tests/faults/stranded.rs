//! A Kafka that answers for a moment that its cluster has no broker, as a lone one does that comes
//! back from a long pause: Kafka's client library forgets the only one that it knew.

use std::time::Duration;

use jobgate::broker::NodeCount;
use reqwest::StatusCode;

use super::harness::{Answer, Jobgate, Options, until, uuid, verification};
use super::outside_kafka;

/// How long anything may take that comes about by itself, on a busy machine.
const SOON: Duration = Duration::from_mins(1);
/// Where an operator reads what each kind of client tells: of groups, of records, of topics.
const ADMIN: [&str; 3] = ["/admin/lag", "/admin/dlq?limit=1", "/admin/topics"];

async fn post(jobgate: &Jobgate) -> Answer {
    jobgate.post("/jobs/email.verification", &verification(&uuid(), &uuid())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_has_forgotten_every_broker_is_replaced() {
    let _turn = super::alone().await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut kafka = outside_kafka(folder.path(), NodeCount::One).await;
    let brokers = kafka.bootstrap_servers().to_owned();
    let no_recovery = "metadata.recovery.strategy=none".to_owned();
    let jobgate = Jobgate::start(Options {
        brokers: Some(brokers.clone()),
        // By itself the library starts again from the settings, but for an accident of timing.
        env: vec![("JOBGATE_KAFKA_PROPERTIES".to_owned(), no_recovery)],
        ..Options::default()
    })
    .await;
    let reads = async |path: &str, status: StatusCode| {
        let answered = async || (jobgate.get(path).await.status == status).then_some(());
        until(&format!("{path}: {status}"), SOON, answered).await;
    };
    for path in ADMIN {
        reads(path, StatusCode::OK).await;
    }

    // A broker that runs and is no longer one of its cluster's.
    let mut unregister = kafka.tool("org.apache.kafka.tools.ClusterTool");
    unregister.args(["unregister", "--bootstrap-server", &brokers, "--id", "1"]);
    let done = unregister.output().await.expect("it runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    for client in ["Kafka producer", "email-workers"] {
        let replaced = async || {
            // Its record finds no leader, and the client asks where that is.
            post(&jobgate).await;
            let log = jobgate.log();
            let mut lines = log.lines().filter(|line| line.contains(client));
            lines.any(|line| line.contains("has forgotten every broker")).then_some(())
        };
        until(&format!("{client}: a new client"), SOON, replaced).await;
    }
    assert_ne!(post(&jobgate).await.status, StatusCode::ACCEPTED);

    kafka.kill_node(1).await.expect("killed");
    kafka.restart_node(1).await.expect("it is a broker of its cluster again");
    let accepted =
        async || Some(post(&jobgate).await).filter(|answer| answer.status == StatusCode::ACCEPTED);
    let accepted = until("a job is accepted again", SOON, accepted).await;
    let id = accepted.json()["id"].as_str().expect("an id").to_owned();
    let mailed = async || jobgate.mail_path(&id).exists().then_some(());
    until("its mail goes out", SOON, mailed).await;
    // Every group is joined.
    reads("/health/ready", StatusCode::OK).await;
    for path in ADMIN {
        reads(path, StatusCode::OK).await;
    }
    kafka.stop().await.expect("it stops");
}
