//! What workers say of themselves, and types that an operator has paused: as the API tells and
//! sets them.

use std::time::{Duration, Instant};

use jobgate::store::{Database, SnapshotRow, Store};

use super::harness::{Jobgate, Options, until};
use super::{FRAUD, LocalKafka, Place, SOON, StatusCode, Value, json, now_ms, text};
use crate::postgres::fresh_database;

/// How soon every worker knows of a pause, and what a busy machine adds to that.
const KNOWN_WITHIN: Duration = Duration::from_secs(2 + 3);
const OTHER: &str = "7-0193b8b2-7d51-7000-8000-000000000001";

#[tokio::test]
async fn what_workers_say_is_listed_and_completes_the_states_of_jobs() {
    let place = Place::start().await;
    let database = Database::Sqlite(place.jobgate.data().join("jobgate.db"));
    let store = database.open().await.expect("jobgate's own database");
    own_worker(&place).await;
    in_hand(&place, &store).await;
    listed(&place, &store).await;
    store.close().await;
}

/// The worker of this process says that it is there.
async fn own_worker(place: &Place) {
    let worker = until("the worker says something", SOON, async || {
        let list = place.get("/admin/workers").await;
        list["items"].get(0).cloned()
    })
    .await;
    assert_eq!(worker["alive"], true, "{worker}");
    assert_eq!(worker["version"], env!("CARGO_PKG_VERSION"));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    assert_eq!((text(&worker["host"]), &worker["consumer_instance"]), (host.trim(), &Value::Null));
    assert!(worker["silent_seconds"].as_f64().is_some_and(|s| s < 10.0), "{worker}");
    let stats = place.get("/admin/stats").await;
    assert_eq!(stats["instances"][0]["instance"], worker["instance"], "{stats}");
}

/// A worker that says this of the group that has none.
async fn say(store: &Store, seen_at_ms: u64, group: &Value) {
    let row = SnapshotRow {
        instance: OTHER.to_owned(),
        started_at_ms: 1_735_689_600_000,
        seen_at_ms: i64::try_from(seen_at_ms).expect("small"),
        snapshot: json!({
            "about": { "consumer_instance": "worker-7", "host": "seven", "version": "0.9.0" },
            "groups": { "fraud-workers": group }
        })
        .to_string(),
    };
    store.put_snapshot(&row).await.expect("it is written");
}

async fn in_hand(place: &Place, store: &Store) {
    let (runs, fails, waits) = (place.fraud().await, place.fraud().await, place.fraud().await);
    let job = |receipt: &Value, more: Value| {
        let mut job = more;
        for member in ["type", "partition", "offset", "id", "key"] {
            job[member] = receipt[member].clone();
        }
        job
    };
    let running = job(&runs, json!({ "attempt": 3, "started_at_ms": 1_735_689_601_000_i64 }));
    let last_error = json!({ "class": "timeout", "message": "it took too long" });
    let retrying = job(
        &fails,
        json!({
            "attempts": 2,
            "next_attempt_at_ms": 1_735_689_602_500_i64,
            "last_error": last_error
        }),
    );
    let mut of_another = job(&waits, json!({ "attempt": 1, "started_at_ms": 1 }));
    of_another["id"] = runs["id"].clone();
    let group = json!({ "running": [running, of_another], "retrying": [retrying] });
    say(store, now_ms(), &group).await;

    place.wait_for(&runs, "running").await;
    let status = place.get(text(&runs["status_url"])).await;
    assert_eq!(
        (&status["attempts"], text(&status["started_at"])),
        (&json!(3), "2025-01-01T00:00:01.000Z")
    );
    let status = place.get(&format!("/jobs/by-id/{}", text(&fails["id"]))).await;
    assert_eq!(
        (&status["state"], &status["attempts"]),
        (&json!("retrying"), &json!(2)),
        "{status}"
    );
    assert_eq!(text(&status["next_attempt_at"]), "2025-01-01T00:00:02.500Z");
    assert_eq!(status["last_error"], last_error);
    assert_eq!(place.state(&waits).await, "queued", "another record is named at its place");

    // What a worker that is gone has said is not so any more.
    say(store, now_ms() - 11_000, &group).await;
    place.wait_for(&runs, "queued").await;
    let status = place.get(text(&fails["status_url"])).await;
    assert_eq!((&status["state"], &status["attempts"]), (&json!("queued"), &Value::Null));
    assert_eq!(status.get("next_attempt_at"), None, "{status}");
}

