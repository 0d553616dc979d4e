//! Replays with gateway and workers as processes of their own.

use std::collections::HashSet;

use jobgate::broker::{BrokerSettings, LocalKafka};
use serde_json::json;

use super::harness::{Jobgate, Options, until, uuid, verification};
use super::{SOON, TOPIC, counts, ended, post, postgres, show, start, text};

#[tokio::test(flavor = "multi_thread")]
async fn another_worker_goes_on_with_the_replay_of_one_that_was_killed() {
    let dir = tempfile::tempdir().expect("a directory");
    let kafka = LocalKafka::start(BrokerSettings::new(dir.path()), |_| {}).await.expect("Kafka");
    let database = postgres::fresh_database();
    let member = async |role: &str| {
        Jobgate::start(Options {
            brokers: Some(kafka.bootstrap_servers().to_owned()),
            args: vec!["--role".to_owned(), role.to_owned()],
            env: vec![("DATABASE_URL".to_owned(), database.clone())],
            ..Options::default()
        })
        .await
    };
    let gateway = member("gateway").await;
    let mut workers = [member("worker").await, member("worker").await];

    let mut ids = HashSet::new();
    for _ in 0..60 {
        let receipt = post(&gateway, &verification(&uuid(), &uuid())).await;
        ids.insert(text(&receipt["id"]).to_owned());
    }
    let mailed = |workers: &[Jobgate]| {
        let has = |id: &&String| workers.iter().any(|worker| worker.mail_path(id).exists());
        ids.iter().filter(has).count()
    };
    until("every mail", SOON, async || (mailed(&workers) == 60).then_some(())).await;
    for worker in &workers {
        let outbox = worker.data().join("outbox");
        for file in std::fs::read_dir(outbox).into_iter().flatten() {
            std::fs::remove_file(file.expect("a file").path()).expect("removed");
        }
    }

    let request = json!({
        "topic": TOPIC, "from": "earliest", "effects": "again", "rate_per_second": 10
    });
    let id = text(&start(&gateway, &request).await["id"]).to_owned();
    let replay = until("a third is done", SOON, async || {
        let replay = show(&gateway, &id).await;
        assert_ne!(replay["state"], "completed", "it had no time to be killed: {replay}");
        (counts(&replay)[0] >= 20).then_some(replay)
    })
    .await;
    let holder = text(&replay["worker"]).to_owned();
    let of_holder =
        |worker: &Jobgate| holder.starts_with(&format!("{}-", worker.pid().as_raw_nonzero()));
    let victim = workers.iter().position(of_holder).expect("one of them runs it");
    workers[victim].kill().await;

    let replay = ended(&gateway, &id).await;
    assert_eq!(replay["state"], "completed", "{replay}");
    let [done, already_done, failed, skipped] = counts(&replay);
    assert_eq!((done + already_done, failed, skipped), (60, 0, 0), "{replay}");
    assert_eq!(mailed(&workers), 60, "each record ran");
}
