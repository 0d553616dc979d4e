//! What the workers do now, as it happens: a job that runs, one between two attempts, an outage,
//! and a paused type whose jobs wait and run after it is resumed.

use std::time::Duration;

use super::harness::{Jobgate, Options, until, uuid, verification};
use super::mail_server::MailServer;
use super::{SOON, StatusCode, Value, json, text};

/// How soon a worker tells what it does: it puts it on the board and writes the board down once a
/// second each, and a busy machine takes its time.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
const GROUP: &str = "email-workers";

/// A jobgate that sends its mails to a server of the test's own.
struct Place {
    server: MailServer,
    jobgate: Jobgate,
}

impl Place {
    async fn start() -> Self {
        let server = MailServer::start().await;
        let options = Options { smtp_url: Some(server.url()), ..Options::default() };
        let place = Self { server, jobgate: Jobgate::start(options).await };
        place.wait_for_groups().await;
        place
    }

    /// A Kafka that has just begun has first to find the offsets of the groups.
    async fn wait_for_groups(&self) {
        until("the groups can be asked", SOON, async || {
            (self.jobgate.get("/admin/lag").await.status == StatusCode::OK).then_some(())
        })
        .await;
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.jobgate.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        answer.json()
    }

    async fn send(&self, job_type: &str, address: &str) -> Value {
        let mut job = verification(&uuid(), &uuid());
        job["template_data"]["email"] = json!(address);
        let answer = self.jobgate.post(&format!("/jobs/{job_type}"), &job).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
        answer.json()
    }

    async fn status(&self, receipt: &Value) -> Value {
        self.get(text(&receipt["status_url"])).await
    }

    /// The status of a job once it has this state.
    async fn until(&self, receipt: &Value, state: &str) -> Value {
        until(&format!("{state}: {receipt}"), SOON, async || {
            let status = self.status(receipt).await;
            (status["state"] == state).then_some(status)
        })
        .await
    }

    /// What the one worker that is alive does in the group of the mails.
    async fn group(&self) -> Option<Value> {
        let list = self.get("/admin/workers").await;
        let items = list["items"].as_array().expect("items");
        let worker = items.iter().find(|worker| worker["alive"] == true)?;
        let groups = worker["groups"].as_array().expect("groups");
        groups.iter().find(|group| group["group"] == GROUP).cloned()
    }

    /// The same, once it is as it should be.
    async fn until_group(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        until(what, TOLD_WITHIN, async || self.group().await.filter(&is_so)).await
    }

    async fn set(&self, verb: &str, job_type: &str) -> Value {
        let body = json!({ "reason": "a test" });
        let answer = self.jobgate.post(&format!("/admin/jobs/{job_type}/{verb}"), &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()
    }

    async fn lag_paused(&self) -> Value {
        self.get(&format!("/admin/lag/{GROUP}")).await["groups"][0]["paused"].clone()
    }
}

/// The entry of a list that is of this job.
fn of<'v>(list: &'v Value, receipt: &Value) -> Option<&'v Value> {
    list.as_array().expect("a list").iter().find(|job| job["id"] == receipt["id"])
}