async fn listed(place: &Place, store: &Store) {
    let group = json!({
        "partitions": { FRAUD: [0, 4] },
        "counts": { "running": 120, "waiting": 7, "parked": 2 },
        "running_truncated": true,
        "paused": [{
            "type": "fraud.detection", "since_ms": 1_735_689_600_000_i64,
            "cause": "outage", "reason": "the database is away"
        }],
        "what_a_newer_version_says": 1
    });
    say(store, now_ms(), &group).await;
    let mut names = Vec::new();
    let mut path = "/admin/workers?limit=1".to_owned();
    let other = loop {
        let page = place.get(&path).await;
        assert_eq!(page["total"], 2);
        names.push(text(&page["items"][0]["instance"]).to_owned());
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/admin/workers?limit=1&cursor={cursor}"),
            None => break page["items"][0].clone(),
        }
    };
    assert_eq!((names.len(), &*names[1]), (2, OTHER), "the one that started last first");
    assert_eq!((&other["alive"], text(&other["consumer_instance"])), (&json!(true), "worker-7"));
    let shown = &other["groups"][0];
    assert_eq!(shown["partitions"], json!([{ "topic": FRAUD, "partitions": [0, 4] }]));
    let counts = json!({ "running": 120, "waiting": 7, "retrying": 0, "parked": 2 });
    assert_eq!((&shown["counts"], &shown["running_truncated"]), (&counts, &json!(true)), "{shown}");
    let outage = json!([{
        "type": "fraud.detection", "since": "2025-01-01T00:00:00.000Z",
        "cause": "outage", "reason": "the database is away"
    }]);
    assert_eq!(shown["paused"], outage);
    until("the lag says so too", SOON, async || {
        let lag = place.get("/admin/lag/fraud-workers").await;
        (lag["groups"][0]["paused"] == outage).then_some(())
    })
    .await;
    for wrong in ["cursor=x", "limit=0", "page=2"] {
        let problem = place.problem(&format!("/admin/workers?{wrong}")).await;
        assert_eq!(problem, (400, "invalid-query".into()), "{wrong}");
    }
}

