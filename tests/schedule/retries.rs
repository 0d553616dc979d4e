//! A record that its group has put off comes back to that group alone.

use std::sync::Arc;

use jobgate::domain::catalog::Catalog;
use jobgate::domain::clock::SystemClock;
use jobgate::domain::id::IdSource;
use jobgate::domain::receipt::Place;
use jobgate::domain::record::{Headers, Record, header};
use jobgate::operations::Schedule;
use jobgate::store::Database;
use jobgate::waitlist;
use reqwest::StatusCode;

use super::harness::{until, uuid, verification};
use super::tail::Tail;
use super::{Cluster, SOON, TOPIC, now_ms, text};

const GROUP: &str = "email-workers";

#[tokio::test]
async fn a_record_that_was_put_off_is_sent_once_more_for_its_group_alone() {
    let cluster = Cluster::start().await;
    let jobgate = cluster.member().await;
    let tail = Tail::follow(cluster.brokers(), TOPIC).await;
    let database: Database = cluster.url.parse().expect("a database");
    let catalog = Catalog::new(waitlist::catalog().expect("types"), waitlist::dead_letters());
    let schedule = Schedule::new(
        Arc::new(catalog.expect("a catalog")),
        database.open().await.expect("it opens"),
        Arc::new(IdSource::new()),
        Arc::new(SystemClock),
        "the tests",
    );
    let answer = jobgate.post("/jobs/email.verification", &verification(&uuid(), &uuid())).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    let id = text(&answer.json()["id"]).to_owned();
    jobgate.mail(&id).await;
    let first = until("its record", SOON, async || tail.of(&id).pop()).await;

    // As the worker has it when an attempt has failed.
    let mut headers = Headers::new();
    for (name, value) in &first.headers {
        headers.push(header::name(name), value.as_bytes());
    }
    headers.push_raw("trace", Some(vec![0xff, 0]));
    let record = Record {
        place: Place { topic: TOPIC.into(), partition: first.partition, offset: first.offset },
        key: first.key.clone(),
        value: first.value.clone(),
        headers,
        broken_headers: None,
        timestamp_ms: Some(first.timestamp_ms),
    };
    let place = format!("/jobs/email.verification/{}/{}", first.partition, first.offset);
    until("its group has passed it", SOON, async || {
        let status = jobgate.get(&place).await;
        (status.status == 200 && status.json()["state"] == "succeeded").then_some(())
    })
    .await;
    let due_ms = now_ms() + 3_000;
    for _ in 0..2 {
        schedule.postpone(&record, GROUP, 1, due_ms).await.expect("it is written down");
    }
    let waits = jobgate.get(&place).await.json();
    assert_eq!((&waits["state"], &waits["id"]), (&"scheduled".into(), &id.clone().into()));

    let again = until("it comes back", SOON, async || {
        tail.of(&id).into_iter().find(|record| record.offset != first.offset)
    })
    .await;
    assert!(again.arrived_ms >= due_ms && again.timestamp_ms >= due_ms, "{again:?}");
    assert_eq!((&again.key, &again.value), (&first.key, &first.value));
    let header = |name: &str| again.headers[name].as_str();
    assert_eq!((header("attempt"), header("target_group")), ("2", GROUP));
    assert_eq!(header("produced_at"), first.headers["produced_at"]);
    until("it is done", SOON, async || {
        let status = jobgate.get(&place).await;
        (status.status == 200 && status.json()["state"] == "succeeded").then_some(())
    })
    .await;
    assert_eq!(tail.of(&id).len(), 2, "asked for twice, sent once");
    cluster.kafka.stop().await.expect("it stops");
}