fn causes(paused: &Value) -> Vec<(&str, &str)> {
    let paused = paused.as_array().expect("a list");
    paused.iter().map(|one| (text(&one["type"]), text(&one["cause"]))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_seen_while_it_runs_waits_for_its_next_attempt_or_for_an_outage() {
    let mut place = Place::start().await;
    runs(&place).await;
    waits_for_its_next_attempt(&place).await;
    waits_for_an_outage(&mut place).await;
}

async fn runs(place: &Place) {
    let first = place.send("email.verification", "ada@example.com").await;
    place.until(&first, "succeeded").await;
    place.until_group("nothing runs", |group| group["counts"]["running"] == 0).await;
    place.server.freeze();
    let sent = place.send("email.verification", "ada@example.com").await;
    let status = place.until(&sent, "running").await;
    assert_eq!(status["attempts"], 1, "{status}");
    assert!(text(&status["started_at"]) >= text(&sent["produced_at"]), "{status}");
    let group = place.group().await.expect("it is there");
    let running = of(&group["running"], &sent).unwrap_or_else(|| panic!("{group}"));
    for member in ["type", "partition", "offset", "key", "status_url"] {
        assert_eq!(running[member], sent[member], "{member}");
    }
    assert_eq!((&running["attempt"], &running["started_at"]), (&json!(1), &status["started_at"]));
    assert_eq!(group["counts"]["running"], 1, "{group}");
    let has = |topic: &Value| {
        topic["topic"] == sent["topic"]
            && topic["partitions"].as_array().is_some_and(|all| all.contains(&sent["partition"]))
    };
    let partitions = group["partitions"].as_array().expect("its partitions");
    assert!(partitions.iter().any(has), "{group}");
    place.server.thaw();
    let status = place.until(&sent, "succeeded").await;
    assert_eq!(status.get("started_at"), None, "{status}");
    place.until_group("it runs no longer", |group| of(&group["running"], &sent).is_none()).await;
}

async fn waits_for_its_next_attempt(place: &Place) {
    let sent = place.send("email.verification", "greylist@example.com").await;
    // Behind it, by its key, nothing waits; it has had three of its five attempts.
    let status = until("three attempts were made", SOON, async || {
        let status = place.status(&sent).await;
        (status["state"] == "retrying" && status["attempts"] == 3).then_some(status)
    })
    .await;
    assert!(text(&status["next_attempt_at"]) > text(&sent["produced_at"]), "{status}");
    assert_eq!(status["last_error"]["class"], "mail_deferred", "{status}");
    let said = text(&status["last_error"]["message"]);
    assert!(said.contains("450"), "{said}");
    let group = place.group().await.expect("it is there");
    let retrying = of(&group["retrying"], &sent).unwrap_or_else(|| panic!("{group}"));
    for member in ["attempts", "next_attempt_at", "last_error"] {
        assert_eq!(retrying[member], status[member], "{member}");
    }
    assert_eq!(group["counts"]["retrying"], 1, "{group}");
    // Others have succeeded meanwhile, so it is not the server: it is given up.
    let good = place.send("email.verification", "ada@example.com").await;
    place.until(&good, "succeeded").await;
    until("it is given up", SOON, async || {
        let other = place.send("email.verification", "ada@example.com").await;
        place.until(&other, "succeeded").await;
        (place.status(&sent).await["state"] == "dead_lettered").then_some(())
    })
    .await;
}

async fn waits_for_an_outage(place: &mut Place) {
    place.server.stop().await;
    let sent = place.send("email.verification", "ada@example.com").await;
    let outage = [("email.verification", "outage")];
    let group =
        place.until_group("the outage is told", |group| causes(&group["paused"]) == outage).await;
    assert!(!text(&group["paused"][0]["reason"]).is_empty(), "{group}");
    until("the lag tells of it", TOLD_WITHIN, async || {
        (causes(&place.lag_paused().await) == outage).then_some(())
    })
    .await;
    let status = place.status(&sent).await;
    let state = text(&status["state"]);
    assert!(["queued", "running"].contains(&state), "it waits, or probes: {status}");
    place.server.start_again().await;
    place.until(&sent, "succeeded").await;
    place.until_group("the outage is over", |group| group["paused"] == json!([])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_a_paused_type_wait_and_run_after_it_is_resumed() {
    const PAUSED: &str = "email.verification";
    let mut place = Place::start().await;
    let first = place.send(PAUSED, "ada@example.com").await;
    place.until(&first, "succeeded").await;
    let pause = place.set("pause", PAUSED).await;
    let operator = [(PAUSED, "operator")];
    let group =
        place.until_group("the worker knows", |group| causes(&group["paused"]) == operator).await;
    assert_eq!(group["paused"][0]["since"], pause["paused_at"], "{group}");
    assert_eq!(group["paused"][0]["reason"], "paused by loopback: a test");

    let mut sent = Vec::new();
    for _ in 0..3 {
        sent.push(place.send(PAUSED, "ada@example.com").await);
    }
    // Another type of the group goes on, so the worker has had these before it for long.
    let other = place.send("email.welcome", "ada@example.com").await;
    place.until(&other, "succeeded").await;
    let in_hand = |group: &Value| {
        let count = |name: &str| group["counts"][name].as_u64().expect("a count");
        count("waiting") + count("parked")
    };
    place.until_group("they wait", |group| in_hand(group) == 3).await;
    assert_all_wait(&place, &sent).await;

    // A pause outlives the process: nothing of it starts before the pause is known.
    let (code, took) = place.jobgate.terminate().await;
    assert_eq!(code, Some(0), "after {took:?}: {}", place.jobgate.log());
    place.jobgate.start_again().await;
    place.wait_for_groups().await;
    let other = place.send("email.welcome", "ada@example.com").await;
    place.until(&other, "succeeded").await;
    place.until_group("they wait again", |group| in_hand(group) == 3).await;
    assert_all_wait(&place, &sent).await;
    assert_eq!(causes(&place.lag_paused().await), operator);

    place.set("resume", PAUSED).await;
    for receipt in &sent {
        place.until(receipt, "succeeded").await;
    }
    place.until_group("it is paused no longer", |group| group["paused"] == json!([])).await;
    let arrived = place.server.arrived();
    for receipt in &sent {
        let mails = arrived.iter().filter(|mail| mail.id.to_string() == text(&receipt["id"]));
        assert_eq!(mails.count(), 1, "{receipt}");
    }
}

async fn assert_all_wait(place: &Place, sent: &[Value]) {
    let arrived = place.server.arrived();
    for receipt in sent {
        let status = place.status(receipt).await;
        assert_eq!((&status["state"], &status["attempts"]), (&json!("queued"), &Value::Null));
        let has_arrived = arrived.iter().any(|mail| mail.id.to_string() == text(&receipt["id"]));
        assert!(!has_arrived, "{receipt}");
    }
}