#[tokio::test]
async fn a_type_is_paused_once_until_it_is_resumed_and_every_worker_hears_of_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let kafka = LocalKafka::start(super::BrokerSettings::new(dir.path()), |_| {}).await;
    let kafka = kafka.expect("Kafka starts");
    let database = tokio::task::spawn_blocking(fresh_database).await.expect("a database");
    let member = |role: &str| {
        Jobgate::start(Options {
            brokers: Some(kafka.bootstrap_servers().to_owned()),
            args: ["--role", role].map(str::to_owned).to_vec(),
            env: vec![("DATABASE_URL".to_owned(), database.clone())],
            ..Options::default()
        })
    };
    let gateway = member("gateway").await;
    let mut worker = member("worker").await;
    let place = Place { kafka, jobgate: gateway, _dir: dir };

    let first = pause(&place, "email.welcome", &json!({ "reason": "the offer is wrong" })).await;
    let known = Instant::now();
    assert_eq!((&first["type"], &first["paused"]), (&json!("email.welcome"), &json!(true)));
    assert_eq!(
        (text(&first["paused_by"]), text(&first["reason"])),
        ("loopback", "the offer is wrong")
    );
    until("the worker hears of it", KNOWN_WITHIN, async || {
        worker.log().contains("paused by an operator").then_some(())
    })
    .await;
    println!("a worker knew of a pause after {:?}", known.elapsed());
    let again = pause(&place, "email.welcome", &json!({ "reason": "once more" })).await;
    assert_eq!(again, first, "the first one stands");
    let event = pause(&place, "user.signup", &json!({})).await;
    assert_eq!((&event["paused"], &event["reason"]), (&json!(true), &Value::Null));
    shown(&place, &["email.welcome", "user.signup"]).await;
    let lag = place.get("/admin/lag/email-workers").await;
    let of_group = &lag["groups"][0]["paused"];
    assert_eq!(of_group[0]["reason"], "paused by loopback: the offer is wrong", "{lag}");
    assert_eq!(
        (&of_group[0]["cause"], &of_group[0]["since"]),
        (&json!("operator"), &first["paused_at"])
    );
    let others = place.get("/admin/lag/fraud-workers").await;
    assert_eq!(others["groups"][0]["paused"], json!([]), "{others}");

    // It outlives the worker; and the jobs are still accepted.
    let (code, took) = worker.terminate().await;
    assert_eq!(code, Some(0), "after {took:?}: {}", worker.log());
    until("a worker that stops is listed no longer", SOON, async || {
        (place.get("/admin/workers").await["total"] == 0).then_some(())
    })
    .await;
    worker.start_again().await;
    shown(&place, &["email.welcome", "user.signup"]).await;
    refused(&place).await;

    for _ in 0..2 {
        let resumed = place.jobgate.post("/admin/jobs/email.welcome/resume", &json!({})).await;
        assert_eq!(resumed.status, StatusCode::OK, "{}", resumed.text);
        let free = json!({
            "type": "email.welcome", "paused": false,
            "paused_at": null, "paused_by": null, "reason": null
        });
        assert_eq!(resumed.json(), free, "whether it was paused or not");
    }
    shown(&place, &["user.signup"]).await;
    until("the worker hears of it", KNOWN_WITHIN, async || {
        worker.log().contains("resumed by an operator").then_some(())
    })
    .await;
    audited(&place).await;
}

async fn pause(place: &Place, name: &str, body: &Value) -> Value {
    let answer = place.jobgate.post(&format!("/admin/jobs/{name}/pause"), body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json()
}

/// The catalog shows exactly these as paused.
async fn shown(place: &Place, expected: &[&str]) {
    let catalog = place.get("/catalog").await;
    let items = catalog["items"].as_array().expect("items");
    let paused = items.iter().filter(|item| item["paused"] == true);
    let paused: Vec<&str> = paused.map(|item| text(&item["type"])).collect();
    assert_eq!(paused, expected);
}

async fn refused(place: &Place) {
    for verb in ["pause", "resume"] {
        for (name, body, expected) in [
            ("no.such.type", json!({}), (404, "unknown-type")),
            ("email.welcome", json!({ "reason": " " }), (422, "invalid-payload")),
            ("email.welcome", json!({ "why": "x" }), (400, "invalid-request")),
            ("email.welcome", json!([]), (400, "invalid-request")),
        ] {
            let refused = place.refused(&format!("/admin/jobs/{name}/{verb}"), &body).await;
            assert_eq!(refused, (expected.0, expected.1.to_owned()), "{verb} {name} {body}");
        }
    }
}

async fn audited(place: &Place) {
    let page = place.get("/admin/audit").await;
    let items = page["items"].as_array().expect("items");
    let of = |action: &str| -> Vec<(&str, &Value)> {
        let its = items.iter().filter(|entry| entry["action"] == action);
        its.map(|entry| (text(&entry["target"]), &entry["reason"])).collect()
    };
    let (null, first, second) = (Value::Null, json!("the offer is wrong"), json!("once more"));
    let paused = [("user.signup", &null), ("email.welcome", &second), ("email.welcome", &first)];
    assert_eq!(of("pause_type"), paused, "{page}");
    assert_eq!(of("resume_type"), [("email.welcome", &null), ("email.welcome", &null)]);
    assert!(items.iter().all(|entry| entry["outcome"] == "done"), "{page}");
}
